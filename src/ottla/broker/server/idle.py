"""Deadline buckets: which of many things were idle for too long, without looking at the rest.

A thing is put in the bucket of its deadline once and not moved when it is active; when its bucket
is due, the owner looks whether it was active meanwhile and puts it back with a later deadline. So
an activity costs nothing here, and a thing is looked at once per `max_idle_s` at most.
"""

from typing import Generic, TypeVar

BUCKETS = 16

T = TypeVar("T")


class IdleBuckets(Generic[T]):
    """Things by deadline, in buckets of `width_s` seconds. They are told apart by identity."""

    __slots__ = ("_buckets", "_max_idle_s", "_where", "width_s")

    def __init__(self, max_idle_s: float) -> None:
        self._max_idle_s = max_idle_s
        self.width_s = max_idle_s / BUCKETS
        self._buckets: dict[int, dict[int, T]] = {}
        self._where: dict[int, int] = {}

    def add(self, thing: T, last_active: float) -> None:
        """Make `thing` due at `last_active + max_idle_s`, rounded up to a bucket's end."""
        if self.width_s <= 0:
            return
        assert id(thing) not in self._where
        bucket = int((last_active + self._max_idle_s) / self.width_s) + 1
        self._buckets.setdefault(bucket, {})[id(thing)] = thing
        self._where[id(thing)] = bucket

    def discard(self, thing: T) -> None:
        bucket = self._where.pop(id(thing), None)
        if bucket is not None:
            del self._buckets[bucket][id(thing)]

    def due(self, now: float) -> list[T]:
        """Take out everything whose bucket has ended."""
        last = int(now / self.width_s)
        out: list[T] = []
        for bucket in [each for each in self._buckets if each <= last]:
            out.extend(self._buckets.pop(bucket).values())
        for thing in out:
            del self._where[id(thing)]
        return out

    def __len__(self) -> int:
        return len(self._where)


__all__ = ["IdleBuckets"]
