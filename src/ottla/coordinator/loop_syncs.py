"""Whether a sync may hold the loop, in place of going to a thread and back.

Two cores that wake one another cost more CPU than the sync of a few hundred bytes does: on the
loop, writes with few in flight take a third less CPU, and a lone one a quarter less time. But while
it lasts nobody is answered, so it is done only

* by a member alone, or one that follows: none that leads others owes them a sign of life;
* not while a snapshot is written, which keeps the disk busy;
* for little data (`LITTLE_BYTES`): with more, the loop has better things to do meanwhile;
* on a disk that was quick for `QUICK_IN_A_ROW` syncs, of which the last one was the last that may
  have held the loop for more than `QUICK_S`;
* not for a while after one that held it for more than `LONG_S`, and for a longer while each time.

A disk that stalls now and then holds reads once in `PAUSE_MIN_S` to `PAUSE_MAX_S`, not each time.
"""

LITTLE_BYTES = 16 * 1024
QUICK_S = 0.001
QUICK_WAIT_S = 0.002
"""A sync in a thread is quick within this, the way to the thread and back included."""
QUICK_IN_A_ROW = 100
LONG_S = 0.02
PAUSE_MIN_S = 10.0
PAUSE_MAX_S = 600.0
_FORGIVEN_S = 3600.0


class LoopSyncs:
    """What one member knows of its disk. Times are seconds on the caller's clock."""

    __slots__ = ("_not_before", "_pause_s", "_quick")

    def __init__(self) -> None:
        self._quick = 0  # syncs in a row
        self._not_before = float("-inf")
        self._pause_s = PAUSE_MIN_S

    def may_hold(self, now: float) -> bool:
        return self._quick >= QUICK_IN_A_ROW and now >= self._not_before

    def waited(self, took_s: float) -> None:
        """A sync in a thread is done."""
        self._quick = self._quick + 1 if took_s <= QUICK_WAIT_S else 0

    def held(self, took_s: float, now: float) -> None:
        """A sync on the loop is done."""
        if took_s <= QUICK_S:
            return
        self._quick = 0
        if took_s > LONG_S:
            if now > self._not_before + _FORGIVEN_S:
                self._pause_s = PAUSE_MIN_S
            self._not_before = now + self._pause_s
            self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)


__all__ = [
    "LITTLE_BYTES",
    "LONG_S",
    "PAUSE_MAX_S",
    "PAUSE_MIN_S",
    "QUICK_IN_A_ROW",
    "QUICK_S",
    "QUICK_WAIT_S",
    "LoopSyncs",
]
