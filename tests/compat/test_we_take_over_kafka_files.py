"""A broker of ours goes on where Apache Kafka stopped: the same log directory, the same ensemble.

Kafka 3.9 in ZooKeeper mode runs on our coordinator and writes in every way that it can; after its
clean stop, and after kill -9, our broker serves the same records at the same offsets from its
files. `OTTLA_KAFKA_LIBS` names a directory with the jars of org.apache.kafka:kafka_2.13:3.9.1 and
what it depends on. Without it, or without Java, the test is skipped.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.clusters import wait_until
from tests.support.jars import KAFKA
from tests.support.processes import end_all, free_ports

LIBS = KAFKA.named()
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITIONS = 3
SESSION_MS = 4000

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(LIBS is None, reason="needs Java and OTTLA_KAFKA_LIBS"),
]

Content = dict[tuple[str, int], list[tuple[int, bytes | None, bytes | None]]]


class Place:
    """A coordinator, and the log directory in which one broker after the other works."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        (home / "coordinator.properties").write_text(
            f"dataDir={home}/coordinator\nclientPort={self.port + 1}\ntickTime=1000\n"
        )
        (home / "server.properties").write_text(
            f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{self.port}\nlog.dirs={home}/data\n"
            f"zookeeper.connect=127.0.0.1:{self.port + 1}\n"
            f"zookeeper.session.timeout.ms={SESSION_MS}\n"
            "offsets.topic.replication.factor=1\noffsets.topic.num.partitions=3\n"
            "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
            "transaction.state.log.num.partitions=3\ngroup.initial.rebalance.delay.ms=0\n"
            "log.cleaner.backoff.ms=500\n"
            "log.initial.task.delay.ms=500\nnum.recovery.threads.per.data.dir=2\n"
        )
        self._run("ottla.scripts.coordinator", str(home / "coordinator.properties"))
        wait_until(lambda: self._is_open(self.port + 1), "the coordinator is up")

    def _run(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *words, "--run-dir", str(self.home / "run")]
        return self._start(command)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.home / "output.log").open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        self.processes.append(process)
        return process

    def _is_open(self, port: int) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def start_kafka(self) -> subprocess.Popen[bytes]:
        config = str(self.home / "server.properties")
        return self._up(
            self._start(["java", "-Xmx512m", "-cp", f"{LIBS}/*", "kafka.Kafka", config])
        )

    def start_ours(self) -> subprocess.Popen[bytes]:
        return self._up(self._run("ottla.scripts.server", str(self.home / "server.properties")))

    def _up(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        def is_up() -> bool:
            assert process.poll() is None, self.said()
            try:
                return bool(self.admin().list_topics(timeout=1).brokers)
            except KafkaException:
                return False

        wait_until(is_up, self.said, 60)
        return process

    def said(self) -> str:
        return (self.home / "output.log").read_text(errors="replace")[-3000:]

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def end(self) -> None:
        end_all(self.processes)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    try:
        yield made
    finally:
        made.end()


def write_everything(place: Place) -> None:
    """Every codec, idempotence, committed and aborted transactions, a compacted topic."""
    topics = [NewTopic(f"codec-{codec}", PARTITIONS, 1) for codec in CODECS]
    topics += [NewTopic("sequenced", PARTITIONS, 1), NewTopic("transactions", 1, 1)]
    small = {"segment.bytes": "60000", "segment.ms": "1000"}
    compact = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}
    topics.append(NewTopic("compacted", 1, 1, config=small | compact))
    topics.append(NewTopic("rolled", 1, 1, config=small))
    admin = place.admin()
    for made in admin.create_topics(topics).values():
        made.result(30)
    for codec in CODECS:
        producer = producer_to(place, **{"compression.type": codec, "linger.ms": 20})
        for number in range(600):
            producer.produce(
                f"codec-{codec}", key=str(number), value=f"value {number} " * 5,
                headers=[("h", b"x")] if number % 3 else None,
            )  # fmt: skip
        flush(producer)
    producer = producer_to(place, **{"enable.idempotence": True})
    for number in range(600):
        producer.produce("sequenced", key=str(number % 7), value=str(number))
        if number % 100 == 0:
            flush(producer)
    flush(producer)
    for at, commits in enumerate((True, False, True, False)):
        writer = producer_to(place, **{"transactional.id": f"writer-{at}"})
        writer.init_transactions(30)
        writer.begin_transaction()
        for number in range(20):
            writer.produce("transactions", key=str(at), value=str(number))
        writer.flush(30)
        if commits:
            writer.commit_transaction(30)
        else:
            writer.abort_transaction(30)
    producer = producer_to(place, **{"batch.size": 8000})
    for number in range(3000):
        producer.produce("compacted", key=str(number % 50), value=f"{number} " * 20)
        producer.produce("rolled", key=str(number % 50), value=f"{number} " * 20)
        if number % 500 == 499:
            flush(producer)
            time.sleep(0.3)
    flush(producer)


def producer_to(place: Place, **more: object) -> Producer:
    return Producer(
        {
            "bootstrap.servers": place.bootstrap, "log_level": 0, "acks": "all",
            "on_delivery": on_delivery, **more,
        }
    )  # fmt: skip


def on_delivery(error: object, _message: object) -> None:
    assert error is None, error


def flush(producer: Producer) -> None:
    assert producer.flush(30) == 0


def content(place: Place, *, isolation: str) -> Content:
    """All records of all topics of the test."""
    consumer = Consumer(
        {
            "bootstrap.servers": place.bootstrap, "group.id": "reader", "log_level": 0,
            "enable.auto.commit": False, "isolation.level": isolation,
            "enable.partition.eof": True, "auto.offset.reset": "earliest",
        }
    )  # fmt: skip
    found: Content = {}
    metadata = place.admin().list_topics(timeout=10)
    for name, topic in metadata.topics.items():
        if not name.startswith("__"):
            found.update({(name, partition): [] for partition in topic.partitions})
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in found])
    ended: set[tuple[str, int]] = set()
    deadline = time.monotonic() + 60
    while ended != set(found):
        assert time.monotonic() < deadline, set(found) - ended
        for message in consumer.consume(500, 0.2):
            at = message.topic(), message.partition()
            if message.error() is None:
                found[at].append((message.offset(), message.key(), message.value()))
            else:
                assert message.error().name() == "_PARTITION_EOF", message.error()
                ended.add(at)
    consumer.close()
    return found


def checked_content(place: Place) -> tuple[Content, Content]:
    return tuple(content(place, isolation=f"read_{kind}") for kind in ("committed", "uncommitted"))  # type: ignore[return-value]


def differences(found: tuple[Content, ...], expected: tuple[Content, ...]) -> list[object]:
    """Partitions that are not the same, with what only one side has."""
    return [
        (at, sorted(set(here.get(at, [])) ^ set(there.get(at, [])))[:5])
        for here, there in zip(found, expected, strict=True)
        for at in sorted(here.keys() | there.keys())
        if here.get(at) != there.get(at)
    ]


def wait_compacted(place: Place) -> None:
    """The cleaner has been at work, and will not be between two readings."""
    checkpoint = place.home / "data" / "cleaner-offset-checkpoint"
    wait_until(lambda: checkpoint.exists() and "compacted" in checkpoint.read_text(), "compacted")
    last: object = None

    def is_at_rest() -> bool:
        nonlocal last
        now = sorted((path.name, path.stat().st_size) for path in segments(place))
        same, last = now == last, now
        time.sleep(1.5)
        return same

    wait_until(is_at_rest, "the cleaner rests")


def segments(place: Place) -> list[Path]:
    return list((place.home / "data" / "compacted-0").glob("*.log"))


def write_more(place: Place) -> None:
    producer = producer_to(place, **{"enable.idempotence": True})
    for codec in CODECS:
        producer.produce(f"codec-{codec}", key="more", value="of ours", partition=0)
    flush(producer)


def test_we_go_on_after_a_clean_stop_of_kafka(place: Place) -> None:
    kafka = place.start_kafka()
    write_everything(place)
    wait_compacted(place)
    expected = checked_content(place)
    assert len(expected[0]["compacted", 0]) < 3000
    assert len(expected[1]["transactions", 0]) == 80
    assert len(expected[0]["transactions", 0]) == 40
    kafka.send_signal(signal.SIGTERM)
    assert kafka.wait(60) in {0, 143}
    place.start_ours()
    assert differences(checked_content(place), expected) == []
    assert "log.cut" not in place.said()
    write_more(place)
    more = content(place, isolation="read_committed")
    for codec in CODECS:
        at = f"codec-{codec}", 0
        assert more[at][:-1] == expected[0][at]
        assert more[at][-1][1:] == (b"more", b"of ours")


def test_we_go_on_after_kafka_was_killed(place: Place) -> None:
    kafka = place.start_kafka()
    write_everything(place)
    wait_compacted(place)
    expected = checked_content(place)
    kafka.kill()
    kafka.wait(30)
    time.sleep(SESSION_MS / 1000 + 2)  # its znode goes with its session
    place.start_ours()
    assert differences(checked_content(place), expected) == []
    write_more(place)
