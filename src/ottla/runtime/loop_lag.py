"""How late trio's loop runs: a gauge, and an event when somebody held it for long."""

import trio

from ottla.runtime.interfaces import Events

_PERIOD_S = 0.5  # an idle process wakes for little else
_STALL_S = 1.0


class LoopLag:
    """The delay of a periodic wake-up. `worst_s` is since the last `take_worst`."""

    __slots__ = ("last_s", "worst_s")

    def __init__(self) -> None:
        self.last_s = 0.0
        self.worst_s = 0.0

    def take_worst(self) -> float:
        """The worst delay since the last call, seconds."""
        worst, self.worst_s = self.worst_s, 0.0
        return worst

    async def watch(self, events: Events) -> None:
        """Measure for ever; for daemons only, since it would keep a mock clock from resting."""
        due = trio.current_time() + _PERIOD_S
        while True:
            await trio.sleep_until(due)
            now = trio.current_time()
            self.last_s = now - due
            self.worst_s = max(self.worst_s, self.last_s)
            if self.last_s >= _STALL_S:
                events.warning("loop.stalled", seconds=round(self.last_s, 3))
            due = now + _PERIOD_S


__all__ = ["LoopLag"]
