"""The controller's image and its decisions, without an ensemble."""

from uuid import UUID

import pytest

from ottla.broker.controller import decisions, requests
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.state import NOT_WRITTEN, ControllerState
from ottla.broker.ensemble.values import Assignment, PartitionState
from ottla.broker.ids import TopicPartition
from tests.unit.controller.brokers import info

T0, T1, U0 = TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("u", 0)
T_ID, U_ID = UUID(int=1), UUID(int=2)


@pytest.fixture
def cluster():
    """Brokers 1 to 3; t-0 on 1, 2, 3 and t-1 on 2, 3, both with every replica in sync."""
    cluster = ControllerState(1, 4, 3)
    cluster.on_brokers_came([info(1), info(2), info(3)])
    cluster.put_topic("t", T_ID, {0: Assignment((1, 2, 3)), 1: Assignment((2, 3))})
    apply(cluster, decisions.decide_liveness(cluster, [T0, T1]))
    return cluster


def apply(cluster, writes):
    notices = Notices()
    for write in writes:
        cluster.applied(write, write.state.partition_epoch + 1, notices)
    cluster.check()
    return notices


def state(cluster, tp=T0):
    found = cluster.partitions[tp]
    return found.leader, found.leader_epoch, found.isr


def test_new_partitions_get_their_first_state(cluster):
    assert cluster.partitions[T0] == PartitionState(1, 0, (1, 2, 3), 4, 0)
    cluster.put_topic("u", U_ID, {0: Assignment((9, 2))})
    [write] = decisions.decide_liveness(cluster, [U0])
    assert write.creates
    assert write.state == PartitionState(2, 0, (2,), 4, NOT_WRITTEN)
    notices = apply(cluster, [write])
    assert notices.leader_and_isr == {2: {U0: True}}
    assert list(notices.metadata) == [U0]


def test_partition_without_live_replica_waits_for_one(cluster):
    cluster.put_topic("u", U_ID, {0: Assignment((9,))})
    assert decisions.decide_liveness(cluster, [U0]) == []
    assert cluster.leaderless() == [U0]
    leaderless, _ = cluster.on_brokers_came([info(9)])
    apply(cluster, decisions.decide_liveness(cluster, leaderless))
    assert state(cluster, U0) == (9, 0, (9,))


def test_dead_leader_is_replaced_and_dead_followers_leave_the_isr(cluster):
    tps = cluster.on_brokers_gone([2])
    assert sorted(tps) == [T0, T1]
    notices = apply(cluster, decisions.decide_liveness(cluster, tps))
    assert state(cluster, T0) == (1, 1, (1, 3))
    assert state(cluster, T1) == (3, 1, (3,))
    assert notices.leader_and_isr == {1: {T0: False}, 3: {T0: False, T1: False}}
    assert decisions.decide_liveness(cluster, tps) == []


def test_whole_isr_dying_at_once_keeps_every_member_electable(cluster):
    apply(cluster, decisions.decide_liveness(cluster, cluster.on_brokers_gone([2, 3])))
    assert state(cluster, T1) == (-1, 1, (2, 3))
    leaderless, notices = cluster.on_brokers_came([info(3, epoch=2)])
    assert list(notices.full) == [3]
    apply(cluster, decisions.decide_liveness(cluster, leaderless))
    assert state(cluster, T1) == (3, 2, (3,))


def test_write_that_lost_is_decided_again_from_what_is_there(cluster):
    tps = cluster.on_brokers_gone([3])
    cluster.put_partition(T0, PartitionState(1, 0, (1, 2), 4, 8))
    writes = decisions.decide_liveness(cluster, tps)
    assert [write.tp for write in writes] == [T1]
    assert writes[0].state.partition_epoch == 0


def test_broken_disk_is_like_a_dead_broker_for_that_partition(cluster):
    assert cluster.on_replicas_broken(1, [T0], [T1]) == ([T0], [])
    apply(cluster, decisions.decide_liveness(cluster, [T0]))
    assert state(cluster) == (2, 1, (2, 3))
    assert cluster.offline_replicas(T0) == [1]
    assert cluster.on_replicas_broken(1, [T0], []) == ([], [])
    assert cluster.on_replicas_broken(1, [], [T0]) == ([], [T0]), "to be told what it missed"
    assert cluster.offline_replicas(T0) == []
    assert cluster.on_replicas_broken(9, [T0], []) == ([], [])


def test_broken_replica_that_moved_away_is_not_broken_when_it_is_given_back(cluster):
    cluster.on_replicas_broken(1, [T0], [])
    topic = cluster.topics["t"]
    before = dict(topic.assignments)
    cluster.put_topic("t", topic.topic_id, {**before, 0: Assignment((2, 3))})
    assert cluster.on_replicas_broken(1, [T0], []) == ([], []), "an answer from before the move"
    cluster.put_topic("t", topic.topic_id, before)
    assert cluster.serving_replicas(T0) == [1, 2, 3]


def test_only_replica_leads_again_when_its_disk_is_mended(cluster):
    cluster.on_replicas_broken(1, [T0], [])
    cluster.on_replicas_broken(2, [T0], [])
    cluster.on_replicas_broken(3, [T0], [])
    apply(cluster, decisions.decide_liveness(cluster, [T0]))
    assert state(cluster)[0] == -1
    assert cluster.on_replicas_broken(1, [], [T0, T1]) == ([], [T0])
    apply(cluster, decisions.decide_liveness(cluster, [T0]))
    assert state(cluster)[0] == 1


def test_controlled_shutdown_hands_over_and_stops_followers(cluster):
    tps, notices = cluster.on_controlled_shutdown(2)
    assert notices.stop == {2: {T0: False}}
    told = apply(cluster, decisions.decide_controlled_shutdown(cluster, 2, tps))
    assert state(cluster, T0) == (1, 1, (1, 3))
    assert state(cluster, T1) == (3, 1, (3,))
    assert told.leader_and_isr[2] == {T1: False}
    assert cluster.led_by(2) == []
    tps, _ = cluster.on_controlled_shutdown(3)
    apply(cluster, decisions.decide_controlled_shutdown(cluster, 3, tps))
    assert state(cluster, T1) == (3, 1, (3,))
    assert cluster.led_by(3) == [T1]


def test_shutting_down_broker_leads_on_until_it_is_gone(cluster):
    cluster.on_controlled_shutdown(1)
    assert decisions.decide_liveness(cluster, [T0]) == []
    apply(cluster, decisions.decide_liveness(cluster, cluster.on_brokers_gone([1])))
    assert state(cluster) == (2, 1, (2, 3))
    assert cluster.shutting_down == set()


def test_preferred_leaders_are_restored_above_the_allowed_imbalance(cluster):
    apply(cluster, decisions.decide_liveness(cluster, cluster.on_brokers_gone([1])))
    cluster.on_brokers_came([info(1, epoch=2)])
    assert decisions.imbalanced(cluster, 0) == []  # 1 is live but not in sync
    cluster.put_partition(T0, PartitionState(2, 1, (2, 3, 1), 4, 9))
    assert decisions.imbalanced(cluster, 100) == []
    assert decisions.imbalanced(cluster, 10) == [T0]
    apply(cluster, decisions.decide_preferred(cluster, [T0, T1, U0]))
    assert state(cluster) == (1, 2, (2, 3, 1))


def test_broker_that_restarted_unseen_leads_on_only_where_nobody_else_can(cluster):
    cluster.put_topic("u", U_ID, {0: Assignment((2,))})
    apply(cluster, decisions.decide_liveness(cluster, [U0]))
    restarted = {T0: [2], T1: [2], U0: [2]}
    notices = apply(cluster, decisions.decide_restarted(cluster, restarted))
    assert state(cluster, T0) == (1, 1, (1, 3))
    assert state(cluster, T1) == (3, 1, (3,))
    assert state(cluster, U0) == (2, 1, (2,))
    assert notices.leader_and_isr[2] == {T0: False, T1: False, U0: False}


def test_unclean_election_is_made_on_request_or_by_rule(cluster):
    cluster.put_partition(T1, PartitionState(2, 0, (2,), 4, 1))
    apply(cluster, decisions.decide_liveness(cluster, cluster.on_brokers_gone([2])))
    assert state(cluster, T1) == (-1, 1, (2,))
    assert cluster.without_online_isr([T0, T1]) == {"t"}
    [asked] = decisions.decide_unclean(cluster, [T0, T1])
    cluster.unclean["t"] = True
    [ruled] = decisions.decide_liveness(cluster, [T0, T1])
    assert asked.state == ruled.state == PartitionState(3, 2, (3,), 4, 2, recovering=True)


def test_deletion_ends_when_every_replica_is_confirmed(cluster):
    notices = cluster.on_topic_deletion(["t", "nope"])
    assert notices.stop == {1: {T0: True}, 2: {T0: True, T1: True}, 3: {T0: True, T1: True}}
    assert list(notices.metadata) == [T0, T1]
    assert decisions.decide_liveness(cluster, [T0]) == []
    cluster.on_replicas_deleted(1, [T0])
    cluster.on_replicas_deleted(2, [T0, T1])
    assert cluster.deleted_topics() == []
    assert cluster.retry_deletions().stop == {3: {T0: True, T1: True}}
    cluster.on_brokers_gone([3])
    assert not cluster.retry_deletions()
    _, notices = cluster.on_brokers_came([info(3, epoch=9)])
    assert notices.stop == {3: {T0: True, T1: True}}
    cluster.on_replicas_deleted(3, [T0, T1])
    assert cluster.deleted_topics() == ["t"]
    cluster.forget_topic("t")
    cluster.check()
    assert cluster.all_partitions() == []
    assert cluster.partitions_on(1) == []


def test_topic_that_grows_keeps_its_old_partitions(cluster):
    before = cluster.partitions[T0]
    grown = {0: Assignment((1, 2, 3)), 1: Assignment((2, 3)), 2: Assignment((3,))}
    assert cluster.put_topic("t", T_ID, grown) == [TopicPartition("t", 2)]
    assert cluster.partitions[T0] == before
    moved = {**grown, 1: Assignment((1, 3))}
    assert cluster.put_topic("t", T_ID, moved) == []
    assert T1 in cluster.partitions_on(1)
    assert T1 not in cluster.partitions_on(2)


def test_check_notices_a_leader_outside_its_isr(cluster):
    cluster.partitions[T0] = PartitionState(1, 0, (2, 3), 4, 0)
    with pytest.raises(AssertionError, match="in its ISR"):
        cluster.check()


def test_requests_describe_the_state_at_the_moment_of_sending(cluster):
    message = requests.leader_and_isr(cluster, 2, {T0: True, T1: False}, "PLAINTEXT", full=True)
    assert (message.controller_id, message.controller_epoch, message.broker_epoch) == (1, 4, 1)
    assert (message.type, message.is_k_raft_controller) == (2, False)
    [topic] = message.topic_states
    assert topic.topic_id == T_ID
    assert [each.is_new for each in topic.partition_states] == [True, False]
    assert [(each.broker_id, each.host_name) for each in message.live_leaders] == [
        (1, "broker-1"),
        (2, "broker-2"),
    ]
    cluster.on_topic_deletion(["t"])
    gone = requests.update_metadata(cluster, 2, [T0, U0], full=False)
    assert [
        (topic.topic_name, topic.partition_states[0].leader) for topic in gone.topic_states
    ] == [
        ("t", -2),
        ("u", -2),
    ]
    assert requests.leader_and_isr(cluster, 2, {T0: False}, "X", full=False).topic_states == []
    [stop] = requests.stop_replica(cluster, 2, {T0: True}).topic_states
    assert stop.partition_states[0].leader_epoch == -2
