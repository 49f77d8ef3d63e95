"""A broker that compacts a topic while a client writes to it: real processes, files and clients."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clusters import HarmedCluster, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPIC = "compacted"
RECORDS, KEYS = 20_000, 100
BROKERS = (1, 2)
Read = tuple[int, bytes, bytes]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[HarmedCluster]:
    """Two brokers, each of which compacts its own replica."""
    cluster = HarmedCluster(tmp_path, brokers=len(BROKERS), coordinators=1)
    cluster.configure(
        "broker",
        {"log.cleaner.backoff.ms": "200", "offsets.topic.replication.factor": "2",
         "offsets.topic.num.partitions": "1"},
    )  # fmt: skip
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()


def produce(cluster: HarmedCluster) -> dict[bytes, bytes]:
    """Random writes in order; the last value of each key."""
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "linger.ms": 5,
         "batch.num.messages": 50, "compression.type": "lz4"}
    )  # fmt: skip
    last: dict[bytes, bytes] = {}
    failed: list[object] = []
    for n in range(RECORDS):
        key = b"key-%d" % (n * 7919 % KEYS)
        last[key] = b"value %d " % n * 5
        producer.produce(
            TOPIC, last[key], key, on_delivery=lambda error, _: error and failed.append(error)
        )
        if n % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed
    return last


def consume(cluster: HarmedCluster) -> list[Read]:
    """(offset, key, value) of everything that is there."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap, "group.id": "reader", "auto.offset.reset":
         "earliest", "enable.partition.eof": True, "enable.auto.commit": False}
    )  # fmt: skip
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found: list[Read] = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                assert message.error().name() == "_PARTITION_EOF", message.error()
                return found
            found.append((message.offset(), message.key(), message.value()))
        raise AssertionError("no end of the partition was reached")
    finally:
        consumer.close()


def wait_compacted(cluster: HarmedCluster, broker: int, topic: str) -> int:
    """Where the last compaction came to, once only the active segment is dirty."""
    directory = cluster.partition_dir(broker, topic)
    checkpoint = directory.parent / "cleaner-offset-checkpoint"
    active = -1

    def is_clean() -> bool:
        nonlocal active
        active = max(int(one.stem) for one in directory.glob("*.log"))
        lines = checkpoint.read_text().splitlines() if checkpoint.exists() else []
        return f"{topic} 0 {active}" in lines

    wait_until(is_clean, lambda: f"{directory} compacted up to {active}\n{cluster.logs()}", 60)
    return active


def test_consumer_reads_the_last_value_of_each_key(pair: HarmedCluster) -> None:
    settings = {
        "cleanup.policy": "compact",
        "segment.bytes": "20000",
        "min.cleanable.dirty.ratio": "0.01",
    }
    pair.create_topic(TOPIC, [[1, 2]], **settings)
    last = produce(pair)
    ends = {broker: wait_compacted(pair, broker, TOPIC) for broker in BROKERS}
    first = judged(consume(pair), ends[1], last)
    pair.kill("broker", 1)
    wait_until(lambda: pair.leader(TOPIC) == 2, "the other one leads")
    judged(consume(pair), ends[2], last)
    # The one that was killed comes back with what it had made of its log.
    pair.start_member("broker", 1)
    wait_until(lambda: pair.isr(TOPIC) == {1, 2}, "the first one is in sync again")
    pair.kill("broker", 2)
    wait_until(lambda: pair.leader(TOPIC) == 1, "the first one leads again")
    assert consume(pair) == first
    assert "Traceback" not in pair.logs()


def judged(records: list[Read], end: int, last: dict[bytes, bytes]) -> list[Read]:
    """Below `end` each key once, from there on everything, in all the last value of each key."""
    keys = [key for offset, key, _ in records if offset < end]
    assert len(keys) == len(set(keys)), "a key is there twice"
    assert [offset for offset, _, _ in records if offset >= end] == list(range(end, RECORDS))
    assert {key: value for _, key, value in records} == last
    return records
