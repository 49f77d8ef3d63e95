"""Which sessions were not heard from for longer than their timeout. Lives on the leader.

Sessions are kept in buckets of one interval, so a touch moves a session only when its bucket
changes and an expiry looks at buckets, not at sessions (the idea of ZooKeeper's ExpiryQueue). A
session therefore expires up to one interval late, never early.
"""

import math
from collections.abc import Mapping
from itertools import islice


class SessionTracker:
    """Times are seconds on the caller's clock; timeouts are the sessions' own."""

    __slots__ = ("_bucket_of", "_buckets", "_interval_s", "_next", "_timeouts_s")

    def __init__(self, interval_s: float, now: float) -> None:
        assert interval_s > 0
        self._interval_s = interval_s
        self._timeouts_s: dict[int, float] = {}
        self._bucket_of: dict[int, int] = {}  # session id -> its bucket
        self._buckets: dict[int, dict[int, None]] = {}  # number -> sessions; no empty ones
        self._next = math.floor(now / interval_s)  # there are no earlier buckets

    @classmethod
    def of(
        cls, sessions: Mapping[int, tuple[int, int]], interval_s: float, now: float
    ) -> "SessionTracker":
        """A new leader's: every session of `Tree.sessions` gets its full timeout."""
        tracker = cls(interval_s, now)
        for session_id, (timeout_ms, _) in sessions.items():
            tracker.add(session_id, timeout_ms / 1000, now)
        return tracker

    def __len__(self) -> int:
        return len(self._bucket_of)

    def __contains__(self, session_id: int) -> bool:
        return session_id in self._bucket_of

    def add(self, session_id: int, timeout_s: float, now: float) -> None:
        """Track a new session, or give one another timeout."""
        self._timeouts_s[session_id] = timeout_s
        self._place(session_id, now + timeout_s)

    def touch(self, session_id: int, now: float) -> bool:
        """The session was heard from; False: it is not, or no longer, tracked."""
        timeout_s = self._timeouts_s.get(session_id)
        if timeout_s is None:
            return False
        # As `_place` finds it, for every request: mostly it stays where it is.
        if self._bucket_of[session_id] != (now + timeout_s) // self._interval_s + 1:
            self._place(session_id, now + timeout_s)
        return True

    def remove(self, session_id: int) -> None:
        if self._timeouts_s.pop(session_id, None) is not None:
            self._leave_bucket(session_id)

    def expired(self, now: float, most: int | None = None) -> list[int]:
        """Sessions whose time is over, up to `most` of them; they are tracked no longer.

        The others may be heard from before their turn comes, and live on.
        """
        current = math.floor(now / self._interval_s)
        gone: list[int] = []
        while self._next <= current and len(gone) != most:
            bucket = self._buckets.get(self._next)
            if bucket is None:
                self._next = min(min(self._buckets, default=current + 1), current + 1)
                continue
            taken = list(bucket) if most is None else list(islice(bucket, most - len(gone)))
            for session_id in taken:
                del self._timeouts_s[session_id]
                self._leave_bucket(session_id)
            gone += taken
        return gone

    def is_due(self, now: float) -> bool:
        """Whether `expired` has something to tell."""
        return bool(self._buckets) and min(self._buckets) * self._interval_s <= now

    def check(self) -> None:
        assert self._timeouts_s.keys() == self._bucket_of.keys()
        assert all(session in self._buckets[number] for session, number in self._bucket_of.items())
        assert sum(map(len, self._buckets.values())) == len(self._bucket_of)
        assert all(self._buckets.values())
        assert all(number >= self._next for number in self._buckets)

    def _place(self, session_id: int, expiry: float) -> None:
        bucket = max(math.floor(expiry / self._interval_s) + 1, self._next)
        old = self._bucket_of.get(session_id)
        if bucket == old:
            return
        if old is not None:
            self._leave_bucket(session_id)
        self._bucket_of[session_id] = bucket
        self._buckets.setdefault(bucket, {})[session_id] = None

    def _leave_bucket(self, session_id: int) -> None:
        number = self._bucket_of.pop(session_id)
        bucket = self._buckets[number]
        del bucket[session_id]
        if not bucket:
            del self._buckets[number]


__all__ = ["SessionTracker"]
