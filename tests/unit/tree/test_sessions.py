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
    assert tracker.next_expiry() is None


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
        gone = tracker.expired(now)
        tracker.check()
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
