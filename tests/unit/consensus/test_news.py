"""What a leader tells at once, what a little later, and which answers it need not act upon."""

import pytest

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.values import Limits, Timing
from ottla.protocol.peer.messages import AppendReply, AppendRequest
from tests.unit.consensus import cores
from tests.unit.consensus.cores import Table, core_of

NEWS_S = 0.002
TRIO = (1, 2, 3)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    timing = Timing(heartbeat_s=0.1, election_min_s=0.5, election_max_s=1.0, lease_s=0.45,
                    news_s=NEWS_S)  # fmt: skip
    monkeypatch.setattr(cores, "TIMING", timing)
    table = Table([core_of(me, TRIO, limits=Limits()) for me in TRIO])
    table.elect(1)
    table.heartbeat(1)
    return table


def propose(table: Table, awaited_by: tuple[int, ...] = ()) -> Consensus:
    """An entry that the leader's disk and member 2 hold, and that is committed thereby."""
    leader = table.cores[1]
    leader.propose([b"x"], awaited_by)
    for to, message in table.drain(1):
        if to == 2:
            leader_hears(table, to, message)
    return leader


def leader_hears(table: Table, member: int, message: object) -> bool:
    table.cores[member].step(1, message, table.now)
    has_news = False
    for _, answer in table.drain(member):
        has_news |= table.cores[1].step(member, answer, table.now)
    return has_news


def told(table: Table) -> dict[int, int]:
    """Member -> the commit index that it is told now."""
    sent = table.cores[1].actions(table.now).send
    return {to: message.commit for to, message in sent if isinstance(message, AppendRequest)}


def test_a_member_whose_client_waits_is_told_at_once(table: Table) -> None:
    leader = propose(table, awaited_by=(3,))
    assert told(table) == {3: leader.commit_index}


def test_the_others_are_told_a_little_later(table: Table) -> None:
    leader = propose(table)
    assert told(table) == {}
    assert leader.leadership is not None
    assert leader.leadership.owes_news
    table.now += NEWS_S
    assert told(table) == {2: leader.commit_index, 3: leader.commit_index}
    assert not leader.leadership.owes_news


def test_the_next_entries_take_the_news_along(table: Table) -> None:
    leader = propose(table)
    assert told(table) == {}
    leader.propose([b"y"])
    assert told(table) == {2: leader.commit_index, 3: leader.commit_index}
    table.now += 2 * NEWS_S
    assert told(table) == {}


def test_who_asks_how_far_things_are_is_told_at_once(table: Table) -> None:
    """A client there waits for it to be applied (`sync`)."""
    leader = propose(table)
    assert told(table) == {}
    leader.await_here(2, leader.commit_index)
    assert told(table) == {2: leader.commit_index}


def test_an_answer_that_changes_nothing_asks_for_no_turn(table: Table) -> None:
    leader = table.cores[1]
    leader.propose([b"x"])
    requests = dict(table.drain(1))
    assert leader_hears(table, 2, requests[2])  # it is committed by that
    assert not leader_hears(table, 3, requests[3])  # it was already


def test_an_answer_of_one_that_lacks_something_asks_for_a_turn(table: Table) -> None:
    leader = propose(table)
    leader.unreachable(3)
    assert leader.step(3, AppendReply(1, True, 0, 0, table.now), table.now)
    assert leader.step(3, AppendReply(1, False, 0, 0, table.now), table.now)


def test_one_that_was_held_does_not_take_its_leader_for_gone(table: Table) -> None:
    """The leader's messages wait unread, and the timer's look comes first."""
    follower = table.cores[2]
    table.now += 5
    follower.was_held(table.now)
    follower.tick(table.now)
    assert not [to for to, _ in follower.actions(table.now).send]
    assert follower.leader == 1
