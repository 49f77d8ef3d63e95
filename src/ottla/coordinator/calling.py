"""How soon another member is called again, and what is told when nothing comes of it.

A member that is down is looked for twice a second, since an ensemble waits for it. One that takes
the call and ends it at once does not want this caller: it has a secret, a certificate or a list of
members that this one lacks. That takes a person, so after some tries it is called less and less
often. It is called at once when it calls itself, so whoever was set right is back at once.
"""

import trio

from ottla.coordinator.peer_security import NotProven

PAUSE_MIN_S = 0.02
PAUSE_MAX_S = 0.5
REFUSED_PAUSE_MAX_S = 3.0
PATIENCE = 8
"""Calls in a row that end at once before the pauses grow above `PAUSE_MAX_S`."""


class Calling:
    """The calls of one member to another one; owned by the task that makes them."""

    __slots__ = ("_called", "_failure", "_pause_s", "refusals")

    def __init__(self) -> None:
        self._pause_s = PAUSE_MIN_S
        self._failure = ""
        self.refusals = 0  # in a row
        self._called = trio.Event()

    @property
    def is_doubtful(self) -> bool:
        """Whether the last call was ended at once: the next may be as well."""
        return self.refusals > 0

    def failed(self, error: OSError | trio.TooSlowError) -> bool:
        """It came to no connection; whether that is to be told: once, not at every attempt."""
        if isinstance(error, NotProven):
            self.refusals += 1
        is_news = str(error) != self._failure
        self._failure = str(error)
        return is_news

    def ended(self, lasted_s: float) -> bool:
        """A connection ended; whether it is to be told that this member is not wanted."""
        self._failure = ""
        if lasted_s > PAUSE_MAX_S:
            self._pause_s = PAUSE_MIN_S
            self.refusals = 0
        else:
            self.refusals += 1
        return self.refusals == PATIENCE

    def was_called(self) -> None:
        """The other member has called here, and was believed."""
        self._called.set()

    async def pause(self) -> None:
        """Wait before the next call."""
        with trio.move_on_after(self._pause_s):
            await self._called.wait()
        self._called = trio.Event()
        limit = PAUSE_MAX_S if self.refusals < PATIENCE else REFUSED_PAUSE_MAX_S
        self._pause_s = min(self._pause_s * 2, limit)


__all__ = ["PATIENCE", "PAUSE_MAX_S", "REFUSED_PAUSE_MAX_S", "Calling"]
