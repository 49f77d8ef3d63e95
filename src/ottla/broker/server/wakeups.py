"""Parked replies without a task each: who is woken is looked at once, at the end of a turn.

A fetch that waits for records is parked with its connection. An append wakes it in the middle of
another request; it is noted here, and polled when all that is ready has been served, within the
same turn of the loop if the sockets are the system's. So the records of one turn are one answer,
and the producer's comes first. Otherwise a task of `run` does it; another one looks at requests
whose time is over.
"""

import heapq
import itertools
import math
from typing import Protocol

import trio

from ottla.runtime.readiness import after_look
from ottla.runtime.timekeeper import Timekeeper

STALE_MAX = 64
"""Deadlines of connections that ended are kept up to as many as others, and these."""


class Parking(Protocol):
    """A connection, perhaps with a parked reply."""

    @property
    def parked_until(self) -> float:
        """When the parked reply is to be polled at the latest; inf where there is none."""
        ...

    def poll(self) -> None:
        """Look whether the parked reply can be made. Raises nothing but broken invariants."""
        ...


class Wakeups:
    """What was woken and not looked at, and when whose time is over. One per server.

    Most replies are there long before their time, so a connection has one place among the
    deadlines, however many replies it parks, and moves on when that comes up.
    """

    __slots__ = ("_deadlines", "_lot", "_numbers", "_queued", "_timekeeper", "_woken")

    def __init__(self) -> None:
        self._woken: dict[Parking, None] = {}
        self._deadlines: list[tuple[float, int, Parking]] = []  # a heap
        self._queued: dict[Parking, float] = {}  # those that count of them
        self._numbers = itertools.count()
        self._timekeeper = Timekeeper()
        self._lot = trio.lowlevel.ParkingLot()  # the task that polls who was woken

    def wake(self, who: Parking) -> None:
        """Have `who` polled soon, and once."""
        is_first = not self._woken
        self._woken[who] = None
        if is_first and not after_look(self._poll_woken):
            self._lot.unpark()

    def wake_at(self, deadline: float, who: Parking) -> None:
        """Have `who` polled at `deadline`, if its reply is still parked then."""
        if deadline < self._queued.get(who, math.inf):
            self._push(deadline, who)
            self._timekeeper.look_before(deadline)

    def forget(self, who: Parking) -> None:
        """It is gone."""
        self._queued.pop(who, None)

    def __len__(self) -> int:
        """How many deadlines are kept."""
        return len(self._deadlines)

    def _push(self, deadline: float, who: Parking) -> None:
        self._queued[who] = deadline
        heapq.heappush(self._deadlines, (deadline, next(self._numbers), who))
        if len(self._deadlines) > 2 * len(self._queued) + STALE_MAX:
            kept = [(when, next(self._numbers), each) for each, when in self._queued.items()]
            heapq.heapify(kept)
            self._deadlines[:] = kept

    def _poll_woken(self) -> None:
        while self._woken:
            woken, self._woken = self._woken, {}
            for who in woken:
                who.poll()

    async def run(self) -> None:
        """Poll what nobody else does, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timekeeper.run, self._poll_due)
            while True:
                self._poll_woken()
                await self._lot.park()

    def _poll_due(self) -> float:
        now, deadlines = trio.current_time(), self._deadlines
        while deadlines and deadlines[0][0] <= now:
            when, _, who = heapq.heappop(deadlines)
            if self._queued.get(who) != when:
                continue
            del self._queued[who]
            until = who.parked_until
            if until <= now:
                self._woken[who] = None
            elif until < math.inf:
                self._push(until, who)
        self._poll_woken()
        return deadlines[0][0] if deadlines else math.inf


__all__ = ["Parking", "Wakeups"]
