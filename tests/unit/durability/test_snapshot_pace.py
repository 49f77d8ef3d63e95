"""How often a member writes its state down (`coordinator.snapshotting`)."""

import random
from collections.abc import Sequence

import trio
import trio.testing

from ottla.coordinator.consensus.values import Position, Snapshot
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.snapshotting import RESTS, Snapshotting
from ottla.coordinator.store.store import Store
from ottla.coordinator.tree.tree import Tree
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.memory_disk import MemoryDisk

TOOK_S = 3.0


class Slow(Snapshotting):
    """Each one takes `TOOK_S`, and tells when it began."""

    began: Sequence[float] = ()

    async def _take(self) -> None:
        self.began = (*self.began, trio.current_time())
        self._offer_wanted = False
        self.plan(0)
        await trio.sleep(TOOK_S)


async def test_a_member_rests_between_snapshots_unless_another_needs_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = CoordinatorSettings(my_id=1, members={}, data_dir="/data", snap_count=10)
    events = RecordingEvents()
    store = Store.open(MemoryDisk(), "/data", "/data", force_sync=True, events=events)
    offered: list[Snapshot] = []
    slow = Slow(
        settings,
        store,
        events,
        random.Random(1),
        state=lambda: (Position(), Tree()),
        offer=offered.append,
    )
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.run)
        for index in range(10, 30):
            slow.applied(index)  # one that is due, every second
            await trio.sleep(1)
        assert [at - start for at in slow.began] == [
            0,
            TOOK_S * (1 + RESTS),
            TOOK_S * 2 * (1 + RESTS),
        ]
        slow.offer_soon()
        await trio.sleep(TOOK_S)
        assert len(slow.began) == 4
        nursery.cancel_scope.cancel()
    store.close()
