"""Changes of members, and members whose disks are empty, moved by hand."""

import itertools

import pytest

from ottla.coordinator.consensus.memberships import Memberships
from ottla.coordinator.consensus.quorum import tally, tally_groups
from ottla.coordinator.consensus.values import (
    ABSTAINS,
    MembersChange,
    NewMembersLag,
    NotLeader,
    Role,
)
from ottla.protocol.peer.entries import Entry
from ottla.protocol.peer.errors import ProtocolError
from ottla.protocol.peer.membership import MARK, Membership, decode
from ottla.protocol.peer.messages import RollCallReply, RollCallRequest, VoteReply, VoteRequest
from tests.unit.consensus.cores import TIMING, Table, core_of

TRIO = (1, 2, 3)
FIVE = (1, 2, 3, 4, 5)
LOG = (1, 1)


def led_by_one(*more):
    """Members 1 to 3 under leader 1, and others that run and are not known to them."""
    cores = [core_of(me, TRIO, LOG) for me in TRIO]
    cores += [core_of(me, (*TRIO, me), LOG) for me in more]
    table = Table(cores)
    table.elect(1, among=TRIO)
    table.heartbeat(1, among=TRIO)
    assert table.cores[1].is_settled_leader
    return table


def joined(table, *members):
    table.cores[1].invite(members, table.now)
    table.settle(1)
    table.heartbeat(1)


def test_two_members_join_through_a_joint_configuration():
    """Section 4.3: a majority of old and new, then the new one alone, without being asked."""
    table = led_by_one(4, 5)
    joined(table, 4, 5)
    leader = table.cores[1]
    leader.change_members(FIVE, (), b"who", table.now)
    assert leader.membership == Membership(FIVE, (), TRIO, b"who")
    table.settle(1)
    table.heartbeat(1)
    for core in table.cores.values():
        assert core.membership == Membership(FIVE, (), (), b"who")
    entries = leader.log.entries(1, leader.log.last_index)
    found = [decode(entry.payload) for entry in entries if entry.payload[:1] == MARK]
    assert [one.outgoing for one in found] == [TRIO, ()]


def test_joint_configuration_needs_both_majorities():
    table = led_by_one(4, 5)
    joined(table, 4, 5)
    leader = table.cores[1]
    leader.change_members((1, 4, 5), (), b"", table.now)
    before = leader.commit_index
    table.settle(1, among=(1, 4, 5))
    assert leader.commit_index == before  # all of the new voters, one of the old
    assert leader.membership.is_joint
    table.heartbeat(1, among=FIVE)
    assert leader.membership == Membership((1, 4, 5))


def test_configuration_that_was_cut_off_is_undone():
    table = led_by_one(4)
    joined(table, 4)
    table.cores[1].change_members((1, 2, 3, 4), (), b"", table.now)
    table.drain(1)
    assert table.cores[1].membership.is_joint
    table.now += 2
    table.elect(2, among=(2, 3))
    table.heartbeat(2, among=TRIO)
    assert table.cores[1].role is Role.FOLLOWER
    assert table.cores[1].membership == Membership(TRIO)
    assert table.epochs(1) == table.epochs(2)


def test_next_leader_ends_the_change_of_the_one_before():
    table = led_by_one(4, 5)
    joined(table, 4, 5)
    leader = table.cores[1]
    leader.change_members((2, 3, 4, 5), (), b"", table.now)
    sent = table.drain(1)
    for to, message in sent:
        table.cores[to].step(1, message, table.now)
        table.drain(to)
    assert all(table.cores[me].membership.is_joint for me in FIVE)
    table.elect(2, among=(2, 3, 4, 5))
    table.heartbeat(2, among=(2, 3, 4, 5))
    for me in (2, 3, 4, 5):
        assert table.cores[me].membership == Membership((2, 3, 4, 5))


def test_removed_leader_leads_until_that_is_committed_and_hands_over():
    """Sections 4.2.2 and 3.10."""
    table = led_by_one()
    leader = table.cores[1]
    leader.change_members((2, 3), (), b"", table.now)
    table.settle(1)
    assert leader.membership == Membership((2, 3))
    assert leader.role is Role.LEADER
    table.heartbeat(1)
    table.heartbeat(1)
    assert leader.role is Role.FOLLOWER
    assert {table.cores[me].is_settled_leader for me in (2, 3)} == {True, False}
    epoch = table.cores[2].hard.epoch
    table.elect(1)
    assert {core.hard.epoch for core in table.cores.values()} == {epoch}


def test_leader_that_is_removed_is_elected_again_if_nobody_else_can_be():
    """Figure 4.6 with one voter: its successor lacks the entry that makes it one."""
    alone = core_of(1, (1,), LOG)
    other = core_of(2, (1, 2), LOG)
    table = Table([alone, other])
    table.elect(1, among=(1,))
    joined(table, 2)
    alone.change_members((2,), (), b"", table.now)
    joint = [message for _, message in table.drain(1)]
    for message in joint:
        other.step(1, message, table.now)
    for _, message in table.drain(2):
        alone.step(2, message, table.now)
    table.drain(1)
    assert alone.membership == Membership((2,))
    assert other.membership == Membership((2,), (), (1,))
    table.now += 2
    alone.tick(table.now)  # its majority is gone
    assert alone.role is Role.FOLLOWER
    table.elect(1)
    table.heartbeat(1)
    assert other.membership == Membership((2,))


def test_what_may_not_be_changed_is_refused():
    table = led_by_one(4)
    leader = table.cores[1]
    with pytest.raises(NotLeader):
        table.cores[2].change_members((1, 2), (), b"", table.now)
    with pytest.raises(NewMembersLag):
        leader.change_members((1, 4), (), b"", table.now)
    leader.change_members(TRIO, (4,), b"", table.now)
    with pytest.raises(MembersChange):
        leader.change_members(TRIO, (), b"", table.now)


def test_observer_gets_entries_at_once_and_is_left_when_it_leaves():
    table = led_by_one(4)
    leader = table.cores[1]
    leader.change_members(TRIO, (4,), b"", table.now)
    assert leader.circle == {2, 3, 4}
    table.settle(1)
    table.heartbeat(1)
    assert table.cores[4].commit_index == leader.commit_index
    leader.change_members(TRIO, (), b"", table.now)
    table.settle(1)
    table.heartbeat(1)
    table.heartbeat(1)
    assert leader.circle == {2, 3}
    assert table.cores[4].membership == Membership(TRIO)
    assert not table.cores[4].is_voter


@pytest.mark.parametrize("outgoing", [(), (1, 2, 3), (3, 4)])
def test_tally_of_groups_against_counting_by_hand(outgoing):
    membership = Membership((1, 2, 5), outgoing=outgoing)
    everyone = sorted(membership.everyone)
    for answers in itertools.product([True, False, None], repeat=len(everyone)):
        granted = {m: a for m, a in zip(everyone, answers, strict=True) if a is not None}
        verdicts = {tally(group, granted) for group in membership.groups}
        expected = False if False in verdicts else (True if verdicts == {True} else None)
        assert tally_groups(membership.groups, granted) is expected


@pytest.mark.parametrize(
    ("earlier", "later", "follows"),
    [
        (Membership(TRIO), Membership(TRIO, (4,)), True),
        (Membership(TRIO), Membership(FIVE, (), TRIO), True),
        (Membership(FIVE, (), TRIO), Membership(FIVE), True),
        (Membership(TRIO), Membership(FIVE), False),
        (Membership(FIVE, (), TRIO), Membership(TRIO), False),
        (Membership(FIVE, (), TRIO), Membership((7,), (), FIVE), False),
        (Membership(TRIO), Membership(FIVE, (), (1, 2)), False),
    ],
)
def test_only_configurations_whose_majorities_meet_follow_each_other(earlier, later, follows):
    assert later.follows(earlier) is follows


def test_memberships_of_a_log_come_and_go_with_its_entries():
    known = Memberships(Membership((1,)), 0)
    wanted = [Membership((1, 2), (), (1,)), Membership((1, 2)), Membership((1, 2), (3,))]
    entries = [
        Entry(index, 1, (1 << 32) + index, one.encode())
        for index, one in zip((2, 5, 9), wanted, strict=True)
    ]
    known.learn([entries[0]])
    known.learn([Entry(3, 1, (1 << 32) + 3, b"\x01"), *entries[1:]])
    assert (known.index, known.current) == (9, wanted[2])
    known.cut_from(9)
    assert (known.index, known.current) == (5, wanted[1])
    known.drop_through(4)
    assert known.oldest == wanted[0]
    known.cut_from(5)
    assert known.current == wanted[0]


@pytest.mark.parametrize(
    "payload",
    [
        MARK,
        MARK + b"\x93\x01\x90\x90",
        Membership(()).encode(),
        Membership((1,), (1,)).encode(),
        Membership((-1,)).encode(),
    ],
)
def test_membership_that_is_none_is_refused(payload):
    with pytest.raises(ProtocolError):
        decode(payload)


# --- empty disks


def blank(me, members=TRIO):
    return core_of(me, members, is_founder=False)


def test_new_ensemble_calls_the_roll_before_it_elects():
    table = Table([blank(me) for me in TRIO])
    for me in (1, 2):
        table.cores[me].tick(table.now)
        table.settle(me)
    assert all(core.newcomer is None for core in table.cores.values())
    assert {line.split()[1] for line in table.line} == {"RollCallRequest", "RollCallReply"}
    table.line.clear()
    table.elect(1)
    assert not any("RollCall" in line for line in table.line)
    assert table.cores[1].is_settled_leader


def test_new_ensemble_waits_for_all_of_its_voters():
    table = Table([blank(me) for me in TRIO])
    for _ in range(5):
        table.elect(1, among=(1, 2))
        table.elect(2, among=(1, 2))
    assert {core.hard.epoch for core in table.cores.values()} == {0}
    table.elect(3)
    table.elect(1)
    assert table.cores[1].is_settled_leader


def after_the_grace(table, among):
    """Every one of `among` calls the roll for longer than a new ensemble waits for all."""
    for _ in range(int(TIMING.founding_s / TIMING.heartbeat_s) + 20):
        for me in among:
            table.heartbeat(me, among=among)


def test_majority_of_a_new_ensemble_begins_when_the_grace_is_over():
    table = Table([blank(me) for me in TRIO])
    after_the_grace(table, (1, 2))
    assert table.cores[1].is_settled_leader or table.cores[2].is_settled_leader
    for _ in range(5):
        for me in (1, 2):
            table.heartbeat(me)
        table.cores[3].tick(table.now)
        table.settle(3)
    assert table.cores[3].newcomer is None
    assert table.cores[3].log.last_index


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"epochs": (1,)}, id="it has data"),
        pytest.param({"epoch": 1}, id="it voted"),
        pytest.param({"epoch": 1, "vote": ABSTAINS}, id="it saw a leader"),
    ],
)
def test_empty_member_founds_nothing_with_one_that_took_part_in_an_ensemble(other):
    """What a silent member may have acknowledged together with this one is not given up."""
    table = Table([core_of(1, TRIO, is_founder=False, **other), blank(2)])
    after_the_grace(table, (1, 2))
    assert table.cores[2].newcomer is not None
    assert not any(core.leadership for core in table.cores.values())


def test_empty_members_found_nothing_while_somebody_has_data():
    table = Table([blank(1), blank(2), core_of(3, TRIO, (1,))])
    table.cores[3]._patience.begin_anew(table.now)
    after_the_grace(table, TRIO)
    assert table.cores[1].newcomer is not None
    assert table.cores[2].newcomer is not None


def test_minority_founds_nothing_however_long_it_waits():
    table = Table([blank(me, (1, 2, 3, 4, 5)) for me in (1, 2)])
    after_the_grace(table, (1, 2))
    assert all(core.newcomer is not None for core in table.cores.values())


def test_members_with_different_lists_found_nothing():
    table = Table([blank(1), blank(2), blank(3, (1, 2, 3, 4))])
    for me in TRIO:
        table.elect(me)
    after_the_grace(table, TRIO)
    assert {core.hard.epoch for core in table.cores.values()} == {0}


def test_wiped_member_gives_no_vote_to_one_that_lacks_what_it_once_had():
    table = Table([core_of(1, TRIO, ()), blank(2), core_of(3, TRIO, (1,))])
    for _ in range(4):
        table.elect(1, among=(1, 2))
    assert table.cores[1].role is Role.PRE_CANDIDATE
    table.cores[2].step(1, VoteRequest(9, 0, 0, True), table.now)
    assert not [m for _, m in table.drain(2) if isinstance(m, VoteReply)]


def wiped_under_a_leader():
    """Member 3 of three starts with an empty disk; 1 leads."""
    table = led_by_one()
    table.cores[1].propose([b"a", b"b"])
    table.settle(1)
    table.cores[3] = blank(3)
    table.cores[3]._patience.begin_anew(table.now)
    newcomer = table.cores[3].newcomer
    newcomer.deaf_until = table.now + 1
    return table, table.cores[3]


def test_wiped_member_hears_nobody_until_old_elections_are_over():
    """A candidate may still count the vote that it gave before its disk was lost."""
    table, wiped = wiped_under_a_leader()
    table.heartbeat(1)
    wiped.tick(table.now)
    table.settle(3)
    assert wiped.hard.epoch == 0
    assert not wiped.log.last_index


def test_wiped_member_votes_again_once_it_holds_what_the_leader_held():
    table, wiped = wiped_under_a_leader()
    epoch = table.cores[1].hard.epoch
    for _ in range(12):
        table.heartbeat(1)
        wiped.tick(table.now)
        table.settle(3, among=(3,))
    assert wiped.newcomer is not None
    for _ in range(5):
        table.heartbeat(1)
        wiped.tick(table.now)
        table.settle(3)
    assert wiped.newcomer is None
    assert wiped.hard == (epoch, 1)
    assert wiped.log.last_index == table.cores[1].log.last_index


def test_member_that_was_catching_up_still_has_no_vote_after_a_restart():
    core = core_of(3, TRIO, (1,), epoch=4, vote=ABSTAINS, is_founder=False)
    core.step(1, VoteRequest(5, 9, 4, True), 10.0)
    actions = core.actions(10.0)
    assert actions.persist.hard == (5, ABSTAINS)
    core.persisted(actions.persist.sequence, 10.0)
    assert (1, VoteReply(5, False)) in core.actions(10.0).send


def test_answers_to_an_earlier_life_do_not_count():
    core = blank(3)
    core.step(1, RollCallReply(1, 0, 0, False, TRIO), 0.0)
    core.step(2, RollCallReply(1, 0, 0, False, TRIO), 0.0)
    assert core.newcomer is not None


def test_leader_takes_a_wiped_member_for_empty():
    table = led_by_one()
    leader = table.cores[1]
    assert leader.leadership.followers[3].matched == leader.log.last_index
    leader.step(3, RollCallRequest(7), table.now)
    assert leader.leadership.followers[3].matched == 0
    replies = [message for to, message in table.drain(1) if to == 3]
    assert RollCallReply(7, leader.hard.epoch, leader.log.last_index, True, TRIO) in replies
