"""When a sync may hold the loop (`coordinator.loop_syncs`), and what of a store it may be."""

import random

import pytest
import trio
import trio.testing

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.values import HardState, Persist
from ottla.coordinator.loop_syncs import (
    LONG_S,
    PAUSE_MAX_S,
    PAUSE_MIN_S,
    QUICK_IN_A_ROW,
    QUICK_S,
    QUICK_WAIT_S,
    LoopSyncs,
)
from ottla.coordinator.snapshotting import Snapshotting
from ottla.coordinator.store.store import Store
from ottla.coordinator.syncing import Syncing
from ottla.protocol.peer.entries import Block, Entry
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.memory_disk import MemoryDisk
from tests.unit.consensus.cores import Table, core_of


def quick(syncs: LoopSyncs) -> LoopSyncs:
    for _ in range(QUICK_IN_A_ROW):
        syncs.waited(QUICK_WAIT_S / 2)
    return syncs


def test_only_a_disk_that_was_quick_many_times_in_a_row() -> None:
    syncs = LoopSyncs()
    for _ in range(QUICK_IN_A_ROW - 1):
        syncs.waited(QUICK_WAIT_S)
    assert not syncs.may_hold(1.0)
    syncs.waited(QUICK_WAIT_S)
    assert syncs.may_hold(1.0)
    syncs.waited(QUICK_WAIT_S * 1.01)
    assert not syncs.may_hold(1.0)


def test_the_first_slow_one_is_the_last_for_now() -> None:
    syncs = quick(LoopSyncs())
    for _ in range(1000):
        syncs.held(QUICK_S, 1.0)
    assert syncs.may_hold(1.0)
    syncs.held(QUICK_S * 1.01, 1.0)
    assert not syncs.may_hold(1.0)
    assert quick(syncs).may_hold(1.0)


def test_after_one_that_was_felt_there_is_a_pause_and_a_longer_one_each_time() -> None:
    syncs = quick(LoopSyncs())
    now, pause_s = 5.0, PAUSE_MIN_S
    for _ in range(12):
        syncs.held(LONG_S * 1.01, now)
        quick(syncs)
        assert not syncs.may_hold(now + pause_s * 0.99)
        now += pause_s
        assert syncs.may_hold(now)
        pause_s = min(pause_s * 2, PAUSE_MAX_S)
    now += 24 * 3600
    syncs.held(LONG_S * 1.01, now)
    assert quick(syncs).may_hold(now + PAUSE_MIN_S)


def write(sequence: int, size: int) -> Persist:
    block = Block([Entry(sequence, 1, (1 << 32) + sequence, bytes(size))])
    return Persist(sequence, None, HardState(1, 1), [block])


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


def opened(disk: MemoryDisk) -> Store:
    return Store.open(disk, "/data", "/log", force_sync=True, events=RecordingEvents())


def test_a_sync_here_is_one_for_a_crash(disk: MemoryDisk) -> None:
    store = opened(disk)
    store.write(write(1, 100))
    assert store.sync_here(1000) == 1
    disk.crash(random.Random(1))
    assert [entry.index for entry in opened(disk).recovered.entries] == [1]


async def test_more_than_the_limit_goes_the_other_way(disk: MemoryDisk) -> None:
    store = opened(disk)
    store.write(write(1, 2000))
    assert store.sync_here(1000) is None
    assert await store.sync() == 1
    store.write(write(2, 100))
    assert store.sync_here(1000) == 2  # what was synced before does not count


async def test_the_end_of_a_segment_goes_the_other_way(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file, and a shorter length of the old one, may take the file system long."""
    store = opened(disk)
    store.write(write(1, 100))
    monkeypatch.setattr("ottla.coordinator.store.txn_log.SEGMENT_BYTES", 50)
    assert store.sync_here(1000) is None


class Snapshots(Snapshotting):
    """Nothing of one but whether it is at it."""

    def __init__(self) -> None:
        self.is_taking = False


def syncing(store: Store, core: Consensus, *, is_alone: bool) -> tuple[Syncing, Snapshots]:
    """Behind a disk that was quick often enough."""
    snapshots = Snapshots()
    made = Syncing(store, core, snapshots, lambda _now: None, is_alone=is_alone)
    quick(made._place)
    return made, snapshots


def persist(core: Consensus, store: Store, now: float) -> None:
    wanted = core.actions(now).persist
    assert wanted is not None
    store.write(wanted)


async def test_one_that_leads_others_never_holds_its_loop(disk: MemoryDisk) -> None:
    """They would miss its signs of life as long as its disk stalls."""
    table = Table([core_of(me, (1, 2, 3)) for me in (1, 2, 3)])
    table.elect(1)
    store = opened(disk)
    leader, _ = syncing(store, table.cores[1], is_alone=False)
    table.cores[1].propose([b"x"])
    persist(table.cores[1], store, table.now)
    assert not leader.sync_here()


async def test_one_alone_holds_it_but_not_beside_a_snapshot(disk: MemoryDisk) -> None:
    core = core_of(1, (1,))
    core.tick(10.0)
    store = opened(disk)
    persist(core, store, 10.0)
    alone, snapshots = syncing(store, core, is_alone=True)
    snapshots.is_taking = True
    assert not alone.sync_here()
    snapshots.is_taking = False
    assert alone.sync_here()  # its vote; now it leads
    persist(core, store, 10.0)
    assert alone.sync_here()
    assert core.synced_index == core.log.last_index == 1


async def test_one_that_follows_holds_it(disk: MemoryDisk) -> None:
    table = Table([core_of(me, (1, 2)) for me in (1, 2)])
    table.elect(1)
    table.cores[1].propose([b"x"])
    for to, message in table.drain(1):
        table.cores[to].step(1, message, table.now)
    store = opened(disk)
    persist(table.cores[2], store, table.now)
    follower, _ = syncing(store, table.cores[2], is_alone=False)
    assert follower.sync_here()
    assert table.cores[2].synced_index == table.cores[1].log.last_index


async def test_a_sync_that_was_felt_is_told_and_the_next_is_elsewhere(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs of life may wait unread, so that sessions get their time anew."""
    disk = MemoryDisk()
    core = core_of(1, (1,))
    core.tick(10.0)
    store = opened(disk)
    told: list[float] = []
    alone = Syncing(store, core, Snapshots(), told.append, is_alone=True)
    quick(alone._place)
    persist(core, store, 10.0)
    sync_now = store._writer.sync_now

    def stall() -> None:
        mock_clock.jump(LONG_S * 2)
        sync_now()

    monkeypatch.setattr(store._writer, "sync_now", stall)
    assert alone.sync_here()
    assert told == [trio.current_time()]
    persist(core, store, 10.0)
    assert not alone.sync_here()
