"""The leader core: high watermark (KIP-497), caught-up rule, ISR changes, as Kafka has them."""

import pytest

from ottla.broker.ids import BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch
from ottla.broker.replication.leader import LeaderReplica

ONE, TWO, THREE = BrokerId(1), BrokerId(2), BrokerId(3)
LAG_MAX = 30.0


def a_leader(
    isr=(ONE, TWO, THREE), *, log_end=10, high_watermark=10, min_isr=1, dead=frozenset(), epoch=5
) -> LeaderReplica:
    leader = LeaderReplica(
        ONE,
        log_end=Offset(log_end),
        high_watermark=Offset(high_watermark),
        lag_max=LAG_MAX,
        min_isr=min_isr,
        eligible=lambda broker: broker not in dead,
    )
    leader.lead(
        leader_epoch=LeaderEpoch(epoch),
        partition_epoch=PartitionEpoch(0),
        replicas=(ONE, TWO, THREE),
        isr=isr,
        now=0.0,
    )
    leader.check()
    return leader


def fetch(leader: LeaderReplica, who: BrokerId, at: int, now: float) -> bool:
    moved = leader.on_follower_fetch(
        who, at=Offset(at), log_start=Offset(0), broker_epoch=BrokerEpoch(7), now=now
    )
    leader.check()
    return moved


def test_high_watermark_is_the_smallest_end_in_the_isr():
    leader = a_leader()
    assert not leader.on_local_append(Offset(20), now=1.0)
    assert not fetch(leader, TWO, 20, now=1.1)
    assert fetch(leader, THREE, 15, now=1.2)
    assert leader.high_watermark == 15
    assert fetch(leader, THREE, 20, now=1.3)
    assert leader.high_watermark == 20


def test_idle_fetch_keeps_a_member_caught_up_as_a_full_one_does():
    full, idle = a_leader(), a_leader()
    for leader in (full, idle):
        for who in (TWO, THREE):
            fetch(leader, who, 10, now=1.0)
    for now in (20.0, 40.0, 60.0):
        fetch(full, TWO, 10, now=now)
        assert idle.on_idle_fetch(TWO, BrokerEpoch(7), now)
        idle.check()
    for leader in (full, idle):
        leader.on_local_append(Offset(11), now=61.0)
        change = leader.wanted_shrink(now=80.0)
        assert change is not None
        assert change.removed == (THREE,)


@pytest.mark.parametrize(
    "reason", ["behind", "not committed", "out of sync", "new life", "unknown"]
)
def test_idle_fetch_that_may_mean_more_is_looked_at(reason):
    leader = a_leader(isr=(ONE, TWO) if reason == "out of sync" else (ONE, TWO, THREE))
    for who in (TWO, THREE):
        fetch(leader, who, 10, now=1.0)
    if reason in {"behind", "not committed"}:
        leader.on_local_append(Offset(11), now=2.0)
    if reason == "not committed":
        fetch(leader, THREE, 11, now=2.0)
    epoch = BrokerEpoch(8 if reason == "new life" else 7)
    who = BrokerId(4) if reason == "unknown" else THREE
    assert not leader.on_idle_fetch(who, epoch, now=3.0)
    leader.check()


def test_lone_member_commits_by_its_own_append():
    leader = a_leader(isr=(ONE,), dead={TWO, THREE})
    assert leader.on_local_append(Offset(12), now=100.0)
    assert leader.high_watermark == 12


def test_high_watermark_rests_below_min_isr():
    leader = a_leader(isr=(ONE,), min_isr=2, dead={TWO, THREE})
    assert not leader.on_local_append(Offset(12), now=100.0)
    assert leader.high_watermark == 10


def test_high_watermark_waits_for_a_caught_up_replica_outside_the_isr():
    leader = a_leader(isr=(ONE, TWO))
    fetch(leader, THREE, 10, now=1.0)  # at the leader's end: caught up, not in the ISR yet
    leader.on_local_append(Offset(20), now=1.1)
    assert not fetch(leader, TWO, 20, now=1.2)
    assert fetch(leader, THREE, 18, now=1.3)
    assert leader.high_watermark == 18


def test_dead_replica_outside_the_isr_holds_nothing_back():
    leader = a_leader(isr=(ONE, TWO), dead={THREE})
    fetch(leader, THREE, 10, now=1.0)
    leader.on_local_append(Offset(20), now=1.1)
    assert fetch(leader, TWO, 20, now=1.2)
    assert leader.high_watermark == 20


def test_leaving_member_counts_until_the_controller_agreed():
    leader = a_leader(isr=(ONE, TWO))
    leader.on_local_append(Offset(20), now=1.0)
    change = leader.wanted_shrink(now=100.0)
    assert change is not None
    assert change.removed == (TWO,)
    assert [broker for broker, _ in change.isr] == [ONE]
    assert not leader.advance(100.0)
    assert leader.high_watermark == 10
    assert leader.on_isr_committed([ONE], PartitionEpoch(1), now=101.0)
    assert leader.high_watermark == 20
    leader.check()


def test_joining_member_counts_from_the_proposal_on():
    leader = a_leader(isr=(ONE, TWO))
    fetch(leader, THREE, 10, now=1.0)
    change = leader.wanted_expansion(THREE)
    assert change is not None
    assert change.added == (THREE,)
    leader.on_local_append(Offset(20), now=50.0)
    assert not fetch(leader, TWO, 20, now=60.0)
    assert leader.high_watermark == 10


def test_rejected_change_restores_the_committed_isr():
    leader = a_leader(isr=(ONE, TWO))
    fetch(leader, THREE, 10, now=1.0)
    leader.wanted_expansion(THREE)
    leader.on_isr_rejected()
    leader.check()
    assert leader.isr == {ONE, TWO}
    assert leader.pending is None


def test_one_change_is_in_flight_at_a_time():
    leader = a_leader(isr=(ONE,))
    fetch(leader, TWO, 10, now=1.0)
    fetch(leader, THREE, 10, now=1.0)
    assert leader.wanted_expansion(TWO) is not None
    assert leader.wanted_expansion(THREE) is None
    assert leader.wanted_shrink(now=1000.0) is None


def test_follower_enters_only_at_the_high_watermark_and_in_this_epoch():
    leader = a_leader(isr=(ONE, TWO), log_end=10, high_watermark=5)
    fetch(leader, THREE, 7, now=1.0)  # above the high watermark, below where the epoch began
    assert leader.wanted_expansion(THREE) is None
    fetch(leader, THREE, 10, now=1.1)
    assert leader.wanted_expansion(THREE) is not None


def test_change_names_the_broker_epochs_of_the_fetches():
    """KIP-903: the controller compares them with the brokers' registrations."""
    leader = a_leader(isr=(ONE,))
    fetch(leader, TWO, 10, now=1.0)
    change = leader.wanted_expansion(TWO)
    assert change is not None
    assert change.isr == ((ONE, -1), (TWO, 7))


def test_follower_that_always_runs_a_little_behind_stays_caught_up():
    leader = a_leader(isr=(ONE, TWO))
    end = 10
    for second in range(1, 200):
        fetch(leader, TWO, end, now=float(second))
        end += 10
        leader.on_local_append(Offset(end), now=second + 0.1)
        end_at_fetch = end
        leader.on_local_append(Offset(end + 5), now=second + 0.2)
        end = end_at_fetch + 5
        assert leader.wanted_shrink(now=second + 0.3) is None


@pytest.mark.parametrize(
    ("fetched_at", "offset", "now", "leaves"),
    [
        (1.0, 20, 500.0, False),  # at the end: in sync however long nothing comes
        (1.0, 15, 31.0, True),
        (1.0, 15, 29.0, False),
        (400.0, 19, 401.0, True),  # fetches often, never reaches the end
    ],
)
def test_member_leaves_after_the_lag_time(fetched_at, offset, now, leaves):
    leader = a_leader(isr=(ONE, TWO))
    leader.on_local_append(Offset(20), now=0.0)
    fetch(leader, TWO, offset, now=fetched_at)
    assert (leader.wanted_shrink(now=now) is not None) is leaves


def test_new_leader_epoch_forgets_followers_progress():
    leader = a_leader(isr=(ONE, TWO))
    fetch(leader, THREE, 10, now=1.0)
    leader.lead(
        leader_epoch=LeaderEpoch(6),
        partition_epoch=PartitionEpoch(3),
        replicas=(ONE, TWO, THREE),
        isr=(ONE, TWO),
        now=2.0,
    )
    assert leader.wanted_expansion(THREE) is None


def test_late_answer_of_an_older_partition_epoch_changes_nothing():
    leader = a_leader(isr=(ONE, TWO))
    assert leader.on_isr_committed([ONE, TWO, THREE], PartitionEpoch(4), now=1.0) is False
    leader.on_isr_committed([ONE], PartitionEpoch(3), now=1.1)
    assert leader.isr == {ONE, TWO, THREE}
