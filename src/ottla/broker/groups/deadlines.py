"""Deadlines by key, cheap to push back: one heap entry per key, moved when it comes up.

A heartbeat only writes a number; the heap is touched when a deadline moves earlier or is reached.
"""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

NEVER = float("inf")


class Deadlines(Generic[K]):
    """At most one deadline for each key, in seconds of whatever clock the caller uses."""

    __slots__ = ("_heap", "_queued", "_serial", "_wanted")

    def __init__(self) -> None:
        self._wanted: dict[K, float] = {}  # what counts
        self._queued: dict[K, float] = {}  # the time of the key's live heap entry, <= wanted
        self._heap: list[tuple[float, int, K]] = []  # entries that differ from _queued are stale
        self._serial = 0

    def __contains__(self, key: K) -> bool:
        return key in self._wanted

    def __len__(self) -> int:
        return len(self._wanted)

    def get(self, key: K) -> float | None:
        return self._wanted.get(key)

    def set(self, key: K, when: float) -> None:
        self._wanted[key] = when
        queued = self._queued.get(key)
        if queued is None or when < queued:
            self._push(key, when)

    def clear(self, key: K) -> None:
        self._wanted.pop(key, None)

    def clear_all(self) -> None:
        self._wanted.clear()
        self._queued.clear()
        self._heap.clear()

    def next(self) -> float:
        """No deadline is reached before this; NEVER when there is none. May be early."""
        heap = self._heap
        while heap:
            when, _, key = heap[0]
            wanted = self._wanted.get(key)
            if self._queued.get(key) == when:
                if wanted is not None:
                    return when
                del self._queued[key]
            heapq.heappop(heap)
        return NEVER

    def pop_due(self, now: float) -> K | None:
        """Take out one key whose deadline is `now` or earlier, earliest first."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, key = heapq.heappop(heap)
            if self._queued.get(key) != when:
                continue
            del self._queued[key]
            wanted = self._wanted.get(key)
            if wanted is None:
                continue
            if wanted <= now:
                del self._wanted[key]
                return key
            self._push(key, wanted)
        return None

    def _push(self, key: K, when: float) -> None:
        self._serial += 1
        self._queued[key] = when
        heapq.heappush(self._heap, (when, self._serial, key))

    def check(self) -> None:
        assert self._wanted.keys() <= self._queued.keys()
        assert all(self._queued[key] <= when for key, when in self._wanted.items())
        live = {(when, key) for when, _, key in self._heap}
        assert all((when, key) in live for key, when in self._queued.items())


__all__ = ["NEVER", "Deadlines"]
