"""Opening all logs of a directory at a start, several at a time where there is something to check.

After a clean stop one task opens them all, on the loop: little is read. After a crash as many tasks
as `num.recovery.threads.per.data.dir` says, each with a worker of its own for logs that are large
enough (`recovery`). On a disk that is slow to answer, threads go ahead of them (`warming`). Whoever
has to keep a session alive has a turn after each log.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

from ottla.broker.errors import KafkaStorageError
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.checking import check_beside
from ottla.broker.storage.directory import ForeignLogDir, Found, Kind, LogDir
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.recovery import WORTH_A_WORKER_BYTES, RecoveryOrder
from ottla.broker.storage.warming import warm_ahead
from ottla.runtime.interfaces import Disk, Events, Worker, Workers

PROGRESS_EVERY_S = 5.0

ConfigOf = Callable[[str], LogConfig]


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How logs are loaded. `worker_bytes`: from how much on a worker checks a log."""

    config_of: ConfigOf
    now_ms: int
    workers: Workers
    threads: int = 1
    worker_bytes: int = WORTH_A_WORKER_BYTES


class DirLoader:
    """One load of one directory; use once. `keep(tp, log)` gets every log that was opened, and
    `keep_future(tp, log)` every copy on its way to here.
    """

    def __init__(
        self,
        log_dir: LogDir,
        disk: Disk,
        settings: LoadSettings,
        *,
        keep: Callable[[TopicPartition, Log], None],
        keep_future: Callable[[TopicPartition, Log], None],
        events: Events,
    ) -> None:
        self._log_dir = log_dir
        self._disk = disk
        self._settings = settings
        self._keep = {Kind.LOG: keep, Kind.FUTURE: keep_future}
        self._events = events
        self._count = 0
        self._done = 0
        self._told_at = trio.current_time()
        self._error: OSError | ForeignLogDir | None = None

    async def run(self) -> None:
        """Until all are loaded, or the directory has failed. OSError; what `keep` raises.

        A log that cannot be opened is an event, and stays offline.
        """
        names = self._log_dir.find_logs()
        self._count = len(names)
        left = iter(names)
        threads = 1 if self._log_dir.was_clean else self._settings.threads
        paths = [f"{self._log_dir.path}/{each.name}" for each in names]
        async with trio.open_nursery() as ahead:
            ahead.start_soon(warm_ahead, self._disk, paths, lambda: self._done)
            async with trio.open_nursery() as nursery:
                for _ in range(min(threads, max(len(names), 1))):
                    nursery.start_soon(self._work, left)
            ahead.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        if self._log_dir.failure is None:
            self._log_dir.begin()

    async def _work(self, left: Iterator[Found]) -> None:
        async with self._settings.workers.hire() as worker:
            for found in left:
                await trio.lowlevel.checkpoint()
                if self._error is not None or self._log_dir.failure is not None:
                    return
                try:
                    await self._load(found, worker)
                except (OSError, ForeignLogDir) as error:
                    self._error = self._error or error
                    return
                self._done += 1
                self._tell_progress()

    def _tell_progress(self) -> None:
        now = trio.current_time()
        if now - self._told_at >= PROGRESS_EVERY_S and self._done < self._count:
            self._told_at = now
            self._events.info(
                "logs.loading", dir=self._log_dir.path, loaded=self._done, count=self._count
            )

    async def _load(self, found: Found, worker: Worker) -> None:
        log_dir = self._log_dir
        path = f"{log_dir.path}/{found.name}"
        if found.kind is Kind.DELETED:
            self._disk.remove_tree(path)
            return
        tp = found.tp
        assert tp is not None
        config = self._settings.config_of(tp.topic)
        try:
            recovered = not log_dir.was_clean and await self._recover(path, tp, config, worker)
            log = log_dir.open_log(
                tp,
                config,
                now_ms=self._settings.now_ms,
                clean=log_dir.was_clean,
                recovered=recovered,
                name=found.name,
            )
        except (OSError, KafkaStorageError) as error:
            if found.kind is Kind.LOG:
                log_dir.offline.add(tp)
            self._events.error("log.load_failed", partition=str(tp), reason=str(error))
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                log_dir.note_error("load", error, where=path)
            return
        self._keep[found.kind](tp, log)
        self._events.debug(
            "log.loaded", partition=str(tp), log_start=log.log_start, log_end=log.log_end
        )

    async def _recover(
        self, path: str, tp: TopicPartition, config: LogConfig, worker: Worker
    ) -> bool:
        """Have a worker check a large log; whether it did. OSError, CorruptLog."""
        order = RecoveryOrder(
            path,
            config,
            self._log_dir.recovery_points.get(tp, 0),
            self._log_dir.log_starts.get(tp, 0),
            self._settings.now_ms,
        )
        return await check_beside(
            self._disk,
            order,
            worker,
            self._events.bind(partition=str(tp)),
            worker_bytes=self._settings.worker_bytes,
        )


__all__ = ["ConfigOf", "DirLoader", "LoadSettings"]
