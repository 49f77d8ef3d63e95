"""Compaction by hand: one log in memory, compacted when a test says so."""

from ottla.broker.storage.compaction import (
    Cleaned,
    Finished,
    LastOfProducer,
    Order,
    SegmentSize,
    compact,
)
from ottla.broker.storage.log import Log
from ottla.protocol.kafka.records import BatchHeader, build_batch, iter_headers
from ottla.runtime.interfaces import BytesLike, Disk
from ottla.runtime.memory_disk import MemoryDisk, MemoryFile
from tests.support.logs import NOW_MS


def keyed(
    *records: tuple[bytes | None, bytes | None], timestamp: int = NOW_MS, **fields: object
) -> bytes:
    """A batch of (key, value) records; `fields` as for `build_batch`."""
    return build_batch([(key, value, timestamp, ()) for key, value in records], **fields)  # type: ignore[arg-type]


def order_for(
    log: Log,
    *,
    now_ms: int = NOW_MS,
    room_bytes: int = 1 << 20,
    end: int | None = None,
    group_bytes: int | None = None,
) -> Order:
    """All sealed segments, or those below `end`, from where the last compaction ended."""
    sealed, sealed_end = log.sealed_segments()
    end = sealed_end if end is None else end
    return Order(
        directory=log.directory,
        segments=tuple(SegmentSize(one.base, one.size) for one in sealed if one.base < end),
        first_dirty=max(log.cleaned_end, log.log_start),
        end=end,
        aborted=tuple(log.aborted_transactions(log.first_base, end)),
        producers={
            one.producer_id: LastOfProducer(
                one.batches[-1].last_offset if one.batches else -1, one.epoch
            )
            for one in log.producers.by_id.values()
        },
        now_ms=now_ms,
        delete_retention_ms=log.config.delete_retention_ms,
        room_bytes=room_bytes,
        group_bytes=log.config.segment_bytes if group_bytes is None else group_bytes,
        index_interval=log.config.index_interval_bytes,
        index_entries_max=log.config.offset_index_entries_max,
    )


def compact_now(disk: Disk, log: Log, **options: int) -> Finished:
    """One whole compaction, as the cleaner does it."""
    log.flush()
    order = order_for(log, **options)
    truncations = log.truncations
    for step in compact(disk, order):
        if isinstance(step, Cleaned):
            if not step.is_same:
                assert log.take_over(step.bases, truncations)
        else:
            log.cleaned_end = step.end
            return step
    raise AssertionError("a compaction ends with its sum")


def headers_of(disk: Disk, log: Log) -> list[BatchHeader]:
    """Every batch header of every segment, in order."""
    found: list[BatchHeader] = []
    for segment in log._segments.all:
        found += [header for _, header in iter_headers(disk.read(segment.path + ".log"))]
    return found


class PowerCut(BaseException):
    """Nothing that runs on the machine hears of it."""


class FusedDisk:
    """A memory disk whose machine loses its power at the `fuse`-th change; None: it does not."""

    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        self.fuse: int | None = None

    def burn(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise PowerCut

    def open(self, path: str, *, create: bool = True) -> "FusedFile":
        if create and not self.disk.exists(path):
            self.burn()
        return FusedFile(self, self.disk.open(path, create=create))

    def replace(self, path: str, data: bytes) -> None:
        self.burn()
        self.disk.replace(path, data)

    def rename(self, old: str, new: str) -> None:
        self.burn()
        self.disk.rename(old, new)

    def remove(self, path: str) -> None:
        self.burn()
        self.disk.remove(path)

    def sync_dir(self, path: str) -> None:
        self.burn()
        self.disk.sync_dir(path)

    def __getattr__(self, name: str) -> object:
        return getattr(self.disk, name)


class FusedFile:
    def __init__(self, disk: FusedDisk, file: MemoryFile) -> None:
        self._disk = disk
        self._file = file

    def append(self, data: BytesLike) -> None:
        self._disk.burn()
        self._file.append(data)

    def truncate(self, size: int) -> None:
        self._disk.burn()
        self._file.truncate(size)

    def sync_now(self) -> None:
        self._disk.burn()
        self._file.sync_now()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


__all__ = [
    "FusedDisk",
    "PowerCut",
    "compact_now",
    "headers_of",
    "keyed",
    "order_for",
]
