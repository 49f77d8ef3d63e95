"""Kafka's own admin client moves a log to another directory of a broker that is in use (KIP-113).

`OTTLA_KAFKA_LIBS` names a directory with the jars of org.apache.kafka:kafka_2.13:3.9.1 and what it
depends on. Without it, or without a JDK, the test is skipped.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.integration.test_lone_server import LoneServer
from tests.support.clusters import wait_until
from tests.support.jars import KAFKA
from tests.support.processes import end_all

LIBS = KAFKA.named()
BEFORE = 20_000

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(
        LIBS is None or shutil.which("javac") is None, reason="needs a JDK and OTTLA_KAFKA_LIBS"
    ),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoneServer]:
    made = LoneServer(tmp_path, f"log.dirs={tmp_path / 'one'},{tmp_path / 'two'}")
    try:
        made.start()
        yield made
    finally:
        end_all(made.processes)


def values(server: LoneServer, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "none"})
    consumer.assign([TopicPartition("t", 0, 0)])
    found: list[bytes] = []

    def enough() -> bool:
        found.extend(m.value() for m in consumer.consume(1000, 0.1) if m.error() is None)
        return len(found) >= count

    wait_until(enough, lambda: f"{count} records, {len(found)} came", 30)
    consumer.close()
    return found


def test_a_log_moves_while_it_is_written_and_read(server: LoneServer, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result(20)
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    if not Path(one, "t-0").is_dir():
        one, two = two, one
    producer = Producer({"bootstrap.servers": server.bootstrap, "enable.idempotence": True})
    failed: list[KafkaError] = []
    sent = 0

    def send() -> None:
        nonlocal sent
        producer.produce(
            "t",
            b"%d" % sent + b" " * 500,
            on_delivery=lambda error, _message: failed.append(error) if error else None,
        )
        sent += 1

    for _ in range(BEFORE):
        send()
        producer.poll(0)
    assert producer.flush(30) == 0
    source = Path(__file__).with_name("MoveLog.java")
    command = ["java", "-Xmx256m", "-cp", f"{LIBS}/*", str(source), server.bootstrap]
    moving = subprocess.Popen([*command, "t", "0", "0", two], stdout=subprocess.PIPE, text=True)
    while moving.poll() is None:
        send()
        producer.poll(0.001)
    said, _ = moving.communicate()
    for _ in range(100):
        send()
    assert producer.flush(30) == 0
    assert moving.returncode == 0
    assert sorted(said.splitlines()) == sorted([f"{one} false", f"{two} true"])
    assert not failed
    assert sent > BEFORE + 100
    assert Path(two, "t-0").is_dir()
    assert not Path(one, "t-0").exists()
    assert [int(value) for value in values(server, sent)] == list(range(sent))
