"""Kafka's own admin client asks who has written to a partition (KIP-664).

`OTTLA_KAFKA_LIBS` names a directory with the jars of org.apache.kafka:kafka_2.13:3.9.1 and what it
depends on. Without it, or without a JDK, the tests are skipped.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.compat.conftest import MakeTopic
from tests.compat.test_we_take_over_kafka_files import SESSION_MS, Place, flush, producer_to
from tests.support.jars import KAFKA
from tests.support.processes import LocalCluster

LIBS = KAFKA.named()

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(
        LIBS is None or shutil.which("javac") is None, reason="needs a JDK and OTTLA_KAFKA_LIBS"
    ),
]


def producers(bootstrap: str, *questions: str) -> list[str]:
    source = Path(__file__).with_name("Producers.java")
    done = subprocess.run(
        ["java", "-Xmx256m", "-cp", f"{LIBS}/*", str(source), bootstrap, *questions],
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return done.stdout.splitlines()


def fields(line: str) -> dict[str, str]:
    """Of what Java prints for one producer."""
    return dict(re.findall(r"(\w+)=([^,)]+)", line))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_who_wrote_is_told_by_every_replica(cluster: LocalCluster, make_topic: MakeTopic) -> None:
    topic = make_topic(1)
    began_ms = int(time.time() * 1000)
    for count in (3, 7):
        producer = producer_to(cluster, **{"enable.idempotence": True})
        for _ in range(count):
            producer.produce(topic, b"v")
            flush(producer)
    at = f"{topic}:0"
    said = producers(cluster.bootstrap, at, *(f"{at}:{broker}" for broker in (1, 2, 3)))
    told = [fields(line) for line in said if line.startswith(f"{at} ")]
    assert [(each["producerEpoch"], each["lastSequence"]) for each in told] == [
        ("0", "2"),
        ("0", "6"),
    ]
    for each in told:
        assert began_ms <= int(each["lastTimestamp"]) <= time.time() * 1000
        assert each["currentTransactionStartOffset"] == "OptionalLong.empty"
    for broker in (1, 2, 3):
        here = [fields(line) for line in said if line.startswith(f"{at}:{broker} ")]
        assert here == told


def test_who_has_no_replica_says_so(cluster: LocalCluster, admin: AdminClient) -> None:
    """Or the client would ask again until its time is over."""
    topic = "only-once"
    alone = NewTopic(topic, 1, 1, config={"min.insync.replicas": "1"})
    admin.create_topics([alone])[topic].result(30)
    producer = producer_to(cluster, **{"enable.idempotence": True})
    producer.produce(topic, b"v")
    flush(producer)
    said = producers(cluster.bootstrap, *(f"{topic}:0:{broker}" for broker in (1, 2, 3)))
    refused = [line for line in said if line.endswith(" NotLeaderOrFollowerException")]
    assert len(refused) == 2
    assert len(set(said) - set(refused)) == 1


def test_we_say_what_kafka_said_of_the_same_files(place: Place) -> None:
    """An open transaction among others: what an operator looks for with this request."""
    kafka = place.start_kafka()
    admin = place.admin()  # which waits for nothing once it is gone
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result(30)
    plain = producer_to(place, **{"enable.idempotence": True})
    for number in range(12):
        plain.produce("t", str(number))
        flush(plain)
    open_ones = []
    for ends in ("commit", "abort", "not"):
        writer = producer_to(place, **{"transactional.id": ends})
        writer.init_transactions(30)
        writer.begin_transaction()
        writer.produce("t", ends)
        flush(writer)
        if ends == "commit":
            writer.commit_transaction(30)
        elif ends == "abort":
            writer.abort_transaction(30)
        else:
            open_ones.append(writer)
    expected = producers(place.bootstrap, "t:0")
    assert len(expected) == 4
    started = [fields(line)["currentTransactionStartOffset"] for line in expected]
    assert sorted(started) == ["OptionalLong.empty"] * 3 + ["OptionalLong[16]"]
    kafka.kill()
    kafka.wait(30)
    time.sleep(SESSION_MS / 1000 + 2)  # its znode goes with its session
    place.start_ours()
    assert producers(place.bootstrap, "t:0") == expected
