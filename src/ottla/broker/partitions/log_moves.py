"""Moves logs between the broker's log directories while they are in use (AlterReplicaLogDirs,
KIP-113): a few tasks that copy, each one log at a time, and put the copy in the place of the log.

A move that a stop or a crash interrupts goes on after the next start.
"""

import random
from uuid import UUID

import trio

from ottla.broker.errors import KafkaStorageError, LogDirNotFound, ReplicaNotAvailable
from ottla.broker.ids import TopicPartition
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.storage.directory import LogDir
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_copy import COPY_BYTES, CopyBroken, LogCopy
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.interfaces import Events, WallClock

RETRY_S = 10.0
_LAST_STEPS = 4


class LogMoves:
    """The moves of one broker. `alter` asks for one; `run` carries them out."""

    def __init__(
        self,
        logs: LogManager,
        registry: PartitionRegistry,
        *,
        wall_clock: WallClock,
        rng: random.Random,
        events: Events,
    ) -> None:
        self._logs = logs
        self._registry = registry
        self._wall_clock = wall_clock
        self._rng = rng
        self._events = events
        self._copied: set[TopicPartition] = set()  # a task has it
        self._resting: dict[TopicPartition, float] = {}  # when to try again
        self._wanted = trio.Event()

    # --- what is asked for ---

    def alter(self, tp: TopicPartition, path: str) -> None:
        """Have the log of `tp` in the directory `path`; where it is on its way elsewhere, it turns.

        LogDirNotFound, KafkaStorageError, InvalidTopic; ReplicaNotAvailable when there is no log
        yet: it will then be made there.
        """
        log_dir = self._dir(path)
        if self._registry.is_offline(tp):
            raise KafkaStorageError(f"the log of {tp} is offline on this broker")
        futures = self._logs.futures
        current = self._logs.get(tp)
        if current is None:
            futures.wanted_dirs[tp] = log_dir.path
            raise ReplicaNotAvailable(f"{tp} has no replica on this broker")
        copy = futures.logs.get(tp)
        if copy is not None and log_dir.logs.get(tp) is copy:
            return
        try:
            if copy is not None:
                futures.drop(tp, now_ms=self._now_ms(), unique=self._unique(), dirs=self._logs.dirs)
            if log_dir.logs.get(tp) is current:
                self._logs.sync_deletions()
                futures.settle_name(current)  # a power cut could still take a new log away
                return
            if self._logs.lost_dirs:
                raise KafkaStorageError(
                    "nothing is moved while a log directory has failed: "
                    + ", ".join(self._logs.lost_dirs)
                )
            futures.begin(tp, log_dir, unique=self._unique(), now_ms=self._now_ms())
        except OSError as error:
            log_dir.note_error("move", error, where=log_dir.path)
            raise KafkaStorageError(f"{tp} is not moved to {log_dir.path}: {error}") from error
        wanted, self._wanted = self._wanted, trio.Event()
        wanted.set()

    def _dir(self, path: str) -> LogDir:
        path = path.rstrip("/")
        for log_dir in self._logs.dirs:
            if log_dir.path == path:
                return log_dir
        if path in self._logs.lost_dirs:
            raise KafkaStorageError(f"log directory {path} has failed")
        raise LogDirNotFound(f"{path} is none of this broker's log.dirs")

    # --- carrying it out ---

    async def run(self, *, threads: int | None = None) -> None:
        """Until cancelled. `threads` logs are copied at a time; None: as many as directories."""
        async with trio.open_nursery() as nursery:
            for _ in range(threads or len(self._logs.dirs)):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        while True:
            tp = self._next()
            if tp is None:
                with trio.move_on_after(RETRY_S if self._resting else float("inf")):
                    await self._wanted.wait()
                continue
            self._copied.add(tp)
            try:
                await self._move(tp)
            finally:
                self._copied.discard(tp)

    def _next(self) -> TopicPartition | None:
        now = trio.current_time()
        for tp in self._resting.keys() - self._logs.futures.logs.keys():
            del self._resting[tp]
        for tp in self._logs.futures.logs:
            if tp not in self._copied and self._resting.get(tp, now) <= now and self._logs.get(tp):
                self._resting.pop(tp, None)
                return tp
        return None

    async def _move(self, tp: TopicPartition) -> None:
        """Copy until the copy is the log, or is not wanted any more."""
        source, target = self._logs.get(tp), self._logs.futures.logs.get(tp)
        assert source is not None
        assert target is not None
        try:
            copy = LogCopy(source, target)
            try:
                await self._copy(tp, copy)
            finally:
                copy.close()
        except CopyBroken as error:
            self._events.error("log.move_failed", partition=str(tp), reason=str(error))
            offset = target.log_end
            self._give_up(tp, target)
            partition = self._registry.get(tp)
            if partition is not None and partition.log is source:
                partition.look_for_damage(offset)
        except (KafkaStorageError, OSError) as error:
            self._events.warning("log.move_interrupted", partition=str(tp), reason=str(error))
            if self._logs.futures.logs.get(tp) is target:
                self._resting[tp] = trio.current_time() + RETRY_S

    def _give_up(self, tp: TopicPartition, target: Log) -> None:
        if self._logs.futures.logs.get(tp) is target:
            try:
                self._logs.futures.drop(
                    tp, now_ms=self._now_ms(), unique=self._unique(), dirs=self._logs.dirs
                )
            except OSError:  # an event already; the next start finds the copy and goes on
                self._logs.futures.leave(tp, dirs=self._logs.dirs)

    async def _copy(self, tp: TopicPartition, copy: LogCopy) -> None:
        while self._is_wanted(tp, copy):
            if copy.step():
                await copy.flush()
                await self._keep_checkpoints(copy)
                if self._is_wanted(tp, copy) and self._finish(tp, copy):
                    return
            else:
                await copy.flush_if_due()
            await trio.lowlevel.checkpoint()

    def _is_wanted(self, tp: TopicPartition, copy: LogCopy) -> bool:
        return (
            self._logs.futures.logs.get(tp) is copy.target
            and self._logs.get(tp) is copy.source
            and copy.is_live
        )

    async def _keep_checkpoints(self, copy: LogCopy) -> None:
        """What the target's directory remembers of the log is to be there when the log is."""
        copy.target.cleaned_end = min(copy.source.cleaned_end, copy.target.log_end)
        for log_dir in self._logs.dirs:
            if log_dir.logs.get(copy.target.tp) is copy.target:
                await log_dir.save_checkpoints()
                await log_dir.save_cleaner_offsets()

    def _finish(self, tp: TopicPartition, copy: LogCopy) -> bool:
        """Put the copy in the place of the log, in one step; False when too much came since."""
        for _ in range(_LAST_STEPS):
            if copy.step(COPY_BYTES):
                break
        else:
            return False
        copy.complete()
        log = self._logs.futures.put_in_place(
            tp, now_ms=self._now_ms(), unique=self._unique(), dirs=self._logs.dirs
        )
        partition = self._registry.get(tp)
        if partition is not None:
            partition.go_on_in(log)
        return True

    def _now_ms(self) -> int:
        return self._wall_clock.now_ms()

    def _unique(self) -> UUID:
        return UUID(int=self._rng.getrandbits(128), version=4)


__all__ = ["LogMoves"]
