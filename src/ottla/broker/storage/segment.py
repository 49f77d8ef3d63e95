"""One `.log` file with its indexes: a run of batches whose offsets begin at `base`.

A segment knows bytes, positions and indexes; what may be appended or deleted is the log's decision.
"""

from collections.abc import Callable, Iterator

from ottla.broker.errors import KafkaStorageError
from ottla.broker.storage import files
from ottla.broker.storage.disk_errors import is_full
from ottla.broker.storage.indexes import (
    RELATIVE_OFFSET_MAX,
    InsaneIndex,
    OffsetIndex,
    TimeIndex,
)
from ottla.broker.storage.txn_index import TxnIndex
from ottla.protocol.kafka.crc import crc32c
from ottla.protocol.kafka.records import (
    CRC_FROM,
    HEADER_BYTES,
    MAGIC,
    BatchHeader,
    CorruptRecord,
    iter_headers,
    read_header,
    validate_crc,
)
from ottla.runtime.interfaces import BytesLike, Disk

SCAN_BYTES = 64 << 10
_RECOVER_BYTES = 1 << 20
SEGMENT_BYTES_MAX = 0x7FFFFFFF


class CorruptLog(KafkaStorageError):
    """Bytes of a `.log` file that must be batches are none; the text names file and position."""


class Segment:
    """The open file and what is known of it without reading.

    `max_timestamp` (None until it is asked for) is the youngest of the records, at
    `max_timestamp_offset`; `first_timestamp` that of the first batch, -1 when there is none.
    """

    __slots__ = (
        "_disk",
        "_first_timestamp",
        "_index_interval",
        "_max_timestamp",
        "_max_timestamp_offset",
        "_since_index",
        "base",
        "created_ms",
        "file",
        "offset_index",
        "path",
        "size",
        "time_index",
        "txn_index",
    )

    def __init__(
        self, disk: Disk, directory: str, base: int, *, index_interval: int, now_ms: int
    ) -> None:
        """Open the segment, or make it. A file that is already there is not read yet."""
        self._disk = disk
        self.base = base
        self.path = f"{directory}/{files.stem(base)}"
        is_new = not disk.exists(self.path + files.LOG)
        self.file = disk.open(self.path + files.LOG)
        self.size = self.file.size()
        self.created_ms = now_ms
        self.offset_index = OffsetIndex(disk, self.path + files.INDEX, base, self.load_indexes)
        self.time_index = TimeIndex(disk, self.path + files.TIME_INDEX, base, self.load_indexes)
        txn_path = self.path + files.TXN_INDEX
        self.txn_index = TxnIndex(disk, txn_path, exists=disk.exists(txn_path))
        self._index_interval = index_interval
        self._since_index = 0
        self._first_timestamp: int | None = None
        self._max_timestamp: int | None = None
        self._max_timestamp_offset = base
        if is_new or self.size == 0:
            self._start_empty()

    def _start_empty(self) -> None:
        self.offset_index.reset()
        self.time_index.reset()
        self._since_index = 0
        self._first_timestamp = None
        self._max_timestamp = -1
        self._max_timestamp_offset = self.base

    # appending

    def append(
        self, data: BytesLike, last_offset: int, max_timestamp: int, max_timestamp_offset: int
    ) -> None:
        """Write whole batches at the end; `last_offset` is that of the first of them.

        OSError: nothing was written.
        """
        if self._max_timestamp is None:  # not asked for since the start
            self._find_max_timestamp()
        position = self.size
        self.file.append(data)
        length = len(data)
        self.size = position + length
        if position == 0:
            self._first_timestamp = max_timestamp
        if max_timestamp > self._max_timestamp:  # type: ignore[operator]  # it was found
            self._max_timestamp = max_timestamp
            self._max_timestamp_offset = max_timestamp_offset
        if self._since_index > self._index_interval:
            self.offset_index.append(last_offset, position)
            self.time_index.append(self.max_timestamp, self._max_timestamp_offset)
            self._since_index = 0
        self._since_index += length

    def fits(self, last_offset: int, length: int) -> bool:
        """Whether the formats have room for `length` more bytes up to `last_offset`."""
        return (
            last_offset - self.base <= RELATIVE_OFFSET_MAX
            and self.size + length <= SEGMENT_BYTES_MAX
        )

    # timestamps

    @property
    def max_timestamp(self) -> int:
        if self._max_timestamp is None:
            self._find_max_timestamp()
        assert self._max_timestamp is not None
        return self._max_timestamp

    @property
    def max_timestamp_offset(self) -> int:
        """Last offset of the batch that has `max_timestamp`."""
        if self._max_timestamp is None:
            self._find_max_timestamp()
        return self._max_timestamp_offset

    def _find_max_timestamp(self) -> None:
        timestamp, offset = self.time_index.last()
        for _, header in self.scan(self.offset_index.position_for(offset)):
            if header.max_timestamp > timestamp and header.record_count:
                timestamp, offset = header.max_timestamp, header.last_offset
        self._max_timestamp, self._max_timestamp_offset = timestamp, offset

    @property
    def first_timestamp(self) -> int:
        if self._first_timestamp is None:
            for _, header in self.scan(0):
                self._first_timestamp = header.max_timestamp
                break
            else:
                return -1
        return self._first_timestamp

    # reading

    def scan(self, position: int, end: int | None = None) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of the batches from `position` on; CorruptLog.

        Reads the file in pieces; payloads larger than a piece are stepped over, not read.
        """
        stop = self.size if end is None else min(end, self.size)
        chunk = b""
        chunk_at = position
        while position < stop:
            inside = position - chunk_at
            if len(chunk) - inside < HEADER_BYTES:
                chunk = self.file.read_at(position, SCAN_BYTES)
                chunk_at = position
                inside = 0
            try:
                header = read_header(chunk, inside)
            except CorruptRecord as error:
                raise self._corrupt(position, str(error)) from None
            if position + header.size > self.size:
                raise self._corrupt(position, "the last batch is cut")
            yield position, header
            position += header.size

    def _corrupt(self, position: int, problem: str) -> CorruptLog:
        return CorruptLog(f"{self.path}{files.LOG} at byte {position}: {problem}")

    def locate(self, offset: int) -> tuple[int, BatchHeader] | None:
        """The first batch that reaches `offset`; None when every batch ends below."""
        for position, header in self.scan(self.offset_index.position_for(offset)):
            if header.base_offset + header.last_offset_delta >= offset:
                return position, header
        return None

    def header_at(self, position: int) -> BatchHeader:
        for _, header in self.scan(position):
            return header
        raise self._corrupt(position, "no batch here")

    def next_offset(self) -> int:
        """The offset after the last batch. CorruptLog when the end is torn."""
        after = self.base
        self.load_indexes()
        for _, header in self.scan(self.offset_index.last_position()):
            after = header.last_offset + 1
        return after

    def verify(self, position: int, data: bytes) -> None:
        """CorruptLog when a whole batch in `data`, the bytes at `position`, is not as written.

        The first one has to be whole; a wrong length makes it look cut.
        """
        try:
            validate_crc(data, 0, read_header(data))
            next_offset = self.base
            for at, header in iter_headers(data):
                validate_crc(data, at, header)
                if header.base_offset < next_offset:  # which no checksum covers
                    raise CorruptRecord(f"offset {header.base_offset} after {next_offset - 1}")
                next_offset = header.last_offset + 1
        except CorruptRecord as error:
            raise self._corrupt(position, str(error)) from None

    # indexes

    def load_indexes(self) -> None:
        """Read both indexes, or build them anew from the headers."""
        if self.offset_index.is_loaded and self.time_index.is_loaded:
            return
        try:
            self.offset_index.load(self.size)
            self.time_index.load(self.size)
        except InsaneIndex:
            self.rebuild_indexes()

    def rebuild_indexes(self) -> None:
        self.offset_index.reset()
        self.time_index.reset()
        self._max_timestamp, self._max_timestamp_offset = -1, self.base
        self._since_index = 0
        for position, header in self.scan(0):
            self._index(position, header)

    def _index(self, position: int, header: BatchHeader) -> None:
        """Enter a batch that is in the file already, by the rule of `append`."""
        assert self._max_timestamp is not None
        if header.max_timestamp > self._max_timestamp and header.record_count:
            self._max_timestamp = header.max_timestamp
            self._max_timestamp_offset = header.last_offset
        if self._since_index > self._index_interval:
            self.offset_index.append(header.last_offset, position)
            self.time_index.append(self._max_timestamp, self._max_timestamp_offset)
            self._since_index = 0
        self._since_index += header.size

    def save_indexes(self) -> None:
        self.offset_index.save()
        self.time_index.save()

    def seal(self) -> None:
        """The log goes on in another segment: complete the time index, keep nothing in memory."""
        timestamp, offset = self.max_timestamp, self.max_timestamp_offset
        if timestamp >= 0:
            self.time_index.append(timestamp, offset)
        self.save_indexes()
        self.txn_index.save()

    def unload_indexes(self) -> None:
        if not self._save_indexes_if_room():
            return
        self.offset_index.unload()
        self.time_index.unload()

    # recovery

    def recover(self, trusted_end: int, visit: Callable[[BatchHeader], None]) -> tuple[int, int]:
        """Check the batches from the last index entry below `trusted_end` on; cut at the first bad.

        Returns (next offset, bytes cut). `visit` sees each good batch that was checked. CorruptLog
        when the bad one is below `trusted_end`: no crash does that, and other replicas have it.
        """
        start = self._trusted_position(trusted_end)
        next_offset, position = self._check_from(start, visit)
        if position == start and start > 0:
            # Not even the batch that the index points to is whole: trust nothing.
            self.offset_index.reset()
            self.time_index.reset()
            next_offset, position = self._check_from(0, visit)
        cut = self.size - position
        if cut and next_offset < trusted_end:
            raise self._corrupt(
                position,
                f"a batch from offset {next_offset} on is damaged, though all below {trusted_end}"
                " had been synced",
            )
        if cut:
            self.file.truncate(position)
            self.size = position
            self.file.sync_now()
        return next_offset, cut

    def _trusted_position(self, trusted_end: int) -> int:
        try:
            self.offset_index.load(self.size)
            self.time_index.load(self.size)
            start = self.offset_index.position_for(trusted_end - 1) if trusted_end > 0 else 0
            header = self.header_at(start) if self.size else None
        except (InsaneIndex, CorruptLog):
            start, header = 0, None
        if start == 0 or header is None or header.base_offset < self.base:
            self.offset_index.reset()
            self.time_index.reset()
            return 0
        self.offset_index.cut_position(start)
        self.time_index.cut_offset(header.base_offset)
        return start

    def _check_from(self, start: int, visit: Callable[[BatchHeader], None]) -> tuple[int, int]:
        """(next offset, position) after the last good batch at or after `start`."""
        self._max_timestamp, self._max_timestamp_offset = self.time_index.last()
        # Forces an entry at `start`, where the index had one.
        self._since_index = self._index_interval + 1 if start else 0
        next_offset = self.base
        position = start
        chunk, chunk_at = b"", start
        while self.size - position >= HEADER_BYTES:
            inside = position - chunk_at
            if len(chunk) - inside < HEADER_BYTES:
                chunk, chunk_at, inside = self.file.read_at(position, _RECOVER_BYTES), position, 0
            try:
                header = read_header(chunk, inside)
            except CorruptRecord:
                break
            if header.size > self.size - position or header.base_offset < next_offset:
                break
            if header.last_offset - self.base > RELATIVE_OFFSET_MAX:
                break
            if header.size > len(chunk) - inside:
                length = max(header.size, _RECOVER_BYTES)
                chunk, chunk_at, inside = self.file.read_at(position, length), position, 0
            with memoryview(chunk) as view:
                good = crc32c(view[inside + CRC_FROM : inside + header.size]) == header.crc
            if not good:
                break
            assert header.magic == MAGIC
            self._index(position, header)
            visit(header)
            next_offset = header.last_offset + 1
            position += header.size
        self._first_timestamp = None
        return next_offset, position

    # cutting and leaving

    def truncate_to(self, offset: int) -> int:
        """Drop the batches that reach `offset` or beyond; the next offset that is left."""
        found = self.locate(offset)
        if found is not None:
            position = found[0]
            self.load_indexes()
            self.offset_index.cut_position(position)
            self.time_index.cut_offset(found[1].base_offset)
            self.txn_index.truncate_to(offset)
            self.file.truncate(position)
            self.size = position
            self._first_timestamp = self._max_timestamp = None
            self._since_index = 0
            if position == 0:
                self._start_empty()
            self._save_indexes_if_room()
            self.file.sync_now()
        return self.next_offset()

    def _save_indexes_if_room(self) -> bool:
        """False on a full disk: what is missing in the files is a longer search after a crash."""
        try:
            self.save_indexes()
        except OSError as error:
            if not is_full(error):
                raise
            return False
        return True

    def flush_now(self) -> None:
        self.file.sync_now()
        self._save_indexes_if_room()
        for index in (self.offset_index, self.time_index):
            if not index.file.is_synced:
                index.file.sync_now()
        self.txn_index.sync_now()

    async def flush(self) -> None:
        self._save_indexes_if_room()
        await self.file.sync()
        for index in (self.offset_index, self.time_index):
            if not index.file.is_synced:
                await index.file.sync()
        await self.txn_index.sync()

    def go_by(self, directory: str) -> None:
        """The directory has another name; open files are where they were."""
        self.path = f"{directory}/{files.stem(self.base)}"
        self.offset_index.file.path = self.path + files.INDEX
        self.time_index.file.path = self.path + files.TIME_INDEX
        self.txn_index.path = self.path + files.TXN_INDEX

    def mark_deleted(self) -> None:
        """Give the files names that a start removes; the open file stays readable."""
        for suffix in files.SEGMENT_SUFFIXES:
            path = self.path + suffix
            if self._disk.exists(path):
                self._disk.rename(path, path + files.DELETED)

    def remove(self) -> None:
        """Close and remove files that `mark_deleted` renamed."""
        self.file.close()
        for suffix in files.SEGMENT_SUFFIXES:
            path = self.path + suffix + files.DELETED
            if self._disk.exists(path):
                self._disk.remove(path)

    def close(self) -> None:
        self.file.close()

    def check(self) -> None:
        assert self.size == self.file.size()
        end = 0
        next_offset = self.base
        for position, header in self.scan(0):
            assert header.base_offset >= next_offset
            next_offset = header.last_offset + 1
            end = position + header.size
        assert end == self.size


__all__ = ["SCAN_BYTES", "SEGMENT_BYTES_MAX", "CorruptLog", "Segment"]
