"""What the clients of the ensemble hold against it: each check fails on what it is there for."""

import pytest

from ottla.protocol.zookeeper.messages import WatcherEvent
from ottla.protocol.zookeeper.opcodes import EventType
from tests.simulation.world.clients.facts import ROOT, Change, EnsembleHistory
from tests.simulation.world.clients.sessions import Answer
from tests.simulation.world.clients.wanderers import Follower
from tests.simulation.world.history import Violation

CREATED, CHANGED = EventType.NODE_CREATED, EventType.NODE_DATA_CHANGED
HAPPENED = [
    Change(10, CREATED, f"{ROOT}/a"),
    Change(20, CHANGED, f"{ROOT}/a"),
    Change(20, CHANGED, f"{ROOT}/b"),
    Change(30, CHANGED, f"{ROOT}/a"),
]


def facts(*, links_hold: bool = True) -> EnsembleHistory:
    return EnsembleHistory(tick_s=2.0, links_hold=links_hold)


def follower(set_at: int) -> Follower:
    known = facts()
    known.changes += HAPPENED
    watching = Follower("zk", known, lambda _zxid: None)
    watching.on_answer(Answer(0, set_at, None))
    return watching


def tell(watching: Follower, *changes: Change) -> None:
    for zxid, kind, path in changes:
        watching.on_event(zxid, WatcherEvent(kind, 3, path))


def test_a_watch_that_tells_all_from_its_setting_on_is_right():
    watching = follower(10)
    tell(watching, *HAPPENED[1:3])
    watching.on_answer(Answer(0, 29, None))
    tell(watching, HAPPENED[3])
    watching.on_answer(Answer(0, 30, None))


@pytest.mark.parametrize(
    "told",
    [
        [HAPPENED[2]],  # one left out
        [HAPPENED[1], HAPPENED[1]],  # one twice
        [HAPPENED[0]],  # what was before
        [Change(20, CREATED, f"{ROOT}/a")],  # another kind
        [*HAPPENED[1:], Change(40, CHANGED, f"{ROOT}/a")],  # what did not happen
    ],
)
def test_a_watch_that_tells_anything_else_is_found(told):
    with pytest.raises(Violation):
        tell(follower(10), *told)


def test_an_answer_that_shows_a_change_before_the_watch_tells_is_found():
    watching = follower(10)
    tell(watching, HAPPENED[1])
    with pytest.raises(Violation, match="has not told of"):
        watching.on_answer(Answer(0, 20, None))


def test_an_event_before_the_watch_is_set_is_found():
    with pytest.raises(Violation):
        tell(Follower("zk", facts(), lambda _zxid: None), HAPPENED[0])


def test_numbers_of_znodes_grow_with_their_zxids():
    known = facts()
    for czxid, number in [(10, 1), (30, 5), (20, 3)]:
        known.numbered(czxid, number)


@pytest.mark.parametrize("wrong", [(15, 1), (15, 5), (25, 3), (5, 2), (40, 4), (20, 3)])
def test_numbers_out_of_order_are_found(wrong):
    known = facts()
    for czxid, number in [(10, 1), (20, 3), (30, 5)]:
        known.numbered(czxid, number)
    with pytest.raises(Violation):
        known.numbered(*wrong)


def test_a_session_lives_for_its_timeout_from_what_was_answered_last():
    known = facts()
    assert known.lived_until(1) is None
    known.timeouts[1] = 6.0
    known.heard[1] = 100.0
    assert known.lived_until(1) == 106.0
    known.answered[1] = 110.0
    assert known.lived_until(1) == 111.0
    known.closed.add(1)
    assert known.lived_until(1) is None


def test_reads_keep_no_session_that_nobody_may_have_reported():
    known = facts(links_hold=False)
    known.timeouts[1], known.answered[1], known.heard[1] = 6.0, 110.0, 100.0
    assert known.lived_until(1) == 106.0
