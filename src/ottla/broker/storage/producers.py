"""What a log remembers of its idempotent and transactional producers (KIP-98), and its snapshot
file.

Snapshot (`<offset>.snapshot`, big endian): int16 version 1, uint32 CRC-32C of all that follows,
int32 count, then per producer 46 bytes: int64 producer id, int16 epoch, int32 last sequence (-1),
int64 last offset (-1), int32 offset delta of the last batch, int64 timestamp, int32 epoch of the
transaction's home, int64 first offset of its open transaction (-1: none).

This is a core: it decides and remembers, the log reads and writes.
"""

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

from ottla.broker.errors import (
    InvalidProducerEpoch,
    InvalidTxnState,
    OutOfOrderSequence,
    TransactionHomeFenced,
)
from ottla.protocol.kafka.crc import crc32c
from ottla.protocol.kafka.records import ABORT_MARKER, SEQUENCE_MAX, ControlMarker

BATCHES_REMEMBERED = 5
"""As many as a producer may have in flight, so each can be told to be a duplicate."""

_VERSION = 1
_PREFIX = struct.Struct(">hI")
_COUNT = struct.Struct(">i")
_ENTRY = struct.Struct(">qhiqiqiq")


class Origin(Enum):
    """Who appends, which says how much of a batch is to be believed."""

    CLIENT = auto()
    INTERNAL = auto()  # the broker's own homes of groups and transactions: no sequences
    REPLICATION = auto()  # the leader has checked it


class CorruptSnapshot(Exception):
    """Not a snapshot file, or a half written one."""


class BatchMark(NamedTuple):
    """A batch that a producer appended, to recognise it when it comes again."""

    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    timestamp: int


class DataBatch(Protocol):
    """What of a data batch concerns its producer; offsets as assigned."""

    @property
    def producer_id(self) -> int: ...
    @property
    def producer_epoch(self) -> int: ...
    @property
    def first_sequence(self) -> int: ...
    @property
    def last_sequence(self) -> int: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def transactional(self) -> bool: ...


class CompletedTxn(NamedTuple):
    """A transaction that a marker at `last_offset` has ended."""

    producer_id: int
    first_offset: int
    last_offset: int
    aborted: bool


@dataclass(slots=True)
class Producer:
    """One producer's state. `batches` holds the last ones of `epoch`, oldest first."""

    producer_id: int
    epoch: int = -1
    home_epoch: int = -1
    timestamp: int = -1
    txn_first_offset: int = -1
    batches: deque[BatchMark] = None  # type: ignore[assignment]  # made in __post_init__

    def __post_init__(self) -> None:
        if self.batches is None:
            self.batches = deque(maxlen=BATCHES_REMEMBERED)

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else -1

    def copy(self) -> "Producer":
        twin = Producer(
            self.producer_id, self.epoch, self.home_epoch, self.timestamp, self.txn_first_offset
        )
        twin.batches.extend(self.batches)
        return twin


class Producers:
    """All producers of one log.

    Invariants: `_open` maps the first offset of each open transaction to its producer, and that
    producer's `txn_first_offset` is the key; `_unreplicated` holds (first, last) offsets of ended
    transactions whose marker may still be above the high watermark.
    """

    __slots__ = ("_open", "_unreplicated", "by_id")

    def __init__(self) -> None:
        self.by_id: dict[int, Producer] = {}
        self._open: dict[int, int] = {}  # in offset order: transactions begin at the log's end
        self._unreplicated: dict[int, int] = {}

    # deciding

    def duplicate_of(self, batch: DataBatch) -> BatchMark | None:
        """The remembered batch that has exactly the sequences of `batch` in its epoch."""
        producer = self.by_id.get(batch.producer_id)
        if producer is None or producer.epoch != batch.producer_epoch:
            return None
        first = batch.first_sequence
        for mark in producer.batches:
            if mark.first_sequence == first and mark.last_sequence == batch.last_sequence:
                return mark
        return None

    def check(self, batch: DataBatch, origin: Origin) -> None:
        """Raise unless `batch` may follow what is known of its producer."""
        producer = self.by_id.get(batch.producer_id)
        if producer is not None:
            check_batch(producer, batch, origin)

    # remembering

    def record(self, batch: DataBatch) -> None:
        """Remember an appended data batch; it was checked, or it comes from the leader."""
        producer = self.by_id.get(batch.producer_id)
        if producer is None:
            producer = self.by_id[batch.producer_id] = Producer(batch.producer_id)
        record_batch(producer, batch)
        if producer.txn_first_offset == batch.first_offset:
            self._open[batch.first_offset] = batch.producer_id

    def end_txn(
        self, producer_id: int, epoch: int, marker: ControlMarker, offset: int, timestamp: int
    ) -> CompletedTxn | None:
        """Remember an appended marker; the transaction that it ends, if one was open."""
        producer = self.by_id.get(producer_id)
        if producer is None:
            producer = self.by_id[producer_id] = Producer(producer_id)
        first = producer.txn_first_offset
        if producer.epoch != epoch:
            producer.batches.clear()
            producer.epoch = epoch
        producer.home_epoch = marker.home_epoch
        producer.timestamp = timestamp
        producer.txn_first_offset = -1
        if first < 0:
            return None
        self._open.pop(first, None)
        self._unreplicated[first] = offset
        return CompletedTxn(producer_id, first, offset, marker.type == ABORT_MARKER)

    def check_marker(self, producer_id: int, epoch: int, marker: ControlMarker) -> None:
        """InvalidProducerEpoch, TransactionHomeFenced: a marker from the past."""
        producer = self.by_id.get(producer_id)
        if producer is None:
            return
        if epoch < producer.epoch:
            raise InvalidProducerEpoch(
                f"marker of epoch {epoch}, but producer {producer_id} is at {producer.epoch}"
            )
        if marker.home_epoch < producer.home_epoch:
            raise TransactionHomeFenced(
                f"marker of home epoch {marker.home_epoch}, but {producer.home_epoch} was seen"
            )

    # transactions

    @property
    def first_unstable_offset(self) -> int:
        """Start of the oldest transaction that is open or whose end may not be replicated; or
        -1.
        """
        if not self._open and not self._unreplicated:
            return -1
        first = -1
        for offsets in (self._open, self._unreplicated):
            if offsets:
                lowest = min(offsets)
                first = lowest if first < 0 else min(first, lowest)
        return first

    def has_open_txn(self, producer_id: int) -> bool:
        producer = self.by_id.get(producer_id)
        return producer is not None and producer.txn_first_offset >= 0

    def last_stable_after(self, completed: CompletedTxn) -> int:
        """The last stable offset once `completed` is replicated."""
        return min(self._open, default=completed.last_offset + 1)

    def forget_replicated(self, high_watermark: int) -> None:
        for first, last in list(self._unreplicated.items()):
            if last < high_watermark:
                del self._unreplicated[first]

    def forget_before(self, log_start: int) -> None:
        for first, last in list(self._unreplicated.items()):
            if last < log_start:
                del self._unreplicated[first]

    # life

    def expire(self, now_ms: int, after_ms: int) -> None:
        """Forget producers that wrote nothing for `after_ms` and have no open transaction."""
        for producer_id, producer in list(self.by_id.items()):
            if producer.txn_first_offset < 0 and now_ms - producer.timestamp >= after_ms:
                del self.by_id[producer_id]

    def clear(self) -> None:
        self.by_id.clear()
        self._open.clear()
        self._unreplicated.clear()

    def load(self, producers: Iterable[Producer]) -> None:
        """Start from a snapshot."""
        self.clear()
        for producer in producers:
            self.by_id[producer.producer_id] = producer
            if producer.txn_first_offset >= 0:
                self._open[producer.txn_first_offset] = producer.producer_id

    def staged(self, producer_ids: Iterable[int]) -> "Producers":
        """A copy of some producers, to try several batches on before any of them is appended."""
        twin = Producers()
        for producer_id in producer_ids:
            if producer_id in self.by_id:
                twin.by_id[producer_id] = self.by_id[producer_id].copy()
        return twin

    def check_invariants(self) -> None:
        for first, producer_id in self._open.items():
            assert self.by_id[producer_id].txn_first_offset == first
        for producer_id, producer in self.by_id.items():
            assert producer.producer_id == producer_id
            assert len(producer.batches) <= BATCHES_REMEMBERED
            offsets = [mark.last_offset for mark in producer.batches]
            assert offsets == sorted(offsets)


def check_batch(producer: Producer, batch: DataBatch, origin: Origin) -> None:
    """The rules of `Producers.check` for one known producer."""
    if batch.producer_epoch < producer.epoch:
        raise InvalidProducerEpoch(
            f"batch of epoch {batch.producer_epoch},"
            f" but producer {batch.producer_id} is at {producer.epoch}"
        )
    if producer.txn_first_offset >= 0 and not batch.transactional:
        raise InvalidTxnState(f"producer {batch.producer_id} has a transaction open")
    if origin is not Origin.CLIENT:
        return
    first = batch.first_sequence
    if batch.producer_epoch != producer.epoch:
        # The first batch after a restart of the producer. With nothing known, any sequence will do:
        # what was before it has left the log (KIP-360).
        if first != 0 and producer.epoch != -1:
            raise OutOfOrderSequence(
                f"producer {batch.producer_id} begins epoch {batch.producer_epoch}"
                f" at sequence {first}, not 0"
            )
        return
    last = producer.last_sequence
    if first != last + 1 and not (first == 0 and last == SEQUENCE_MAX):
        raise OutOfOrderSequence(f"producer {batch.producer_id} sent sequence {first} after {last}")


def record_batch(producer: Producer, batch: DataBatch) -> None:
    """Advance one producer by an appended batch."""
    if producer.epoch != batch.producer_epoch:
        producer.batches.clear()
        producer.epoch = batch.producer_epoch
    producer.batches.append(
        BatchMark(
            batch.first_sequence,
            batch.last_sequence,
            batch.first_offset,
            batch.last_offset,
            batch.timestamp,
        )
    )
    producer.timestamp = batch.timestamp
    if batch.transactional and producer.txn_first_offset < 0:
        producer.txn_first_offset = batch.first_offset


def encode_snapshot(producers: Producers) -> bytes:
    parts = [_COUNT.pack(len(producers.by_id))]
    for producer in producers.by_id.values():
        if producer.batches:
            mark = producer.batches[-1]
            last_sequence, last_offset = mark.last_sequence, mark.last_offset
            delta = mark.last_offset - mark.first_offset
        else:
            last_sequence, last_offset, delta = -1, -1, 0
        parts.append(
            _ENTRY.pack(
                producer.producer_id,
                producer.epoch,
                last_sequence,
                last_offset,
                delta,
                producer.timestamp,
                producer.home_epoch,
                producer.txn_first_offset,
            )
        )
    body = b"".join(parts)
    return _PREFIX.pack(_VERSION, crc32c(body)) + body


def decode_snapshot(data: bytes) -> list[Producer]:
    """CorruptSnapshot when `data` is not what `encode_snapshot` writes."""
    if len(data) < _PREFIX.size + _COUNT.size:
        raise CorruptSnapshot(f"{len(data)} bytes")
    version, crc = _PREFIX.unpack_from(data)
    body = data[_PREFIX.size :]
    if version != _VERSION:
        raise CorruptSnapshot(f"version {version}")
    if crc32c(body) != crc:
        raise CorruptSnapshot("wrong CRC")
    (count,) = _COUNT.unpack_from(body)
    if len(body) != _COUNT.size + count * _ENTRY.size:
        raise CorruptSnapshot(f"{len(body)} bytes for {count} producers")
    producers: list[Producer] = []
    for fields in _ENTRY.iter_unpack(body[_COUNT.size :]):
        producer_id, epoch, last_sequence, last_offset, delta, timestamp, home, first = fields
        producer = Producer(producer_id, epoch, home, timestamp, first)
        if last_offset >= 0:
            first_sequence = last_sequence - delta
            if first_sequence < 0:
                first_sequence += SEQUENCE_MAX + 1
            producer.batches.append(
                BatchMark(
                    first_sequence, last_sequence, last_offset - delta, last_offset, timestamp
                )
            )
        producers.append(producer)
    return producers


__all__ = [
    "BATCHES_REMEMBERED",
    "BatchMark",
    "CompletedTxn",
    "CorruptSnapshot",
    "DataBatch",
    "Origin",
    "Producer",
    "Producers",
    "check_batch",
    "decode_snapshot",
    "encode_snapshot",
    "record_batch",
]
