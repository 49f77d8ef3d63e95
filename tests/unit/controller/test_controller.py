"""The controller over the real protocols, in memory: three brokers record what they are told."""

import trio

from ottla.broker.controller.channels import PARTITIONS_PER_REQUEST
from ottla.broker.controller.topics import MorePartitions, NewTopic
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.allocate_producer_ids import AllocateProducerIdsRequest
from ottla.protocol.kafka.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
    BrokerState,
)
from ottla.protocol.kafka.messages.controlled_shutdown import ControlledShutdownRequest
from ottla.protocol.kafka.messages.leader_and_isr import LeaderAndIsrRequest

T0 = TopicPartition("t", 0)


async def create(controller, name="t", assignments=None, **wish):
    if assignments is not None:
        wish["assignments"] = dict(enumerate(assignments))
    [outcome] = await controller.create_topics([NewTopic(name, **wish)], timeout_s=5)
    return outcome


async def alter(cluster, controller, node, isr, *, epochs=None, topic="t"):
    state = controller.state.partitions[TopicPartition(topic, 0)]
    request = AlterPartitionRequest(
        broker_id=node.id,
        broker_epoch=node.epoch,
        topics=[
            AlterPartitionRequestTopicData(
                topic_id=controller.state.topics[topic].topic_id,
                partitions=[
                    AlterPartitionRequestPartitionData(
                        partition_index=0,
                        leader_epoch=state.leader_epoch,
                        partition_epoch=state.partition_epoch,
                        new_isr_with_epochs=[
                            BrokerState(
                                broker_id=each,
                                broker_epoch=(epochs or {}).get(each, cluster.nodes[each].epoch),
                            )
                            for each in isr
                        ],
                    )
                ],
            )
        ],
    )
    return await controller.alter_partition(request)


async def test_one_broker_is_elected_and_the_znodes_say_so(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await cluster.settle()
    assert [node.controller.is_active for node in cluster.nodes.values()].count(True) == 1
    assert {node.controller.controller_id for node in cluster.nodes.values()} == {
        controller.controller_id
    }
    nodes = cluster.members.tree.nodes
    assert encodings.decode_controller(nodes["/controller"].data) == controller.controller_id
    assert nodes["/controller_epoch"].data == b"1"
    for broker in cluster.recorders.values():
        assert broker.live == [1, 2, 3]


async def test_created_topic_has_leaders_everywhere_when_the_call_returns(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    outcome = await create(
        controller, partitions=6, replication_factor=3, configs={"cleanup.policy": "compact"}
    )
    assert outcome.error is ErrorCode.NONE
    assert (outcome.partitions, outcome.replication_factor) == (6, 3)
    for broker in cluster.recorders.values():
        assert len(broker.roles) == 6
        assert len(broker.leaders) == 6
        assert broker.topic_ids["t"] == outcome.topic_id
        leaders = [role[0] for role in broker.roles.values()]
        assert sorted(leaders) == [1, 1, 2, 2, 3, 3]
    [first] = cluster.recorders[1].of(LeaderAndIsrRequest)[-1:]
    assert all(each.is_new for topic in first.topic_states for each in topic.partition_states)
    nodes = cluster.members.tree.nodes
    topic = encodings.decode_topic("t", nodes["/brokers/topics/t"].data)
    assert topic.topic_id == outcome.topic_id
    state = encodings.decode_partition_state(
        T0, nodes["/brokers/topics/t/partitions/0/state"].data, 0
    )
    assert set(state.isr) == {1, 2, 3}
    config = encodings.decode_config("t", nodes["/config/topics/t"].data)
    assert config == {"cleanup.policy": "compact"}


async def test_refused_topics_say_why(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    await cluster.settle()
    assert (await create(controller, "a.b", partitions=1)).error is ErrorCode.NONE
    for wish, code in [
        (NewTopic("a.b"), ErrorCode.TOPIC_ALREADY_EXISTS),
        (NewTopic("a_b"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic("a b"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic("c", partitions=0), ErrorCode.INVALID_PARTITIONS),
        (NewTopic("c", replication_factor=3), ErrorCode.INVALID_REPLICATION_FACTOR),
        (NewTopic("c", 1, 1, {0: [1]}), ErrorCode.INVALID_REQUEST),
        (NewTopic("c", assignments={1: [1]}), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    ]:
        [outcome] = await controller.create_topics([wish], timeout_s=5)
        assert (outcome.error, bool(outcome.message)) == (code, True), wish
    [outcome] = await controller.create_topics(
        [NewTopic("c", 2, 2)], timeout_s=5, validate_only=True
    )
    assert (outcome.error, outcome.partitions) == (ErrorCode.NONE, 2)
    assert "c" not in controller.state.topics


async def test_only_the_controller_answers(autojump_clock, cluster):
    await cluster.start(1, 2)
    active = await cluster.controller()
    [other] = [n.controller for n in cluster.nodes.values() if n.controller is not active]
    assert (await create(other)).error is ErrorCode.NOT_CONTROLLER
    assert (await other.alter_partition(AlterPartitionRequest())).error_code == (
        ErrorCode.NOT_CONTROLLER
    )
    assert (await other.allocate_producer_ids(AllocateProducerIdsRequest())).error_code == (
        ErrorCode.NOT_CONTROLLER
    )


async def test_leader_moves_when_its_broker_dies_and_comes_back_as_follower(
    autojump_clock, cluster
):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[2, 3, 1]])
    assert cluster.recorders[3].roles[T0] == (2, 0, (2, 3, 1))
    cluster.kill(2)
    await cluster.settle(10)
    assert cluster.recorders[3].roles[T0] == (3, 1, (3, 1))
    assert cluster.recorders[1].leaders[T0] == 3
    assert cluster.recorders[1].live == [1, 3]
    node = await cluster.start_broker(2)
    await cluster.settle()
    assert cluster.recorders[2].roles[T0] == (3, 1, (3, 1))
    assert cluster.recorders[1].live == [1, 2, 3]
    assert cluster.recorders[2].epochs[-1] == node.epoch
    response = await alter(cluster, controller, cluster.nodes[3], [3, 1, 2])
    [topic] = response.topics
    assert (topic.partitions[0].error_code, topic.partitions[0].isr) == (0, [3, 1, 2])
    elections = await controller.elect_leaders(None)
    assert elections == {T0: (ErrorCode.NONE, None)}
    await cluster.settle()
    assert cluster.recorders[1].roles[T0] == (2, 2, (3, 1, 2))


async def test_broker_that_restarts_at_once_is_treated_as_lost_and_found(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[2, 3, 1]])
    await cluster.stop(2)
    await cluster.start_broker(2)
    await cluster.settle()
    assert cluster.recorders[2].roles[T0] == (3, 1, (3, 1))


async def test_last_replica_leads_again_after_its_restart(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[2]])
    await cluster.stop(2)
    await cluster.settle()
    assert cluster.recorders[1].leaders[T0] == -1
    await cluster.start_broker(2)
    await cluster.settle()
    assert cluster.recorders[2].roles[T0] == (2, 2, (2,))
    assert cluster.recorders[1].leaders[T0] == 2


async def test_unclean_leader_only_where_the_topic_allows_it(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, "clean", [[2, 3]])
    allowed = {"unclean.leader.election.enable": "true"}
    await create(controller, "unclean", [[2, 3]], configs=allowed)
    for topic in ("clean", "unclean"):
        await alter(cluster, controller, cluster.nodes[2], [2], topic=topic)
    await cluster.stop(2)
    await cluster.settle()
    leaders = cluster.recorders[1].leaders
    assert leaders[TopicPartition("clean", 0)] == -1
    assert leaders[TopicPartition("unclean", 0)] == 3
    assert controller.state.partitions[TopicPartition("unclean", 0)].recovering
    elections = await controller.elect_leaders([TopicPartition("clean", 0)], unclean=True)
    assert elections[TopicPartition("clean", 0)] == (ErrorCode.NONE, None)


async def test_new_controller_takes_over_what_the_old_one_left(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    old = controller.controller_id
    replicas = [old, *(each for each in (1, 2, 3) if each != old)]
    await create(controller, assignments=[replicas])
    cluster.kill(old)
    await cluster.settle(12)
    successor = await cluster.controller()
    assert successor.controller_id != old
    assert cluster.members.tree.nodes["/controller_epoch"].data == b"2"
    leader, epoch, isr = cluster.recorders[replicas[1]].roles[T0]
    assert (leader, epoch, isr) == (replicas[1], 1, tuple(replicas[1:]))
    assert (await create(successor, "u", partitions=2)).error is ErrorCode.NONE


async def test_leader_that_restarted_between_two_reigns_rejoins_as_follower(
    autojump_clock, cluster
):
    """No controller saw it go, but its registration is newer than the partition's state."""
    await cluster.start(1)
    cluster.candidates = False
    await cluster.start(2, 3)
    controller = await cluster.controller()
    await cluster.settle()
    await create(controller, assignments=[[1, 2, 3]])
    await create(controller, "alone", [[1]])
    await cluster.stop(1)
    await cluster.start_broker(1)
    for recorder in cluster.recorders.values():
        recorder.requests.clear()
    cluster.candidates = True
    await cluster.start_broker(4)
    await cluster.settle()
    assert cluster.recorders[1].roles[T0] == (2, 1, (2, 3))
    # Not for a moment is it told that it leads on: the others would cut what it has lost.
    told = [
        (broker, state.leader, state.leader_epoch)
        for broker, recorder in cluster.recorders.items()
        for request in recorder.of(LeaderAndIsrRequest)
        for topic in request.topic_states
        for state in topic.partition_states
        if topic.topic_name == T0.topic
    ]
    assert told == [(each, 2, 1) for each, _, _ in told]
    assert {each for each, _, _ in told} == {1, 2, 3}
    assert cluster.recorders[1].roles[TopicPartition("alone", 0)] == (1, 1, (1,))
    assert cluster.members.tree.nodes["/controller_epoch"].data == b"2"


async def test_office_moves_when_the_controller_znode_is_deleted(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, partitions=3, replication_factor=3)
    other = next(node for node in cluster.nodes.values() if node.controller is not controller)
    await other.client.delete("/controller")
    await cluster.settle()
    active = [node.controller for node in cluster.nodes.values() if node.controller.is_active]
    assert len(active) == 1
    assert active[0].state.epoch == 2
    assert len(active[0].state.partitions) == 3


async def test_controller_whose_session_expired_is_fenced(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    node = cluster.nodes[controller.controller_id]
    cluster.members.expire(node.client.session.id)
    await cluster.settle()
    successor = await cluster.controller()
    assert successor.state.epoch == 2
    assert node.id not in successor.state.brokers


async def test_alter_partition_is_fenced(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[1, 2, 3]])
    one = cluster.nodes[1]

    async def code(isr, **change):
        response = await alter(cluster, controller, one, isr, **change)
        return response.error_code or response.topics[0].partitions[0].error_code

    assert await code([1, 2]) == ErrorCode.NONE
    assert await code([2]) == ErrorCode.INVALID_REQUEST
    assert await code([1, 3], epochs={3: 1}) == ErrorCode.INELIGIBLE_REPLICA
    real, one.epoch = one.epoch, one.epoch - 1
    assert await code([1]) == ErrorCode.STALE_BROKER_EPOCH
    one.epoch = real
    await cluster.stop(3)
    await cluster.settle()
    assert controller.state.partitions[T0].isr == (1, 2)


async def test_isr_change_that_never_reached_the_ensemble_may_be_asked_for_again(
    autojump_clock, cluster
):
    """Otherwise the leader waits for news that nobody sends. Simulation seed 92."""
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[1, 2, 3]])
    cluster.members.lose_next_write = True
    lost = await alter(cluster, controller, cluster.nodes[1], [1, 2])
    [answer] = lost.topics[0].partitions
    assert answer.error_code == ErrorCode.REQUEST_TIMED_OUT
    again = await alter(cluster, controller, cluster.nodes[1], [1, 2])
    assert again.topics[0].partitions[0].error_code == ErrorCode.NONE
    assert controller.state.partitions[T0].isr == (1, 2)


async def test_leader_whose_isr_change_met_another_writer_is_told_the_new_state(
    autojump_clock, cluster
):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[1, 2, 3]])
    await cluster.settle()
    path = paths.partition_state(T0)
    data, _ = await cluster.nodes[1].client.get_data(path)
    await cluster.nodes[1].client.set_data(path, data)
    cluster.recorders[1].requests.clear()
    lost = await alter(cluster, controller, cluster.nodes[1], [1, 2])
    assert lost.topics[0].partitions[0].error_code == ErrorCode.INVALID_UPDATE_VERSION
    await cluster.settle()
    [told] = cluster.recorders[1].of(LeaderAndIsrRequest)
    assert told.topic_states[0].partition_states[0].partition_epoch == 1


async def test_isr_change_reaches_every_broker_as_metadata(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[1, 2]])
    before = len(cluster.recorders[3].requests)
    await alter(cluster, controller, cluster.nodes[1], [1])
    await cluster.settle()
    [update] = cluster.recorders[3].requests[before:]
    [topic] = update.topic_states
    assert topic.partition_states[0].isr == [1]
    assert topic.partition_states[0].zk_version == 1


async def test_controlled_shutdown_moves_leaders_before_the_broker_stops(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[2, 1, 3], [1, 2, 3], [2, 1, 3]])
    request = ControlledShutdownRequest(broker_id=2, broker_epoch=cluster.nodes[2].epoch)
    response = await controller.controlled_shutdown(request)
    assert (response.error_code, response.remaining_partitions) == (0, [])
    await cluster.settle()
    assert cluster.recorders[1].roles[T0] == (1, 1, (1, 3))
    assert cluster.recorders[1].roles[TopicPartition("t", 1)] == (1, 1, (1, 3))
    assert cluster.recorders[2].stopped == {TopicPartition("t", 1): False}
    stale = ControlledShutdownRequest(broker_id=2, broker_epoch=cluster.nodes[2].epoch - 1)
    response = await controller.controlled_shutdown(stale)
    assert response.error_code == ErrorCode.STALE_BROKER_EPOCH
    unknown = await controller.controlled_shutdown(ControlledShutdownRequest(broker_id=9))
    assert unknown.error_code == ErrorCode.BROKER_NOT_AVAILABLE


async def test_leader_without_other_isr_members_remains_and_is_reported(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    await cluster.settle()
    await create(controller, assignments=[[2, 1]])
    await alter(cluster, controller, cluster.nodes[2], [2])
    response = await controller.controlled_shutdown(
        ControlledShutdownRequest(broker_id=2, broker_epoch=cluster.nodes[2].epoch)
    )
    [left] = response.remaining_partitions
    assert (left.topic_name, left.partition_index) == ("t", 0)


async def test_topic_is_deleted_everywhere(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, partitions=3, replication_factor=2)
    [outcome, unknown] = await controller.delete_topics(["t", "nope"], timeout_s=5)
    assert outcome.error is ErrorCode.NONE
    assert unknown.error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    nodes = cluster.members.tree.nodes
    for path in ("/brokers/topics/t", "/config/topics/t", "/admin/delete_topics/t"):
        assert path not in nodes
    for broker in cluster.recorders.values():
        assert broker.leaders == {}
        assert set(broker.stopped.values()) == {True}
    assert (await create(controller, partitions=1)).error is ErrorCode.NONE


async def test_deletion_is_over_for_clients_before_a_dead_broker_returns(autojump_clock, cluster):
    """As with Kafka, whose answer waits for the brokers' metadata only (DelayedDeleteTopics)."""
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[1, 2]])
    victim = next(each for each in (1, 2) if each != controller.controller_id)
    await cluster.stop(victim)
    await cluster.settle()
    controller = await cluster.controller()
    [outcome] = await controller.delete_topics(["t"], timeout_s=2)
    assert outcome.error is ErrorCode.NONE
    assert (await create(controller)).error is ErrorCode.TOPIC_ALREADY_EXISTS
    await cluster.start_broker(victim)
    await cluster.settle()
    assert "/brokers/topics/t" not in cluster.members.tree.nodes
    assert cluster.recorders[victim].stopped == {T0: True}


async def test_deletion_is_tried_again_after_a_disk_error(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    await create(controller, assignments=[[2]])
    cluster.recorders[2].cannot_delete = True
    [outcome] = await controller.delete_topics(["t"], timeout_s=2)
    assert outcome.error is ErrorCode.REQUEST_TIMED_OUT
    cluster.recorders[2].cannot_delete = False
    await cluster.settle(6)
    assert "/brokers/topics/t" not in cluster.members.tree.nodes


async def test_znodes_written_by_tools_are_obeyed(autojump_clock, cluster):
    """As with kafka-topics --zookeeper of old: topic, growth, preferred election, deletion."""
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    client = cluster.nodes[1].client
    data = b'{"version":1,"partitions":{"0":[1,2]}}'
    await client.create("/brokers/topics/old", data)
    await cluster.settle()
    tp = TopicPartition("old", 0)
    assert cluster.recorders[3].leaders[tp] == 1
    written, stat = await client.get_data("/brokers/topics/old")
    topic = encodings.decode_topic("old", written)
    assert topic.topic_id == controller.state.topics["old"].topic_id
    grown = written.replace(b'"0":[1,2]', b'"0":[1,2],"1":[2,3]')
    await client.set_data("/brokers/topics/old", grown, stat.version)
    await cluster.settle()
    assert cluster.recorders[1].leaders[TopicPartition("old", 1)] == 2
    await client.create("/admin/delete_topics/old", None)
    await cluster.settle()
    assert "/brokers/topics/old" not in cluster.members.tree.nodes
    await client.create("/admin/delete_topics/never-was", None)
    await cluster.settle()
    assert "/admin/delete_topics/never-was" not in cluster.members.tree.nodes
    await create(controller, assignments=[[2, 1, 3]])
    await client.create(paths.PREFERRED_ELECTION, encodings.encode_partitions([T0]))
    await cluster.settle()
    assert paths.PREFERRED_ELECTION not in cluster.members.tree.nodes


async def test_partitions_are_added(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, partitions=1, replication_factor=2)
    outcomes = await controller.create_partitions(
        [MorePartitions("t", 4), MorePartitions("nope", 4), MorePartitions("t", 2)], timeout_s=5
    )
    assert [outcome.error for outcome in outcomes] == [
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.INVALID_PARTITIONS,
    ]
    assert len(cluster.recorders[1].leaders) == 4
    assert len(controller.state.partitions) == 4


async def test_producer_id_blocks_follow_each_other(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    await cluster.settle()
    starts = []
    for node in (cluster.nodes[1], cluster.nodes[2], cluster.nodes[1]):
        response = await controller.allocate_producer_ids(
            AllocateProducerIdsRequest(broker_id=node.id, broker_epoch=node.epoch)
        )
        assert (response.error_code, response.producer_id_len) == (0, 1000)
        starts.append(response.producer_id_start)
    assert starts == [0, 1000, 2000]
    stale = AllocateProducerIdsRequest(broker_id=1, broker_epoch=0)
    response = await controller.allocate_producer_ids(stale)
    assert response.error_code == ErrorCode.STALE_BROKER_EPOCH


async def test_replica_on_a_failed_disk_loses_its_leadership(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[2, 3]])
    cluster.recorders[2].broken = {T0}
    await cluster.nodes[2].client.create(
        paths.LOG_DIR_EVENT_PREFIX, encodings.encode_log_dir_event(2)
    )
    await cluster.settle()
    assert cluster.recorders[3].roles[T0] == (3, 1, (3,))
    assert controller.state.offline_replicas(T0) == [2]


async def test_preferred_leaders_come_back_by_themselves(autojump_clock, cluster):
    cluster.settings = {"leader_imbalance_check_interval_s": 60.0}
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[2, 1, 3]])
    response = await controller.controlled_shutdown(
        ControlledShutdownRequest(broker_id=2, broker_epoch=cluster.nodes[2].epoch)
    )
    assert response.remaining_partitions == []
    await cluster.stop(2)
    await cluster.start_broker(2)
    await cluster.settle()
    await alter(cluster, controller, cluster.nodes[1], [1, 2, 3])
    assert cluster.recorders[3].roles[T0][0] == 1
    await cluster.settle(70)
    assert cluster.recorders[3].roles[T0][0] == 2


async def test_unreachable_broker_gets_the_newest_state_once_it_answers(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    slow = next(each for each in (1, 2, 3) if each != controller.controller_id)
    cluster.recorders[slow].reachable = False
    for at in range(5):
        await create(controller, f"t{at}", partitions=2, replication_factor=3)
    assert not cluster.recorders[slow].roles
    cluster.recorders[slow].requests.clear()
    cluster.recorders[slow].reachable = True
    await cluster.settle(5)
    assert len(cluster.recorders[slow].roles) == 10
    assert len(cluster.recorders[slow].of(LeaderAndIsrRequest)) <= 2


async def test_lost_answers_to_writes_are_settled_by_reading(autojump_clock, cluster):
    await cluster.start(1, 2, 3)
    controller = await cluster.controller()
    await create(controller, assignments=[[1, 2, 3]])
    cluster.members.lose_next_reply = True
    response = await alter(cluster, controller, cluster.nodes[1], [1, 2])
    assert response.topics[0].partitions[0].error_code == 0
    assert controller.state.partitions[T0].isr == (1, 2)
    assert controller.state.partitions[T0].partition_epoch == 1
    cluster.members.lose_next_reply = True
    assert (await create(controller, "u")).error is ErrorCode.NONE
    with trio.fail_after(5):
        assert (await create(controller, "v")).error is ErrorCode.NONE
    assert controller.state.epoch == 1


async def test_no_request_is_about_more_partitions_than_a_loop_takes_well(autojump_clock, cluster):
    await cluster.start(1, 2)
    controller = await cluster.controller()
    count = 2 * PARTITIONS_PER_REQUEST + 5
    await create(controller, partitions=count, replication_factor=1)
    await cluster.settle()
    other = 3 - controller.controller_id
    await cluster.stop(other)
    await cluster.start(other)  # it is told of everything
    await cluster.settle(5)
    for recorder in cluster.recorders.values():
        sizes = [
            sum(len(topic.partition_states) for topic in request.topic_states)
            for request in recorder.requests
        ]
        assert max(sizes) == PARTITIONS_PER_REQUEST
        assert len(recorder.leaders) == count
    held = len(controller.state.partitions_on(other))
    assert len(cluster.recorders[other].roles) == held
