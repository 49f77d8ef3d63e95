"""A full disk refuses records and nothing else, and takes them again when there is room."""

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_topics import DeleteTopicsRequest
from tests.support.memory_cluster import MemoryCluster, memory_cluster
from tests.unit.durability.test_failed_log_dirs import fetch, produce

ROOM = 200_000


async def fill(cluster: MemoryCluster, topic: str) -> None:
    """Produce until the disk is full."""
    disk = cluster.disks[1]
    disk.capacity_bytes = disk.used_bytes + ROOM
    for _ in range(100):
        code = await produce(cluster, 1, topic, 0, bytes(10_000))
        if code == ErrorCode.KAFKA_STORAGE_ERROR:
            return
        assert code == 0
    raise AssertionError("it is never full")


@pytest.mark.slow
async def test_a_full_disk_refuses_records_and_goes_on_with_everything_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(1, log_segment_delete_delay_ms="0") as cluster:
        await cluster.create_topic("big", replicas=1)
        await cluster.create_topic("small", replicas=1)
        assert await produce(cluster, 1, "small", 0, b"x") == 0
        await fill(cluster, "big")
        disk = cluster.disks[1]
        disk.capacity_bytes = disk.used_bytes  # not a byte more
        assert await produce(cluster, 1, "small", 0, b"x") == ErrorCode.KAFKA_STORAGE_ERROR
        assert await fetch(cluster, 1, "big", 0) == 0
        await trio.sleep(30)  # checkpoints, flushes, probes
        (event,) = cluster.events[1].named("log_dir.full")
        assert event.fields["dir"] == "/data"
        assert not cluster.events[1].named("log_dir.failed")

        # What the user does: delete something. All comes back by itself.
        delete = DeleteTopicsRequest(topic_names=["big"], timeout_ms=10_000)
        (answer,) = (await cluster.ask(1, delete, 5)).responses
        assert answer.error_code == 0
        with trio.fail_after(120):
            await cluster.events[1].wait_for("log_dir.space_returned")
        assert await produce(cluster, 1, "small", 0, b"x") == 0
        cluster.services(1).partitions.get(TopicPartition("small", 0)).log.check()


@pytest.mark.slow
async def test_a_replica_that_could_not_be_made_is_made_when_space_returns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(1) as cluster:
        await cluster.create_topic("first", replicas=1)
        disk = cluster.disks[1]
        disk.capacity_bytes = disk.used_bytes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cluster.create_topic, "second", 1, 1)
            with trio.fail_after(60):
                await cluster.events[1].wait_for("partition.create_failed")
            await trio.sleep(5)
            assert not cluster.replicas_of("second")
            disk.capacity_bytes = None
            with trio.fail_after(60):
                while not cluster.replicas_of("second"):  # noqa: ASYNC110
                    await trio.sleep(0.1)
        assert await produce(cluster, 1, "second", 0, b"x") == 0


@pytest.mark.slow
async def test_an_only_replica_that_could_not_be_made_leads_when_space_returns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The controller took its leadership when it heard that there was no room for it."""
    async with memory_cluster(2, num_partitions="1") as cluster:
        await cluster.create_topic("first", replicas=1)
        for disk in cluster.disks.values():
            disk.capacity_bytes = disk.used_bytes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cluster.create_topic, "second", 2, 1)
            for broker in (1, 2):
                with trio.fail_after(60):
                    await cluster.events[broker].wait_for("partition.create_failed")
            with trio.fail_after(60):
                await cluster.events[cluster.controller()].wait_for("controller.replicas_offline")
            await trio.sleep(5)
            for disk in cluster.disks.values():
                disk.capacity_bytes = None
            with trio.fail_after(60):
                await cluster.wait_ready("second", 1)
        for partition in (0, 1):
            leader = cluster.leader_of("second", partition)
            assert await produce(cluster, leader, "second", partition, b"x") == 0


@pytest.mark.slow
async def test_a_broker_stops_cleanly_on_a_full_disk_and_starts_there_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(1) as cluster:
        await cluster.create_topic("t", replicas=1)
        await fill(cluster, "t")
        disk = cluster.disks[1]
        disk.capacity_bytes = disk.used_bytes
        ends = cluster.services(1).partitions.get(TopicPartition("t", 0)).log.log_end
        await cluster.stop(1)
        assert not cluster.failures
        await cluster.start(1)
        with trio.fail_after(60):
            await cluster.wait_ready("t", 1)
        assert cluster.services(1).partitions.get(TopicPartition("t", 0)).log.log_end == ends
        assert await fetch(cluster, 1, "t", 0) == 0
        assert await produce(cluster, 1, "t", 0, bytes(10_000)) == ErrorCode.KAFKA_STORAGE_ERROR
        disk.capacity_bytes = None
        assert await produce(cluster, 1, "t", 0, b"x") == 0
