"""When and how a member writes its state down, for itself and for members that lag far behind."""

import random
from collections.abc import Callable
from contextlib import closing

import trio

from ottla.coordinator.consensus.values import Position, Snapshot
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.store.pieces import pieces_of
from ottla.coordinator.store.store import Store
from ottla.coordinator.tree.tree import Tree
from ottla.runtime.interfaces import Events

SLICE_S = 0.002
"""How long a dump may hold the loop at a time. A write waits for a few of these."""
REST_S = 0.004
"""How long it rests behind each, unless somebody waits for the snapshot. Members take theirs at
about the same time, and other members' requests want the cores as well."""


RESTS = 2
"""So many times as long as a snapshot took is none begun for this member's own sake: a large state
that is written to fast would have one taken all the time. The log grows by what comes meanwhile."""


class Snapshotting:
    """Owned by the node, which goes on with everything while a snapshot is taken."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        store: Store,
        events: Events,
        rng: random.Random,
        *,
        state: Callable[[], tuple[Position, Tree]],
        offer: Callable[[Snapshot], None],
    ) -> None:
        """`state()` is the tree and what it has applied; `offer` hands a snapshot to the core."""
        self._settings = settings
        self._store = store
        self._events = events
        self._rng = rng
        self._state = state
        self._offer = offer
        self._offer_wanted = False
        self._wake = trio.Event()
        self.is_taking = False
        """Whether a snapshot is being written."""
        self._due = 0
        self._not_before = float("-inf")
        self.plan(store.recovered.base.index)

    def plan(self, index: int) -> None:
        """The state as of `index` is on disk: choose when the next snapshot is due.

        ZooKeeper's spread: after half to all of `snapCount`, so that members take turns.
        """
        count = self._settings.snap_count
        self._due = index + count // 2 + self._rng.randrange(count // 2 + 1)

    def applied(self, index: int, *, is_behind: bool = False) -> None:
        """Entries up to `index` are applied. `is_behind`: more follow before anybody is served,
        and snapshots of all states on the way would hold that up."""
        if index >= self._due and not is_behind and trio.current_time() >= self._not_before:
            self._wake.set()

    def offer_soon(self) -> None:
        """A member needs a snapshot as of now."""
        self._offer_wanted = True
        self._wake.set()

    async def run(self) -> None:
        """Take snapshots as they fall due. OSError: the disk failed."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self.is_taking = True
            self._not_before = float("inf")
            began = trio.current_time()
            await self._take()
            now = trio.current_time()
            self._not_before = now + RESTS * (now - began)
            self.is_taking = False

    async def _take(self) -> None:
        """Dump the state as of now, in slices of a few milliseconds."""
        at, tree = self._state()
        membership = tree.membership
        offered, self._offer_wanted = self._offer_wanted, False
        kept: list[bytes] = []
        writer = self._store.begin_snapshot(at, membership) if at.index else None
        replaced = False
        pause_at = trio.current_time() + SLICE_S
        with closing(tree.dump()) as chunks:
            for piece in pieces_of(chunks):
                if piece:
                    if writer is not None:
                        writer.add(piece)
                    if offered:
                        kept.append(piece)
                if trio.current_time() >= pause_at:
                    if writer is None:
                        await trio.lowlevel.checkpoint()
                    else:
                        await writer.breathe()
                        if not offered:
                            await trio.sleep(REST_S)
                    replaced = self._state()[1] is not tree
                    if replaced:
                        break  # by a snapshot of the leader's
                    pause_at = trio.current_time() + SLICE_S
        if replaced:
            if writer is not None:
                writer.abandon()
            return
        self.plan(at.index)
        if offered:
            self._offer(Snapshot(at, kept, membership))
        if writer is not None:
            size = await writer.finish()
            self._events.info("ensemble.snapshot_taken", zxid=f"{at.zxid:#x}", bytes=size)

    async def run_purges(self) -> None:
        """Remove what `autopurge.*` says, at its interval."""
        while True:
            await trio.sleep(self._settings.autopurge_purge_interval_h * 3600)
            removed = self._store.purge(self._settings.autopurge_snap_retain_count)
            if removed:
                self._events.info("coordinator_store.purged", files=removed)


__all__ = ["Snapshotting"]
