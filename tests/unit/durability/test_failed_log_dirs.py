"""A log directory whose disk fails takes its own partitions offline and no others (KIP-112)."""

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log_dir import AllLogDirsFailed
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_topics import DeleteTopicsRequest
from ottla.protocol.kafka.messages.describe_log_dirs import DescribeLogDirsRequest
from ottla.protocol.kafka.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.logs import NOW_MS, records_of
from tests.support.memory_cluster import MemoryCluster, memory_cluster

TWO_DIRS = {"log_dirs": "/data-1,/data-2"}


def produce_request(topic: str, partition: int, value: bytes) -> ProduceRequest:
    batch = build_batch([(b"k", value, NOW_MS, ())])
    return ProduceRequest(
        acks=-1,
        timeout_ms=5_000,
        topic_data=[
            TopicProduceData(
                name=topic,
                partition_data=[PartitionProduceData(index=partition, records=batch)],
            )
        ],
    )


async def produce(
    cluster: MemoryCluster, broker: int, topic: str, partition: int, value: bytes
) -> int:
    answer = await cluster.ask(broker, produce_request(topic, partition, value), 9)
    return answer.responses[0].partition_responses[0].error_code


async def fetch(cluster: MemoryCluster, broker: int, topic: str, partition: int) -> int:
    request = FetchRequest(
        replica_id=-1,
        max_bytes=1 << 20,
        topics=[
            FetchTopic(
                topic=topic,
                partitions=[FetchPartition(partition=partition, partition_max_bytes=1 << 20)],
            )
        ],
    )
    answer = await cluster.ask(broker, request, 12)
    return answer.responses[0].partitions[0].error_code


def dir_of(cluster: MemoryCluster, broker: int, tp: TopicPartition) -> str:
    return cluster.services(broker).log_manager.dir_of(tp).path


async def wait_moved(cluster: MemoryCluster, tp: TopicPartition, away_from: int) -> int:
    with trio.fail_after(30):
        while True:
            for broker in cluster.handles:
                partition = cluster.services(broker).partitions.get(tp)
                if broker != away_from and partition is not None and partition.is_leader:
                    return broker
            await trio.sleep(0.05)


@pytest.mark.slow
async def test_a_failed_directory_moves_leadership_and_the_other_directory_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(2, **TWO_DIRS, default_replication_factor="2") as cluster:
        await cluster.create_topic("t", partitions=4, replicas=2)
        tps = [TopicPartition("t", index) for index in range(4)]
        leaders = {tp: cluster.leader_of("t", tp.partition) for tp in tps}
        for tp, leader in leaders.items():
            assert await produce(cluster, leader, "t", tp.partition, b"before") == 0
        broken = dir_of(cluster, 1, next(tp for tp in tps if leaders[tp] == 1))
        hit = [tp for tp in tps if dir_of(cluster, 1, tp) == broken]
        spared = [tp for tp in tps if tp not in hit]
        assert hit
        assert spared
        cluster.disks[1].broken.add(broken)
        victim = next(tp for tp in hit if leaders[tp] == 1)

        code = await produce(cluster, 1, "t", victim.partition, b"refused")
        assert code == ErrorCode.KAFKA_STORAGE_ERROR
        (event,) = cluster.events[1].named("log_dir.failed")
        assert event.fields["dir"] == broken
        assert str(victim) in str(event.fields["path"])

        for tp in hit:
            assert await wait_moved(cluster, tp, away_from=1) == 2
            assert await produce(cluster, 2, "t", tp.partition, b"after") == 0
            assert await produce(cluster, 1, "t", tp.partition, b"x") == (
                ErrorCode.KAFKA_STORAGE_ERROR
            )
            assert await fetch(cluster, 1, "t", tp.partition) == ErrorCode.KAFKA_STORAGE_ERROR
        for tp in spared:
            assert await produce(cluster, leaders[tp], "t", tp.partition, b"after") == 0
            assert cluster.services(1).partitions.get(tp).isr or leaders[tp] == 2
        described = await cluster.ask(1, DescribeLogDirsRequest(topics=None), 2)
        assert {each.log_dir: each.error_code for each in described.results} == {
            path: ErrorCode.KAFKA_STORAGE_ERROR if path == broken else 0
            for path in ("/data-1", "/data-2")
        }

        # A start without the directory goes on with the other; with it again, the replicas heal.
        await cluster.stop(1)
        await cluster.start(1, **TWO_DIRS, default_replication_factor="2")
        with trio.fail_after(30):
            while not all(cluster.services(1).partitions.get(tp) for tp in spared):  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert not any(cluster.services(1).partitions.get(tp) for tp in hit)
        cluster.disks[1].broken.clear()
        await cluster.stop(1)
        await cluster.start(1, **TWO_DIRS, default_replication_factor="2")
        with trio.fail_after(60):
            await cluster.wait_ready("t", 2)
        for tp in hit:
            values = [
                [record.value for record in records_of(partition.log)]
                for _, partition in cluster.replicas_of("t")
                if partition.tp == tp
            ]
            assert values[0] == values[1]
            assert b"after" in values[0]


@pytest.mark.slow
async def test_the_last_directory_ends_the_broker_and_its_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(2, default_replication_factor="2") as cluster:
        await cluster.create_topic("t", replicas=2)
        leader = cluster.leader_of("t")
        cluster.disks[leader].broken.add("/data")
        code = await produce(cluster, leader, "t", 0, b"x")
        assert code == ErrorCode.KAFKA_STORAGE_ERROR
        before = trio.current_time()
        failure = await cluster.wait_failed(leader)
        (reason,) = failure.exceptions
        assert isinstance(reason, AllLogDirsFailed)
        assert "/data: " in str(reason)
        assert "Input/output error" in str(reason)
        other = await wait_moved(cluster, TopicPartition("t", 0), away_from=leader)
        assert trio.current_time() - before < 6, "not after the session's timeout"
        assert await produce(cluster, other, "t", 0, b"x") == 0


@pytest.mark.slow
async def test_bytes_that_cannot_be_read_while_a_reply_is_sent_fail_the_directory(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The range was found in memory; only the send reads the file."""
    async with memory_cluster(2, **TWO_DIRS, default_replication_factor="2") as cluster:
        await cluster.create_topic("t", replicas=2)
        tp = TopicPartition("t", 0)
        leader = cluster.leader_of("t")
        assert await produce(cluster, leader, "t", 0, b"x") == 0
        broken = dir_of(cluster, leader, tp)
        cluster.disks[leader].broken.add(f"{broken}/t-0/00000000000000000000.log")
        with pytest.raises((EOFError, OSError)):
            await fetch(cluster, leader, "t", 0)
        (event,) = cluster.events[leader].named("log_dir.failed")
        assert event.fields["dir"] == broken
        await wait_moved(cluster, tp, away_from=leader)


@pytest.mark.slow
async def test_topic_is_not_deleted_before_the_directory_that_may_hold_it_is_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Found by seed 60086: the next topic of its name took the old log for its own."""
    settings = TWO_DIRS | {"default_replication_factor": "2"}
    async with memory_cluster(2, **settings) as cluster:
        await cluster.create_topic("t", replicas=2)
        tp = TopicPartition("t", 0)
        controller = cluster.controller()
        other = 3 - controller
        broken = dir_of(cluster, other, tp)
        await cluster.kill(other)
        deleted = await cluster.ask(
            controller, DeleteTopicsRequest(topic_names=["t"], timeout_ms=1000), 5
        )
        assert deleted.responses[0].error_code == ErrorCode.REQUEST_TIMED_OUT
        cluster.disks[other].broken.add(broken)
        await cluster.start(other, **settings)
        await trio.sleep(30)
        assert cluster.events[other].named("partition.delete_failed")
        await cluster.stop(other)
        cluster.disks[other].broken.clear()
        await cluster.start(other, **settings)
        with trio.fail_after(30):
            while cluster.disks[other].exists(f"{broken}/{tp}"):  # noqa: ASYNC110
                await trio.sleep(0.1)
        await cluster.create_topic("t", replicas=2)
