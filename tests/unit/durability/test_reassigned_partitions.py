"""Partitions move between whole brokers while records come: data, leaders, what is left behind."""

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from ottla.protocol.kafka.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsTopics,
)
from tests.support.logs import records_of
from tests.support.memory_cluster import MemoryCluster, memory_cluster
from tests.unit.durability.test_failed_log_dirs import produce

TP = TopicPartition("t", 0)


async def reassign(cluster: MemoryCluster, replicas: list[int] | None, *, broker: int = 0):
    request = AlterPartitionReassignmentsRequest(
        topics=[
            ReassignableTopic(
                name="t", partitions=[ReassignablePartition(partition_index=0, replicas=replicas)]
            )
        ]
    )
    answer = await cluster.ask(broker or cluster.controller(), request, 0)
    if answer.error_code:
        return answer.error_code
    return answer.responses[0].partitions[0].error_code


async def under_way(cluster: MemoryCluster) -> list[tuple[list[int], list[int], list[int]]]:
    asked = [None, [ListPartitionReassignmentsTopics(name="t", partition_indexes=[0, 5])]]
    found = []
    for topics in asked:
        request = ListPartitionReassignmentsRequest(topics=topics)
        answer = await cluster.ask(cluster.controller(), request, 0)
        found.append(
            [
                (one.replicas, one.adding_replicas, one.removing_replicas)
                for topic in answer.topics
                for one in topic.partitions
            ]
        )
    assert found[0] == found[1]
    return found[0]


def leader_of(cluster: MemoryCluster) -> int | None:
    for broker in cluster.handles:
        partition = cluster.services(broker).partitions.get(TP)
        if partition is not None and partition.is_leader:
            return broker
    return None


async def write(cluster: MemoryCluster, value: bytes) -> None:
    """As a client does: ask whoever leads, until it was written."""
    with trio.fail_after(60):
        while True:
            leader = leader_of(cluster)
            if leader is not None and not await produce(cluster, leader, "t", 0, value):
                return
            await trio.sleep(0.05)


def holders(cluster: MemoryCluster) -> set[int]:
    return {
        broker
        for broker in cluster.handles
        if cluster.services(broker).log_manager.get(TP) is not None
    }


@pytest.mark.slow
async def test_partition_moves_to_brokers_that_never_had_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(4) as cluster:
        await cluster.create_topic("t", replicas=2)
        before = holders(cluster)
        target = sorted({1, 2, 3, 4} - before)
        for number in range(40):
            if number == 20:
                assert await reassign(cluster, target) == ErrorCode.NONE
            await write(cluster, b"%d" % number)
        with trio.fail_after(60):
            while holders(cluster) != set(target):  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert await under_way(cluster) == []
        assert leader_of(cluster) in target
        await write(cluster, b"40")
        for broker in target:
            partition = cluster.services(broker).partitions.get(TP)
            assert partition is not None
            values = {record.value for record in records_of(partition.log)}
            assert values == {b"%d" % number for number in range(41)}
        for broker in before:
            assert cluster.services(broker).partitions.get(TP) is None


@pytest.mark.slow
async def test_move_to_a_broker_that_is_down_waits_and_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(3) as cluster:
        await cluster.create_topic("t", replicas=1)
        (before,) = holders(cluster)
        other = next(each for each in (1, 2, 3) if each not in (before, cluster.controller()))
        services = cluster.services(other)
        services.replicas.apply_leader_and_isr = _deaf  # it hears nothing of its role
        assert await reassign(cluster, [other]) == ErrorCode.NONE
        await trio.sleep(5)
        assert await under_way(cluster) == [([other, before], [other], [before])]
        await write(cluster, b"meanwhile")
        assert await reassign(cluster, None) == ErrorCode.NONE
        assert await under_way(cluster) == []
        assert await reassign(cluster, None) == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
        await write(cluster, b"afterwards")
        assert holders(cluster) == {before}


async def _deaf(_request, *, version):
    del version
    await trio.sleep_forever()


@pytest.mark.slow
async def test_move_survives_the_death_of_the_controller(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(4) as cluster:
        await cluster.create_topic("t", replicas=1)
        (before,) = holders(cluster)
        office = cluster.controller()
        other = next(each for each in (1, 2, 3, 4) if each not in (before, office))
        await write(cluster, b"first")
        assert await reassign(cluster, [other]) == ErrorCode.NONE
        if office != before:
            await cluster.kill(office)
        with trio.fail_after(120):
            while holders(cluster) != {other} or leader_of(cluster) != other:  # noqa: ASYNC110
                await trio.sleep(0.1)
        await write(cluster, b"second")
        log = cluster.services(other).partitions.get(TP).log
        assert [record.value for record in records_of(log)] == [b"first", b"second"]


@pytest.mark.slow
async def test_broker_that_was_down_when_a_partition_left_it_deletes_it_as_it_comes_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Kafka's brokers in ZooKeeper mode keep such a log for good."""
    async with memory_cluster(3) as cluster:
        await cluster.create_topic("t", replicas=2)
        before = holders(cluster)
        away = next(each for each in sorted(before) if each != cluster.controller())
        await write(cluster, b"first")
        await cluster.kill(away)
        target = sorted({1, 2, 3} - {away})
        with trio.fail_after(120):
            while await reassign(cluster, target) != ErrorCode.NONE:  # noqa: ASYNC110
                await trio.sleep(0.1)
            while holders(cluster) != set(target) or await under_way(cluster):  # noqa: ASYNC110
                await trio.sleep(0.1)
        await cluster.start(away)
        with trio.fail_after(60):
            while cluster.disks[away].exists("/data/t-0"):  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert holders(cluster) == set(target)
        await write(cluster, b"second")


@pytest.mark.slow
async def test_others_than_the_controller_refuse(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_cluster(2) as cluster:
        await cluster.create_topic("t", replicas=1)
        other = 3 - cluster.controller()
        assert await reassign(cluster, [1], broker=other) == ErrorCode.NOT_CONTROLLER
        request = ListPartitionReassignmentsRequest()
        assert (await cluster.ask(other, request, 0)).error_code == ErrorCode.NOT_CONTROLLER
