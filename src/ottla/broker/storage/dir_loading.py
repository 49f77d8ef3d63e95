"""Opening all logs of a directory at a start, beside the loop and several at a time.

As many tasks as `num.recovery.threads.per.data.dir` says have threads open a run of logs each, so
that the loop answers meanwhile, however long the disk takes. After a crash a log that is large is
left for the end, when each task has a worker check one after the other (`recovery`). On a disk that
is slow to answer, more threads go ahead of all of them (`warming`).
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import trio

from ottla.broker.errors import KafkaStorageError
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.checking import check_beside
from ottla.broker.storage.directory import ForeignLogDir, Found, Kind, LogDir, Opening
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.notes import Notes, replay
from ottla.broker.storage.recovery import WORTH_A_WORKER_BYTES, RecoveryOrder, bytes_to_check
from ottla.broker.storage.warming import SLOW_S, warm_ahead
from ottla.runtime.interfaces import Disk, Events, Worker, Workers

PROGRESS_EVERY_S = 1.0
PROGRESS_EVERY_LOGS = 2000
LOGS_PER_CALL = 16
"""Opened by a thread in one go where the disk is quick: 2 ms, and the way to a thread is 0.1."""

ConfigOf = Callable[[str], LogConfig]


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How logs are loaded. `worker_bytes`: from how much on a worker checks a log."""

    config_of: ConfigOf
    now_ms: int
    workers: Workers
    threads: int = 1
    worker_bytes: int = WORTH_A_WORKER_BYTES


@dataclass(slots=True)
class _Opened:
    """What a thread made of one directory. `is_large`: nothing yet, a worker has to check it."""

    found: Found
    is_large: bool = False
    log: Log | None = None
    error: OSError | KafkaStorageError | None = None
    notes: Notes = field(default_factory=Notes)


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
        self._large: list[Found] = []  # in the order of their names
        self._count = 0
        self._looked_at = 0
        self._done = 0
        self._told = 0
        self._error: OSError | ForeignLogDir | None = None

    async def run(self) -> None:
        """Until all are loaded, or the directory has failed. OSError; what `keep` raises.

        A log that cannot be opened is an event, and stays offline.
        """
        notes = Notes()
        names = await self._disk.beside(partial(self._log_dir.find_logs, notes))
        replay(notes.noted, self._events)
        self._count = len(names)
        paths = [f"{self._log_dir.path}/{each.name}" for each in names]
        async with trio.open_nursery() as ahead:
            ahead.start_soon(self._tell_by_the_clock)
            ahead.start_soon(warm_ahead, self._disk, paths, lambda: self._looked_at)
            await self._in_tasks(self._open_runs, iter(names), len(names))
            await self._in_tasks(self._check_large, iter(self._large), len(self._large))
            ahead.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        if self._log_dir.failure is None:
            self._log_dir.begin()

    async def _in_tasks(
        self, work: Callable[[Iterator[Found]], Awaitable[None]], left: Iterator[Found], count: int
    ) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(min(self._settings.threads, count)):
                nursery.start_soon(work, left)

    @property
    def _is_over(self) -> bool:
        return self._error is not None or self._log_dir.failure is not None

    # in runs

    async def _open_runs(self, left: Iterator[Found]) -> None:
        size = 1
        while not self._is_over and (run := list(islice(left, size))):
            began = trio.current_time()
            wanted = [(each, self._config_of(each)) for each in run]
            try:
                opened = await self._disk.beside(partial(self._open_run, wanted))
            except OSError as error:
                self._error = self._error or error
                return
            is_slow = trio.current_time() - began > SLOW_S * size
            size = 1 if is_slow else LOGS_PER_CALL
            self._looked_at += len(opened)
            for each in opened:
                self._take(each)

    def _open_run(self, wanted: list[tuple[Found, LogConfig | None]]) -> list[_Opened]:
        """On a thread."""
        return [self._open(*each) for each in wanted]

    def _config_of(self, found: Found) -> LogConfig | None:
        return None if found.tp is None else self._settings.config_of(found.tp.topic)

    def _open(self, found: Found, config: LogConfig | None) -> _Opened:
        made = _Opened(found)
        try:
            if config is None:
                self._disk.remove_tree(f"{self._log_dir.path}/{found.name}")
            elif self._log_dir.was_clean or not self._is_large(found, config):
                self._read(made, config, Opening(self._log_dir.was_clean, name=found.name))
            else:
                made.is_large = True
        except (OSError, KafkaStorageError) as error:
            made.error = error
        return made

    def _is_large(self, found: Found, config: LogConfig) -> bool:
        """Whether a worker has to check it first. OSError."""
        order = self._order(found, config)
        size = bytes_to_check(self._disk, order.directory, order.recovery_point)
        return size >= self._settings.worker_bytes

    def _read(self, made: _Opened, config: LogConfig, how: Opening) -> None:
        """OSError, CorruptLog."""
        assert made.found.tp is not None
        made.log = self._log_dir.read_log(
            made.found.tp, config, now_ms=self._settings.now_ms, how=how, events=made.notes
        )

    # those that a worker checks

    async def _check_large(self, left: Iterator[Found]) -> None:
        async with self._settings.workers.hire() as worker:
            for found in left:
                await trio.lowlevel.checkpoint()
                if self._is_over:
                    return
                made = _Opened(found)
                try:
                    await self._check(made, worker)
                except (OSError, KafkaStorageError) as error:
                    made.error = error
                self._take(made)

    async def _check(self, made: _Opened, worker: Worker) -> None:
        """Have a worker check a log, and open it. OSError, CorruptLog."""
        found = made.found
        config = self._config_of(found)
        assert config is not None
        is_checked = await check_beside(
            self._disk,
            self._order(found, config),
            worker,
            self._events.bind(partition=str(found.tp)),
            worker_bytes=self._settings.worker_bytes,
        )
        how = Opening(clean=False, recovered=is_checked, name=found.name)
        await self._disk.beside(partial(self._read, made, config, how))

    def _order(self, found: Found, config: LogConfig) -> RecoveryOrder:
        log_dir = self._log_dir
        assert found.tp is not None
        return RecoveryOrder(
            f"{log_dir.path}/{found.name}",
            config,
            log_dir.recovery_points.get(found.tp, 0),
            log_dir.log_starts.get(found.tp, 0),
            self._settings.now_ms,
        )

    # what came of it

    def _take(self, made: _Opened) -> None:
        tp = made.found.tp
        if made.is_large:
            self._large.append(made.found)
            return
        if tp is None:
            if isinstance(made.error, OSError):
                self._error = self._error or made.error
        else:
            events = self._events.bind(partition=str(tp))
            replay(made.notes.noted, events)
            if made.log is None:
                assert made.error is not None, "a log is opened, large, or the reason is known"
                self._note_failed(tp, made.found, made.error)
            elif self._is_over:
                made.log.abandon()
                made.log.let_go()
            else:
                made.log.report_to(events)
                self._take_log(tp, made.found.kind, made.log)
        self._done += 1
        if self._done - self._told >= PROGRESS_EVERY_LOGS and self._done < self._count:
            self._tell_progress()

    def _take_log(self, tp: TopicPartition, kind: Kind, log: Log) -> None:
        self._log_dir.take_in(log)
        try:
            self._keep[kind](tp, log)
        except ForeignLogDir as error:
            self._error = self._error or error
            return
        self._events.debug(
            "log.loaded", partition=str(tp), log_start=log.log_start, log_end=log.log_end
        )

    def _note_failed(
        self, tp: TopicPartition, found: Found, error: OSError | KafkaStorageError
    ) -> None:
        if found.kind is Kind.LOG:
            self._log_dir.offline.add(tp)
        self._events.error("log.load_failed", partition=str(tp), reason=str(error))
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            path = f"{self._log_dir.path}/{found.name}"
            self._log_dir.note_error("load", error, where=path)

    async def _tell_by_the_clock(self) -> None:
        while True:
            await trio.sleep(PROGRESS_EVERY_S)
            self._tell_progress()

    def _tell_progress(self) -> None:
        self._told = self._done
        self._events.info(
            "logs.loading", dir=self._log_dir.path, loaded=self._done, count=self._count
        )


__all__ = [
    "LOGS_PER_CALL",
    "PROGRESS_EVERY_LOGS",
    "PROGRESS_EVERY_S",
    "ConfigOf",
    "DirLoader",
    "LoadSettings",
]
