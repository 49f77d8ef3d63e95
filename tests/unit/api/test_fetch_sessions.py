"""The table of fetch sessions: bounds, eviction, epochs (KIP-227)."""

import random

import pytest

from ottla.broker.api.fetch_sessions import EVICTION_S, LAST_EPOCH, FetchedPartition, FetchSessions
from ottla.broker.errors import FetchSessionNotFound


def begin(sessions: FetchSessions, now: float, *, is_follower: bool = False, size: int = 1):
    session = sessions.begin(uses_ids=False, is_follower=is_follower, size=size, now=now)
    if session is not None:
        session.change([FetchedPartition("t", index) for index in range(size)], ())
    sessions.check()
    return session


def test_a_full_table_takes_no_new_session_while_all_are_in_use():
    sessions = FetchSessions(2, random.Random(1))
    assert begin(sessions, 0.0) is not None
    assert begin(sessions, 1.0) is not None
    assert begin(sessions, EVICTION_S - 1) is None


def test_the_session_used_longest_ago_makes_room_when_it_is_stale():
    sessions = FetchSessions(2, random.Random(1))
    old, newer = begin(sessions, 0.0), begin(sessions, 1.0)
    sessions.resume(old.id, 1, uses_ids=False, now=50.0)
    assert begin(sessions, EVICTION_S + 1) is not None
    with pytest.raises(FetchSessionNotFound):
        sessions.resume(newer.id, 1, uses_ids=False, now=EVICTION_S + 1)
    assert sessions.resume(old.id, 2, uses_ids=False, now=EVICTION_S + 1) is old
    sessions.check()


def test_a_follower_takes_the_place_of_a_consumer_but_not_the_reverse():
    sessions = FetchSessions(1, random.Random(1))
    begin(sessions, 0.0)
    follower = begin(sessions, 0.0, is_follower=True)
    assert follower is not None
    assert begin(sessions, 0.0) is None
    assert begin(sessions, 0.0, is_follower=True) is None


def test_an_old_session_in_use_gives_way_to_a_larger_one():
    """KIP-227: size decides among those that have had their time."""
    sessions = FetchSessions(3, random.Random(1))
    large, small, young = (begin(sessions, 0.0, size=size) for size in (5, 2, 3))
    young.began = 100.0
    late = EVICTION_S + 1
    for session in (large, small, young):
        sessions.resume(session.id, 1, uses_ids=False, now=late)
    assert begin(sessions, late, size=2) is None
    assert begin(sessions, late, size=3) is not None
    with pytest.raises(FetchSessionNotFound):
        sessions.resume(small.id, 2, uses_ids=False, now=late)
    assert begin(sessions, late, size=5) is None
    assert sessions.resume(young.id, 2, uses_ids=False, now=late) is young


def test_a_follower_takes_the_smallest_of_the_consumers():
    sessions = FetchSessions(2, random.Random(1))
    large, small = (begin(sessions, 0.0, size=size) for size in (5, 2))
    assert begin(sessions, 1.0, is_follower=True, size=1) is not None
    with pytest.raises(FetchSessionNotFound):
        sessions.resume(small.id, 1, uses_ids=False, now=1.0)
    assert sessions.resume(large.id, 1, uses_ids=False, now=1.0) is large


def test_a_session_epoch_wraps_to_1():
    sessions = FetchSessions(1, random.Random(1))
    session = begin(sessions, 0.0)
    session.epoch = LAST_EPOCH
    sessions.resume(session.id, LAST_EPOCH, uses_ids=False, now=0.0)
    assert session.epoch == 1


def test_a_partition_that_gave_data_is_served_after_the_others():
    sessions = FetchSessions(1, random.Random(1))
    session = begin(sessions, 0.0)
    session.change([FetchedPartition("t", index) for index in range(3)], ())
    session.serve_last(("t", 0))
    assert [index for _, index in session.partitions] == [1, 2, 0]


def test_no_session_fits_in_a_table_without_slots():
    assert begin(FetchSessions(0, random.Random(1)), 0.0) is None
