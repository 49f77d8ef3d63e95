"""Group commit: one sync covers every write that came before it, in a thread or on the loop."""

from collections.abc import Callable

import trio

from ottla.coordinator.loop_syncs import LITTLE_BYTES, LONG_S, LoopSyncs
from ottla.coordinator.store.store import Store


class Syncing:
    """A node's syncs, which its `Turns` ask for."""

    __slots__ = ("_on_held", "_persisted", "_place", "_store")

    def __init__(
        self,
        store: Store,
        persisted: Callable[[int, float], None],
        on_held: Callable[[float], None],
    ) -> None:
        """`persisted(sequence, now)`: all writes up to there are safe. `on_held(now)`: until now
        the loop was held so long that somebody may have noticed."""
        self._store = store
        self._persisted = persisted
        self._on_held = on_held
        self._place = LoopSyncs()

    async def sync(self) -> None:
        """Off the loop. OSError."""
        began = trio.current_time()
        sequence = await self._store.sync()
        now = trio.current_time()
        self._place.waited(now - began)
        self._persisted(sequence, now)

    def sync_here(self) -> bool:
        """On the loop; False: that might hold it too long, and nothing was done. OSError."""
        began = trio.current_time()
        if not self._place.may_hold(began):
            return False
        sequence = self._store.sync_here(LITTLE_BYTES)
        if sequence is None:
            return False
        now = trio.current_time()
        self._place.held(now - began, now)
        if now - began > LONG_S:
            self._on_held(now)
        self._persisted(sequence, now)
        return True


__all__ = ["Syncing"]
