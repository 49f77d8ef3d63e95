"""Finding batches for readers: ranges of files by offset, offsets by timestamp.

A reader near the end is answered from the tail in memory; one that goes on where its last range
ended, from a hint; others by the index and a scan of headers. For readers behind the tail the
system is told what they will ask for next, so that it reads from the disk before the loop has to
wait for it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ottla.broker.errors import KafkaStorageError
from ottla.broker.storage.segment import SCAN_BYTES, Segment
from ottla.broker.storage.tail import Tail
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import LOG_APPEND_TIME_BIT, BatchHeader, Record, read_records
from ottla.runtime.interfaces import File

_HINTS_MAX = 64
# Told to the system ahead of a range that is read: so many times its length, and no more than this.
# Readers of small ranges do not profit.
_AHEAD_RANGES = 4
_AHEAD_BYTES_MAX = 8 * 1024 * 1024
_AHEAD_RANGE_MIN = 64 * 1024


@dataclass(slots=True)
class FileRange:
    """Bytes of a file, to be sent without being read into this process."""

    file: File
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    def read(self) -> bytes:
        return self.file.read_at(self.offset, self.length)


class ReadInfo(NamedTuple):
    """Batches, or b"" when there are none; `first_offset` is that of the first batch, or -1."""

    data: FileRange | bytes
    first_offset: int


EMPTY_READ = ReadInfo(b"", -1)


class Reader:
    """Reads the segments of a log, whose lists it shares. Knows nothing of what may be read."""

    __slots__ = ("_bases", "_hints", "_segments", "tail")

    def __init__(self, segments: list[Segment], bases: list[int]) -> None:
        self._segments = segments
        self._bases = bases
        self.tail = Tail()
        # First offset of a batch to (segment, position, told): where ranges that were read ended,
        # and up to where the system was told that the segment is needed.
        self._hints: dict[int, tuple[Segment, int, int]] = {}

    def forget(self) -> None:
        """Offsets have changed their places."""
        self.tail.clear()
        self._hints.clear()

    def forget_hints(self) -> None:
        """Sealed segments were replaced; what the active one holds is where it was."""
        self._hints.clear()

    def read(
        self, offset: int, max_bytes: int, end: int, log_end: int, at_least_one: bool
    ) -> ReadInfo:
        """See `Log.read`; `offset` < `end` <= `log_end`."""
        found = self._find(offset)
        if found is None:
            return EMPTY_READ
        segment, first_offset, position, told = found
        limit = segment.size if end == log_end else self._limit(segment, end)
        if position >= limit:
            return EMPTY_READ
        stop = position + max_bytes
        if stop >= limit:
            stop = limit
        else:
            if max_bytes >= _AHEAD_RANGE_MIN and told >= 0:
                told = self._tell(segment, position, max_bytes, told)
            stop = self._last_boundary(segment, position, stop, told)
            if stop == position:
                if not at_least_one:
                    return EMPTY_READ
                stop = position + segment.header_at(position).size
                if stop > limit:
                    return EMPTY_READ
        return ReadInfo(FileRange(segment.file, position, stop - position), first_offset)

    def _tell(self, segment: Segment, position: int, max_bytes: int, told: int) -> int:
        """Tell the system what is needed from `position` on, unless it was; up to where it is."""
        if told >= min(position + 2 * max_bytes, segment.size):
            return told
        start = max(position, told)
        ahead = min(_AHEAD_RANGES * max_bytes, _AHEAD_BYTES_MAX)
        end = min(position + max_bytes + ahead, segment.size)
        segment.file.will_need(start, end - start)
        return end

    def _find(self, offset: int) -> tuple[Segment, int, int, int] | None:
        """(segment, first offset, position) of the first batch that reaches `offset`; told.

        told: up to where the system knows that the segment is needed, -1 when it need not.
        """
        tail = self.tail
        if tail.covers(offset):
            first_offset, position = tail.batch_holding(offset)
            return self._segments[-1], first_offset, position, -1
        hint = self._hints.pop(offset, None)
        if hint is not None:
            return hint[0], offset, hint[1], hint[2]
        at = max(bisect_right(self._bases, offset) - 1, 0)
        for segment in self._segments[at:]:
            found = segment.locate(offset)
            if found is not None:
                return segment, found[1].base_offset, found[0], 0
        return None

    def _limit(self, segment: Segment, end: int) -> int:
        """The position in `segment` where the batches below `end` stop."""
        active = self._segments[-1]
        if segment is active:
            if self.tail.covers(end):
                return self.tail.batch_holding(end)[1]
        elif self._bases[bisect_right(self._bases, segment.base)] <= end:
            return segment.size
        found = segment.locate(end)
        return segment.size if found is None else found[0]

    def _last_boundary(self, segment: Segment, position: int, stop: int, told: int) -> int:
        """The last start of a batch in (position, stop], if it is found cheaply; else `position`
        when the first batch goes beyond `stop`, or `stop` itself, inside of some batch.
        """
        if segment is self._segments[-1] and self.tail.covers_position(position):
            offset, boundary = self.tail.batch_at_most(stop)
        else:
            boundary = segment.offset_index.boundary_at_most(stop)
            if boundary > position:
                offset = segment.header_at(boundary).base_offset
            else:
                boundary = offset = -1
                for at, header in segment.scan(position, min(stop, position + SCAN_BYTES)):
                    if at + header.size > stop:
                        boundary = at
                        offset = header.base_offset
                        break
                else:
                    return stop
        if boundary > position:
            self._hint(offset, segment, boundary, told)
        return boundary

    def _hint(self, offset: int, segment: Segment, position: int, told: int) -> None:
        hints = self._hints
        if len(hints) >= _HINTS_MAX:
            del hints[next(iter(hints))]
        hints[offset] = (segment, position, max(told, 0))

    # timestamps

    def offset_for_timestamp(self, timestamp: int, log_start: int) -> tuple[int, int, int] | None:
        for at, segment in enumerate(self._segments):
            if at + 1 < len(self._bases) and self._bases[at + 1] <= log_start:
                continue
            if segment.max_timestamp < timestamp:
                continue
            start = max(segment.time_index.offset_before(timestamp), log_start)
            for position, header in segment.scan(segment.offset_index.position_for(start)):
                if header.max_timestamp < timestamp or header.last_offset < log_start:
                    continue
                for record in self._records(segment, position, header):
                    if record.timestamp >= timestamp and record.offset >= log_start:
                        epoch = header.partition_leader_epoch
                        return record.timestamp, record.offset, epoch
        return None

    def max_timestamp_offset(self, log_start: int) -> tuple[int, int, int] | None:
        segment = max(self._segments, key=_youngest)
        youngest = segment.max_timestamp
        if youngest < 0:
            return None
        for position, header in segment.scan(
            segment.offset_index.position_for(segment.max_timestamp_offset)
        ):
            if header.max_timestamp != youngest or header.last_offset < log_start:
                continue
            if not header.record_count:
                continue  # compaction has left its producer's last sequence only
            epoch = header.partition_leader_epoch
            if header.attributes & LOG_APPEND_TIME_BIT:
                return youngest, header.last_offset, epoch
            for record in self._records(segment, position, header):
                if record.timestamp == youngest:
                    return youngest, record.offset, epoch
        return None

    def _records(self, segment: Segment, position: int, header: BatchHeader) -> Sequence[Record]:
        try:
            return read_records(segment.file.read_at(position, header.size))
        except DecodeError as error:
            raise KafkaStorageError(
                f"batch at offset {header.base_offset} in {segment.path}: {error}"
            ) from None


def _youngest(segment: Segment) -> int:
    return segment.max_timestamp


__all__ = ["EMPTY_READ", "FileRange", "ReadInfo", "Reader"]
