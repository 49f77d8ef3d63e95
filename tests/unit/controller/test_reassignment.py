"""Partitions move to other brokers (KIP-455): steps, znodes, what brokers are told, cancelling."""

import json
import uuid

import pytest

from ottla.broker.controller.placement import Refused
from ottla.broker.controller.reassignment import beginning, completion, judge
from ottla.broker.controller.state import ControllerState
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.values import Assignment, PartitionState
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.leader_and_isr import LeaderAndIsrRequest
from tests.unit.controller.brokers import info
from tests.unit.controller.test_controller import alter, create

T0 = TopicPartition("t", 0)


def known(assignment: Assignment, *, leader=1, isr=(1, 2), brokers=(1, 2, 3, 4)) -> ControllerState:
    cluster = ControllerState(1, 5, 5)
    cluster.on_brokers_came([info(each) for each in brokers])
    cluster.put_topic("t", uuid.UUID(int=1), {0: assignment})
    cluster.put_partition(T0, PartitionState(leader, 3, isr, 4, 7))
    cluster.check()
    return cluster


@pytest.mark.parametrize(
    ("before", "target", "after"),
    [
        (Assignment((1, 2)), (3, 4), Assignment((3, 4, 1, 2), (3, 4), (1, 2))),
        (Assignment((1, 2)), (2, 3), Assignment((2, 3, 1), (3,), (1,))),
        (Assignment((1, 2)), (2, 1), Assignment((2, 1))),
        (Assignment((1, 2)), (1,), Assignment((1, 2), (), (2,))),
        # Another target while one is under way: back to where it was, then on from there.
        (Assignment((3, 1, 2), (3,), (1, 2)), (4, 2), Assignment((4, 2, 1), (4,), (1,))),
        (Assignment((3, 1, 2), (3,), (1, 2)), None, Assignment((1, 2))),
    ],
)
def test_assignment_names_what_comes_and_what_goes(before, target, after) -> None:
    assert judge(known(before), T0, target) == after


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ((), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ((3, 3), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ((3, -1), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ((3, 9), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (None, ErrorCode.NO_REASSIGNMENT_IN_PROGRESS),
    ],
)
def test_wish_that_makes_no_sense_is_refused(target, code) -> None:
    cluster = known(Assignment((1, 2)))
    with pytest.raises(Refused) as refused:
        judge(cluster, T0, target)
    assert refused.value.code is code


def test_cancelling_keeps_a_replica_in_sync() -> None:
    """As KRaft, and unlike Kafka's ZooKeeper mode, which would throw away the only good copy."""
    cluster = known(Assignment((3, 1, 2), (3,), (1, 2)), leader=3, isr=(3,))
    with pytest.raises(Refused) as refused:
        judge(cluster, T0, None)
    assert refused.value.code is ErrorCode.INVALID_REPLICA_ASSIGNMENT


def test_unknown_partition_is_refused() -> None:
    cluster = known(Assignment((1, 2)))
    with pytest.raises(Refused) as refused:
        judge(cluster, TopicPartition("t", 9), (1,))
    assert refused.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_move_ends_only_when_all_that_stay_are_in_sync() -> None:
    moving = Assignment((3, 4, 1, 2), (3, 4), (1, 2))
    assert completion(known(moving, isr=(1, 2, 3)), T0) is None
    step = completion(known(moving, isr=(1, 2, 3, 4)), T0)
    assert step is not None
    assert step.assignment == Assignment((3, 4))
    assert step.state is not None
    assert (step.state.leader, step.state.leader_epoch, step.state.isr) == (3, 4, (3, 4))
    assert step.stopped == (1, 2)


def test_leader_that_stays_leads_on_under_a_new_epoch() -> None:
    step = completion(known(Assignment((3, 1, 2), (3,), (2,)), isr=(1, 2, 3)), T0)
    assert step is not None
    assert step.state is not None
    assert (step.state.leader, step.state.leader_epoch, step.state.isr) == (1, 4, (1, 3))


def test_move_waits_for_somebody_who_can_lead() -> None:
    moving = Assignment((3, 1, 2), (3,), (1, 2))
    cluster = known(moving, isr=(1, 2, 3), brokers=(1, 2))
    assert completion(cluster, T0) is None


def test_leader_that_goes_with_a_change_of_plan_is_replaced() -> None:
    cluster = known(Assignment((3, 1, 2), (3,), (1, 2)), leader=3, isr=(3, 2))
    step = beginning(cluster, T0, judge(cluster, T0, None))
    assert step is not None
    assert step.state is not None
    assert step.assignment == Assignment((1, 2))
    assert (step.state.leader, step.state.isr) == (2, (2,))
    assert step.stopped == (3,)


def topic_znode(cluster, name="t"):
    return json.loads(cluster.members.tree.nodes[paths.topic(name)].data)


async def under_way(cluster, controller, *target):
    await create(controller, assignments=[[1, 2]])
    outcomes = await controller.alter_reassignments({T0: target})
    assert outcomes[T0] == (ErrorCode.NONE, None)
    await cluster.settle()


async def test_move_from_beginning_to_end(autojump_clock, cluster):
    await cluster.start(1, 2, 3, 4)
    controller = await cluster.controller()
    await under_way(cluster, controller, 3, 4)
    assert topic_znode(cluster)["partitions"] == {"0": [3, 4, 1, 2]}
    assert topic_znode(cluster)["adding_replicas"] == {"0": [3, 4]}
    assert topic_znode(cluster)["removing_replicas"] == {"0": [1, 2]}
    assert controller.reassignments() == {T0: Assignment((3, 4, 1, 2), (3, 4), (1, 2))}
    for broker in (1, 2, 3, 4):
        assert cluster.recorders[broker].roles[T0] == (1, 1, (1, 2))
    told = cluster.recorders[3].of(LeaderAndIsrRequest)[-1].topic_states[0].partition_states[0]
    assert (told.is_new, told.adding_replicas) == (True, [3, 4])
    await alter(cluster, controller, cluster.nodes[1], [1, 2, 3])
    await cluster.settle()
    assert controller.reassignments()
    await alter(cluster, controller, cluster.nodes[1], [1, 2, 3, 4])
    await cluster.settle()
    assert controller.reassignments() == {}
    assert topic_znode(cluster)["partitions"] == {"0": [3, 4]}
    assert topic_znode(cluster)["adding_replicas"] == {}
    assert topic_znode(cluster)["removing_replicas"] == {}
    assert controller.state.partitions[T0].isr == (3, 4)
    for broker in (3, 4):
        assert cluster.recorders[broker].roles[T0] == (3, 2, (3, 4))
    for broker in (1, 2):
        assert cluster.recorders[broker].stopped == {T0: True}
        assert T0 not in cluster.recorders[broker].roles
        assert cluster.recorders[broker].leaders[T0] == 3


async def test_cancelled_move_leaves_everything_as_it_was(autojump_clock, cluster):
    await cluster.start(1, 2, 3, 4)
    controller = await cluster.controller()
    await under_way(cluster, controller, 3, 4)
    await alter(cluster, controller, cluster.nodes[1], [1, 2, 3])
    outcomes = await controller.alter_reassignments({T0: None})
    assert outcomes[T0] == (ErrorCode.NONE, None)
    await cluster.settle()
    assert topic_znode(cluster)["partitions"] == {"0": [1, 2]}
    assert topic_znode(cluster)["adding_replicas"] == {}
    assert controller.state.partitions[T0].isr == (1, 2)
    for broker in (3, 4):
        assert cluster.recorders[broker].stopped == {T0: True}
    outcomes = await controller.alter_reassignments({T0: None})
    assert outcomes[T0][0] is ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


async def test_next_controller_ends_the_move(autojump_clock, cluster):
    await cluster.start(1, 2, 3, 4)
    controller = await cluster.controller()
    await under_way(cluster, controller, 2, 3)
    office = controller.controller_id
    leader = controller.state.partitions[T0].leader
    await cluster.stop(4 if office == leader else office)
    if office != leader:
        controller = await cluster.controller()
        await cluster.settle()
    assert T0 in controller.reassignments()
    await alter(cluster, controller, cluster.nodes[1], [1, 2, 3])
    await cluster.settle()
    assert controller.reassignments() == {}
    assert topic_znode(cluster)["partitions"] == {"0": [2, 3]}
    assert cluster.recorders[1].stopped == {T0: True}


async def test_other_order_of_the_same_brokers_is_done_at_once(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    await under_way(cluster, controller, 2, 1)
    assert controller.reassignments() == {}
    assert topic_znode(cluster)["partitions"] == {"0": [2, 1]}
    assert controller.state.partitions[T0].leader == 1


async def test_fewer_replicas_are_done_at_once(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    await under_way(cluster, controller, 2)
    assert topic_znode(cluster)["partitions"] == {"0": [2]}
    assert cluster.recorders[1].stopped == {T0: True}
    assert cluster.recorders[2].roles[T0][0] == 2


async def test_wishes_of_old_tools_in_the_znode(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[1, 2]])
    wishes = {T0: (3,), TopicPartition("nothing", 0): (1,)}
    client = cluster.nodes[2].client
    await client.create(paths.REASSIGN_PARTITIONS, encodings.encode_reassignments(wishes))
    await cluster.settle()
    nodes = cluster.members.tree.nodes
    assert encodings.decode_reassignments(nodes[paths.REASSIGN_PARTITIONS].data) == {T0: (3,)}
    await alter(cluster, controller, cluster.nodes[1], [1, 2, 3])
    await cluster.settle()
    assert paths.REASSIGN_PARTITIONS not in nodes
    assert topic_znode(cluster)["partitions"] == {"0": [3]}


async def test_many_partitions_of_a_topic_move_in_several_transactions(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    await create(controller, partitions=250, replication_factor=1)
    tps = [TopicPartition("t", at) for at in range(250)]
    outcomes = await controller.alter_reassignments(
        {tp: (3 - controller.state.replicas(tp)[0],) for tp in tps}
    )
    assert {code for code, _ in outcomes.values()} == {ErrorCode.NONE}
    assert len(controller.reassignments()) == 250
    outcomes = await controller.alter_reassignments(dict.fromkeys(tps))
    assert {code for code, _ in outcomes.values()} == {ErrorCode.NONE}
    assert controller.reassignments() == {}
    await cluster.settle()


def test_what_is_under_way_is_looked_at_when_something_about_it_changes() -> None:
    moving = Assignment((3, 1, 2), (3,), (1, 2))
    cluster = known(moving, isr=(1, 2))
    assert cluster.take_due_moves() == [T0]
    assert cluster.take_due_moves() == []
    cluster.put_partition(T0, PartitionState(1, 3, (1, 2, 3), 4, 8))
    assert cluster.take_due_moves() == [T0]
    cluster.on_brokers_gone([3])
    cluster.on_brokers_came([info(3, epoch=9)])
    assert cluster.take_due_moves() == [T0]
    cluster.on_replicas_broken(3, [T0], [])
    assert cluster.take_due_moves() == []
    cluster.on_replicas_broken(3, [], [T0])
    assert cluster.take_due_moves() == [T0]
    cluster.put_topic("t", cluster.topics["t"].topic_id, {0: Assignment((1, 2))})
    assert cluster.take_due_moves() == []
