"""Keeps compacted logs compact: picks the dirtiest, has a worker copy it, takes the copy over.

Task tree of `run`: one task for each of `log.cleaner.threads`, each with a worker of its own; a
change of the settings begins anew. The work per record is done by the worker
(`compaction.compact`); the loop only decides, renames and opens files.

Before anything is replaced the log is flushed and its recovery point is on disk (the worker syncs
the directory): so a start after a crash never doubts the holes that compaction leaves between
segments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from ottla.broker.errors import KafkaStorageError
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.compaction import (
    Cleaned,
    Finished,
    LastOfProducer,
    Order,
    SegmentSize,
    compact,
)
from ottla.broker.storage.compaction_choice import Dirt, first_dirty_offset, measure
from ottla.broker.storage.compaction_output import discard_cleaned
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_dir import LogManager
from ottla.broker.storage.segment import CorruptLog
from ottla.runtime.inline_workers import InlineWorkers
from ottla.runtime.interfaces import Runtime, Worker

REST_AFTER_FAILURE_S = 300.0
_BACKOFF_S_MIN = 0.1


@dataclass(frozen=True, slots=True)
class CleanerSettings:
    """`keys_bytes` is the memory for keys in all workers together."""

    enabled: bool = True
    threads: int = 1
    keys_bytes: int = 128 << 20
    backoff_s: float = 15.0
    bytes_per_s: float = float("inf")  # read and written, by all threads together


class _Abandoned(Exception):
    """The log was cut or deleted while it was compacted."""


class Cleaner:
    """See the module.

    `stable_end(tp)` is the last stable offset of a partition: nothing from there on is touched.
    `note_damage(log, offset, error)` hears of a log that is damaged somewhere from `offset` on.
    """

    def __init__(
        self,
        settings: CleanerSettings,
        logs: LogManager,
        stable_end: Callable[[TopicPartition], int],
        runtime: Runtime,
        *,
        note_damage: Callable[[Log, int, CorruptLog], None] = lambda _log, _offset, _error: None,
    ) -> None:
        self._settings = settings
        self._logs = logs
        self._stable_end = stable_end
        self._note_damage = note_damage
        self._disk = runtime.disk
        self._workers = runtime.workers or InlineWorkers(runtime.disk)
        self._wall_clock = runtime.wall_clock
        self._events = runtime.events
        self._changed = trio.Event()
        self._in_progress: set[TopicPartition] = set()
        self._given_up: dict[TopicPartition, Log] = {}
        self._resting: dict[TopicPartition, float] = {}  # failed; when to try again

    def configure(self, settings: CleanerSettings) -> None:
        """From now on work so; what is being done is begun again."""
        if settings != self._settings:
            self._settings = settings
            changed, self._changed = self._changed, trio.Event()
            changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            changed = self._changed
            async with trio.open_nursery() as nursery:
                if self._settings.enabled:
                    for _ in range(self._settings.threads):
                        nursery.start_soon(self._work)
                await changed.wait()
                nursery.cancel_scope.cancel()

    async def _work(self) -> None:
        async with self._workers.hire() as worker:
            while True:
                await trio.lowlevel.checkpoint()
                if not await self.compact_dirtiest(worker):
                    worker.rest()
                    await trio.sleep(max(self._settings.backoff_s, _BACKOFF_S_MIN))

    async def compact_dirtiest(self, worker: Worker) -> bool:
        """Compact the log that needs it most; False when none needs it."""
        now_ms = self._wall_clock.now_ms()
        found: tuple[float, Log, Dirt] | None = None
        for tp, log in list(self._logs.logs.items()):
            if log.config.is_compacted and self._may_clean(tp, log):
                dirt = self.dirt_of(log, now_ms)
                if dirt.is_worth(log.config) and (found is None or dirt.ratio > found[0]):
                    found = dirt.ratio, log, dirt
        if found is None:
            return False
        _, log, dirt = found
        self._in_progress.add(log.tp)
        try:
            await self._compact_guarded(log, dirt, worker)
        finally:
            self._in_progress.discard(log.tp)
        return True

    def _may_clean(self, tp: TopicPartition, log: Log) -> bool:
        if tp in self._in_progress or log.is_closed or self._given_up.get(tp) is log:
            return False
        if tp in self._logs.futures.logs:  # see `log_copy`
            return False
        return self._resting.get(tp, -1.0) <= trio.current_time()

    def dirt_of(self, log: Log, now_ms: int) -> Dirt:
        sealed, sealed_end = log.sealed_segments()
        return measure(
            sealed,
            log.config,
            first_dirty=first_dirty_offset(
                log.cleaned_end, log_start=log.log_start, log_end=log.log_end
            ),
            sealed_end=sealed_end,
            stable_end=self._stable_end(log.tp),
            now_ms=now_ms,
        )

    async def _compact_guarded(self, log: Log, dirt: Dirt, worker: Worker) -> None:
        truncations = log.truncations
        try:
            await self._compact(log, dirt, worker)
        except _Abandoned:
            self._rest(log, self._settings.backoff_s)
        except (OSError, KafkaStorageError) as error:
            if log.is_closed or log.truncations != truncations:
                self._rest(log, self._settings.backoff_s)
                return
            self._events.error("log.compaction_failed", partition=str(log.tp), reason=str(error))
            if isinstance(error, CorruptLog):
                self._given_up[log.tp] = log  # what is on the disk will not get better by itself
                self._note_damage(log, log.log_start, error)
            else:
                self._rest(log, REST_AFTER_FAILURE_S)

    def _rest(self, log: Log, seconds: float) -> None:
        self._resting[log.tp] = trio.current_time() + seconds

    async def _compact(self, log: Log, dirt: Dirt, worker: Worker) -> None:
        """OSError, KafkaStorageError: it may be tried again; _Abandoned."""
        log_dir = self._logs.dir_of(log.tp)
        truncations = log.truncations
        order = self._order(log, dirt)
        if log.recovery_point < dirt.end:
            await log.flush_async()
        if log.is_closed or log.recovery_point < dirt.end:
            raise _Abandoned
        await log_dir.save_recovery_points()
        # A start must not take for uncommitted what has superseded records by then.
        await log_dir.save_high_watermark(log.tp, dirt.end)
        steps = worker.start(compact, order)
        before = after = 0
        began = trio.current_time()
        while (step := await steps.next()) is not None:
            if isinstance(step, Finished):
                break
            before += step.bytes_before
            after += step.bytes_after
            if not step.is_same:
                self._take_over(log, step, truncations)
            # A worker that is not asked for its next step does nothing.
            share = self._settings.bytes_per_s / max(self._settings.threads, 1)
            await trio.sleep_until(began + (before + after) / share)
        assert isinstance(step, Finished), "a compaction ends with its sum"
        if (
            log.is_closed or log.truncations != truncations or log.tp in self._logs.futures.logs
        ):  # a copy that has begun has what was there then
            raise _Abandoned
        log.cleaned_end = step.end
        await log_dir.save_cleaner_offsets()
        self._events.info(
            "log.compacted",
            partition=str(log.tp),
            end=step.end,
            keys=step.keys,
            records=step.records_read,
            records_kept=step.records_kept,
            bytes=before,
            bytes_kept=after,
        )

    def _take_over(self, log: Log, step: Cleaned, truncations: int) -> None:
        is_copied = log.tp in self._logs.futures.logs
        if is_copied or not log.take_over(step.bases, truncations):
            if not log.is_closed:
                discard_cleaned(self._disk, log.directory, step.bases[0])
            raise _Abandoned

    def _order(self, log: Log, dirt: Dirt) -> Order:
        config = log.config
        segments = [one for one in log.sealed_segments()[0] if one.base < dirt.end]
        return Order(
            directory=log.directory,
            segments=tuple(SegmentSize(segment.base, segment.size) for segment in segments),
            first_dirty=dirt.first_dirty,
            end=dirt.end,
            aborted=tuple(log.aborted_transactions(log.first_base, dirt.end)),
            producers={
                producer.producer_id: LastOfProducer(
                    producer.batches[-1].last_offset if producer.batches else -1, producer.epoch
                )
                for producer in log.producers.by_id.values()
            },
            now_ms=self._wall_clock.now_ms(),
            delete_retention_ms=config.delete_retention_ms,
            room_bytes=self._settings.keys_bytes // max(self._settings.threads, 1),
            group_bytes=config.segment_bytes,
            index_interval=config.index_interval_bytes,
            index_entries_max=min(config.offset_index_entries_max, config.time_index_entries_max),
        )


__all__ = ["REST_AFTER_FAILURE_S", "Cleaner", "CleanerSettings"]
