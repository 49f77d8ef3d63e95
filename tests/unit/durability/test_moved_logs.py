"""AlterReplicaLogDirs on whole brokers: logs move while clients write, and through a kill -9."""

from functools import partial

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)
from ottla.protocol.kafka.messages.describe_log_dirs import DescribeLogDirsRequest
from tests.support.logs import records_of
from tests.support.memory_cluster import MemoryCluster, memory_cluster
from tests.unit.durability.test_failed_log_dirs import TWO_DIRS, dir_of, produce

TP = TopicPartition("t", 0)


async def alter(cluster: MemoryCluster, broker: int, path: str, *tps: TopicPartition) -> list[int]:
    request = AlterReplicaLogDirsRequest(
        dirs=[
            AlterReplicaLogDir(
                path=path,
                topics=[AlterReplicaLogDirTopic(name=tp.topic, partitions=[tp.partition])],
            )
            for tp in tps
        ]
    )
    answer = await cluster.ask(broker, request, 2)
    return [one.error_code for topic in answer.results for one in topic.partitions]


async def described(cluster: MemoryCluster, broker: int) -> dict[tuple[str, bool], int]:
    """(directory, is it a copy) of TP, with the lag."""
    answer = await cluster.ask(broker, DescribeLogDirsRequest(topics=None), 4)
    return {
        (result.log_dir, one.is_future_key): one.offset_lag
        for result in answer.results
        for topic in result.topics
        for one in topic.partitions
        if (topic.name, one.partition_index) == TP
    }


async def wait_in(cluster: MemoryCluster, broker: int, path: str) -> None:
    manager = cluster.services(broker).log_manager
    with trio.fail_after(60):
        while manager.futures.logs or dir_of(cluster, broker, TP) != path:  # noqa: ASYNC110
            await trio.sleep(0.05)


@pytest.mark.slow
async def test_leader_and_follower_move_while_records_come(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(2, **TWO_DIRS, default_replication_factor="2") as cluster:
        await cluster.create_topic("t", replicas=2)
        leader = cluster.controller()
        with trio.fail_after(20):
            while not (found := cluster.services(leader).partitions.get(TP)):  # noqa: ASYNC110
                await trio.sleep(0.05)
        leader = found.leader_id
        for number in range(30):
            if number == 10:
                for broker in (1, 2):
                    there = {"/data-1", "/data-2"} - {dir_of(cluster, broker, TP)}
                    assert await alter(cluster, broker, there.pop(), TP) == [ErrorCode.NONE]
            assert await produce(cluster, leader, "t", 0, b"%d" % number) == ErrorCode.NONE
        for broker in (1, 2):
            manager = cluster.services(broker).log_manager
            with trio.fail_after(60):
                while manager.futures.logs:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            assert cluster.events[broker].named("log.moved")
            partition = cluster.services(broker).partitions.get(TP)
            assert partition is not None
            assert partition.log is manager.get(TP)
            partition.check()
            values = [record.value for record in records_of(partition.log)]
            assert values == [b"%d" % number for number in range(30)]


@pytest.mark.slow
async def test_killed_broker_finishes_a_move_after_its_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(1, **TWO_DIRS, default_replication_factor="1") as cluster:
        await cluster.create_topic("t", replicas=1)
        for number in range(5):
            assert await produce(cluster, 1, "t", 0, b"%d" % number) == ErrorCode.NONE
        source = dir_of(cluster, 1, TP)
        (target,) = {"/data-1", "/data-2"} - {source}
        cluster.services(1).log_moves.alter(TP, target)
        assert set(await described(cluster, 1)) == {(source, False), (target, True)}
        assert not cluster.events[1].named("log.moved")
        await cluster.kill(1)
        await cluster.start(1, **TWO_DIRS, default_replication_factor="1")
        await wait_in(cluster, 1, target)
        assert await described(cluster, 1) == {(target, False): 0}
        with trio.fail_after(30):
            while await produce(cluster, 1, "t", 0, b"5") != ErrorCode.NONE:  # noqa: ASYNC110
                await trio.sleep(0.1)
        log = cluster.services(1).partitions.get(TP).log
        assert [record.value for record in records_of(log)] == [b"%d" % n for n in range(6)]


@pytest.mark.slow
async def test_what_is_asked_of_the_wrong_directory_or_partition(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(1, **TWO_DIRS, default_replication_factor="1") as cluster:
        await cluster.create_topic("t", replicas=1)
        ask = partial(alter, cluster, 1)
        assert await ask("/elsewhere", TP) == [ErrorCode.LOG_DIR_NOT_FOUND]
        missing = TopicPartition("t", 7)
        assert await ask("/data-1", missing) == [ErrorCode.REPLICA_NOT_AVAILABLE]
        assert await ask(dir_of(cluster, 1, TP), TP) == [ErrorCode.NONE]
        assert not cluster.services(1).log_manager.futures.logs
