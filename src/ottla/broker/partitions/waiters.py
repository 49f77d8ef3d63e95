"""Who waits on a partition: produce replies for a committed offset, fetches for anything new."""

import heapq
import itertools
from typing import Protocol

import trio

from ottla.broker.ids import Offset


class CommitWaiters:
    """Waits for the high watermark to reach an offset, woken in offset order.

    An entry whose task gave up stays until its offset is passed; it holds one unset event.
    """

    __slots__ = ("_heap", "_sequence")

    def __init__(self) -> None:
        self._heap: list[tuple[Offset, int, trio.Event]] = []
        self._sequence = itertools.count()

    def add(self, end: Offset) -> trio.Event:
        event = trio.Event()
        heapq.heappush(self._heap, (end, next(self._sequence), event))
        return event

    def wake_up_to(self, high_watermark: Offset) -> None:
        heap = self._heap
        while heap and heap[0][0] <= high_watermark:
            heapq.heappop(heap)[2].set()

    def wake_all(self) -> None:
        heap, self._heap = self._heap, []
        for _, _, event in heap:
            event.set()

    def __len__(self) -> int:
        return len(self._heap)


class Waiter(Protocol):
    """Somebody to be told once: a `trio.Event`, or what need not be a task."""

    def set(self) -> None: ...


class Subscribers:
    """One-shot wake-ups: every subscribed event is set once and forgotten."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: dict[Waiter, None] = {}

    def add(self, event: Waiter) -> None:
        self._events[event] = None

    def discard(self, event: Waiter) -> None:
        self._events.pop(event, None)

    def wake(self) -> None:
        if self._events:
            events, self._events = self._events, {}
            for event in events:
                event.set()

    def __len__(self) -> int:
        return len(self._events)
