"""Tables for the choice of leaders, after Kafka's PartitionLeaderElectionAlgorithmsTest."""

import pytest

from ottla.broker.controller import elections
from ottla.broker.ensemble.values import PartitionState


def state(leader, isr, *, epoch=5):
    return PartitionState(leader, epoch, tuple(isr), 1, 7)


@pytest.mark.parametrize(
    ("replicas", "isr", "live", "unclean", "leader"),
    [
        ([1, 2, 3], [1, 2, 3], {1, 2, 3}, False, 1),
        ([1, 2, 3], [3, 2], {1, 2, 3}, False, 2),
        ([1, 2, 3], [2], {1, 3}, False, None),
        ([1, 2, 3], [2], {1, 3}, True, 1),
        ([1, 2, 3], [2], {2, 3}, True, 2),
        ([1, 2, 3], [1, 2], set(), True, None),
        ([4, 5], [2], {2, 4}, False, None),
        ([], [1], {1}, True, None),
    ],
)
def test_leader_when_offline(replicas, isr, live, unclean, leader):
    assert elections.leader_when_offline(replicas, isr, live, unclean=unclean) == leader


@pytest.mark.parametrize(
    ("target", "isr", "live", "leader"),
    [
        ([4, 5], [1, 5], {1, 4, 5}, 5),
        ([4, 5], [1, 2], {1, 2, 4, 5}, None),
        ([4, 5], [4, 5], {5}, 5),
        ([4], [4], set(), None),
    ],
)
def test_leader_for_reassignment(target, isr, live, leader):
    assert elections.leader_for_reassignment(target, isr, live) == leader


@pytest.mark.parametrize(
    ("replicas", "isr", "live", "leader"),
    [
        ([1, 2], [1, 2], {1, 2}, 1),
        ([1, 2], [2], {1, 2}, None),
        ([1, 2], [1, 2], {2}, None),
        ([], [1], {1}, None),
    ],
)
def test_preferred_leader(replicas, isr, live, leader):
    assert elections.preferred_leader(replicas, isr, live) == leader


@pytest.mark.parametrize(
    ("replicas", "isr", "live", "leaving", "leader"),
    [
        ([1, 2, 3], [1, 2, 3], {1, 2, 3}, {1}, 2),
        ([1, 2, 3], [1], {1, 2, 3}, {1}, None),
        ([1, 2, 3], [1, 2], {1}, {1}, None),
        ([1, 2, 3], [1, 2, 3], {1, 2, 3}, {1, 2}, 3),
    ],
)
def test_leader_for_controlled_shutdown(replicas, isr, live, leaving, leader):
    assert elections.leader_for_controlled_shutdown(replicas, isr, live, leaving) == leader


def test_new_partition_is_led_by_its_first_live_replica():
    assert elections.elect_new([1, 2, 3], {3, 2}) == (2, (2, 3))
    assert elections.elect_new([1, 2], {3}) is None


def test_offline_election_keeps_live_members_and_raises_the_epoch():
    new = elections.elect_offline(state(1, [1, 2, 3]), [1, 2, 3], {2, 3}, unclean=False)
    assert new == PartitionState(2, 6, (2, 3), 1, 7)


def test_unclean_leader_is_alone_and_recovering():
    """KIP-704."""
    new = elections.elect_offline(state(1, [1]), [1, 2, 3], {2, 3}, unclean=True)
    assert new == PartitionState(2, 6, (2,), 1, 7, recovering=True)
    assert elections.elect_offline(state(1, [1]), [1, 2, 3], {2, 3}, unclean=False) is None


def test_preferred_election_changes_the_leader_only():
    new = elections.elect_preferred(state(2, [2, 1]), [1, 2], {1, 2})
    assert new == PartitionState(1, 6, (2, 1), 1, 7)
    assert elections.elect_preferred(state(1, [2, 1]), [1, 2], {1, 2}) is None


def test_controlled_shutdown_removes_the_leaver_from_the_isr():
    new = elections.elect_for_controlled_shutdown(state(1, [1, 2, 3]), [1, 2, 3], {1, 2, 3}, {1})
    assert new == PartitionState(2, 6, (2, 3), 1, 7)


def test_reassignment_election_keeps_the_isr():
    new = elections.elect_for_reassignment(state(1, [1, 4]), [4], {1, 4})
    assert new == PartitionState(4, 6, (1, 4), 1, 7)
    assert elections.elect_for_reassignment(state(1, [1]), [4], {1, 4}) is None


@pytest.mark.parametrize(
    ("leader", "isr", "gone", "expected"),
    [
        (1, [1, 2, 3], {3}, (1, (1, 2))),
        (1, [1, 2], {1}, (-1, (2,))),
        (1, [1], {1}, (-1, (1,))),
        (1, [1, 2], {1, 2}, (-1, (1, 2))),
        (1, [1, 2], {3}, None),
        (-1, [1], {-1, 1}, None),
    ],
)
def test_gone_replicas_leave_the_isr_but_never_empty_it(leader, isr, gone, expected):
    new = elections.without_replicas(state(leader, isr), gone)
    assert (new and (new.leader, new.isr)) == expected
    assert new is None or new.leader_epoch == 6
