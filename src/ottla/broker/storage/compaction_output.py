"""The segment that a compaction writes: a `.log` with its indexes under `.cleaned` names."""

from ottla.broker.errors import KafkaStorageError
from ottla.broker.storage import files
from ottla.broker.storage.indexes import OffsetIndex, TimeIndex
from ottla.broker.storage.segment import SEGMENT_BYTES_MAX
from ottla.broker.storage.txn_index import TxnIndex
from ottla.protocol.kafka.records import BatchHeader
from ottla.runtime.interfaces import Disk

_WRITE_BYTES = 1 << 20


class CleanedSegment:
    """Life: construct, `append` batches and `txn_index` entries in order, `finish` or `discard`.

    There is a `.txnindex` even without entries: with each file there, a crash while they take their
    names is told from their absence (`compaction_swap`).
    """

    def __init__(self, disk: Disk, directory: str, base: int, *, index_interval: int) -> None:
        self._disk = disk
        self._directory = directory
        self._base = base
        self._path = f"{directory}/{files.stem(base)}"
        self._interval = index_interval
        discard_cleaned(disk, directory, base)
        self._file = disk.open(self._name(files.LOG))
        self._buffer = bytearray()
        self._since_index = 0
        self._max_timestamp = -1
        self._max_timestamp_offset = base
        self._offset_index = OffsetIndex(disk, self._name(files.INDEX), base, _not_loaded)
        self._time_index = TimeIndex(disk, self._name(files.TIME_INDEX), base, _not_loaded)
        self._offset_index.reset()
        self._time_index.reset()
        disk.open(self._name(files.TXN_INDEX)).close()
        self.txn_index = TxnIndex(disk, self._name(files.TXN_INDEX), exists=False)
        self.size = 0

    def _name(self, suffix: str) -> str:
        return self._path + suffix + files.CLEANED

    def append(self, batch: bytes, header: BatchHeader) -> None:
        """Add a batch; `header` is its own. KafkaStorageError when the formats have no room."""
        if self.size + len(batch) > SEGMENT_BYTES_MAX:
            raise KafkaStorageError(f"{self._path}{files.LOG} would grow beyond the format's limit")
        if header.record_count and header.max_timestamp > self._max_timestamp:
            self._max_timestamp = header.max_timestamp
            self._max_timestamp_offset = header.last_offset
        if self._since_index > self._interval:
            self._offset_index.append(header.last_offset, self.size)
            self._time_index.append(self._max_timestamp, self._max_timestamp_offset)
            self._since_index = 0
        self._since_index += len(batch)
        self.size += len(batch)
        self._buffer += batch
        if len(self._buffer) >= _WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        self._file.append(self._buffer)
        self._buffer.clear()

    def finish(self) -> None:
        """Bring everything to stable storage, names included."""
        self._write()
        self._file.sync_now()
        self._file.close()
        if self._max_timestamp >= 0:
            self._time_index.append(self._max_timestamp, self._max_timestamp_offset)
        for index in (self._offset_index, self._time_index):
            index.save()
            index.file.sync_now()
        self.txn_index.sync_now()
        self._disk.sync_dir(self._directory)

    def discard(self) -> None:
        self._file.close()
        discard_cleaned(self._disk, self._directory, self._base)


def discard_cleaned(disk: Disk, directory: str, base: int) -> None:
    """Remove what is there of a segment that was not taken over."""
    for suffix in files.SEGMENT_SUFFIXES:
        path = f"{directory}/{files.stem(base)}{suffix}{files.CLEANED}"
        if disk.exists(path):
            disk.remove(path)


def _not_loaded() -> None:
    raise AssertionError("an index that is being written is not read")


__all__ = ["CleanedSegment", "discard_cleaned"]
