"""Logs checked by workers after a crash: as on the loop, several at a time, with progress."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Generic

import pytest
import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.storage import files
from ottla.broker.storage.log_config import FOREVER, LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.inline_workers import InlineWorkers
from ottla.runtime.interfaces import Disk, Request, Result, Worker, WorkerLost, Workers
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import NOW_MS, append, batch, records_of, sequenced

CONFIG = LogConfig(segment_bytes=600, flush_messages=FOREVER)
TPS = [TopicPartition("t", number) for number in range(6)]


class LateSteps(Generic[Result]):
    def __init__(self, results: Iterator[Result], workers: "LateWorkers") -> None:
        self._results = results
        self._workers = workers

    async def next(self) -> Result | None:
        workers = self._workers
        workers.busy += 1
        workers.busy_max = max(workers.busy_max, workers.busy)
        await trio.sleep(workers.seconds)
        workers.busy -= 1
        if workers.are_lost:
            raise WorkerLost("killed")
        return next(self._results, None)


class LateWorker:
    def __init__(self, disk: Disk, workers: "LateWorkers") -> None:
        self._disk = disk
        self._workers = workers

    def start(
        self, work: Callable[[Disk, Request], Iterator[Result]], request: Request
    ) -> LateSteps[Result]:
        return LateSteps(work(self._disk, request), self._workers)

    def rest(self) -> None: ...


class LateWorkers:
    """Workers that take their time, and may get lost."""

    def __init__(self, disk: Disk, seconds: float, *, are_lost: bool = False) -> None:
        self._disk = disk
        self.seconds = seconds
        self.are_lost = are_lost
        self.busy = 0
        self.busy_max = 0

    @asynccontextmanager
    async def hire(self) -> AsyncIterator[Worker]:
        yield LateWorker(self._disk, self)


async def crashed() -> MemoryDisk:
    """Six logs of a few segments each, half of them torn; nobody closed them."""
    disk = MemoryDisk()
    manager = LogManager(disk, ["/d"], events=RecordingEvents())
    await manager.load(lambda _: CONFIG, now_ms=NOW_MS)
    for tp in TPS:
        log = manager.create(tp, CONFIG, now_ms=NOW_MS)
        for number in range(12):
            log.append_as_leader(sequenced(number), leader_epoch=number // 5, now_ms=NOW_MS)
        append(log, batch(b"value" * 20), epoch=4)
        append(log, batch(b"last"), epoch=5)
    manager.close(clean=False)
    for tp in TPS[::2]:
        name = max(name for name in disk.list_dir(f"/d/{tp}") if name.endswith(files.LOG))
        file = disk.open(f"/d/{tp}/{name}")
        file.truncate(file.size() - 1)
        file.close()
    return disk


async def started(
    disk: MemoryDisk, *, workers: Workers | None, threads: int = 1, worker_bytes: int = 0
) -> tuple[LogManager, RecordingEvents]:
    events = RecordingEvents()
    manager = LogManager(disk, ["/d"], events=events)
    await manager.load(
        lambda _: CONFIG,
        now_ms=NOW_MS,
        workers=workers,
        threads=threads,
        worker_bytes=worker_bytes,
    )
    return manager, events


def contents(manager: LogManager) -> dict[TopicPartition, object]:
    return {
        tp: (
            log.log_start,
            log.log_end,
            log.recovery_point,
            log.settled_end,
            log.epochs.entries(),
            {who: one.last_sequence for who, one in log.producers.by_id.items()},
            [(record.offset, record.value) for record in records_of(log)],
        )
        for tp, log in manager.logs.items()
    }


async def test_what_a_worker_has_checked_is_what_the_loop_would_have_found() -> None:
    on_loop, loop_events = await started(await crashed(), workers=None, worker_bytes=1 << 20)
    disk = await crashed()
    by_worker, events = await started(disk, workers=InlineWorkers(disk))
    assert contents(by_worker) == contents(on_loop)
    assert [log.log_end for log in by_worker.logs.values()] == [13, 14] * 3
    assert not loop_events.named("log.checked")
    assert len(events.named("log.checked")) == len(TPS)
    cuts = [one.fields["partition"] for one in events.named("log.cut")]
    assert cuts == [one.fields["partition"] for one in loop_events.named("log.cut")]
    for log in by_worker.logs.values():
        log.check()


async def test_nothing_counts_as_synced_that_a_worker_has_read() -> None:
    disk = await crashed()
    manager, _ = await started(disk, workers=InlineWorkers(disk))
    assert {log.recovery_point for log in manager.logs.values()} == {0}
    await manager.settle_all()
    manager.close(clean=True)
    again, _ = await started(disk, workers=None)
    assert [log.recovery_point for log in again.logs.values()] == [13, 14] * 3


@pytest.mark.parametrize("threads", [1, 2, 4])
async def test_so_many_logs_of_a_directory_are_checked_at_a_time(
    autojump_clock: trio.testing.MockClock, threads: int
) -> None:
    disk = await crashed()
    workers = LateWorkers(disk, 3)
    manager, events = await started(disk, workers=workers, threads=threads)
    assert len(manager.logs) == len(TPS)
    assert workers.busy_max == threads
    assert trio.current_time() == pytest.approx(3 * -(-len(TPS) // threads))
    if threads == 1:
        told = [one.fields for one in events.named("logs.loading")]
        assert sorted({one["loaded"] for one in told}) == list(range(len(TPS)))
        assert {one["count"] for one in told} == {len(TPS)}


async def test_small_logs_and_cleanly_closed_ones_need_no_worker() -> None:
    disk = await crashed()
    late = LateWorkers(disk, 1)
    manager, _ = await started(disk, workers=late, worker_bytes=1 << 20)
    manager.close(clean=True)
    await started(disk, workers=late)
    assert late.busy_max == 0


async def test_lost_worker_leaves_the_check_to_the_loop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = await crashed()
    manager, events = await started(disk, workers=LateWorkers(disk, 1, are_lost=True))
    assert [log.log_end for log in manager.logs.values()] == [13, 14] * 3
    assert len(events.named("log.recovery_moved")) == len(TPS)
    assert not manager.lost_dirs


async def test_damage_below_the_recovery_point_is_found_by_a_worker_too() -> None:
    disk = await crashed()
    tp = TPS[1]
    file = disk.open(f"/d/{tp}/{files.stem(0)}{files.LOG}")
    file.write_at(80, b"\xff\xff")
    file.close()
    disk.replace("/d/recovery-point-offset-checkpoint", b"0\n1\nt 1 2\n")
    manager, events = await started(disk, workers=InlineWorkers(disk))
    assert set(manager.logs) == set(TPS) - {tp}
    assert [one.fields["partition"] for one in events.named("log.load_failed")] == [str(tp)]
    assert not manager.lost_dirs
