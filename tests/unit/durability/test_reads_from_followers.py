"""Consumers read from followers of their own rack (KIP-392): whole brokers, three racks."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    PartitionData,
)
from tests.support.memory_cluster import MemoryCluster, memory_cluster
from tests.unit.durability.test_failed_log_dirs import produce

TP = TopicPartition("t", 0)
SELECTOR = {"replica_selector_class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"}


@asynccontextmanager
async def racked_cluster(**settings: str):
    """Brokers 1 to 3 in racks r1 to r3, a topic on all of them."""
    async with memory_cluster(0) as cluster:
        for broker in (1, 2, 3):
            await cluster.start(broker, broker_rack=f"r{broker}", **settings)
        await cluster.create_topic("t", replicas=3)
        yield cluster, leader_of(cluster)


def leader_of(cluster: MemoryCluster) -> int:
    return next(
        n
        for n in cluster.handles
        if (each := cluster.services(n).partitions.get(TP)) is not None and each.is_leader
    )


async def fetch(
    cluster: MemoryCluster, broker: int, offset: int, *, rack: str = "", version: int = 12,
    max_wait_ms: int = 0, epoch: int = -1,
) -> PartitionData:  # fmt: skip
    request = FetchRequest(
        replica_id=-1,
        max_bytes=1 << 20,
        min_bytes=1,
        max_wait_ms=max_wait_ms,
        rack_id=rack,
        topics=[
            FetchTopic(
                topic="t",
                partitions=[
                    FetchPartition(
                        partition=0,
                        fetch_offset=offset,
                        partition_max_bytes=1 << 20,
                        current_leader_epoch=epoch,
                    )
                ],
            )
        ],
    )
    answer = await cluster.ask(broker, request, version)
    found: PartitionData = answer.responses[0].partitions[0]
    return found


async def wait_committed(cluster: MemoryCluster, broker: int, offset: int) -> None:
    with trio.fail_after(10):
        while cluster.services(broker).partitions.get(TP).high_watermark < offset:  # noqa: ASYNC110
            await trio.sleep(0.01)


@pytest.mark.slow
async def test_leader_sends_a_consumer_to_its_own_rack(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with racked_cluster(**SELECTOR) as (cluster, leader):
        near = leader % 3 + 1
        assert await produce(cluster, leader, "t", 0, b"value") == ErrorCode.NONE
        sent = await fetch(cluster, leader, 0, rack=f"r{near}")
        assert (sent.error_code, sent.preferred_read_replica) == (ErrorCode.NONE, near)
        assert not sent.records
        await wait_committed(cluster, near, 1)
        there = await fetch(cluster, near, 0, rack=f"r{near}")
        assert (there.error_code, there.preferred_read_replica) == (ErrorCode.NONE, -1)
        assert there.records
        assert there.high_watermark == 1
        for rack in ("", f"r{leader}", "elsewhere"):
            stays = await fetch(cluster, leader, 0, rack=rack)
            assert stays.preferred_read_replica == -1
            assert stays.records


@pytest.mark.slow
async def test_leader_alone_serves_where_no_selector_is_set(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with racked_cluster() as (cluster, leader):
        near = leader % 3 + 1
        assert await produce(cluster, leader, "t", 0, b"value") == ErrorCode.NONE
        assert (await fetch(cluster, leader, 0, rack=f"r{near}")).records


@pytest.mark.slow
async def test_follower_serves_what_is_committed_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with racked_cluster(**SELECTOR) as (cluster, leader):
        near = leader % 3 + 1
        for _ in range(3):
            assert await produce(cluster, leader, "t", 0, b"value") == ErrorCode.NONE
        await wait_committed(cluster, near, 3)
        assert (await fetch(cluster, near, 3)).error_code == ErrorCode.NONE
        beyond = await fetch(cluster, near, 4)
        assert beyond.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
        old = await fetch(cluster, near, 0, version=10)
        assert old.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        epoch = cluster.services(near).partitions.get(TP).leader_epoch
        unknown = await fetch(cluster, near, 0, epoch=epoch + 1)
        assert unknown.error_code == ErrorCode.UNKNOWN_LEADER_EPOCH


@pytest.mark.slow
async def test_consumer_that_waits_at_a_follower_gets_what_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with racked_cluster(**SELECTOR) as (cluster, leader), trio.open_nursery() as nursery:
        near = leader % 3 + 1
        found: list[PartitionData] = []

        async def read() -> None:
            found.append(await fetch(cluster, near, 0, max_wait_ms=60_000))

        nursery.start_soon(read)
        await trio.sleep(1)
        assert not found
        began = trio.current_time()
        assert await produce(cluster, leader, "t", 0, b"value") == ErrorCode.NONE
        with trio.fail_after(5):
            while not found:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert found[0].records
        assert trio.current_time() - began <= 0.6, "the follower's own long poll at most"
