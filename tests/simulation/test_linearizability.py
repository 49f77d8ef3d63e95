"""The check for linearizability: what it must find, what it must not, and a twin that tries all."""

import math
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.world import linearizability
from tests.simulation.world.history import Violation
from tests.simulation.world.linearizability import (
    Call,
    Kind,
    Ledger,
    Operation,
    Outcome,
    Undecided,
    contradiction,
    step,
)

CREATE, READ, DELETE = Operation(Kind.CREATE, b"a"), Operation(Kind.READ), Operation(Kind.DELETE)
LOST, DONE = Outcome.LOST, Outcome.DONE


def put(data: bytes, version: int = -1) -> Operation:
    return Operation(Kind.SET, data, version)


def call(operation: Operation, began: float, ended: float, result: object, who: str = "c") -> Call:
    return Call(who, operation, began, ended, result)


MADE = call(CREATE, 0, 1, DONE)


# --- what holds ----------------------------------------------------------------------------


def test_one_call_after_the_other_holds():
    assert not contradiction(
        [
            MADE,
            call(put(b"b", 0), 2, 3, 1),
            call(put(b"c", 0), 4, 5, Outcome.BAD_VERSION),
            call(READ, 6, 7, (1, b"b")),
            call(CREATE, 8, 9, Outcome.NODE_EXISTS),
            call(DELETE, 10, 11, DONE),
            call(READ, 12, 13, None),
            call(DELETE, 14, 15, Outcome.NO_NODE),
        ]
    )


@pytest.mark.parametrize("seen", [(0, b"a"), (1, b"b")])
def test_a_read_beside_a_write_sees_before_or_after(seen):
    assert not contradiction([MADE, call(put(b"b"), 2, 9, 1), call(READ, 3, 4, seen)])


def test_a_write_without_an_answer_may_have_happened_or_not():
    lost = call(put(b"b"), 2, math.inf, LOST)
    assert not contradiction([MADE, lost, call(READ, 3, 4, (0, b"a"))])
    assert not contradiction([MADE, lost, call(READ, 3, 4, (1, b"b"))])
    assert not contradiction([MADE, lost, call(READ, 3, 4, (0, b"a")), call(READ, 5, 6, (1, b"b"))])


def test_writes_side_by_side_may_take_any_order():
    assert not contradiction([MADE, call(put(b"b"), 2, 9, 2), call(put(b"c"), 3, 8, 1)])


# --- what does not -------------------------------------------------------------------------


def test_a_stale_read_is_found():
    assert contradiction([MADE, call(put(b"b"), 2, 3, 1), call(READ, 4, 5, (0, b"a"))])


def test_reads_that_go_back_in_time_are_found():
    write = call(put(b"b"), 2, 9, 1)
    assert contradiction([MADE, write, call(READ, 3, 4, (1, b"b")), call(READ, 5, 6, (0, b"a"))])


def test_a_lost_update_is_found():
    """Two compare-and-sets of one version succeed."""
    assert contradiction([MADE, call(put(b"b", 0), 2, 6, 1), call(put(b"c", 0), 3, 5, 1)])


def test_a_write_that_is_gone_is_found():
    assert contradiction([MADE, call(put(b"b"), 2, 3, 1), call(put(b"c"), 4, 5, 1)])


def test_a_write_applied_twice_is_found():
    assert contradiction([MADE, call(put(b"b"), 2, 3, 1), call(READ, 4, 5, (2, b"b"))])


def test_a_lost_write_applied_twice_is_found():
    lost = call(put(b"b"), 2, math.inf, LOST)
    assert contradiction([MADE, lost, call(READ, 3, 4, (1, b"b")), call(READ, 5, 6, (2, b"b"))])


def test_an_effect_before_the_call_is_found():
    assert contradiction([MADE, call(READ, 2, 3, (1, b"b")), call(put(b"b"), 4, 5, 1)])


def test_a_lost_write_that_happens_after_its_end_is_found():
    lost = call(put(b"b"), 2, 5, LOST)
    assert contradiction([MADE, lost, call(READ, 6, 7, (0, b"a")), call(READ, 8, 9, (1, b"b"))])
    assert not contradiction([MADE, lost, call(READ, 6, 7, (1, b"b"))])


def test_a_create_that_succeeds_twice_is_found():
    assert contradiction([MADE, call(CREATE, 2, 3, DONE)])


def test_a_refusal_without_a_reason_is_found():
    assert contradiction([MADE, call(put(b"b", 0), 2, 3, Outcome.BAD_VERSION)])
    assert contradiction([MADE, call(DELETE, 2, 3, Outcome.NO_NODE)])


def test_the_explanation_names_the_call_and_the_state():
    reason = contradiction([MADE, call(READ, 2, 3, (4, b"x"), who="zk-1")])
    assert "zk-1: read" in reason
    assert "(0, b'a')" in reason


# --- the ledger ----------------------------------------------------------------------------


def test_the_ledger_settles_what_was_lost():
    ledger = Ledger()
    ledger.end(ledger.begin("one", "/r", CREATE), DONE)
    lost = ledger.begin("one", "/r", put(b"b"))
    ledger.lose(lost)
    ledger.end(ledger.begin("two", "/r", READ), (0, b"a"))
    assert ledger.check() == 3
    ledger.settle("one")
    ledger.end(ledger.begin("two", "/r", READ), (0, b"a"))
    assert ledger.check() == 4
    ledger.end(ledger.begin("two", "/r", READ), (1, b"b"))
    with pytest.raises(Violation, match="/r is not linearizable"):
        ledger.check()


@pytest.mark.parametrize("is_answered", [True, False])
def test_what_was_sent_on_an_old_connection_is_over_with_the_next(is_answered):
    ledger = Ledger()
    ledger.end(ledger.begin("one", "/r", CREATE), DONE)
    late = ledger.begin("one", "/r", put(b"b"))
    ledger.settle("one", [late])
    ledger.end(ledger.begin("two", "/r", READ), (0, b"a"))
    if is_answered:
        ledger.end(late, 1)
    else:
        ledger.lose(late)
        ledger.end(ledger.begin("two", "/r", READ), (1, b"b"))
    with pytest.raises(Violation):
        ledger.check()


def test_what_is_too_much_is_counted_not_failed(monkeypatch):
    monkeypatch.setattr(linearizability, "CONFIGURATIONS_MAX", 5)
    ledger = Ledger()
    ledger.end(ledger.begin("c", "/r", CREATE), DONE)
    for each in range(12):
        ledger.lose(ledger.begin("c", "/r", put(b"%d" % each)))
    last = ledger.begin("c", "/r", READ)
    ledger.end(last, (9, b"3"))
    with pytest.raises(Undecided):
        contradiction(ledger.calls["/r"])
    ledger.check()
    assert ledger.undecided == 1


def test_lost_writes_that_nobody_saw_are_not_tried_in_every_order():
    """Nor are those that somebody saw, once they are overwritten by others."""
    calls = [MADE]
    for at in range(40):
        calls.append(call(put(b"lost-%d" % at), 10 * at + 10, 10 * at + 300, LOST))
        calls.append(call(DELETE, 10 * at + 11, math.inf, LOST))
        if at % 8 == 7:
            calls.append(call(READ, 10 * at + 12, 10 * at + 13, (at // 2, b"lost-%d" % (at - 3))))
    assert contradiction(calls) is None
    calls.append(call(READ, 1000, 1001, (41, b"lost-39")))
    assert contradiction(calls) is not None


def test_a_long_history_with_many_lost_writes_is_quick():
    calls = [MADE]
    for at in range(400):
        began = 10 * at + 10
        if at % 10 == 0:
            calls.append(call(put(b"lost-%d" % at, 10_000 + at), began, math.inf, LOST))
        calls.append(call(put(b"%d" % at), began, began + 12, at + 1))
        calls.append(call(READ, began + 3, began + 15, (at + 1, b"%d" % at)))
    assert contradiction(calls) is None


# --- the twin ------------------------------------------------------------------------------


def holds_by_trying_all(calls: list[Call]) -> bool:
    known = [each for each in calls if not each.is_lost]
    lost = [each for each in calls if each.is_lost]
    for bits in range(2 ** len(lost)):
        chosen = known + [each for at, each in enumerate(lost) if bits >> at & 1]
        if any(_explains(order) for order in permutations(chosen)):
            return True
    return False


def _explains(order: tuple[Call, ...]) -> bool:
    state = None
    for at, each in enumerate(order):
        if any(later.returned < each.invoked for later in order[at + 1 :]):
            return False
        state, result = step(state, each.operation)
        if not each.is_lost and result != each.result:
            return False
    return True


OPERATIONS = st.one_of(
    st.builds(Operation, st.just(Kind.CREATE), st.sampled_from((b"x", b"y"))),
    st.builds(Operation, st.just(Kind.SET), st.sampled_from((b"x", b"y")), st.integers(-1, 2)),
    st.builds(Operation, st.just(Kind.DELETE), st.just(b""), st.integers(-1, 1)),
    st.just(READ),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Call]:
    """What a correct register answered at some moment of each call; then, perhaps, one lie."""
    size = draw(st.integers(1, 5))
    moments = draw(st.permutations(range(size)))
    state, calls = None, []
    for moment in sorted(moments):
        operation = draw(OPERATIONS)
        before, after = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        began, ended = 10 * (moment - before) + moment / 10, 10 * (moment + after) + 5 + moment / 10
        following, result = step(state, operation)
        lost = draw(st.integers(0, 5))
        if lost == 0:
            result = LOST
            following = draw(st.sampled_from((state, following)))
            ended = draw(st.sampled_from((ended, math.inf)))
        state = following
        calls.append(Call("c", operation, began, ended, result))
    if draw(st.booleans()):
        liar = draw(st.sampled_from(calls))
        others = [DONE, Outcome.NO_NODE, Outcome.BAD_VERSION, 1, 2, None, (0, b"x"), (1, b"y")]
        liar.result = draw(st.sampled_from(others))
        if liar.returned == math.inf:
            liar.returned = liar.invoked + 15
    return draw(st.permutations(calls))


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(histories())
def test_the_search_agrees_with_trying_every_order(calls):
    assert (contradiction(calls) is None) == holds_by_trying_all(calls)
