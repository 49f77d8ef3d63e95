"""One log directory: who owns it, which logs are in it, what is remembered of each.

A log directory holds `<topic>-<partition>` directories and these files, as Kafka has them:

| file                  | what                                                                     |
|-----------------------|--------------------------------------------------------------------------|
| `meta.properties`     | `version=0`, `broker.id`, `cluster.id`: whose data this is               |
| `.lock`               | held by the process that has the directory open                          |
| `.kafka_cleanshutdown` | the last owner stopped cleanly; removed once the next one is loaded     |
| `*-checkpoint`        | see `checkpoints`                                                        |

`<topic>-<partition>.<32 hex digits>-delete` is a partition on its way out, the same with `-future`
one on its way from another directory to here.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol
from uuid import UUID

import trio

from ottla.broker.errors import InvalidConfig, KafkaStorageError
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.checkpoints import (
    CLEANER_OFFSETS,
    HIGH_WATERMARKS,
    LOG_STARTS,
    RECOVERY_POINTS,
    MalformedCheckpoint,
    decode_offsets,
    encode_offsets,
)
from ottla.broker.storage.disk_errors import is_full, is_passing
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_flushing import FlushingLog
from ottla.broker.storage.log_state import LogState
from ottla.runtime.interfaces import DirectoryLock, Disk, Events

META = "meta.properties"
LOCK = ".lock"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"

_LOG_NAME = re.compile(r"(?P<topic>[a-zA-Z0-9._-]+)-(?P<partition>\d+)")
_DELETED_NAME = re.compile(r".+\.[0-9a-f]{32}-delete")
_FUTURE_NAME = re.compile(_LOG_NAME.pattern + r"\.[0-9a-f]{32}-future")
_UNFINISHED = ".saving"
_NAME_BYTES_MAX = 255
_PROBE = ".space-probe"
_PROBE_BYTES = 64 << 10
_CLEAN_MARK = b'{"version":0,"brokerEpoch":-1}'


class LogDirInUse(InvalidConfig):
    """Another process has the log directory open."""


class ForeignLogDir(InvalidConfig):
    """The log directory belongs to another broker or another cluster."""


@dataclass(frozen=True, slots=True)
class Meta:
    """Whose data a log directory holds. None: not known yet."""

    broker_id: int | None
    cluster_id: str | None


def encode_meta(meta: Meta) -> bytes:
    lines = ["version=0"]
    if meta.broker_id is not None:
        lines.append(f"broker.id={meta.broker_id}")
    if meta.cluster_id is not None:
        lines.append(f"cluster.id={meta.cluster_id}")
    return "".join(f"{line}\n" for line in lines).encode()


def decode_meta(data: bytes, path: str) -> Meta:
    """ForeignLogDir when the file is of a version that is not ours, or makes no sense."""
    fields: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if line.strip() and not line.lstrip().startswith(("#", "!")):
            key, _, value = line.partition("=")
            fields[key.strip()] = value.strip()
    if not fields:
        return Meta(None, None)
    if fields.get("version") != "0":
        raise ForeignLogDir(
            f"{path} is of version {fields.get('version')!r}; this broker keeps version 0, that of"
            " clusters with a ZooKeeper ensemble"
        )
    broker_id = fields.get("broker.id")
    if broker_id is not None and not broker_id.isdecimal():
        raise ForeignLogDir(f"{path}: broker.id={broker_id!r} is no number")
    return Meta(None if broker_id is None else int(broker_id), fields.get("cluster.id"))


class Kind(Enum):
    """What a directory in a log directory is."""

    LOG = "log"
    FUTURE = "future"
    DELETED = "deleted"


class Found(NamedTuple):
    """A directory by its name; `tp` is None for what is on its way out."""

    name: str
    tp: TopicPartition | None
    kind: Kind


class Opening(NamedTuple):
    """How a log's files are to be taken: see `Log.open`. `name` of its directory, where that is not
    the partition's."""

    clean: bool
    recovered: bool = False
    name: str | None = None


def deletion_name(tp: TopicPartition, unique: UUID) -> str:
    """What the directory of a log on its way out is called."""
    suffix = f"-{tp.partition}.{unique.hex}-delete"
    return tp.topic[: _NAME_BYTES_MAX - len(suffix)] + suffix


def _partition_of(match: re.Match[str]) -> TopicPartition:
    return TopicPartition(match["topic"], int(match["partition"]))


class LogDirKeeper(Protocol):
    """Whom a log directory tells what happens to it."""

    def dir_failed(self, log_dir: "LogDir") -> None: ...

    def log_lost(self, lost: LogState, reason: str) -> None: ...

    def log_wants_flush(self, log: FlushingLog) -> bool: ...


class LogDir:
    """One directory of `log.dirs`; locked from `__init__` to `release`.

    `failure` says why nothing is asked of the directory any more, None while it works. `is_full`:
    the last write found no room; appends go on trying.
    """

    __slots__ = (
        "_disk",
        "_events",
        "_found",
        "_generation",
        "_keeper",
        "_lock",
        "_saving",
        "_written",
        "cleaner_offsets",
        "failure",
        "high_watermarks",
        "is_full",
        "is_tainted",
        "log_starts",
        "logs",
        "meta",
        "offline",
        "path",
        "recovery_points",
        "was_clean",
    )

    def __init__(
        self, disk: Disk, path: str, events: Events, keeper: LogDirKeeper | None = None
    ) -> None:
        """OSError; LogDirInUse; ForeignLogDir."""
        self._disk = disk
        self._events = events
        self._keeper = keeper
        self.path = path.rstrip("/")
        self.failure: str | None = None
        self.is_full = False
        self.is_tainted = False  # a log was lost: not all that is in here was closed cleanly
        disk.make_dirs(self.path)
        try:
            self._lock: DirectoryLock = disk.lock(f"{self.path}/{LOCK}")
        except BlockingIOError:
            raise LogDirInUse(f"another process has {self.path} open") from None
        try:
            meta_path = f"{self.path}/{META}"
            self.meta = (
                decode_meta(disk.read(meta_path), meta_path)
                if disk.exists(meta_path)
                else Meta(None, None)
            )
        except (ForeignLogDir, OSError):
            self._lock.release()
            raise
        self.was_clean = disk.exists(f"{self.path}/{CLEAN_SHUTDOWN}")
        self.logs: dict[TopicPartition, Log] = {}
        # Logs that could not be opened; what the checkpoints say of them is kept.
        self.offline: set[TopicPartition] = set()
        self._written: dict[str, bytes] = {}
        self._found: dict[str, bytes] = {}  # by the start; a power cut may bring back others
        self.recovery_points = self._read(RECOVERY_POINTS)
        self.log_starts = self._read(LOG_STARTS)
        self.cleaner_offsets = self._read(CLEANER_OFFSETS)
        self.high_watermarks = self._read(HIGH_WATERMARKS)
        self._saving = trio.Lock()  # one at a time, or an older state would overtake a newer one
        self._generation = 0  # counts what makes a checkpoint that is being saved out of date

    def _read(self, name: str) -> dict[TopicPartition, int]:
        """A checkpoint file; without it, or with a broken one, everything is taken for unknown."""
        try:
            self._found[name] = data = self._disk.read(f"{self.path}/{name}")
            return decode_offsets(data)
        except FileNotFoundError:
            return {}
        except MalformedCheckpoint as error:
            self._events.warning("checkpoint.ignored", dir=self.path, file=name, reason=str(error))
            return {}

    def _write(self, name: str, offsets: Mapping[TopicPartition, int]) -> None:
        self._generation += 1
        data = encode_offsets(offsets)
        if self._written.get(name) != data:
            self._disk.replace(f"{self.path}/{name}", data)
            self._written[name] = data

    async def _save(self, name: str, offsets: Mapping[TopicPartition, int]) -> bool:
        """As `_write`, with the sync off the loop; False, with no effect, if something newer came
        meanwhile. Called with `_saving`.

        The directory is not synced: a crash may bring back the offsets of the round before, which
        are as true and lower.
        """
        data = encode_offsets(offsets)
        if self._written.get(name) == data:
            return True
        generation = self._generation
        temporary = f"{self.path}/{name}{_UNFINISHED}"
        file = self._disk.open(temporary)
        try:
            file.truncate(0)
            file.append(data)
            await file.sync()
        finally:
            file.close()
        if self._generation != generation:
            return False
        self._disk.rename(temporary, f"{self.path}/{name}")
        self._written[name] = data
        return True

    def write_meta(self, meta: Meta) -> None:
        if meta != self.meta:
            self._disk.replace(f"{self.path}/{META}", encode_meta(meta))
            self.meta = meta

    def find_logs(self, events: Events) -> list[Found]:
        """The partitions' directories in here. A copy of what is here already is on its way out.

        It changes nothing, and may be done beside the loop; `events` are told of strangers.
        """
        found: list[Found] = []
        current: set[TopicPartition] = set()
        for name in self._disk.list_dir(self.path):
            if not self._disk.is_dir(f"{self.path}/{name}"):
                continue
            if _DELETED_NAME.fullmatch(name):
                found.append(Found(name, None, Kind.DELETED))
            elif match := _LOG_NAME.fullmatch(name):
                current.add(tp := _partition_of(match))
                found.append(Found(name, tp, Kind.LOG))
            elif match := _FUTURE_NAME.fullmatch(name):
                found.append(Found(name, _partition_of(match), Kind.FUTURE))
            elif not name.startswith("."):  # `.coordinator` is the embedded coordinator's
                events.warning("log_dir.stranger_found", dir=self.path, name=name)
        seen: set[TopicPartition | None] = set(current)
        for at, each in enumerate(found):
            if each.kind is Kind.FUTURE:
                if each.tp in seen:
                    found[at] = Found(each.name, None, Kind.DELETED)
                seen.add(each.tp)
        return found

    def topics(self) -> set[str]:
        """Topics that have a directory in here."""
        return {
            match["topic"]
            for name in self._disk.list_dir(self.path)
            if (match := _LOG_NAME.fullmatch(name) or _FUTURE_NAME.fullmatch(name))
        }

    def open_log(self, tp: TopicPartition, config: LogConfig, *, now_ms: int, how: Opening) -> Log:
        """Open a log, or make it, and keep it. OSError, CorruptLog."""
        log = self.read_log(tp, config, now_ms=now_ms, how=how, events=self._events)
        self.take_in(log)
        return log

    def read_log(
        self, tp: TopicPartition, config: LogConfig, *, now_ms: int, how: Opening, events: Events
    ) -> Log:
        """Open the files of a log and nothing else: beside the loop, while nobody else looks at
        them. OSError, CorruptLog.
        """
        return Log.open(
            self._disk,
            f"{self.path}/{how.name or tp}",
            tp,
            config,
            now_ms=now_ms,
            clean=how.clean,
            recovered=how.recovered,
            recovery_point=self.recovery_points.get(tp, 0),
            log_start=self.log_starts.get(tp, 0),
            events=events,
            owner=self,
        )

    def take_in(self, log: Log) -> None:
        """Keep what `read_log` has opened."""
        tp = log.tp
        log.cleaned_end = min(self.cleaner_offsets.get(tp, 0), log.log_end)
        self._generation += 1
        self.logs[tp] = log
        self.offline.discard(tp)

    def discard(self, tp: TopicPartition, unique: UUID) -> None:
        """Remove a log that is offline. OSError: it is still there."""
        path, name = f"{self.path}/{tp}", f"{self.path}/{deletion_name(tp, unique)}"
        try:
            self._disk.rename(path, name)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.note_error("delete", error, where=path)
            raise
        self.offline.discard(tp)
        self.high_watermarks.pop(tp, None)
        with suppress(OSError):  # the next start tries again
            self._disk.remove_tree(name)

    def begin(self) -> None:
        """All logs are loaded: from now on only a clean stop is a clean stop."""
        if self._disk.exists(f"{self.path}/{CLEAN_SHUTDOWN}"):
            self._disk.remove(f"{self.path}/{CLEAN_SHUTDOWN}")
            self._disk.sync_dir(self.path)

    def forget_former(self, tp: TopicPartition) -> None:
        """A log begins under this name. What the checkpoints on the disk say of one that had it
        before, and is deleted, must not be taken for what holds of this one. OSError.
        """
        for offsets in (
            self.recovery_points, self.log_starts, self.high_watermarks, self.cleaner_offsets,
        ):  # fmt: skip
            offsets.pop(tp, None)
        row = f"\n{tp.topic} {tp.partition} ".encode()
        if any(row in data for data in (*self._written.values(), *self._found.values())):
            self.write_checkpoints()
            self._write(CLEANER_OFFSETS, self.cleaner_offsets)
            self._found.clear()

    def write_recovery_points(self) -> None:
        self._note_recovery_points()
        self._write(RECOVERY_POINTS, self.recovery_points)

    async def save_recovery_points(self) -> None:
        """As `write_recovery_points`, off the loop; a crash may bring back those before, until the
        directory is synced.
        """
        async with self._saving:
            self._note_recovery_points()
            if not await self._save(RECOVERY_POINTS, self.recovery_points):
                self.write_recovery_points()

    async def save_high_watermark(self, tp: TopicPartition, offset: int) -> None:
        """Have it on the disk, off the loop, that `tp` is committed up to `offset` at least; synced
        with the directory, as in `save_recovery_points`.
        """
        async with self._saving:
            if self.high_watermarks.get(tp, 0) < offset:
                self.high_watermarks[tp] = offset
            if not await self._save(HIGH_WATERMARKS, self.high_watermarks):
                self._write(HIGH_WATERMARKS, self.high_watermarks)

    def write_cleaner_offsets(self) -> None:
        """Where the next compaction of each log begins, of those that were compacted."""
        if self._note_cleaner_offsets():
            self._write(CLEANER_OFFSETS, self.cleaner_offsets)

    async def save_cleaner_offsets(self) -> None:
        """As `write_cleaner_offsets`, off the loop; a crash may bring back lower ones."""
        async with self._saving:
            if not self._note_cleaner_offsets():
                return
            if not await self._save(CLEANER_OFFSETS, self.cleaner_offsets):
                self._write(CLEANER_OFFSETS, self.cleaner_offsets)

    def _note_cleaner_offsets(self) -> bool:
        """Whether there is something new."""
        ends = {tp: log.cleaned_end for tp, log in self.logs.items() if log.cleaned_end > 0}
        ends = {**self._offline_entries(self.cleaner_offsets), **ends}
        if ends == self.cleaner_offsets:
            return False
        self.cleaner_offsets = ends
        return True

    # --- what its logs tell ---

    def log_cut(self) -> None:
        """What is written there from now on was neither flushed nor compacted."""
        self.write_recovery_points()
        self.write_cleaner_offsets()

    def log_wants_flush(self, log: FlushingLog) -> bool:
        return self._keeper is not None and self._keeper.log_wants_flush(log)

    def log_failed(self, log: LogState, what: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            if self._keeper is not None:
                self._keeper.log_lost(log, f"{what} in {log.directory}: {error}")
            return
        self.note_error(what, error, where=log.directory)

    def note_error(self, what: str, error: OSError, *, where: str) -> None:
        """Draw the conclusion from an error of the disk: it is full, or failed, or neither."""
        if is_full(error):
            if not self.is_full:
                self.is_full = True
                self._events.error("log_dir.full", dir=self.path, during=what, path=where)
        elif not is_passing(error) and self.failure is None:
            self.failure = f"{what} in {where}: {error}"
            self._events.error(
                "log_dir.failed",
                dir=self.path,
                during=what,
                path=error.filename or where,
                reason=str(error),
                partitions=len(self.logs),
            )
            for log in self.logs.values():
                log.abandon()
            if self._keeper is not None:
                self._keeper.dir_failed(self)

    def space(self) -> tuple[int, int] | None:
        """(total, usable) bytes of the file system; None when nobody knows."""
        try:
            return self._disk.space(self.path)
        except OSError:
            return None

    def look_for_space(self) -> bool:
        """Whether a directory that was full takes bytes again."""
        assert self.is_full
        path = f"{self.path}/{_PROBE}"
        try:
            file = self._disk.open(path)
            try:
                file.truncate(0)
                file.append(bytes(_PROBE_BYTES))
            finally:
                file.close()
                self._disk.remove(path)
        except OSError as error:
            self.note_error("probe", error, where=path)
            return False
        self.is_full = False
        self._events.info("log_dir.space_returned", dir=self.path)
        return True

    def _note_recovery_points(self) -> None:
        points = {tp: log.recovery_point for tp, log in self.logs.items()}
        self.recovery_points = {**self._offline_entries(self.recovery_points), **points}

    def _note_log_starts(self) -> None:
        starts = {
            tp: log.log_start for tp, log in self.logs.items() if log.log_start > log.first_base
        }
        self.log_starts = {**self._offline_entries(self.log_starts), **starts}

    def _offline_entries(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        return {tp: offset for tp, offset in offsets.items() if tp in self.offline}

    def write_checkpoints(self) -> None:
        """Recovery points, log starts and the high watermarks that were noted."""
        self.write_recovery_points()
        self._note_log_starts()
        self._write(LOG_STARTS, self.log_starts)
        self._write(HIGH_WATERMARKS, self.high_watermarks)

    async def save_checkpoints(self) -> None:
        """As `write_checkpoints`, off the loop."""
        async with self._saving:
            self._note_recovery_points()
            await self._save(RECOVERY_POINTS, self.recovery_points)
            self._note_log_starts()
            await self._save(LOG_STARTS, self.log_starts)
            await self._save(HIGH_WATERMARKS, self.high_watermarks)

    def close(self, *, clean: bool) -> None:
        """Close every log; after a clean stop the next start scans nothing.

        What cannot be written makes the stop an unclean one, and the next start recovers the logs.
        """
        problem = "a log was lost" if self.is_tainted else ""
        for log in self.logs.values():
            try:
                log.close(clean=clean and not log.is_closed)
            except (OSError, KafkaStorageError) as error:
                problem = str(error)
                log.abandon()
                log.let_go()
        try:
            if clean and not problem:
                self.write_checkpoints()
                self._disk.replace(f"{self.path}/{CLEAN_SHUTDOWN}", _CLEAN_MARK)
        except OSError as error:
            problem = str(error)
        finally:
            self._lock.release()
        if clean and problem:
            self._events.error("log_dir.not_clean", path=self.path, reason=problem)

    def release(self) -> None:
        """Let go of a directory that failed."""
        for log in self.logs.values():
            log.let_go()
        self._lock.release()


__all__ = [
    "CLEAN_SHUTDOWN",
    "META",
    "ForeignLogDir",
    "LogDir",
    "LogDirInUse",
    "LogDirKeeper",
    "Meta",
    "Opening",
    "deletion_name",
]
