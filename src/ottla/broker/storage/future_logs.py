"""Logs on their way to another log directory (KIP-113), and what makes them current.

A copy is in a directory `<topic>-<partition>.<32 hex digits>-future` until it is whole. Then

1. the copy and its checkpoints are on stable storage,
2. the current log's directory gets its name for deletion, and that is synced,
3. the copy gets the name of the log.

So a crash leaves the current log and a copy that goes on growing, or a copy alone, which the next
start takes for the log, or the copy under its final name. In no case two logs, or none.
"""

from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from ottla.broker.errors import InvalidTopic, KafkaStorageError, LogDirNotFound
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.directory import LogDir, Opening
from ottla.broker.storage.log import Log
from ottla.runtime.interfaces import Disk, Events

_NAME_BYTES_MAX = 255


class FutureLogs:
    """The copies of a broker's logs. `current` are its logs, the manager's own mapping.

    Invariant: a copy is in another directory than its log, in that directory's `logs`.
    """

    def __init__(
        self,
        disk: Disk,
        current: dict[TopicPartition, Log],
        doom: Callable[[LogDir, Log, UUID, int], None],
        events: Events,
    ) -> None:
        self._disk = disk
        self._current = current
        self._doom = doom
        self._events = events
        self.logs: dict[TopicPartition, Log] = {}
        self.wanted_dirs: dict[TopicPartition, str] = {}  # of logs that are not made yet

    def adopt(self, tp: TopicPartition, log: Log) -> None:
        """A start has found a copy."""
        self.logs[tp] = log

    def begin(self, tp: TopicPartition, log_dir: LogDir, *, unique: UUID, now_ms: int) -> Log:
        """Make an empty copy in `log_dir`, which a power cut leaves there.

        InvalidTopic when its name is too long; OSError.
        """
        assert tp not in self.logs
        assert tp not in log_dir.logs
        current = self._current[tp]
        name = f"{tp}.{unique.hex}-future"
        if len(name) > _NAME_BYTES_MAX:
            raise InvalidTopic(f"{tp}: the name is too long for a second directory")
        self.settle_name(current)
        try:
            how = Opening(clean=True, name=name)
            log = log_dir.open_log(tp, current.config, now_ms=now_ms, how=how)
            log.cleaned_end = 0
            if current.topic_id is not None:
                log.set_topic_id(current.topic_id)
            self._disk.sync_dir(log.directory)
            self._disk.sync_dir(log_dir.path)
        except OSError:
            made = log_dir.logs.pop(tp, None)
            if made is not None:
                made.close(clean=False)
            with suppress(OSError):
                self._disk.remove_tree(f"{log_dir.path}/{name}")
            raise
        self.logs[tp] = log
        self._events.info("log.move_started", partition=str(tp), to=log_dir.path)
        return log

    def settle_name(self, log: Log) -> None:
        """Have `log` bear its own name on stable storage. OSError.

        It may still be called a copy there, by an earlier move: with another copy, and no log, the
        next start would not know which of them is whole.
        """
        parent, _, name = log.directory.rpartition("/")
        if name != str(log.tp):
            final = f"{parent}/{log.tp}"
            self._disk.rename(log.directory, final)
            log.go_by(final)
        self._disk.sync_dir(parent)

    def drop(self, tp: TopicPartition, *, now_ms: int, unique: UUID, dirs: list[LogDir]) -> None:
        """Throw the copy of `tp` away, if there is one. OSError."""
        log = self.logs.get(tp)
        if log is None:
            return
        self._doom(_dir_of(log, dirs), log, unique, now_ms)
        del self.logs[tp]
        self._events.info("log.move_ended", partition=str(tp), dir=log.directory)

    def leave(self, tp: TopicPartition, *, dirs: list[LogDir]) -> None:
        """Let go of a copy whose directory cannot even be renamed: the next start finds it."""
        log = self.logs.pop(tp)
        for log_dir in dirs:
            if log_dir.logs.get(tp) is log:
                del log_dir.logs[tp]
        log.close(clean=False)

    def forget(self, log_dir: LogDir) -> None:
        """The directory failed, with the copies in it."""
        for tp in [tp for tp, log in self.logs.items() if log_dir.logs.get(tp) is log]:
            del self.logs[tp]

    def put_in_place(
        self, tp: TopicPartition, *, now_ms: int, unique: UUID, dirs: list[LogDir]
    ) -> Log:
        """Make the copy of `tp`, which is whole and as durable as the log, the log.

        KafkaStorageError: everything is as before.
        """
        copy, current = self.logs[tp], self._current[tp]
        target, source = _dir_of(copy, dirs), _dir_of(current, dirs)
        try:
            self._doom(source, current, unique, now_ms)
        except OSError as error:
            raise KafkaStorageError(f"{current.directory} is not moved: {error}") from error
        copy.take_place_of(current)
        del self.logs[tp]
        self._current[tp] = copy
        final = f"{target.path}/{tp}"
        try:
            self._disk.sync_dir(source.path)
        except OSError as error:
            source.note_error("move", error, where=source.path)
        try:
            self._disk.rename(copy.directory, final)
            copy.go_by(final)
        except OSError as error:  # the next start knows what a copy without a log is
            target.note_error("move", error, where=final)
        self._events.info(
            "log.moved", partition=str(tp), source=source.path, target=target.path, end=copy.log_end
        )
        return copy

    def settle(self, *, nothing_is_lost: bool) -> None:
        """After a start: a copy without a log is the log, if that cannot be in a lost directory."""
        for tp, log in list(self.logs.items()):
            if tp not in self._current and nothing_is_lost:
                directory = log.directory
                final = f"{directory.rpartition('/')[0]}/{tp}"
                del self.logs[tp]
                self._current[tp] = log
                with suppress(OSError):  # it serves as well by its name so far
                    self._disk.rename(directory, final)
                    log.go_by(final)
                self._events.warning("log.move_completed", partition=str(tp), dir=final)


def _dir_of(log: Log, dirs: list[LogDir]) -> LogDir:
    for log_dir in dirs:
        if log_dir.logs.get(log.tp) is log:
            return log_dir
    raise LogDirNotFound(f"{log.directory} is in no directory that works")


__all__ = ["FutureLogs"]
