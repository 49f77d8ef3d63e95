"""All logs of a broker over all its log directories: making, deleting, upkeep, and what is lost.

One directory is `directory.LogDir`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from uuid import UUID

import trio

from ottla.broker.errors import KafkaStorageError, LogDirNotFound
from ottla.broker.ids import TopicId, TopicPartition
from ottla.broker.storage.checking import check_beside
from ottla.broker.storage.dir_loading import ConfigOf, DirLoader, LoadSettings
from ottla.broker.storage.directory import (
    META,
    ForeignLogDir,
    LogDir,
    LogDirInUse,
    Meta,
    Opening,
    deletion_name,
)
from ottla.broker.storage.future_logs import FutureLogs
from ottla.broker.storage.group_commit import GroupCommit
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import FOREVER, LogConfig
from ottla.broker.storage.log_flushing import FlushingLog
from ottla.broker.storage.log_state import LogState
from ottla.broker.storage.recovery import WORTH_A_WORKER_BYTES, RecoveryOrder
from ottla.runtime.inline_workers import InlineWorkers
from ottla.runtime.interfaces import Disk, Events, Result, Workers

_FLUSHES_MAX = 8
_LOGS_PER_STEP = 500


class AllLogDirsFailed(OSError):
    """Nothing is left to keep logs in."""


class LogManager:
    """All logs of a broker over all its log directories.

    Life: construct (locks, reads `meta`), `claim`, `await load`, serve, `close`. Owner: the
    broker's main task; upkeep calls `upkeep` and `save_checkpoints` from time to time.

    A directory whose disk fails is lost until the next start: its logs are abandoned at once, and
    whoever waits in `wait_lost` learns which. So is a single log whose files turn out to be
    damaged; `mend` brings it back, cut, once nobody counts on it.
    """

    def __init__(self, disk: Disk, paths: Iterable[str], *, events: Events) -> None:
        """OSError; LogDirInUse; ForeignLogDir when the directories contradict each other."""
        self._disk = disk
        self._events = events
        self._doomed: list[tuple[int, Log]] = []  # (when to remove, log)
        self._logs: dict[TopicPartition, Log] = {}
        self._dirs: list[LogDir] = []
        self.futures = FutureLogs(disk, self._logs, self._doom, events)
        self.commits = GroupCommit()
        self._lost_dirs: dict[str, str] = {}  # with the reasons
        self._lost_logs: dict[TopicPartition, str] = {}  # in directories that work
        self._deleted: set[TopicPartition] = set()  # since a directory was lost
        self._owes_logs = False  # logs could not be made for want of space
        self._to_tell: dict[TopicPartition, None] = {}
        self._to_release: list[LogDir | Log] = []
        self._workers: Workers = InlineWorkers(disk)
        self._unsynced_deletions: dict[str, LogDir] = {}
        self._news = trio.Event()
        first: OSError | None = None
        try:
            for path in paths:
                try:
                    self._dirs.append(LogDir(disk, path, events, self))
                except OSError as error:
                    first = first or error
                    self._lose_path(path.rstrip("/"), "open", error)
            self.meta = self._common_meta()
        except BaseException:
            for log_dir in self._dirs:
                log_dir.close(clean=False)
            raise
        if not self._dirs:
            assert first is not None, "a broker has a log directory"
            raise first

    def _lose_path(self, path: str, during: str, error: OSError) -> None:
        self._lost_dirs[path] = f"{during}: {error}"
        self._events.error(
            "log_dir.failed",
            dir=path,
            during=during,
            path=error.filename or path,
            reason=str(error),
            partitions=None,
        )

    async def beside(self, call: Callable[[], Result]) -> Result:
        """See `Disk.beside`."""
        return await self._disk.beside(call)

    # --- failures ---

    @property
    def lost_dirs(self) -> Mapping[str, str]:
        """Directories that failed, and why."""
        return self._lost_dirs

    def require_a_dir(self) -> None:
        """AllLogDirsFailed when none is left."""
        if not self._dirs:
            raise AllLogDirsFailed(
                "all log directories have failed: "
                + "; ".join(f"{path}: {why}" for path, why in self._lost_dirs.items())
            )

    def dir_failed(self, log_dir: LogDir) -> None:
        """See `LogDirKeeper`."""
        assert log_dir.failure is not None
        self._dirs.remove(log_dir)
        self._lost_dirs[log_dir.path] = log_dir.failure
        self._to_release.append(log_dir)
        self.futures.forget(log_dir)
        for tp, log in log_dir.logs.items():
            if self._logs.get(tp) is log:
                del self._logs[tp]
                self._to_tell[tp] = None
        self._news.set()

    def log_lost(self, lost: LogState, reason: str) -> None:
        """Take one log offline, until `mend`; the others in its directory go on."""
        tp = lost.tp
        log = self._logs.get(tp)
        if log is None or log is not lost:
            return
        self._events.error("log.lost", partition=str(tp), dir=log.directory, reason=reason)
        log.abandon()
        log_dir = self.dir_of(tp)
        log_dir.is_tainted = True
        log_dir.offline.add(tp)
        del log_dir.logs[tp]
        del self._logs[tp]
        self._lost_logs[tp] = reason
        self._to_release.append(log)
        self._to_tell[tp] = None
        self._news.set()

    def offline_logs(self) -> list[TopicPartition]:
        """Logs in working directories that were lost, or that the start could not open."""
        return [tp for log_dir in self._dirs for tp in log_dir.offline]

    async def mend(self, tp: TopicPartition, config: LogConfig, *, now_ms: int) -> None:
        """Open an offline log again as far as it is sound; for a replica that others do without.

        All of it is checked, and what begins with the first damaged batch is thrown away. No effect
        when the log is not offline any more. KafkaStorageError, OSError: it still is.
        """
        log_dir = next((each for each in self._dirs if tp in each.offline), None)
        if log_dir is None:
            return
        self._lost_logs.setdefault(tp, "it is being mended")  # so that nobody else opens it
        try:
            log_dir.recovery_points[tp] = 0
            log_dir.write_recovery_points()  # a crash in the middle of it checks all again
            log_start = log_dir.log_starts.get(tp, 0)
            order = RecoveryOrder(f"{log_dir.path}/{tp}", config, 0, log_start, now_ms)
            self._disk.make_dirs(order.directory)
            events = self._events.bind(partition=str(tp))
            async with self._workers.hire() as worker:
                is_checked = await check_beside(self._disk, order, worker, events)
            if tp not in log_dir.offline or log_dir.failure is not None:
                return
            how = Opening(clean=False, recovered=is_checked)
            log = log_dir.open_log(tp, config, now_ms=now_ms, how=how)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # it was deleted meanwhile
                log_dir.note_error("mending", error, where=f"{log_dir.path}/{tp}")
            raise
        self._logs[tp] = log
        self._lost_logs.pop(tp, None)
        log_dir.is_tainted = not log_dir.offline.isdisjoint(self._lost_logs)
        end = log.log_end
        self._events.info("log.mended", partition=str(tp), dir=log.directory, log_end=end)
        self._news.set()

    def log_wants_flush(self, log: FlushingLog) -> bool:
        """See `LogDirKeeper`."""
        return self.commits.want(log)

    async def wait_lost(self) -> list[TopicPartition]:
        """Wait for something to happen that the controller has to know; the logs that were lost.

        Closes their files. The list is empty when a directory without logs was lost, when space
        came back for logs that could not be made, or when a log was mended.
        """
        await self._news.wait()
        self._news = trio.Event()
        lost, self._to_tell = list(self._to_tell), {}
        released, self._to_release = self._to_release, []
        for each in released:
            if isinstance(each, LogDir):
                each.release()
            else:
                each.let_go()
        return lost

    def note_unreadable(self, error: OSError) -> None:
        """A reply's bytes could not be read from a log's file, which `error` names."""
        path = str(error.filename)
        for log_dir in list(self._dirs):
            if path.startswith(f"{log_dir.path}/"):
                log_dir.note_error("read", error, where=path)

    def look_for_space(self, now_ms: int) -> None:
        """For upkeep: whether directories that were full have room again.

        What was deleted and has waited long enough goes now, not with the next round of retention.
        """
        for log_dir in list(self._dirs):
            if not log_dir.is_full:
                continue
            self.remove_doomed(now_ms)
            for log in list(log_dir.logs.values()):
                self._upkeep_step(log, partial(log.remove_doomed, now_ms))
            if log_dir.failure is None and log_dir.look_for_space() and self._owes_logs:
                self._owes_logs = False
                self._news.set()

    def _common_meta(self) -> Meta:
        known = {log_dir.meta for log_dir in self._dirs} - {Meta(None, None)}
        if len(known) > 1:
            said = "; ".join(f"{log_dir.path}: {log_dir.meta}" for log_dir in self._dirs)
            raise ForeignLogDir(f"the log directories are not of one broker: {said}")
        return known.pop() if known else Meta(None, None)

    @property
    def dirs(self) -> list[LogDir]:
        return self._dirs

    @property
    def logs(self) -> Mapping[TopicPartition, Log]:
        return self._logs

    def claim(self, *, broker_id: int, cluster_id: str) -> None:
        """Make the directories this broker's, or ForeignLogDir when they are another's."""
        for log_dir in self._dirs:
            have = log_dir.meta
            if have.broker_id not in {None, broker_id}:
                raise ForeignLogDir(
                    f"{log_dir.path} is the data of broker {have.broker_id}, not of {broker_id};"
                    f" see {META}"
                )
            if have.cluster_id not in {None, cluster_id}:
                raise ForeignLogDir(
                    f"{log_dir.path} is the data of cluster {have.cluster_id}, not of {cluster_id};"
                    f" see {META}"
                )
        for log_dir in list(self._dirs):
            try:
                log_dir.write_meta(Meta(broker_id, cluster_id))
            except OSError as error:
                log_dir.note_error("write", error, where=f"{log_dir.path}/{META}")
                if log_dir.failure is None or not self._dirs:
                    raise
        self.meta = Meta(broker_id, cluster_id)

    async def load(
        self,
        config_of: ConfigOf,
        *,
        now_ms: int,
        workers: Workers | None = None,
        threads: int = 1,
        worker_bytes: int = WORTH_A_WORKER_BYTES,
    ) -> None:
        """Open every log that is there; `config_of(topic)` is asked for each.

        `threads` logs of a directory are checked at a time, large ones by `workers`. A log that
        cannot be opened is an event and stays offline: `get` does not know it, `create` tries again
        and raises. A directory whose disk fails is lost; OSError when it was the last one. Lets
        other tasks run between two logs.
        """
        workers = self._workers = workers or self._workers
        settings = LoadSettings(config_of, now_ms, workers, threads, worker_bytes)
        fatal: list[OSError | ForeignLogDir] = []
        async with trio.open_nursery() as nursery:
            for log_dir in list(self._dirs):
                nursery.start_soon(self._load_dir, log_dir, settings, fatal)
        if fatal:
            raise fatal[0]
        self.futures.settle(nothing_is_lost=not self._lost_dirs)
        self._events.info(
            "logs.loaded",
            count=len(self._logs),
            clean=all(log_dir.was_clean for log_dir in self._dirs),
        )

    async def _load_dir(
        self, log_dir: LogDir, settings: LoadSettings, fatal: list[OSError | ForeignLogDir]
    ) -> None:
        try:
            loader = DirLoader(
                log_dir,
                self._disk,
                settings,
                keep=self._keep,
                keep_future=self.futures.adopt,
                events=self._events,
            )
            await loader.run()
        except OSError as error:
            log_dir.note_error("load", error, where=log_dir.path)
            if log_dir.failure is None or not self._dirs:
                fatal.append(error)
        except ForeignLogDir as error:
            fatal.append(error)

    def _keep(self, tp: TopicPartition, log: Log) -> None:
        """ForeignLogDir when another directory has a log of `tp`."""
        other = self._logs.get(tp)
        if other is not None:
            raise ForeignLogDir(f"{tp} is both in {other.directory} and in {log.directory}")
        self._logs[tp] = log

    def get(self, tp: TopicPartition) -> Log | None:
        return self._logs.get(tp)

    def may_be_lost(self, tp: TopicPartition) -> bool:
        """Whether there may be a log of `tp` in a directory that failed."""
        return bool(self._lost_dirs) and tp not in self._logs and tp not in self._deleted

    def dir_of(self, tp: TopicPartition) -> LogDir:
        """LogDirNotFound when there is no log of `tp`."""
        log = self._logs.get(tp)
        for log_dir in self._dirs:
            if log is not None and log_dir.logs.get(tp) is log:
                return log_dir
        raise LogDirNotFound(f"no log of {tp}")

    def create(
        self,
        tp: TopicPartition,
        config: LogConfig,
        *,
        now_ms: int,
        topic_id: TopicId | None = None,
        is_new: bool = True,
    ) -> Log:
        """The log of `tp`; a new one goes to the directory with the fewest. KafkaStorageError.

        `is_new` False: the log has been made before, perhaps in a directory that is lost now.
        """
        if tp in self._lost_logs:
            raise KafkaStorageError(f"{tp} is offline: {self._lost_logs[tp]}")
        log = self._logs.get(tp)
        log_dir = self._dir_for(tp) if log is None else self.dir_of(tp)
        try:
            if log is None:
                if not is_new and self._lost_dirs and tp not in log_dir.offline:
                    raise KafkaStorageError(
                        f"{tp} may be in a log directory that failed: {', '.join(self._lost_dirs)}"
                    )
                # A copy whose log is gone for good: of a topic that is made anew, as it is new.
                self.futures.drop(tp, now_ms=now_ms, unique=UUID(int=now_ms), dirs=self._dirs)
                clean = tp not in log_dir.offline or log_dir.was_clean
                if tp not in log_dir.offline:
                    for each in self._dirs:
                        each.forget_former(tp)
                log = log_dir.open_log(tp, config, now_ms=now_ms, how=Opening(clean))
                self._logs[tp] = log
                self._deleted.discard(tp)
            if topic_id is not None and log.topic_id is None:
                log.set_topic_id(topic_id)
        except OSError as error:
            log_dir.note_error("create", error, where=f"{log_dir.path}/{tp}")
            self._owes_logs = self._owes_logs or log_dir.is_full
            raise KafkaStorageError(f"no log for {tp}: {error}") from error
        return log

    def _dir_for(self, tp: TopicPartition) -> LogDir:
        """Where the log of `tp` is, though it could not be opened; else the one with the fewest.

        KafkaStorageError when none is left.
        """
        if not self._dirs:
            raise KafkaStorageError("all log directories have failed")
        wanted = self.futures.wanted_dirs.pop(tp, None)
        for log_dir in self._dirs:
            if tp in log_dir.offline:
                return log_dir
        for log_dir in self._dirs:
            if log_dir.path == wanted:
                return log_dir
        return min(self._dirs, key=lambda candidate: len(candidate.logs))

    def delete(self, tp: TopicPartition, *, now_ms: int, unique: UUID) -> None:
        """Take the log of `tp` out; its files go in `file.delete.delay.ms`. No effect without one.

        `unique` keeps directories of the same name apart: a topic may be made and deleted again.
        """
        log = self._logs.get(tp)
        if log is None:
            return
        self.futures.drop(tp, now_ms=now_ms, unique=unique, dirs=self._dirs)
        self._doom(self.dir_of(tp), log, unique, now_ms)
        del self._logs[tp]
        if self._lost_dirs:
            self._deleted.add(tp)
        self._events.info("log.deleted", partition=str(tp))

    def discard_offline(self, tp: TopicPartition, *, unique: UUID) -> bool:
        """Remove a log that is offline in a working directory; whether there is one. OSError."""
        log_dir = next((each for each in self._dirs if tp in each.offline), None)
        if log_dir is not None:
            log_dir.discard(tp, unique)
            self._lost_logs.pop(tp, None)
            self._unsynced_deletions[log_dir.path] = log_dir
        return log_dir is not None

    def sync_deletions(self) -> None:
        """Block until what was deleted does not come back after a power cut. OSError.

        Before, nobody may be told: a new topic could get the name, which the old log would refuse.
        """
        while self._unsynced_deletions:
            path, log_dir = self._unsynced_deletions.popitem()
            try:
                self._disk.sync_dir(path)
            except OSError as error:
                log_dir.note_error("delete", error, where=path)
                raise

    def _doom(self, log_dir: LogDir, log: Log, unique: UUID, now_ms: int) -> None:
        """Take a log out of its directory. OSError: it is still there."""
        tp, name = log.tp, deletion_name(log.tp, unique)
        try:
            self._disk.rename(log.directory, f"{log_dir.path}/{name}")
        except OSError as error:
            log_dir.note_error("delete", error, where=log.directory)
            raise
        self._unsynced_deletions[log_dir.path] = log_dir
        del log_dir.logs[tp]
        log.moved_to(f"{log_dir.path}/{name}")
        log_dir.high_watermarks.pop(tp, None)
        self._doomed.append((now_ms + log.config.file_delete_delay_ms, log))

    # --- checkpoints ---

    def high_watermark(self, tp: TopicPartition) -> int:
        """The checkpointed high watermark; 0 when there is none."""
        log = self._logs.get(tp)
        # First where the log is: another directory may remember a copy or what was moved away.
        for log_dir in sorted(self._dirs, key=lambda each: each.logs.get(tp) is not log):
            if tp in log_dir.high_watermarks:
                return log_dir.high_watermarks[tp]
        return 0

    def note_high_watermark(self, tp: TopicPartition, offset: int) -> None:
        """For the next checkpoint. No effect for a log that is gone."""
        for log_dir in self._dirs:
            if tp in log_dir.logs:
                log_dir.high_watermarks[tp] = offset

    def write_checkpoints(self) -> None:
        """Blocks for a few syncs per directory where something changed."""
        for log_dir in self._dirs:
            log_dir.write_checkpoints()

    async def save_checkpoints(self) -> None:
        """As `write_checkpoints`, with the syncs off the loop; what a crash meanwhile leaves is the
        round before."""
        for log_dir in list(self._dirs):
            try:
                await log_dir.save_checkpoints()
            except OSError as error:
                self._events.error("checkpoint.failed", dir=log_dir.path, reason=str(error))
                log_dir.note_error("checkpoint", error, where=log_dir.path)

    # --- upkeep ---

    async def upkeep(self, high_watermark_of: Callable[[TopicPartition], int], now_ms: int) -> None:
        """One round: roll, delete what is over, flush sealed segments, expire producers.

        An error of the disk in one log is an event, and the others go on.
        """
        for tp, log in list(self._logs.items()):
            await trio.lowlevel.checkpoint()
            if log.is_closed:
                continue
            for step in (
                partial(log.maybe_roll, now_ms),
                partial(log.delete_expired, now_ms, high_watermark_of(tp)),
                partial(log.remove_doomed, now_ms),
                partial(log.expire_producers, now_ms),
                log.unload_sealed_indexes,
                log.remove_stray_snapshots,
            ):
                # On a full disk nothing can be rolled, and all the more has to be deleted.
                self._upkeep_step(log, step)
        await self.flush_due(now_ms)
        self.remove_doomed(now_ms)

    def _upkeep_step(self, log: Log, step: Callable[[], object]) -> None:
        if log.is_closed:
            return
        try:
            step()
        except KafkaStorageError as error:
            self._events.error("log.upkeep_failed", partition=str(log.tp), reason=str(error))
        except OSError as error:
            self._events.error("log.upkeep_failed", partition=str(log.tp), reason=str(error))
            self.dir_of(log.tp).log_failed(log, "upkeep", error)

    async def flush_due(self, now_ms: int) -> int:
        """Flush the logs that ask for it, off the loop, a few at a time; the shortest `flush.ms`
        of all.
        """
        shortest_ms = FOREVER
        due: list[tuple[TopicPartition, Log]] = []
        for at, (tp, log) in enumerate(list(self._logs.items())):
            if at % _LOGS_PER_STEP == _LOGS_PER_STEP - 1:
                await trio.lowlevel.checkpoint()
            shortest_ms = min(shortest_ms, log.config.flush_ms)
            if not log.is_closed and log.needs_flush(now_ms):
                due.append((tp, log))
        if due:
            limit = trio.Semaphore(_FLUSHES_MAX)
            async with trio.open_nursery() as nursery:
                for tp, log in due:
                    await limit.acquire()
                    nursery.start_soon(self._flush_one, tp, log, limit)
        return shortest_ms

    async def settle_all(self) -> None:
        """Make every log durable as a clean stop leaves it, a few at a time and off the loop.

        `close` then has nothing left to sync but what failed here.
        """
        limit = trio.Semaphore(_FLUSHES_MAX)
        async with trio.open_nursery() as nursery:
            for tp, log in list(self._logs.items()):
                try:
                    if not log.prepare_close():
                        continue
                except OSError as error:  # `close` meets it again, and says what becomes of it
                    self._events.error("log.flush_failed", partition=str(tp), reason=str(error))
                    continue
                await limit.acquire()
                nursery.start_soon(self._flush_one, tp, log, limit)

    async def _flush_one(self, tp: TopicPartition, log: Log, limit: trio.Semaphore) -> None:
        try:
            await log.flush_async()
        except KafkaStorageError as error:
            self._events.error("log.flush_failed", partition=str(tp), reason=str(error))
        finally:
            limit.release()

    def remove_doomed(self, now_ms: int) -> None:
        kept: list[tuple[int, Log]] = []
        for due_ms, log in self._doomed:
            if due_ms > now_ms:
                kept.append((due_ms, log))
                continue
            try:
                log.delete()
            except OSError as error:
                self._events.error("log.delete_failed", dir=log.directory, reason=str(error))
        self._doomed = kept

    def close(self, *, clean: bool) -> None:
        """Close all logs and give the directories free. Blocks.

        A directory that cannot be made durable is left as after a crash.
        """
        self.remove_doomed(FOREVER)
        for log_dir in list(self._dirs):
            log_dir.close(clean=clean)
        for each in self._to_release:
            if isinstance(each, LogDir):
                each.release()
            else:
                each.let_go()
        self._to_release.clear()
        self._logs.clear()


__all__ = [
    "AllLogDirsFailed",
    "ConfigOf",
    "ForeignLogDir",
    "LogDir",
    "LogDirInUse",
    "LogManager",
    "Meta",
]
