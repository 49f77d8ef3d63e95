from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.coordinator.tree.sessions import SessionTracker


def test_a_session_expires_after_its_timeout_and_no_later_than_one_interval_more():
    tracker = SessionTracker(2.0, now=0.0)
    tracker.add(1, 5.0, now=0.0)
    assert tracker.expired(5.0) == []
    assert tracker.expired(5.9) == []
    assert tracker.expired(7.0) == [1]
    assert not tracker.touch(1, 7.0)
    assert not tracker.is_due(7.0)


def test_many_that_are_due_go_in_portions_and_who_is_heard_from_meanwhile_stays():
    tracker = SessionTracker(1.0, now=0.0)
    for session in range(10):
        tracker.add(session, 4.0 + session // 4, now=0.0)
    assert not tracker.is_due(4.9)
    assert tracker.is_due(7.0)
    assert tracker.expired(7.0, 3) == [0, 1, 2]
    assert tracker.touch(3, 7.0)
    assert tracker.touch(5, 7.0)
    assert tracker.expired(7.0, 3) == [4, 6, 7]
    assert tracker.is_due(7.0)
    assert tracker.expired(7.0, 3) == [8, 9]
    assert not tracker.is_due(7.0)
    assert tracker.expired(13.0) == [3, 5]
    tracker.check()


def test_a_new_leader_grants_full_timeouts():
    tracker = SessionTracker.of({1: (4000, 2), 2: (9000, 2)}, 1.0, now=100.0)
    assert tracker.expired(104.0) == []
    assert tracker.expired(105.5) == [1]
    assert tracker.expired(109.0) == []
    assert tracker.expired(110.5) == [2]


STEPS = st.lists(
    st.tuples(st.sampled_from("atr"), st.integers(0, 5), st.floats(0, 30), st.floats(0.5, 20)),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS, interval=st.sampled_from([0.5, 2.0, 7.0]))
def test_no_session_goes_early_or_stays_longer_than_an_interval(steps, interval):
    tracker = SessionTracker(interval, now=0.0)
    now = 0.0
    twin: dict[int, tuple[float, float]] = {}  # session -> (timeout, deadline)
    for what, session, passed, timeout in steps:
        now += passed
        gone = []
        while part := tracker.expired(now, 2):
            gone += part
            tracker.check()
        assert not tracker.is_due(now)
        assert all(twin[expired][1] <= now for expired in gone)
        assert {late for late, (_, end) in twin.items() if end + interval <= now} <= set(gone)
        for expired in gone:
            del twin[expired]
        if what == "a":
            tracker.add(session, timeout, now)
            twin[session] = (timeout, now + timeout)
        elif what == "t":
            assert tracker.touch(session, now) == (session in twin)
            if session in twin:
                twin[session] = (twin[session][0], now + twin[session][0])
        else:
            tracker.remove(session)
            twin.pop(session, None)
        tracker.check()
        assert len(tracker) == len(twin)
        assert all(known in tracker for known in twin)
