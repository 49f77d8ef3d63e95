"""Logs move between log directories while they are in use, and survive a crash at any moment."""

import errno
import random
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import trio
import trio.testing

from ottla.broker.errors import (
    BrokerError,
    KafkaStorageError,
    LogDirNotFound,
    ReplicaNotAvailable,
)
from ottla.broker.ids import TopicPartition
from ottla.broker.partitions.log_moves import LogMoves
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.storage.cleaner import Cleaner, CleanerSettings
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_copy import LogCopy
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.memory import FixedWallClock, MemoryDisk, RecordingEvents, memory_runtime
from tests.support.compactions import FusedDisk, PowerCut
from tests.support.logs import NOW_MS, append, batch, records_of, sequenced

TP = TopicPartition("t", 3)
CONFIG = LogConfig(segment_bytes=700, file_delete_delay_ms=1000)
DIRS = ("/d1", "/d2")


async def managed(disk: Any, *, events: RecordingEvents | None = None) -> LogManager:
    manager = LogManager(disk, DIRS, events=events or RecordingEvents())
    manager.claim(broker_id=1, cluster_id="c")
    await manager.load(lambda _: CONFIG, now_ms=NOW_MS)
    return manager


def moves_of(manager: LogManager, events: RecordingEvents | None = None) -> LogMoves:
    return LogMoves(
        manager,
        PartitionRegistry(),
        wall_clock=FixedWallClock(NOW_MS),
        rng=random.Random(5),
        events=events or RecordingEvents(),
    )


def filled(manager: LogManager, batches: int = 20) -> Log:
    log = manager.create(TP, CONFIG, now_ms=NOW_MS)
    log.assign_epoch(0, 0)
    for number in range(batches):
        log.append_as_leader(sequenced(number), leader_epoch=number // 7, now_ms=NOW_MS)
    return log


def state_of(log: Log) -> tuple[object, ...]:
    return (
        log.log_start,
        log.log_end,
        log.epochs.entries(),
        {who: one.last_sequence for who, one in log.producers.by_id.items()},
        [(record.offset, record.value) for record in records_of(log)],
    )


@asynccontextmanager
async def running(moves: LogMoves):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(moves.run)
        yield
        nursery.cancel_scope.cancel()


async def wait_moved(manager: LogManager, path: str = "/d2") -> Log:
    with trio.fail_after(60):
        while manager.dir_of(TP).path != path or TP in manager.futures.logs:  # noqa: ASYNC110
            await trio.sleep(0.01)
    log = manager.get(TP)
    assert log is not None
    return log


async def test_what_is_asked_for_outlives_a_power_cut() -> None:
    """Once it is answered, that is; Kafka syncs neither the copy's name nor its removal."""
    for seed in range(8):
        disk = MemoryDisk()
        manager = await managed(disk)
        filled(manager)
        await manager.settle_all()
        moves_of(manager).alter(TP, "/d2")
        disk.crash(random.Random(seed))
        manager = await managed(disk)
        assert manager.futures.logs[TP].directory.startswith("/d2/")
        moves_of(manager).alter(TP, "/d1")
        disk.crash(random.Random(seed))
        manager = await managed(disk)
        assert TP not in manager.futures.logs
        assert manager.logs[TP].directory == f"/d1/{TP}"


async def test_new_log_that_is_where_it_was_asked_for_stays_there() -> None:
    """Nothing of it is synced yet; after a power cut it was made elsewhere (seed 80358)."""
    for seed in range(8):
        disk = MemoryDisk()
        manager = await managed(disk)
        path = manager.create(TP, CONFIG, now_ms=NOW_MS).directory.rpartition("/")[0]
        moves_of(manager).alter(TP, path)
        disk.crash(random.Random(seed))
        manager = await managed(disk)
        assert manager.logs[TP].directory == f"{path}/{TP}"


async def test_log_goes_on_in_the_other_directory(autojump_clock: trio.testing.MockClock) -> None:
    disk = MemoryDisk()
    manager = await managed(disk)
    log = filled(manager)
    manager.logs[TP].advance_log_start(5)
    log.cleaned_end = 9
    moves = moves_of(manager)
    async with running(moves):
        moves.alter(TP, "/d2")
        for number in range(20, 50):
            manager.logs[TP].append_as_leader(sequenced(number), leader_epoch=3, now_ms=NOW_MS)
            await trio.lowlevel.checkpoint()
        moved = await wait_moved(manager)
    moved.check()
    assert moved.directory == f"/d2/{TP}"
    assert (moved.log_start, moved.log_end, moved.cleaned_end) == (5, 50, 9)
    assert [record.offset for record in records_of(moved)] == list(range(5, 50))
    moved.append_as_leader(sequenced(50), leader_epoch=3, now_ms=NOW_MS)
    before = state_of(moved)
    assert not disk.exists(f"/d1/{TP}")
    manager.close(clean=True)
    assert [name for name in disk.list_dir("/d1") if name.startswith("t-")] == []
    again = await managed(disk)
    assert state_of(again.logs[TP]) == before
    assert again.logs[TP].cleaned_end == 9
    assert again.dir_of(TP).path == "/d2"


@pytest.mark.parametrize("flush_messages", [1, 3])
async def test_move_of_a_log_that_has_to_be_on_disk(
    autojump_clock: trio.testing.MockClock, flush_messages: int
) -> None:
    disk = MemoryDisk(sync_delay_s=0.01)
    manager = await managed(disk)
    log = filled(manager)
    log.config = LogConfig(segment_bytes=700, flush_messages=flush_messages)
    settled: list[int] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(manager.commits.run)
        log.flush_if_wanted()
        moves = moves_of(manager)
        nursery.start_soon(moves.run)
        log.on_settled = lambda: settled.append(manager.logs[TP].settled_end)
        moves.alter(TP, "/d2")
        for number in range(20, 40):
            current = manager.logs[TP]
            current.append_as_leader(sequenced(number), leader_epoch=3, now_ms=NOW_MS)
            await current.settling().wait()
        moved = await wait_moved(manager)
        assert moved.settled_end == moved.log_end == 40
        moved.append_as_leader(sequenced(40), leader_epoch=3, now_ms=NOW_MS)
        await moved.settling().wait()
        nursery.cancel_scope.cancel()
    disk.crash(random.Random(1))
    again = await managed(disk)
    assert again.logs[TP].log_end >= 41 - (flush_messages - 1)


async def test_every_crash_leaves_one_log_with_everything_and_the_move_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crashes = 0
    for fuse in range(400):
        disk = FusedDisk(MemoryDisk())
        manager = await managed(disk)
        before = state_of(filled(manager))
        manager.logs[TP].flush()
        manager.write_checkpoints()
        for directory in DIRS:
            disk.disk.sync_dir(directory)
        disk.fuse = fuse
        try:
            moves = moves_of(manager)
            moves.alter(TP, "/d2")
            async with running(moves):
                await wait_moved(manager)
            disk.fuse = None
            break
        except* PowerCut:
            crashes += 1
        disk.fuse = None
        disk.disk.crash(random.Random(fuse))
        again = await managed(disk)
        assert state_of(again.logs[TP]) == before, f"fuse {fuse}"
        if TP in again.futures.logs:
            async with running(moves_of(again)):
                moved = await wait_moved(again)
            assert state_of(moved) == before, f"fuse {fuse}"
        again.close(clean=True)
    assert 15 < crashes < 399, "the last run had no crash"


async def test_what_is_cut_from_the_log_goes_from_the_copy_too() -> None:
    manager = await managed(MemoryDisk())
    log = filled(manager)
    target = manager.futures.begin(TP, manager.dirs[1], unique=_unique(), now_ms=NOW_MS)
    copy = LogCopy(log, target)
    while target.log_end < 15:
        copy.step(100)
    log.truncate_to(8)
    assert target.log_end == 8
    append(log, batch(b"other"), epoch=5)
    copy.complete()
    assert records_of(target) == records_of(log)
    log.truncate_fully_and_start_at(100)
    append(log, batch(b"anew"), epoch=6)
    copy.complete()
    assert (target.log_start, target.log_end) == (100, 101)
    assert records_of(target) == records_of(log)


async def test_copy_from_before_a_crash_is_cut_where_the_log_has_another_history() -> None:
    disk = MemoryDisk()
    manager = await managed(disk)
    log = filled(manager)
    target = manager.futures.begin(TP, manager.dirs[1], unique=_unique(), now_ms=NOW_MS)
    copy = LogCopy(log, target)
    copy.complete()
    copy.close()
    log.truncate_to(16)  # as a crash does it: nobody tells the copy
    append(log, batch(b"a"), epoch=4)
    append(log, batch(b"b"), epoch=4)
    assert (target.log_end, log.log_end) == (20, 18)
    LogCopy(log, target).complete()
    assert records_of(target) == records_of(log)
    assert target.epochs.entries() == log.epochs.entries()


async def test_move_elsewhere_and_back(autojump_clock: trio.testing.MockClock) -> None:
    disk = MemoryDisk()
    manager = await managed(disk)
    filled(manager)
    moves = moves_of(manager)
    moves.alter(TP, "/d1")
    assert not manager.futures.logs, "it is there already"
    moves.alter(TP, "/d2")
    copy = manager.futures.logs[TP]
    moves.alter(TP, "/d2/")
    assert manager.futures.logs[TP] is copy, "asked twice"
    moves.alter(TP, "/d1")
    assert not manager.futures.logs
    assert copy.is_closed
    async with running(moves):
        await trio.sleep(60)
        assert manager.dir_of(TP).path == "/d1"
        moves.alter(TP, "/d2")
        await wait_moved(manager)
        moves.alter(TP, "/d1")
        moved = await wait_moved(manager, "/d1")
    assert moved.log_end == 20
    manager.remove_doomed(NOW_MS + 10_000)
    assert [name for name in disk.list_dir("/d2") if name.startswith("t-")] == []


async def test_power_cut_during_the_next_move_leaves_one_copy_at_most(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The name that the first move gave may not be on the disk yet when the second begins."""
    for seed in range(8):
        disk = MemoryDisk()
        manager = await managed(disk)
        before = state_of(filled(manager))
        moves = moves_of(manager)
        async with running(moves):
            moves.alter(TP, "/d2")
            await wait_moved(manager)
        moves_of(manager).alter(TP, "/d1")
        disk.crash(random.Random(seed))
        manager = await managed(disk)
        assert state_of(manager.logs[TP]) == before
        assert manager.futures.logs[TP].directory.startswith("/d1/")


async def test_what_cannot_be_moved_is_refused() -> None:
    manager = await managed(MemoryDisk())
    moves = moves_of(manager)
    with pytest.raises(LogDirNotFound):
        moves.alter(TP, "/d3")
    with pytest.raises(ReplicaNotAvailable):
        moves.alter(TP, "/d2")
    filled(manager)
    assert manager.dir_of(TP).path == "/d2", "where it was to be made"
    long = TopicPartition("x" * 230, 0)
    manager.create(long, CONFIG, now_ms=NOW_MS)
    with pytest.raises(BrokerError):
        moves.alter(long, "/d2")


async def test_failed_directory_ends_the_move_and_not_the_log(
    autojump_clock: trio.testing.MockClock,
) -> None:
    manager = await managed(MemoryDisk())
    log = filled(manager)
    moves = moves_of(manager)
    moves.alter(TP, "/d2")
    manager.dirs[1].note_error("test", OSError(5, "broken"), where="/d2")
    async with running(moves):
        await trio.sleep(1)
    assert manager.get(TP) is log
    assert not manager.futures.logs
    with pytest.raises(KafkaStorageError):
        moves.alter(TP, "/d2")


async def test_deleted_partition_takes_its_copy_along() -> None:
    disk = MemoryDisk()
    manager = await managed(disk)
    filled(manager)
    moves_of(manager).alter(TP, "/d2")
    manager.delete(TP, now_ms=NOW_MS, unique=_unique())
    assert not manager.futures.logs
    manager.close(clean=True)
    assert [name for path in DIRS for name in disk.list_dir(path) if name.startswith("t-")] == []


async def test_compaction_rests_while_a_log_is_copied() -> None:
    runtime = memory_runtime()
    manager = await managed(runtime.disk)
    config = LogConfig(
        segment_bytes=300, cleanup_policy=frozenset({"compact"}), min_cleanable_ratio=0.01
    )
    log = manager.create(TP, config, now_ms=NOW_MS)
    for number in range(20):
        append(log, batch(b"%d" % number))
    cleaner = Cleaner(CleanerSettings(), manager, lambda _: log.log_end, runtime)
    worker: Any = SimpleNamespace()
    moves_of(manager).alter(TP, "/d2")
    assert not await cleaner.compact_dirtiest(worker)
    manager.futures.drop(TP, now_ms=NOW_MS, unique=_unique(), dirs=manager.dirs)
    with pytest.raises(AttributeError, match="start"):
        await cleaner.compact_dirtiest(worker)


async def test_copy_that_cannot_be_begun_leaves_nothing_behind() -> None:
    refused = 0
    for room in range(0, 200, 25):
        disk = MemoryDisk()
        manager = await managed(disk)
        filled(manager).set_topic_id(UUID(int=7))
        moves = moves_of(manager)
        disk.capacity_bytes = disk.used_bytes + room
        try:
            moves.alter(TP, "/d2")
        except KafkaStorageError:
            refused += 1
            assert [name for name in disk.list_dir("/d2") if name.startswith("t-3")] == []
            disk.capacity_bytes = None
            moves.alter(TP, "/d2")
        assert TP in manager.futures.logs
    assert 0 < refused < 8


async def test_full_disk_delays_a_move(autojump_clock: trio.testing.MockClock) -> None:
    disk = MemoryDisk()
    events = RecordingEvents()
    manager = await managed(disk)
    filled(manager)
    moves = moves_of(manager, events)
    disk.capacity_bytes = disk.used_bytes + 300
    moves.alter(TP, "/d2")
    async with running(moves):
        await trio.sleep(5)
        assert events.named("log.move_interrupted")
        assert manager.dir_of(TP).path == "/d1"
        disk.capacity_bytes = None
        moved = await wait_moved(manager)
    assert moved.log_end == 20


async def test_copy_without_its_log_gives_way_to_a_new_topic() -> None:
    """Its log is in a directory that is lost; the topic was deleted meanwhile and is made anew."""
    disk = MemoryDisk()
    manager = await managed(disk)
    filled(manager)
    moves_of(manager).alter(TP, "/d2")
    copy = manager.futures.logs[TP]
    append(copy, batch(b"old"))
    source = next(log_dir for log_dir in manager.dirs if log_dir.path == "/d1")
    source.note_error("test", OSError(5, "broken"), where="/d1")
    assert manager.get(TP) is None
    with pytest.raises(KafkaStorageError):
        manager.create(TP, CONFIG, now_ms=NOW_MS, is_new=False)
    log = manager.create(TP, CONFIG, now_ms=NOW_MS, is_new=True)
    assert manager.dir_of(TP).path == "/d2"
    assert log.log_end == 0
    assert not manager.futures.logs
    assert copy.is_closed


def _unique() -> UUID:
    return UUID(int=random.Random(9).getrandbits(128), version=4)


async def test_a_broken_copy_that_cannot_be_renamed_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A full disk may refuse the name for deletion too; another move can begin all the same."""
    disk = FullForNames()
    events = RecordingEvents()
    manager = await managed(disk, events=events)
    log = filled(manager)
    source = disk.open(f"/d1/{TP}/{0:020d}.log", create=False)
    before = source.read_at(100, 1)
    source.write_at(100, bytes([before[0] ^ 0xFF]))
    moves = moves_of(manager, events)
    async with running(moves):
        disk.is_full = True
        moves.alter(TP, "/d2")
        with trio.fail_after(60):
            while TP in manager.futures.logs:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert events.named("log.move_failed")
        assert all(TP not in each.logs or each.logs[TP] is log for each in manager.dirs)
        disk.is_full = False
        source.write_at(100, before)
        moves.alter(TP, "/d2")
        moved = await wait_moved(manager)
    assert moved.log_end == log.log_end
    manager.close(clean=True)
    again = await managed(disk)
    assert again.dir_of(TP).path == "/d2"
    assert not again.futures.logs


class FullForNames(MemoryDisk):
    is_full = False

    def rename(self, old: str, new: str) -> None:
        if self.is_full and new.endswith("-delete"):
            raise OSError(errno.ENOSPC, "no room for a name", old)
        super().rename(old, new)
