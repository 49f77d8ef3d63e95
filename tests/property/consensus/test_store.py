"""The store against a power cut at any moment: what was synced is there, the rest is a prefix."""

import random

import pytest
import trio

from ottla.coordinator.consensus.values import HardState, Persist, Position, Snapshot
from ottla.coordinator.store import snapshots, txn_log
from ottla.coordinator.store.store import Store, StoreInUse
from ottla.protocol.peer.entries import Block, Entry
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.memory_disk import MemoryDisk


def open_store(disk, events=None):
    return Store.open(disk, "/data", "/log", force_sync=True, events=events or RecordingEvents())


class Model:
    """What the store should say: hard state, snapshot position, entries after it."""

    def __init__(self):
        self.hard = HardState()
        self.base = Position()
        self.entries: tuple[Entry, ...] = ()

    def copy(self):
        other = Model()
        other.hard, other.base, other.entries = self.hard, self.base, self.entries
        return other

    @property
    def view(self):
        return self.hard, self.base, self.entries

    def persist(self, sequence, rng, *, install):
        """A next write of chance: new epoch, entries, a conflict, or an installed snapshot."""
        other = self.copy()
        hard = snapshot = None
        if rng.random() < 0.3 or self.hard.epoch == 0:
            hard = other.hard = HardState(self.hard.epoch + 1, rng.choice([None, 1, 2]))
        blocks = []
        last = self.base.index + len(self.entries)
        if install:
            epoch = other.hard.epoch
            index = last + rng.randint(1, 5)
            at = Position(index, epoch, (epoch << 32) + 100 + index)
            snapshot = Snapshot(at, [b"state-%d" % at.index])
            other.base, other.entries, last = at, (), at.index
        if rng.random() < 0.9:
            epoch = other.hard.epoch
            first = rng.randint(max(other.base.index + 1, last - 2), last + 1) if hard else last + 1
            blocks = [
                Block(
                    [
                        Entry(i, epoch, (epoch << 32) + 100 + i, rng.randbytes(rng.randint(0, 80)))
                        for i in range(first, first + rng.randint(1, 4))
                    ]
                )
            ]
            kept = other.entries[: first - other.base.index - 1]
            other.entries = (*kept, *blocks[0].entries)
        return Persist(sequence, snapshot, hard, blocks), other


async def life(disk, rng, model):
    """One life of a store: writes and syncs, then a crash; the states it may come back with."""
    store = open_store(disk)
    recovered = store.recovered
    assert (recovered.hard, recovered.base, tuple(recovered.entries)) == model.view
    states = [model]
    durable = 0
    installing = rng.random() < 0.3
    for sequence in range(1, rng.randint(2, 9)):
        persist, after = states[-1].persist(
            sequence, rng, install=installing and rng.random() < 0.2
        )
        store.write(persist)
        states.append(after)
        dice = rng.random()
        if dice < 0.5:
            durable = await store.sync()
        elif dice < 0.6 and durable == sequence - 1 and not persist.snapshot:
            durable = await store.sync()
            await take_snapshot(store, after)
            states = states[: durable + 1]
        if rng.random() < 0.05:
            with trio.CancelScope() as scope:
                scope.cancel()
                await store.sync()
    if rng.random() < 0.2:
        store.purge(1)
    store.close()
    disk.crash(rng)
    return states[durable:]


async def take_snapshot(store, model):
    if not model.entries:
        return
    entry = model.entries[len(model.entries) // 2]
    writer = store.begin_snapshot(Position(entry.index, entry.epoch, entry.zxid))
    writer.add(b"state-%d" % entry.index)
    await writer.finish()
    cut = entry.index - model.base.index
    model.base = Position(entry.index, entry.epoch, entry.zxid)
    model.entries = model.entries[cut:]


@pytest.mark.parametrize("seed", range(60))
async def test_crash_anywhere_keeps_what_was_synced_and_a_prefix_of_the_rest(seed):
    rng = random.Random(seed)
    disk = MemoryDisk()
    model = Model()
    for _ in range(6):
        possible = await life(disk, rng, model)
        store = open_store(disk)
        found = store.recovered
        view = (found.hard, found.base, tuple(found.entries))
        store.close()
        matching = [state for state in possible if same(state.view, view)]
        assert matching, (seed, view, [state.view for state in possible])
        model = Model()
        model.hard, model.base, model.entries = view
        if found.snapshot is not None:
            assert found.snapshot.chunks == [b"state-%d" % found.base.index]


def same(expected, found):
    """Equal, or the same log seen from a later snapshot of its own."""
    hard, base, entries = expected
    if hard != found[0]:
        return False
    skip = found[1].index - base.index
    return 0 <= skip <= len(entries) and entries[skip:] == found[2]


async def build(disk, count=5):
    """A store with `count` synced writes of one entry each; the path of its one segment."""
    store = open_store(disk)
    for i in range(1, count + 1):
        hard = HardState(1, 1) if i == 1 else None
        store.write(Persist(i, None, hard, [Block([Entry(i, 1, (1 << 32) + i, b"x" * 20)])]))
        assert await store.sync() == i
    store.close()
    [name] = txn_log.segments(disk, "/log/version-2")
    return f"/log/version-2/{name}"


async def test_cut_at_every_byte_of_the_tail_never_stops_a_start():
    disk = MemoryDisk()
    path = await build(disk)
    whole = disk.read(path)
    counts = []
    for length in range(len(whole)):
        disk.replace(path, whole[:length])
        events = RecordingEvents()
        store = open_store(disk, events)
        counts.append(len(store.recovered.entries))
        store.close()
        disk.replace(path, whole)
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "content", [None, b"", bytes(100), b"\xff"], ids=["gone", "empty", "zeros", "torn"]
)
@pytest.mark.parametrize("has_snapshot", [True, False])
async def test_last_file_that_is_not_there_or_holds_nothing_never_stops_a_start(
    content, has_snapshot
):
    disk = MemoryDisk()
    for first in (1, 11):
        store = open_store(disk)
        for index in range(first, first + 10):
            block = Block([Entry(index, 1, (1 << 32) + index, b"x")])
            store.write(Persist(index, None, HardState(1), [block]))
            await store.sync()
            if has_snapshot and index == 10:
                writer = store.begin_snapshot(Position(8, 1, (1 << 32) + 8))
                writer.add(b"state")
                await writer.finish()
                await store.sync()  # and so the next entries are in another segment
        store.close()
    names = txn_log.segments(disk, "/log/version-2")
    assert len(names) == 2 or not has_snapshot
    last = f"/log/version-2/{names[-1]}"
    disk.remove(last)
    if content is not None:
        disk.replace(last, content)
    recovered = open_store(disk).recovered
    expected = 10 if len(names) > 1 else 0
    assert (recovered.base.index, len(recovered.entries)) == (
        (8, 2) if has_snapshot else (0, expected)
    )


def opening_problem(disk):
    try:
        open_store(disk).close()
    except txn_log.CorruptStore as error:
        return str(error)
    return ""


async def test_damage_below_the_synced_length_names_file_and_offset():
    disk = MemoryDisk()
    path = await build(disk)
    whole = bytearray(disk.read(path))
    refused = repaired = 0
    for offset in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[offset] ^= 0xFF
        disk.replace(path, bytes(damaged))
        problem = opening_problem(disk)
        repaired += not problem
        refused += path in problem and "offset" in problem
    # Only the last write has nothing behind it that proves it was safe.
    assert refused > 2.5 * repaired > 0
    assert refused + repaired == len(range(0, len(whole), 3))


async def test_nothing_is_written_behind_a_write_that_failed():
    """The next one may fit on a full disk, and would leave a hole: simulation seed 80212."""
    disk = MemoryDisk()
    store = open_store(disk)
    hard = HardState(1, 1)

    def entries(first: int, count: int, size: int) -> list[Block]:
        return [
            Block([Entry(i, 1, (1 << 32) + i, bytes(size)) for i in range(first, first + count)])
        ]

    store.write(Persist(1, None, hard, entries(1, 2, 10)))
    assert await store.sync() == 1
    disk.capacity_bytes = disk.used_bytes + 200
    with pytest.raises(OSError, match="No space"):
        store.write(Persist(2, None, None, entries(3, 2, 500_000)))
    for attempt in (
        lambda: store.write(Persist(3, None, None, entries(5, 1, 10))),
        lambda: store.sync_here(1 << 20),
    ):
        with pytest.raises(OSError, match="No space"):
            attempt()
    with pytest.raises(OSError, match="No space"):
        await store.sync()
    store.close()
    disk.capacity_bytes = None
    assert [entry.index for entry in open_store(disk).recovered.entries] == [1, 2]


async def test_second_process_is_refused():
    disk = MemoryDisk()
    store = open_store(disk)
    with pytest.raises(StoreInUse, match="in use by another process"):
        open_store(disk)
    store.close()
    open_store(disk).close()


async def test_damaged_newest_snapshot_falls_back_to_the_one_before():
    disk = MemoryDisk()
    await build(disk)
    store = open_store(disk)
    for index in (2, 4):
        writer = store.begin_snapshot(Position(index, 1, (1 << 32) + index))
        writer.add(b"state")
        await writer.finish()
    store.close()
    path = f"/data/version-2/snapshot.{(1 << 32) + 4:x}"
    disk.replace(path, disk.read(path)[:-3])
    events = RecordingEvents()
    store = open_store(disk, events)
    assert store.recovered.base.index == 2
    assert [entry.index for entry in store.recovered.entries] == [3, 4, 5]
    assert events.named("coordinator_store.snapshot_skipped")[0].fields["file"] == path


async def test_a_large_snapshot_is_synced_bit_by_bit(autojump_clock):
    """A sync of the log would wait behind one of the whole: 100 ms for a million znodes."""
    store = open_store(MemoryDisk(sync_delay_s=0.01))
    writer = store.begin_snapshot(Position(1, 1, (1 << 32) + 1))
    waited = []
    for _ in range(9):
        writer.add(bytes(snapshots.SYNC_BYTES // 4))
        began = trio.current_time()
        await writer.breathe()
        waited.append(round(trio.current_time() - began, 3))
    assert waited == [0, 0, 0, 0.01, 0, 0, 0, 0.01, 0]
    await writer.finish()
    store.close()


async def test_purge_keeps_what_the_oldest_retained_snapshot_needs():
    disk = MemoryDisk()
    store = open_store(disk)
    for i in range(1, 41):
        hard = HardState(1, 1) if i == 1 else None
        store.write(Persist(i, None, hard, [Block([Entry(i, 1, (1 << 32) + i, b"x")])]))
        await store.sync()
        if i % 10 == 0:
            writer = store.begin_snapshot(Position(i, 1, (1 << 32) + i))
            writer.add(b"state")
            await writer.finish()
    removed = store.purge(2)
    store.close()
    assert [path.rsplit("/", 1)[1].split(".")[0] for path in removed] == [
        "snapshot",
        "snapshot",
        "log",
        "log",
    ]
    newest = f"/data/version-2/snapshot.{(1 << 32) + 40:x}"
    disk.remove(newest)
    store = open_store(disk)
    assert store.recovered.base.index == 30
    assert [entry.index for entry in store.recovered.entries] == list(range(31, 41))


async def test_what_a_killed_process_left_unsynced_is_safe_once_it_was_read(autojump_clock):
    """A kill leaves bytes in the page cache; the next life counts on them. Simulation seed 3."""
    disk = MemoryDisk()
    store = open_store(disk)
    entries = [Entry(i, 1, (1 << 32) + i, b"x" * 50) for i in range(1, 4)]
    store.write(Persist(1, None, HardState(1, 1), [Block(entries)]))
    store.close()  # and no sync
    store = open_store(disk)
    recovered = store.recovered
    assert [entry.index for entry in recovered.entries] == [1, 2, 3]
    store.write(Persist(1, None, None, [Block([Entry(4, 1, (1 << 32) + 4, b"y")])]))
    await store.sync()
    for seed in range(20):
        store.close()
        disk.crash(random.Random(seed))
        store = open_store(disk)
        assert [entry.index for entry in store.recovered.entries] == [1, 2, 3, 4]
    store.close()
