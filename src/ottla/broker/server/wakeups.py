"""Parked replies without a task each: who is woken is looked at once, at the end of a turn.

A fetch that waits for records is parked with its connection. An append wakes it in the middle of
another request; it is noted here, and polled when all that is ready has been served, within the
same turn of the loop if the sockets are the system's. So the records of one turn are one answer,
and the producer's comes first. Otherwise, and for requests whose time is over, the task of `run`
does it.
"""

import heapq
import itertools
from typing import Protocol

import trio

from ottla.runtime.readiness import after_look


class Parking(Protocol):
    """A connection with a parked reply. `is_parked`: whether that of `ticket` is still there."""

    def is_parked(self, ticket: object) -> bool: ...

    def poll(self) -> None:
        """Look whether the parked reply can be made. Raises nothing but broken invariants."""
        ...


class Wakeups:
    """What was woken and not looked at, and when whose time is over. One per server."""

    __slots__ = ("_deadlines", "_lot", "_next", "_numbers", "_woken")

    def __init__(self) -> None:
        self._woken: dict[Parking, None] = {}
        self._deadlines: list[tuple[float, int, Parking, object]] = []
        self._numbers = itertools.count()
        self._next = float("inf")  # until when the task sleeps
        self._lot = trio.lowlevel.ParkingLot()

    def wake(self, who: Parking) -> None:
        """Have `who` polled soon, and once."""
        is_first = not self._woken
        self._woken[who] = None
        if is_first and not after_look(self._poll_woken):
            self._lot.unpark()

    def wake_at(self, deadline: float, who: Parking, ticket: object) -> None:
        """Have `who` polled at `deadline`, if `ticket` is still parked then."""
        heapq.heappush(self._deadlines, (deadline, next(self._numbers), who, ticket))
        if deadline < self._next:
            self._next = deadline
            self._lot.unpark()

    def _poll_woken(self) -> None:
        while self._woken:
            woken, self._woken = self._woken, {}
            for who in woken:
                who.poll()

    async def run(self) -> None:
        """Poll what nobody else does, until cancelled."""
        deadlines = self._deadlines
        while True:
            now = trio.current_time()
            while deadlines and (
                deadlines[0][0] <= now or not deadlines[0][2].is_parked(deadlines[0][3])
            ):
                _, _, who, ticket = heapq.heappop(deadlines)
                if who.is_parked(ticket):
                    self._woken[who] = None
            self._poll_woken()
            self._next = deadlines[0][0] if deadlines else float("inf")
            with trio.move_on_at(self._next):
                await self._lot.park()


__all__ = ["Parking", "Wakeups"]
