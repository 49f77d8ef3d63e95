"""The check of a log after a crash, done beside the loop: a worker reads the batches, cuts what is
torn, and leaves indexes, leader epochs and a producer snapshot as a clean stop would, unsynced.
Whoever opens the log then scans nothing, and still knows how little of it is on stable storage.

Small logs are checked where they are opened: a process costs more than they do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ottla.broker.storage import files
from ottla.broker.storage.loading import Loaded, Loader
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.notes import Note, Notes
from ottla.broker.storage.segment import CorruptLog
from ottla.runtime.interfaces import Disk

WORTH_A_WORKER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class RecoveryOrder:
    """What a worker has to know of the log in `directory`."""

    directory: str
    config: LogConfig
    recovery_point: int
    log_start: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came of it. `error` is the disk's or the log's, and opening the log will meet it again.

    `notes` are for the event log.
    """

    bytes_cut: int
    notes: list[Note]
    error: OSError | CorruptLog | None = None


def bytes_to_check(disk: Disk, directory: str, recovery_point: int) -> int:
    """How much lies in segments that reach beyond `recovery_point`. OSError."""
    bases = sorted(
        base
        for name in disk.list_dir(directory)
        if (base := files.offset_of(name, files.LOG)) is not None
    )
    first = max(sum(base <= recovery_point for base in bases) - 1, 0)
    total = 0
    for base in bases[first:]:
        file = disk.open(f"{directory}/{files.stem(base)}{files.LOG}", create=False)
        total += file.size()
        file.close()
    return total


def recover(disk: Disk, order: RecoveryOrder) -> Iterator[Recovered]:
    """For a worker: check one log. A single step."""
    notes = Notes()
    loader = Loader(disk, order.directory, order.config, now_ms=order.now_ms, events=notes)
    try:
        loaded = loader.load(
            clean=False, recovery_point=order.recovery_point, log_start=order.log_start
        )
        _leave(disk, order.directory, loaded)
    except (OSError, CorruptLog) as error:
        yield Recovered(0, notes.noted, error)
        return
    yield Recovered(loaded.bytes_cut, notes.noted)


def _leave(disk: Disk, directory: str, loaded: Loaded) -> None:
    try:
        for segment in loaded.segments:
            segment.save_indexes()
            segment.txn_index.save()
            for index in (segment.offset_index, segment.time_index):
                if not index.file.is_synced:  # which only this process knows
                    index.file.sync_now()
        loaded.snapshots.take(loaded.log_end, loaded.producers)
        if loaded.epochs.is_dirty:
            disk.replace(f"{directory}/{files.LEADER_EPOCHS}", loaded.epochs.encode())
    finally:
        for segment in loaded.segments:
            segment.close()


__all__ = [
    "WORTH_A_WORKER_BYTES",
    "Recovered",
    "RecoveryOrder",
    "bytes_to_check",
    "recover",
]
