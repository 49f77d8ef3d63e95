"""Elections, conflicts and commitment of the consensus core, as told in Ongaro's dissertation."""

import pytest

from ottla.coordinator.consensus.quorum import majority, reached_by_majority, tally
from ottla.coordinator.consensus.values import NotLeader, Position, Role, Snapshot
from ottla.protocol.peer.entries import Block
from ottla.protocol.peer.messages import (
    AppendReply,
    AppendRequest,
    PreVoteReply,
    PreVoteRequest,
    VoteReply,
    VoteRequest,
)
from tests.unit.consensus.cores import TIMING, Table, core_of, log_of

TRIO = (1, 2, 3)


def table_of(*logs, **options):
    return Table([core_of(me, TRIO, log, **options) for me, log in enumerate(logs, start=1)])


def test_election_of_a_new_ensemble_as_a_transcript():
    """Pre-vote (9.6), vote (3.4), no-op of the new epoch (6.4), its commitment."""
    table = table_of((), (), ())
    table.elect(1)
    assert table.line == [
        "1>2 PreVoteRequest",
        "1>3 PreVoteRequest",
        "2>1 PreVoteReply",
        "3>1 PreVoteReply",
        "1>2 VoteRequest",
        "1>3 VoteRequest",
        "2>1 VoteReply",
        "3>1 VoteReply",
        "1>2 AppendRequest",
        "1>3 AppendRequest",
        "2>1 AppendReply",
        "3>1 AppendReply",
        "1>2 AppendRequest",  # of the commit index, which needs no answer
        "1>3 AppendRequest",
    ]
    assert table.cores[1].is_settled_leader
    assert [core.commit_index for core in table.cores.values()] == [1, 1, 1]
    assert {core.leader for core in table.cores.values()} == {1}


@pytest.mark.parametrize(
    ("candidate", "voter", "granted"),
    [
        ((), (), True),
        ((1,), (), True),
        ((), (1,), False),
        ((1, 1), (1,), True),
        ((1,), (1, 1), False),
        ((1, 2), (1, 1, 1), True),
        ((1, 1, 1), (1, 2), False),
        ((2,), (2,), True),
    ],
)
def test_vote_goes_to_logs_that_are_at_least_as_complete(candidate, voter, granted):
    """Section 3.6.1."""
    table = table_of(candidate, voter, ())
    asks = core_of(1, TRIO, candidate)
    request = (5, asks.log.last_index, asks.log.last_epoch)
    table.cores[2].step(1, PreVoteRequest(*request), table.now)
    [(_, reply)] = table.drain(2)
    assert reply.granted is granted
    table.cores[2].step(1, VoteRequest(*request, transfer=False), table.now)
    [(_, reply)] = table.drain(2)
    assert reply == VoteReply(5, granted)


def test_vote_leaves_only_after_it_is_persisted():
    core = core_of(2, TRIO)
    core.step(1, VoteRequest(1, 0, 0, False), 10.0)
    actions = core.actions(10.0)
    assert actions.send == []
    assert actions.persist.hard == (1, 1)
    core.persisted(actions.persist.sequence, 10.1)
    assert core.actions(10.1).send == [(1, VoteReply(1, True))]


def test_second_candidate_of_an_epoch_gets_no_vote_even_after_a_restart():
    core = core_of(2, TRIO, epoch=4, vote=1)
    core.step(3, VoteRequest(4, 9, 4, False), 10.0)
    [(_, reply)] = core.actions(10.0).send
    assert reply == VoteReply(4, False)


def test_vote_held_back_is_dropped_when_the_epoch_moves_on():
    core = core_of(2, TRIO)
    core.step(1, VoteRequest(1, 0, 0, False), 10.0)
    first = core.actions(10.0).persist
    core.step(3, VoteRequest(2, 0, 0, False), 10.0)
    second = core.actions(10.0).persist
    core.persisted(first.sequence, 10.1)
    assert core.actions(10.1).send == []
    core.persisted(second.sequence, 10.2)
    assert core.actions(10.2).send == [(3, VoteReply(2, True))]


def test_member_that_hears_a_leader_ignores_candidates():
    """Stickiness, section 4.2.3: neither vote nor epoch change."""
    table = table_of((), (), ())
    table.elect(1)
    follower = table.cores[2]
    follower.step(3, VoteRequest(9, 50, 8, False), table.now + 0.3)
    assert follower.hard.epoch == 1
    assert table.drain(2) == []
    follower.step(3, PreVoteRequest(9, 50, 8), table.now + 0.3)
    assert table.drain(2) == [(3, PreVoteReply(1, False))]
    follower.step(3, VoteRequest(9, 50, 8, True), table.now + 0.3)
    assert follower.hard == (9, 3)


def test_isolated_member_does_not_raise_its_epoch():
    """Section 9.6: it comes back without disturbing the leader."""
    table = table_of((), (), ())
    table.elect(1)
    for _ in range(20):
        table.now += 1.1
        table.cores[3].tick(table.now)
        table.drain(3)
    assert table.cores[3].role is Role.PRE_CANDIDATE
    assert table.cores[3].hard.epoch == 1


# The six followers of figure 3.6, whose leader is in epoch 8 after this log.
LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)


@pytest.mark.parametrize(
    "follower",
    [
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6), id="a: one entry is missing"),
        pytest.param((1, 1, 1, 4), id="b: many entries are missing"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), id="c: one entry too many"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), id="d: two of a later epoch"),
        pytest.param((1, 1, 1, 4, 4, 4, 4), id="e: another end of epoch 4"),
        pytest.param((1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), id="f: two epochs of its own"),
        pytest.param((), id="empty"),
    ],
)
def test_follower_of_figure_3_6_comes_to_hold_the_leaders_log(follower):
    table = table_of(LEADER, follower, LEADER, epoch=7)
    table.elect(1, among={1, 3})
    assert table.cores[1].role is Role.LEADER
    for _ in range(4):
        table.heartbeat(1)
    assert table.epochs(2) == [*LEADER, 8]
    assert table.cores[2].commit_index == 11
    # A whole epoch is skipped per round trip, not one entry.
    probes = [step for step in table.line if step == "2>1 AppendReply"]
    assert len(probes) < 16


def test_entry_of_an_earlier_epoch_does_not_commit_by_counting():
    """Figure 3.7: entry 2 of epoch 2 is on a majority and could still be overwritten."""
    five = (1, 2, 3, 4, 5)
    logs = [(1, 2), (1, 2), (1,), (1,), (1, 3)]
    cores = [core_of(me, five, log, epoch=3) for me, log in enumerate(logs, start=1)]
    table = Table(cores)
    leader = table.cores[1]
    table.now += 2
    leader.tick(table.now)
    table.drain(1)
    for me in (2, 3):
        leader.step(me, PreVoteReply(4, True), table.now)
    table.drain(1)
    for me in (2, 3):
        leader.step(me, VoteReply(4, True), table.now)
    table.drain(1)
    assert leader.role is Role.LEADER
    assert table.epochs(1) == [1, 2, 4]
    for me in (2, 3):
        leader.step(me, AppendReply(4, True, 2, 0, table.now), table.now)
        table.drain(1)
    assert leader.commit_index == 0
    for me in (2, 3):
        leader.step(me, AppendReply(4, True, 3, 0, table.now), table.now)
        table.drain(1)
    assert leader.commit_index == 3


def test_leader_counts_itself_only_when_its_own_disk_has_the_entry():
    """Section 10.2.1: entries travel while the leader still writes."""
    table = table_of((), (), ())
    table.elect(1)
    leader = table.cores[1]
    index, zxid = leader.propose([b"a", b"b"])
    assert zxid == (1 << 32) + 1
    actions = leader.actions(table.now)
    assert [to for to, message in actions.send if message.block] == [2, 3]
    assert leader.commit_index == index - 1
    leader.persisted(actions.persist.sequence, table.now)
    assert leader.commit_index == index - 1
    leader.step(2, AppendReply(1, True, index + 1, 0, table.now), table.now)
    assert leader.commit_index == index + 1


def test_followers_alone_commit_but_the_leader_applies_after_its_own_sync():
    table = table_of((), (), ())
    table.elect(1)
    leader = table.cores[1]
    index, _ = leader.propose([b"a"])
    persist = leader.actions(table.now).persist
    for me in (2, 3):
        leader.step(me, AppendReply(1, True, index, 0, table.now), table.now)
    assert leader.commit_index == index
    assert leader.actions(table.now).apply == ()
    leader.persisted(persist.sequence, table.now)
    assert [entry.payload for entry in leader.actions(table.now).apply] == [b"a"]


def test_leader_without_answers_steps_down_before_anyone_may_be_elected():
    """Check-quorum (6.2) and lease (6.4.1)."""
    table = table_of((), (), ())
    table.elect(1)
    leader = table.cores[1]
    heard = table.now
    assert leader.lease_end() == pytest.approx(heard + 0.45)
    while leader.role is Role.LEADER:
        table.now = max(leader.deadline, table.now + 0.001)
        leader.tick(table.now)
        table.drain(1)
    assert heard + 0.4 < table.now < heard + 0.5
    with pytest.raises(NotLeader):
        leader.propose([b"x"])


def test_transfer_hands_over_to_the_follower_that_holds_most():
    """Section 3.10."""
    table = table_of((), (), ())
    table.elect(1)
    leader = table.cores[1]
    leader.propose([b"a"])
    table.settle(1, among={1, 3})
    table.heartbeat(1, among={1, 3})
    leader.propose([b"b"])
    assert leader.begin_transfer(table.now) == 3
    with pytest.raises(NotLeader):
        leader.propose([b"c"])
    assert leader.lease_end() < table.now
    table.settle(1)
    assert table.cores[3].role is Role.LEADER
    assert table.cores[1].role is Role.FOLLOWER
    assert [e.payload for e in table.cores[3].log.entries(1, 4)] == [b"", b"a", b"b", b""]


def test_counter_that_is_used_up_ends_the_epoch():
    core = core_of(1, (1,))
    table = Table([core])
    core.tick(table.now)
    table.drain(1)
    core.leadership._counter = 0xFFFFFFFF - 1
    core.propose([b"last"])
    with pytest.raises(NotLeader):
        core.propose([b"one more"])
    core.tick(table.now + 2)
    table.drain(1)
    assert core.hard.epoch == 2
    assert core.propose([b"again"])[1] == (2 << 32) + 1


def test_snapshot_replaces_a_log_that_ends_before_it():
    """Chapter 5."""
    table = table_of((1, 1, 1, 1, 1), (), (1, 1, 1, 1, 1))
    leader = table.cores[1]
    table.elect(1, among={1, 3})
    leader.log.drop_through(5)
    table.heartbeat(1, among={1, 2})
    table.now += 0.11
    leader.tick(table.now)
    wanted = leader.actions(table.now).snapshots_wanted
    table.settle(1, among={1, 2})
    assert list(wanted) == [2] or leader.leadership.followers[2].mode.value == "snapshot"
    at = Position(5, 1, (1 << 32) + 4)
    leader.offer_snapshot(Snapshot(at, [b"a", b"b", b"c"]), table.now)
    table.settle(1, among={1, 2})
    assert table.cores[2].log.base == at
    assert table.cores[2].synced_index == 6
    assert table.epochs(2) == [2]


def test_snapshot_reply_waits_until_the_snapshot_is_durable():
    from ottla.protocol.peer.messages import SnapshotChunk

    core = core_of(2, TRIO)
    core.step(1, SnapshotChunk(3, 7, 2, (2 << 32) + 1, 0, True, 5.0, b"all", b""), 10.0)
    actions = core.actions(10.0)
    assert actions.persist.snapshot == Snapshot(Position(7, 2, (2 << 32) + 1), [b"all"])
    assert actions.send == []
    core.persisted(actions.persist.sequence, 10.0)
    assert core.actions(10.0).send == [(1, AppendReply(3, True, 7, 0, 5.0))]


def test_older_leader_is_told_of_the_newer_epoch():
    core = core_of(2, TRIO, epoch=5)
    core.step(1, AppendRequest(4, 0, 0, 0, 1.0, Block(log_of(4))), 10.0)
    assert core.actions(10.0).send == [(1, AppendReply(5, False, 0, 0, 1.0))]
    assert core.log.last_index == 0


@pytest.mark.parametrize("members", range(1, 8))
def test_majorities_against_counting_by_hand(members):
    import itertools

    assert 2 * majority(members) > members >= 2 * (majority(members) - 1)
    for values in itertools.islice(itertools.product(range(3), repeat=members), 300):
        best = max(v for v in values if sum(w >= v for w in values) * 2 > members)
        assert reached_by_majority(values) == best
    for answers in itertools.islice(itertools.product([True, False, None], repeat=members), 300):
        granted = {me: answer for me, answer in enumerate(answers) if answer is not None}
        yes, no = answers.count(True), answers.count(False)
        expected = True if yes * 2 > members else (False if no * 2 >= members else None)
        assert tally(range(members), granted) is expected


def test_a_leader_whose_process_ended_is_replaced_without_waiting_for_silence():
    """Its lease (6.4.1) ended with it: nothing listens where it did."""
    table = table_of((), (), ())
    table.elect(1)
    table.heartbeat(1)
    for me in (2, 3):
        table.cores[me].leader_ended(table.now)
    assert table.cores[2].deadline <= table.now + TIMING.election_min_s / 20
    table.now += TIMING.election_min_s / 20
    table.cores[2].tick(table.now)
    table.settle(2, among=(2, 3))
    assert table.cores[2].is_settled_leader
    assert table.cores[3].leader == 2


def test_one_member_alone_that_misses_the_leader_disturbs_nobody():
    """4.2.3: who hears the leader votes for nobody."""
    table = table_of((), (), ())
    table.elect(1)
    table.heartbeat(1)
    table.cores[2].leader_ended(table.now)
    table.now += TIMING.election_min_s / 20
    table.cores[2].tick(table.now)
    table.settle(2)
    assert table.cores[1].is_settled_leader
    assert {core.hard.epoch for core in table.cores.values()} == {1}
    table.heartbeat(1)
    assert table.cores[2].leader == 1


def test_a_heartbeat_goes_behind_blocks_too_so_that_a_slow_disk_does_not_end_the_lease():
    """A block is answered once it is durable; who is alive is known at once (6.4.1)."""
    table = table_of((), (), ())
    table.elect(1)
    table.heartbeat(1)
    leader = table.cores[1]
    leader.propose([b"x"])
    table.now += 0.11
    leader.tick(table.now)
    told = [message for to, message in leader.actions(table.now).send if to == 2]
    assert [message.block is None for message in told] == [False, True]
    assert told[1].sent == table.now
