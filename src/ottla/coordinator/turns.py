"""When a member takes a turn, and when it syncs: a group commit with as few switches as it takes.

A turn writes what was asked for since the last one, and one sync covers all writes before it. One
task does both, one behind the other. While it waits for a sync, turns are taken beside it: the
other members wait for what they bring. One member alone has nobody to tell: its requests gather
until the sync has ended, and are one write then.

What the loop's look at its sockets brought gets its turn right behind that look, without a switch
to a task. A turn syncs where it stands, if that takes no time to speak of (`loop_syncs`), and
answers what it has written.
"""

from collections.abc import Awaitable, Callable

import trio

from ottla.runtime.readiness import behind_looks


class Turns:
    """Owned by the node; `run`, `run_beside` and `run_later` live as long as the node runs."""

    __slots__ = (
        "_beside",
        "_failure",
        "_idle",
        "_is_alone",
        "_is_later_wanted",
        "_is_sync_wanted",
        "_is_syncing",
        "_is_wanted",
        "_later",
        "_sync",
        "_sync_here",
        "_turn",
    )

    def __init__(
        self,
        turn: Callable[[], None],
        sync: Callable[[], Awaitable[None]],
        sync_here: Callable[[], bool],
        *,
        is_alone: bool,
    ) -> None:
        """`turn()` calls `began`, and `sync_at_once` when it has written something.

        `sync()` makes durable what was written before the call.

        `sync_here()` does so at once, or says that it should not.
        """
        self._turn = turn
        self._sync = sync
        self._sync_here = sync_here
        self._is_alone = is_alone
        self._is_wanted = False
        self._is_sync_wanted = False
        self._is_syncing = False
        self._idle = trio.lowlevel.ParkingLot()  # the one task, when there is nothing to do
        self._failure: BaseException | None = None  # of a turn behind a look; `run` raises it
        self._is_later_wanted = False
        self._later = trio.lowlevel.ParkingLot()  # the third, when there is nothing to wait for
        self._beside = trio.lowlevel.ParkingLot()  # the other, when that one does it

    def want(self) -> None:
        """A turn as soon as the loop comes to it."""
        self._is_wanted = True
        self._wake()

    def _wake(self) -> None:
        if self._is_syncing:
            self._beside.unpark()
        else:
            self._idle.unpark()

    def want_gathered(self) -> None:
        """As `want`, together with what others still bring; at the latest behind this look.

        If nobody else waits for it, it may wait until a sync has ended.
        """
        if self._is_wanted:
            return
        self._is_wanted = True
        if not ((self._is_syncing and self._is_alone) or behind_looks(self._take_gathered)):
            self._wake()

    def _take_gathered(self) -> None:
        if not self._is_wanted or self._failure is not None:
            return
        try:
            self._turn()
        except BaseException as error:  # noqa: BLE001  `run` raises it, where it is waited for
            self._failure = error
            self._idle.unpark()

    def want_later(self) -> None:
        """A turn within the time of `run_later`, if there is none before, and another if so."""
        if not self._is_later_wanted:
            self._is_later_wanted = True
            self._later.unpark()

    def began(self) -> None:
        """A turn begins, whoever takes it: all that was wanted is done by it."""
        self._is_wanted = False

    def sync_at_once(self) -> bool:
        """Something was written: whether it is durable already. Raises what a sync raises."""
        if not self._is_syncing and self._sync_here():
            self._is_sync_wanted = False
            return True
        self._is_sync_wanted = True
        if not self._is_syncing:
            self._idle.unpark()
        return False

    def take_at_once(self) -> None:
        """A turn now. Raises what it raises."""
        self._turn()

    async def run(self) -> None:
        """The turns, and the syncs behind them. Raises what these raise."""
        while True:
            if self._is_wanted:
                self._turn()
                if self._is_wanted:  # there is more to it than one turn does
                    await trio.lowlevel.checkpoint()
            if self._is_sync_wanted:
                self._is_sync_wanted = False
                if not self._sync_here():
                    self._is_syncing = True
                    await self._sync()
                    self._is_syncing = False
                self._turn()
            elif not self._is_wanted:
                await self._idle.park()
                if self._failure is not None:
                    raise self._failure

    async def run_beside(self) -> None:
        """The turns during a sync. Raises what these raise."""
        while True:
            await self._beside.park()
            while self._is_wanted and self._is_syncing:
                self._turn()
                if self._is_wanted:
                    await trio.lowlevel.checkpoint()

    async def run_later(self, delay_s: float) -> None:
        """The turns that may wait. Raises what these raise."""
        while True:
            if not self._is_later_wanted:
                await self._later.park()
            await trio.sleep(delay_s)
            self._is_later_wanted = False
            self._turn()


__all__ = ["Turns"]
