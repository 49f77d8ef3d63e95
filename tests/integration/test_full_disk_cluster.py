"""Three brokers, the disk of one of which is full: as a leader, and as a follower."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.support.clusters import HarmedCluster, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SMALL = 1  # the broker with the small disk
RECORD = os.urandom(50_000)
SETTINGS = {
    "log.segment.bytes": "1000000",
    "log.segment.delete.delay.ms": "0",
    "log.retention.check.interval.ms": "1000",
    "replica.lag.time.max.ms": "1500",
    "min.insync.replicas": "1",
    "auto.leader.rebalance.enable": "false",
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[HarmedCluster]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small file system")
    made = HarmedCluster(tmp_path)
    made.configure("broker", SETTINGS)
    disk = tmp_path / f"broker-{SMALL}"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        made.start()
        yield made
    finally:
        made.destroy()
        subprocess.run(["umount", "-l", str(disk)], check=True)


def write(cluster: HarmedCluster, topic: str, count: int) -> list[KafkaError | None]:
    """Records with acks=all, one after the other until one is refused; what became of each."""
    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "retries": 0,
            "enable.idempotence": False,
            "delivery.timeout.ms": 15_000,
        }
    )
    told: list[KafkaError | None] = []
    for _ in range(count):
        producer.produce(topic, RECORD, on_delivery=lambda error, _message: told.append(error))
        assert producer.flush(20) == 0
        if told[-1] is not None:
            break
    return told


def read(cluster: HarmedCluster, topic: str, first: int, count: int) -> int:
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "none"})
    try:
        consumer.assign([TopicPartition(topic, 0, first)])
        found: list[object] = []

        def enough() -> bool:
            found.extend(m for m in consumer.consume(100, 0.2) if m.error() is None)
            return len(found) >= count

        wait_until(enough, lambda: f"{count} records, {len(found)} came")
        return len(found)
    finally:
        consumer.close()


def set_topic(cluster: HarmedCluster, topic: str, key: str, value: str) -> None:
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in cluster.admin.incremental_alter_configs([resource]).values():
        future.result(20)


def test_a_leaders_full_disk_refuses_records_and_nothing_else(cluster: HarmedCluster) -> None:
    cluster.create_topic("big", [[1, 2, 3]])
    cluster.create_topic("there", [[1]])
    cluster.create_topic("elsewhere", [[2, 3]])
    told = write(cluster, "big", 500)
    error = told.pop()
    assert error is not None
    assert error.code() == KafkaError.KAFKA_STORAGE_ERROR
    assert len(told) > 50
    cluster.wait_event("broker", SMALL, "log_dir.full")
    assert write(cluster, "there", 1)[0] is not None, "the directory refuses, not the one log"
    # Reads, other brokers and administration go on.
    assert read(cluster, "big", 0, len(told)) == len(told)
    assert write(cluster, "elsewhere", 3) == [None] * 3
    cluster.create_topic("new", [[2, 3]])
    assert write(cluster, "new", 1) == [None]
    assert cluster.leader("big") == SMALL
    # Retention makes room, by a configuration that is changed meanwhile; nobody restarts anything.
    set_topic(cluster, "big", "retention.bytes", "1000000")
    cluster.wait_event("broker", SMALL, "log_dir.space_returned")
    assert write(cluster, "big", 5) == [None] * 5
    low, high = Consumer(
        {"bootstrap.servers": cluster.bootstrap, "group.id": "none"}
    ).get_watermark_offsets(TopicPartition("big", 0), timeout=20)
    assert low > 0
    assert high == len(told) + 5
    assert read(cluster, "big", low, high - low) == high - low
    wait_until(lambda: cluster.isr("big") == {1, 2, 3}, "all are in sync")
    assert "log_dir.failed" not in cluster.log("broker", SMALL).read_text()


def test_a_followers_full_disk_leaves_the_isr_and_comes_back(cluster: HarmedCluster) -> None:
    cluster.create_topic("big", [[2, 1]])
    count = 300  # of 50 kB each: twice what the follower has room for
    assert write(cluster, "big", count) == [None] * count
    cluster.wait_event("broker", SMALL, "log_dir.full")
    wait_until(lambda: cluster.isr("big") == {2}, "it leaves the ISR")
    assert read(cluster, "big", 0, count) == count
    disk = cluster.home / f"broker-{SMALL}"
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    wait_until(lambda: cluster.isr("big") == {1, 2}, "it comes back by itself")
    wait_until(
        lambda: cluster.log_bytes(1, "big") == cluster.log_bytes(2, "big"), "both have the same"
    )
    assert write(cluster, "big", 1) == [None]
