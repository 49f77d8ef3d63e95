"""Deadlines against the obvious implementation: a dict and min()."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.broker.groups.deadlines import NEVER, Deadlines

KEYS = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.integers(0, 20)),
        st.tuples(st.just("clear"), KEYS, st.just(0)),
        st.tuples(st.just("advance"), st.just(""), st.integers(0, 5)),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_due_keys_come_out_once_and_in_time(steps: list[tuple[str, str, int]]) -> None:
    deadlines: Deadlines[str] = Deadlines()
    twin: dict[str, float] = {}
    now = 0
    for what, key, number in steps:
        if what == "set":
            deadlines.set(key, now + number)
            twin[key] = now + number
        elif what == "clear":
            deadlines.clear(key)
            twin.pop(key, None)
        else:
            now += number
            due = {key for key, when in twin.items() if when <= now}
            assert deadlines.next() <= min(twin.values(), default=NEVER)
            popped = []
            while (key_due := deadlines.pop_due(now)) is not None:
                popped.append(key_due)
            assert sorted(popped) == sorted(due)
            for key_due in due:
                del twin[key_due]
        deadlines.check()
        assert len(deadlines) == len(twin)
        assert (deadlines.next() == NEVER) == (not twin)


def test_pushing_back_does_not_grow_the_heap() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for second in range(1000):
        deadlines.set("member", second + 10.0)
    assert len(deadlines._heap) == 1
    assert deadlines.pop_due(999.0) is None
    assert deadlines.next() == 1009.0
