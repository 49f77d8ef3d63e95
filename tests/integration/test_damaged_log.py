"""A byte of a log that the disk changed, on a cluster of three: found, named, and healed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.integration.test_full_disk_cluster import read, set_topic
from tests.support.clusters import HarmedCluster, harmed_cluster, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COUNT = 200


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[HarmedCluster]:
    with harmed_cluster(
        tmp_path,
        broker={
            "min.insync.replicas": "1",
            "auto.leader.rebalance.enable": "false",
            "log.cleaner.backoff.ms": "500",
        },
    ) as made:
        yield made


def fill(cluster: HarmedCluster, topic: str, count: int = COUNT) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
    failures: list[object] = []
    for number in range(count):
        producer.produce(
            topic,
            b"%d " % number * 50,
            b"%d" % number,
            on_delivery=lambda error, _message: failures.append(error) if error else None,
        )
        assert producer.flush(20) == 0  # a batch for each
    assert not failures


def damage(cluster: HarmedCluster, broker: int, topic: str) -> tuple[Path, bytes]:
    """Change a byte in the middle of the log; its file, and what it held."""
    (path,) = cluster.partition_dir(broker, topic).glob("*.log")
    before = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(before) // 2)
        file.write(bytes([before[len(before) // 2] ^ 0xFF]))
    return path, before


def test_a_damaged_leader_gives_way_and_heals_from_the_others(cluster: HarmedCluster) -> None:
    topic = cluster.create_topic("t", [[1, 2, 3]])
    fill(cluster, topic)
    path, before = damage(cluster, 1, topic)
    # Somebody has to read it: a follower that lost its disk.
    cluster.kill("broker", 3)
    shutil.rmtree(cluster.partition_dir(3, topic))
    cluster.start_member("broker", 3)
    line = cluster.wait_event("broker", 1, "log.corrupt_batch_found")
    assert path.name in line
    assert "offset" in line or "fetched" in line
    wait_until(lambda: cluster.leader(topic) == 2, "the leadership moves to the sound replica")
    cluster.wait_event("broker", 1, "log.mended")
    wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "all are in sync, without a restart")
    for broker in (1, 2, 3):
        assert cluster.log_bytes(broker, topic) == before
    assert read(cluster, topic, 0, COUNT) == COUNT
    assert "log_dir.failed" not in cluster.log("broker", 1).read_text()


def test_damage_below_the_recovery_point_is_found_at_the_start_and_healed(
    cluster: HarmedCluster,
) -> None:
    topic = cluster.create_topic("t", [[1, 2, 3]])
    fill(cluster, topic)
    cluster.kill("broker", 1)
    path, before = damage(cluster, 1, topic)
    # As if a flush had been noted before the crash: all of the segment was on the disk.
    checkpoint = cluster.home / "broker-1" / "recovery-point-offset-checkpoint"
    checkpoint.write_text(f"0\n1\n{topic} 0 {COUNT}\n")
    path.with_suffix(".index").unlink(missing_ok=True)  # or it would look at the last batches only
    cluster.start_member("broker", 1)
    line = cluster.wait_event("broker", 1, "log.load_failed")
    assert path.name in line
    cluster.wait_event("broker", 1, "log.mended")
    wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "all are in sync")
    assert cluster.log_bytes(1, topic) == before
    assert cluster.leader(topic) == 2


def test_what_compaction_finds_damaged_heals_from_the_others(cluster: HarmedCluster) -> None:
    """In a follower's log, which nobody else reads."""
    topic = cluster.create_topic("t", [[1, 2, 3]])
    fill(cluster, topic)
    path, _ = damage(cluster, 2, topic)
    # What was written until now is sealed by the next record, and all of it is to be looked at.
    set_topic(cluster, topic, "segment.ms", "1")
    set_topic(cluster, topic, "min.cleanable.dirty.ratio", "0")
    set_topic(cluster, topic, "cleanup.policy", "compact")
    fill(cluster, topic, 2)
    assert path.name in cluster.wait_event("broker", 2, "log.compaction_failed")
    cluster.wait_event("broker", 2, "log.mended")
    wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "all are in sync")
    assert cluster.leader(topic) == 1
    cluster.wait_event("broker", 2, "log.compacted")
    assert read(cluster, topic, 0, COUNT) == COUNT
