"""A task that looks at something whenever that is due, and sleeps in between.

Nearly every sleep lasts until its time, so it needs neither an event nor a cancel scope of its own:
only who finds that something is due before ends the scope that they share.
"""

import math
from collections.abc import Callable

import trio


class Timekeeper:
    """`run` is the task; others may tell it that something is due before it looks."""

    __slots__ = ("_asleep_until", "_sleep")

    def __init__(self) -> None:
        self._asleep_until = math.inf
        self._sleep = trio.CancelScope()

    async def run(self, look: Callable[[], float]) -> None:
        """Call `look` at once and then when it said, until cancelled. Raises what it raises."""
        while True:
            with trio.CancelScope() as self._sleep:
                while True:
                    self._asleep_until = -math.inf  # what it is told now `look` finds, or has
                    self._asleep_until = until = look()
                    await trio.sleep_until(until)

    def look_before(self, when: float) -> None:
        """Something is due at `when`: look anew if the task would sleep on beyond that."""
        if when < self._asleep_until:
            self._asleep_until = when
            self._sleep.cancel()


__all__ = ["Timekeeper"]
