"""Group commit: one sync covers every write that came before it, in a thread or on the loop."""

from collections.abc import Callable

import trio

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.loop_syncs import LITTLE_BYTES, LONG_S, LoopSyncs
from ottla.coordinator.snapshotting import Snapshotting
from ottla.coordinator.store.store import Store


class Syncing:
    """A node's syncs, which its `Turns` ask for."""

    __slots__ = ("_core", "_is_alone", "_on_held", "_place", "_snapshots", "_store")

    def __init__(
        self,
        store: Store,
        core: Consensus,
        snapshots: Snapshotting,
        on_held: Callable[[float], None],
        *,
        is_alone: bool,
    ) -> None:
        """`on_held(now)`: until now the loop was held so long that somebody may have noticed."""
        self._store = store
        self._core = core
        self._snapshots = snapshots
        self._on_held = on_held
        self._is_alone = is_alone
        self._place = LoopSyncs()

    async def sync(self) -> None:
        """Off the loop. OSError."""
        began = trio.current_time()
        sequence = await self._store.sync()
        now = trio.current_time()
        self._place.waited(now - began)
        self._core.persisted(sequence, now)

    def sync_here(self) -> bool:
        """On the loop; False: that might hold it too long, and nothing was done. OSError."""
        began = trio.current_time()
        if not self._place.may_hold(began) or self._snapshots.is_taking:
            return False
        if self._core.leadership is not None and not self._is_alone:
            return False
        sequence = self._store.sync_here(LITTLE_BYTES)
        if sequence is None:
            return False
        now = trio.current_time()
        self._place.held(now - began, now)
        if now - began > LONG_S:
            self._core.was_held(now)
            self._on_held(now)
        self._core.persisted(sequence, now)
        return True


__all__ = ["Syncing"]
