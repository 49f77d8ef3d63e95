"""The task that compacts logs: what it picks, what it secures before, what a failure costs."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest
import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.cleaner import REST_AFTER_FAILURE_S, Cleaner, CleanerSettings
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.memory import FixedWallClock, MemoryDisk, RecordingEvents, memory_runtime
from tests.support.compactions import keyed
from tests.support.logs import NOW_MS, append, records_of

COMPACT = LogConfig(cleanup_policy=frozenset({"compact"}), min_cleanable_ratio=0.4)
A, B, C = TopicPartition("a", 0), TopicPartition("b", 1), TopicPartition("c", 0)
CHECKPOINT = "/data/cleaner-offset-checkpoint"
SETTINGS = CleanerSettings(backoff_s=15)


class Stage:
    """Logs of one broker, and a cleaner over them."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.events = RecordingEvents()
        self.logs = self.manager()
        self.stable: dict[TopicPartition, int] = {}
        self.runtime = memory_runtime(
            disk=self.disk, events=self.events, wall_clock=FixedWallClock(NOW_MS)
        )
        self.damaged: list[tuple[Log, str]] = []
        self.cleaner = Cleaner(
            SETTINGS,
            self.logs,
            self.stable_end,
            self.runtime,
            note_damage=lambda log, _offset, error: self.damaged.append((log, str(error))),
        )

    def manager(self) -> LogManager:
        return LogManager(self.disk, ["/data"], events=self.events)

    def stable_end(self, tp: TopicPartition) -> int:
        return self.stable.get(tp, 1 << 60)

    def dirty_log(self, tp: TopicPartition, config: LogConfig = COMPACT, batches: int = 3) -> Log:
        log = self.logs.create(tp, config, now_ms=NOW_MS)
        for n in range(batches):
            append(log, keyed((b"k", b"%d" % n)))
            log.maybe_roll(NOW_MS + 2 * config.segment_ms)
        append(log, keyed((b"end", b"")))
        return log

    def compacted(self) -> list[str]:
        return [str(one.fields["partition"]) for one in self.events.named("log.compacted")]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.cleaner.run)
            yield
            nursery.cancel_scope.cancel()


def keys(log: Log) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.key) for record in records_of(log)]


async def test_dirty_logs_are_compacted_the_dirtiest_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    some = stage.dirty_log(A)
    some.cleaned_end = 1
    most = stage.dirty_log(B)
    other = stage.dirty_log(C, replace(COMPACT, cleanup_policy=frozenset({"delete"})))
    async with stage.running():
        await trio.sleep(1)
    assert stage.compacted() == ["b-1", "a-0"]
    assert keys(some) == keys(most) == [(2, b"k"), (3, b"end")]
    assert len(keys(other)) == 4


async def test_new_dirt_is_found_after_the_backoff(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    async with stage.running():
        await trio.sleep(1)
        log = stage.dirty_log(A)
        await trio.sleep(13)
        assert stage.compacted() == []
        await trio.sleep(2)
        assert stage.compacted() == ["a-0"]
        await trio.sleep(100)
        assert stage.compacted() == ["a-0"], "a clean log is left alone"
    assert log.cleaned_end == 3


async def test_checkpoint_file_is_kafkas(autojump_clock: trio.testing.MockClock) -> None:
    stage = Stage()
    stage.dirty_log(A)
    stage.dirty_log(B, batches=5)
    stage.dirty_log(C, replace(COMPACT, min_cleanable_ratio=1.0))
    async with stage.running():
        await trio.sleep(1)
    assert stage.disk.read(CHECKPOINT) == b"0\n2\na 0 3\nb 1 5\n"
    stage.logs.delete(A, now_ms=NOW_MS, unique=UUID(int=1))
    stage.logs.create(A, COMPACT, now_ms=NOW_MS)
    assert stage.disk.read(CHECKPOINT) == b"0\n1\nb 1 5\n"
    log = stage.logs.get(A)
    assert log is not None
    assert log.cleaned_end == 0


async def test_checkpoint_survives_a_restart_and_goes_down_with_a_cut(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    stage.dirty_log(A)
    async with stage.running():
        await trio.sleep(1)
    stage.logs.close(clean=False)
    logs = stage.manager()
    await logs.load(lambda _topic: COMPACT, now_ms=NOW_MS)
    log = logs.get(A)
    assert log is not None
    assert log.cleaned_end == 3
    log.truncate_fully_and_start_at(1)
    assert stage.disk.read(CHECKPOINT) == b"0\n1\na 0 1\n"


async def test_nothing_undecided_is_touched(autojump_clock: trio.testing.MockClock) -> None:
    stage = Stage()
    log = stage.dirty_log(A)
    stage.stable[A] = 2
    async with stage.running():
        await trio.sleep(1)
    assert keys(log) == [(1, b"k"), (2, b"k"), (3, b"end")]
    assert log.cleaned_end == 2


async def test_log_is_durable_before_it_is_replaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    log = stage.dirty_log(A)
    assert log.recovery_point == 0
    async with stage.running():
        await trio.sleep(1)
    assert log.recovery_point == 4
    assert b"a 0 4" in stage.disk.read("/data/recovery-point-offset-checkpoint")


async def test_what_was_compacted_is_committed_after_a_power_cut(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Found by seed 52002: the checkpoint had an older high watermark, below which a key had no
    record any more, until enough replicas were in sync to move it.
    """
    for seed in range(5):
        stage = Stage()
        log = stage.dirty_log(A)
        async with stage.running():
            await trio.sleep(1)
        assert log.cleaned_end > 0
        stage.disk.crash(random.Random(seed))
        logs = LogManager(stage.disk, ["/data"], events=RecordingEvents())
        assert logs.dirs[0].high_watermarks[A] == log.cleaned_end


async def test_damaged_log_is_given_up_and_the_others_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    bad = stage.dirty_log(A)
    stage.dirty_log(B)
    stage.disk.open(f"{bad.directory}/{0:020d}.log").write_at(65, b"xx")
    async with stage.running():
        await trio.sleep(3 * REST_AFTER_FAILURE_S)
    assert stage.compacted() == ["b-1"]
    [failed] = stage.events.named("log.compaction_failed")
    assert failed.fields["partition"] == "a-0"
    assert "offset 0" in str(failed.fields["reason"])
    assert stage.damaged == [(bad, failed.fields["reason"])]


async def test_full_disk_is_tried_again_later(autojump_clock: trio.testing.MockClock) -> None:
    stage = Stage()
    log = stage.dirty_log(A)
    stage.disk.capacity_bytes = stage.disk.used_bytes + 10
    async with stage.running():
        await trio.sleep(REST_AFTER_FAILURE_S - 1)
        assert len(stage.events.named("log.compaction_failed")) == 1
        assert not [name for name in stage.disk.list_dir(log.directory) if "cleaned" in name]
        stage.disk.capacity_bytes = None
        await trio.sleep(20)
    assert stage.compacted() == ["a-0"]


async def test_log_that_goes_meanwhile_is_no_failure(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    stage.dirty_log(A)
    stage.disk.sync_delay_s = 1.0
    async with stage.running():
        await trio.sleep(0.5)  # it waits for the flush
        stage.logs.delete(A, now_ms=NOW_MS, unique=UUID(int=1))
        await trio.sleep(100)
    assert stage.compacted() == []
    assert not stage.events.named("log.compaction_failed")


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, enabled=False), replace(SETTINGS, threads=0)]
)
async def test_settings_act_at_once(
    settings: CleanerSettings, autojump_clock: trio.testing.MockClock
) -> None:
    stage = Stage()
    stage.cleaner.configure(settings)
    stage.dirty_log(A)
    async with stage.running():
        await trio.sleep(100)
        assert stage.compacted() == []
        stage.cleaner.configure(replace(SETTINGS, threads=3))
        await trio.sleep(1)
        assert stage.compacted() == ["a-0"]


async def test_memory_is_shared_by_the_threads(autojump_clock: trio.testing.MockClock) -> None:
    """Too little for the keys of the whole log: more passes, the same result."""
    stage = Stage()
    log = stage.logs.create(A, COMPACT, now_ms=NOW_MS)
    for n in range(100):
        append(log, keyed((b"key-%d" % (n % 50), b"%d" % n)))
    log.maybe_roll(NOW_MS + 2 * COMPACT.segment_ms)
    append(log, keyed((b"end", b"")))
    log.config = replace(COMPACT, min_cleanable_ratio=0.0)
    stage.cleaner.configure(replace(SETTINGS, keys_bytes=8000, threads=2))
    async with stage.running():
        await trio.sleep(1)
    assert len(stage.compacted()) > 2
    assert keys(log) == [*((n, b"key-%d" % (n - 50)) for n in range(50, 100)), (100, b"end")]


async def test_checkpoints_that_are_saved_at_the_same_time_take_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    log = stage.dirty_log(A)
    stage.disk.sync_delay_s = 1.0
    [log_dir] = stage.logs.dirs
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_dir.save_checkpoints)
        await trio.sleep(0.5)
        log.flush()
        log.cleaned_end = 3
        nursery.start_soon(log_dir.save_recovery_points)
        nursery.start_soon(log_dir.save_checkpoints)
        nursery.start_soon(log_dir.save_cleaner_offsets)
    assert stage.disk.read("/data/recovery-point-offset-checkpoint") == b"0\n1\na 0 4\n"
    assert stage.disk.read(CHECKPOINT) == b"0\n1\na 0 3\n"
    assert not [name for name in stage.disk.list_dir("/data") if "saving" in name]


async def test_compaction_reads_and_writes_no_faster_than_it_may(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    log = stage.dirty_log(A)
    moved = sum(segment.size for segment in log.sealed_segments()[0])
    stage.cleaner.configure(replace(SETTINGS, bytes_per_s=moved / 20))
    async with stage.running():
        await trio.sleep(19)
        assert not stage.compacted()
        with trio.fail_after(21):
            while not stage.compacted():  # noqa: ASYNC110
                await trio.sleep(0.1)
