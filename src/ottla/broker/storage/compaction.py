"""Compaction of one log (`cleanup.policy=compact`): only the newest record of each key stays.

The rules are those of Kafka's log cleaner. The last offsets of all keys between the first dirty
offset and the first uncleanable one are collected, or of as many as memory allows; then the log is
copied from its start up to there, group by group of small segments, without

* records that have a newer one of the same key below that end, and records without a key,
* tombstones and markers of transactions past their delete horizon, which a first compaction writes
  into their batch (KIP-534),
* records of aborted transactions.

A batch keeps its offsets, sequences, epoch and codec; the last one of an active producer stays even
without records. The copy is in `.cleaned` files; taking them over is the log's business
(`compaction_swap`). This part only reads segments and writes such files, in any process: it knows
paths and numbers, and reads nothing that changes while it runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ottla.broker.storage import files
from ottla.broker.storage.compaction_output import CleanedSegment
from ottla.broker.storage.compaction_records import (
    LatestOffsets,
    Span,
    delete_horizon_ms,
    emptied,
    read_spans,
    rebuilt,
)
from ottla.broker.storage.compaction_txns import TxnsSeen
from ottla.broker.storage.indexes import RELATIVE_OFFSET_MAX
from ottla.broker.storage.segment import CorruptLog
from ottla.broker.storage.txn_index import AbortedTxn
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import (
    HEADER_BYTES,
    BatchHeader,
    ControlMarker,
    CorruptRecord,
    read_control_marker,
    read_header,
    validate_crc,
)
from ottla.runtime.interfaces import Disk, File

_READ_BYTES = 1 << 20


class SegmentSize(NamedTuple):
    base: int
    size: int


class LastOfProducer(NamedTuple):
    """The last offset of a producer's data, -1 when all of it is gone; its epoch."""

    offset: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Order:
    """What to compact: segments in `directory`, the last of which ends at `end`.

    Every batch below `end` is decided: replicated and in no open transaction. `room_bytes` bounds
    the memory for keys; `group_bytes` and `index_entries_max` what a new segment may hold.
    """

    directory: str
    segments: tuple[SegmentSize, ...]
    first_dirty: int
    end: int
    aborted: tuple[AbortedTxn, ...]
    producers: Mapping[int, LastOfProducer]
    now_ms: int
    delete_retention_ms: int
    room_bytes: int
    group_bytes: int
    index_interval: int
    index_entries_max: int


class Cleaned(NamedTuple):
    """The segments `bases` may be replaced by the `.cleaned` files of the first of them.

    `is_same`: they would be replaced by themselves; there are no such files.
    """

    bases: tuple[int, ...]
    is_same: bool
    bytes_before: int
    bytes_after: int


class Finished(NamedTuple):
    """No newer record of the same key is below `end` for any that is left there."""

    end: int
    keys: int
    records_read: int
    records_kept: int


def compact(disk: Disk, order: Order) -> Iterator[Cleaned | Finished]:
    """A `Cleaned` for each group of segments, in the order of offsets, then a `Finished`.

    Each group has to be taken over before the next one is asked for. The log's parent is synced
    before the first, with the checkpoint of its recovery point in it. OSError; CorruptLog.
    """
    disk.sync_dir(order.directory.rpartition("/")[0] or "/")
    latest = _latest_offsets(disk, order)
    end = latest.latest + 1
    segments = [segment for segment in order.segments if segment.base < end]
    copy = _Pass(disk, order, latest)
    for group in grouped(segments, order):
        yield copy.clean(group)
    yield Finished(end, len(latest.offsets), copy.records_read, copy.records_kept)


def grouped(segments: Sequence[SegmentSize], order: Order) -> list[list[SegmentSize]]:
    """Neighbours that fit into one segment, by their size, their indexes and their offsets."""
    # An entry of an index follows at least so many bytes after the one before.
    indexed_bytes = max(order.index_interval, HEADER_BYTES) * order.index_entries_max
    bytes_max = min(order.group_bytes, indexed_bytes)
    groups: list[list[SegmentSize]] = []
    size = 0
    for segment, end in _with_ends(segments, order.end):
        if (
            groups
            and size + segment.size <= bytes_max
            and (segment.size == 0 or end - 1 - groups[-1][0].base <= RELATIVE_OFFSET_MAX)
        ):
            groups[-1].append(segment)
            size += segment.size
        else:
            groups.append([segment])
            size = segment.size
    return groups


def _with_ends(segments: Sequence[SegmentSize], end: int) -> Iterator[tuple[SegmentSize, int]]:
    """Each segment and where it ends, which is where the next one begins."""
    for at, segment in enumerate(segments, 1):
        yield segment, segments[at].base if at < len(segments) else end


def _latest_offsets(disk: Disk, order: Order) -> LatestOffsets:
    """The newest record of each key from the first dirty offset on, up to where memory ends."""
    latest = LatestOffsets(order.room_bytes)
    latest.latest = order.first_dirty - 1
    txns = TxnsSeen(txn for txn in order.aborted if txn.last_offset >= order.first_dirty)
    for segment, end in _with_ends(order.segments, order.end):
        if end <= order.first_dirty:
            continue
        for header, batch in _batches(disk, order.directory, segment):
            if header.last_offset < order.first_dirty:
                continue
            if latest.is_full:
                return latest
            if header.is_control:
                txns.on_marker(header, _marker(order, header, batch))
            elif not txns.on_data(header) and header.record_count:
                spans = _read(order, header, batch)[1]
                latest.put(header, spans, order.first_dirty)
            latest.latest = header.last_offset
        latest.latest = end - 1
    return latest


class _Pass:
    """One copy of a log from its start, with what is known of its keys and transactions."""

    def __init__(self, disk: Disk, order: Order, latest: LatestOffsets) -> None:
        self._disk = disk
        self._order = order
        self._latest = latest
        self._txns = TxnsSeen(order.aborted)
        self.records_read = 0
        self.records_kept = 0

    def clean(self, group: Sequence[SegmentSize]) -> Cleaned:
        """Write the segment that stands for `group`."""
        order = self._order
        output = CleanedSegment(
            self._disk, order.directory, group[0].base, index_interval=order.index_interval
        )
        is_same = len(group) == 1
        try:
            for segment in group:
                for header, batch in _batches(self._disk, order.directory, segment):
                    data, kept = self._filter(header, batch, output)
                    self.records_read += header.record_count
                    if data:
                        output.append(data, kept)
                        self.records_kept += kept.record_count
                    is_same = is_same and data is batch
            if is_same:
                output.discard()
            else:
                output.finish()
        except BaseException:
            output.discard()
            raise
        return Cleaned(
            bases=tuple(segment.base for segment in group),
            is_same=is_same,
            bytes_before=sum(segment.size for segment in group),
            bytes_after=output.size,
        )

    def _filter(
        self, header: BatchHeader, batch: bytes, output: CleanedSegment
    ) -> tuple[bytes, BatchHeader]:
        """What stays of a batch: itself when that is all of it, b"" when it is nothing."""
        order = self._order
        horizon = delete_horizon_ms(header)
        is_over = horizon is not None and horizon <= order.now_ms
        if header.is_control:
            is_loose, aborted = self._txns.on_marker(header, _marker(order, header, batch))
            if aborted is not None:
                output.txn_index.append(aborted)
            drops_all = is_loose and is_over
        else:
            is_loose = False
            drops_all = self._txns.on_data(header)
        kept: list[Span] = []
        spans: list[Span] = []
        payload = b""
        if header.record_count and not drops_all:
            payload, spans = _read(order, header, batch)
            kept = spans if header.is_control else _kept(spans, header, self._latest, is_over)
        if not kept:
            if not _is_last_of_producer(order, header):
                return b"", header
            return emptied(header) if header.record_count else (batch, header)
        has_tombstone = not all(span[6] for span in kept)
        if horizon is None and (has_tombstone or is_loose):
            return rebuilt(header, payload, kept, order.now_ms + order.delete_retention_ms)
        if len(kept) == len(spans):
            return batch, header
        return rebuilt(header, payload, kept, None)


def _kept(
    spans: list[Span], header: BatchHeader, latest: LatestOffsets, is_over: bool
) -> list[Span]:
    """The records of a data batch that stay."""
    base = header.base_offset
    end = latest.latest
    is_superseded = latest.is_superseded
    return [
        span
        for span in spans
        if (offset := base + span[4]) > end
        or (
            (key := span[5]) is not None
            and (span[6] or not is_over)
            and not is_superseded(key, offset)
        )
    ]


def _is_last_of_producer(order: Order, header: BatchHeader) -> bool:
    """Whether the state of an active producer is in this batch: its last sequence, or the epoch of
    its last marker."""
    last = order.producers.get(header.producer_id)
    if last is None or header.producer_id < 0:
        return False
    if last.offset >= 0:
        return header.last_offset == last.offset
    return header.is_control and header.producer_epoch == last.epoch


def _read(order: Order, header: BatchHeader, batch: bytes) -> tuple[bytes, list[Span]]:
    try:
        return read_spans(batch, header)
    except DecodeError as error:
        raise _corrupt(order, header, error) from None


def _marker(order: Order, header: BatchHeader, batch: bytes) -> ControlMarker | None:
    try:
        validate_crc(batch, 0, header)
        return read_control_marker(batch)
    except DecodeError as error:
        raise _corrupt(order, header, error) from None


def _corrupt(order: Order, header: BatchHeader, error: DecodeError) -> CorruptLog:
    offset = header.base_offset
    base = max((each.base for each in order.segments if each.base <= offset), default=offset)
    name = files.stem(base) + files.LOG
    return CorruptLog(f"{order.directory}/{name}, batch at offset {offset}: {error}")


def _batches(
    disk: Disk, directory: str, segment: SegmentSize
) -> Iterator[tuple[BatchHeader, bytes]]:
    """The batches of a segment. OSError; CorruptLog."""
    path = f"{directory}/{files.stem(segment.base)}{files.LOG}"
    file = disk.open(path, create=False)
    position = 0
    try:
        while position < segment.size:
            chunk = _chunk(file, position)
            at = 0
            while len(chunk) - at >= HEADER_BYTES:
                header = read_header(chunk, at)
                if header.size > len(chunk) - at:
                    break
                yield header, chunk[at : at + header.size]
                at += header.size
                position += header.size
            if at == 0:
                raise CorruptRecord("the last batch is cut")
    except DecodeError as error:
        raise CorruptLog(f"{path} at byte {position}: {error}") from None
    finally:
        file.close()


def _chunk(file: File, position: int) -> bytes:
    """Bytes from `position` on with at least one whole batch, where there is one."""
    chunk = file.read_at(position, _READ_BYTES)
    if len(chunk) == _READ_BYTES:
        size = read_header(chunk).size
        if size > _READ_BYTES:
            return file.read_at(position, size)
    return chunk


__all__ = ["Cleaned", "Finished", "LastOfProducer", "Order", "SegmentSize", "compact", "grouped"]
