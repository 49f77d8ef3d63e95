"""From the bytes of an append to checked batches with offsets: the rules for leader and follower.

Work is per batch. Single records are looked at only where the topic's configuration asks a question
that a header does not answer: keys in a compacted topic, a lower bound of timestamps.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ottla.broker.errors import (
    BrokerError,
    CorruptMessage,
    InvalidRecord,
    InvalidTimestamp,
    RecordTooLarge,
    UnsupportedCompression,
    UnsupportedFormat,
)
from ottla.broker.storage.log_config import FOREVER, LogConfig
from ottla.broker.storage.producers import BatchMark, Origin, Producers
from ottla.broker.storage.record_checks import check_records, later_than
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.crc import crc32c
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import (
    CODEC_MASK,
    CONTROL_BIT,
    CRC_AT,
    CRC_FROM,
    HEADER_BYTES,
    HEADER_STRUCT,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    NO_PRODUCER_ID,
    SEQUENCE_MAX,
    TRANSACTIONAL_BIT,
    ControlMarker,
    CorruptRecord,
    iter_headers,
    read_control_marker,
    read_header,
    recompress,
    validate_crc,
)
from ottla.runtime.interfaces import BytesLike

_PREFIX = struct.Struct(">qii")  # base offset, length, partition leader epoch
_MAGIC_AT = 16
_ATTRIBUTES_AT = 21
_MAX_TIMESTAMP_AT = 35
_INT16 = struct.Struct(">h")
_UINT32 = struct.Struct(">I")
_INT64 = struct.Struct(">q")


class AppendedBatch(NamedTuple):
    """One checked batch of an append, offsets as they will stand in the log.

    A named tuple, as one is made for each batch. The first fields are what producers are about.
    """

    producer_id: int
    producer_epoch: int
    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int
    timestamp: int
    transactional: bool
    marker: ControlMarker | None
    leader_epoch: int
    position: int
    size: int


def in_place(data: BytesLike) -> bytearray | memoryview:
    """What `assign` may write into: `data` itself if it is a writable view, else a copy."""
    if type(data) is memoryview and not data.readonly:
        return data
    return bytearray(data)


def assign(
    buffer: bytearray | memoryview,
    config: LogConfig,
    *,
    next_offset: int,
    leader_epoch: int,
    now_ms: int,
    origin: Origin,
) -> list[AppendedBatch]:
    """Check the batches in `buffer` as a leader does, and write offsets and epoch into them.

    BrokerError: nothing in `buffer` may be appended.
    """
    batches: list[AppendedBatch] = []
    total = len(buffer)
    position = 0
    from_client = origin is Origin.CLIENT
    view = memoryview(buffer)
    while position < total:
        if total - position < HEADER_BYTES:
            raise _too_short(view[position:])
        (
            given_offset,
            length,
            _,
            magic,
            crc,
            attributes,
            delta,
            _,
            timestamp,
            producer_id,
            producer_epoch,
            sequence,
            count,
        ) = HEADER_STRUCT.unpack_from(buffer, position)
        size = length + LENGTH_PREFIX_BYTES
        end = position + size
        if magic != MAGIC:
            raise _wrong_format(magic)
        if size < HEADER_BYTES or end > total:
            raise CorruptMessage(f"a batch of {size} bytes where {total - position} are left")
        if size > config.max_message_bytes:
            raise RecordTooLarge(
                f"a batch of {size} bytes, max.message.bytes is {config.max_message_bytes}"
            )
        if crc32c(view[position + CRC_FROM : end]) != crc:
            raise CorruptMessage(f"the batch's CRC is not {crc:#010x}")
        if attributes & CODEC_MASK > Codec.ZSTD:
            raise UnsupportedCompression(f"codec {attributes & CODEC_MASK} is unknown")
        if count < 1 or delta != count - 1:
            raise InvalidRecord(f"{count} records do not span {delta + 1} offsets")
        marker = None
        if from_client:
            if given_offset != 0:
                raise InvalidRecord(f"a produced batch starts at offset {given_offset}, not 0")
            if attributes & (CONTROL_BIT | LOG_APPEND_TIME_BIT):
                raise _not_for_clients(attributes)
            if producer_id >= 0 and sequence < 0:
                raise InvalidRecord(f"producer {producer_id} sent no sequence")
            if config.is_compacted or config.timestamp_before_max_ms != FOREVER:
                _check_records(view[position:end], config, now_ms)
        elif attributes & CONTROL_BIT:
            marker = _marker(buffer, position)
        if config.stamps:
            timestamp = now_ms
            _stamp(buffer, position, end, attributes, now_ms)
        elif timestamp - now_ms > config.timestamp_after_max_ms and from_client:
            raise _too_late(view[position:end], config.timestamp_after_max_ms, now_ms)
        _PREFIX.pack_into(buffer, position, next_offset, length, leader_epoch)
        batches.append(
            AppendedBatch(
                producer_id,
                producer_epoch,
                sequence,
                (sequence + delta) & SEQUENCE_MAX if sequence >= 0 else -1,
                next_offset,
                next_offset + delta,
                timestamp,
                attributes & TRANSACTIONAL_BIT != 0,
                marker,
                leader_epoch,
                position,
                size,
            )
        )
        next_offset += count
        position = end
    if not batches:
        raise InvalidRecord("no record batch")
    return batches


def accept(data: BytesLike, next_offset: int) -> list[AppendedBatch]:
    """Check the batches in `data` as a follower does; their offsets and epochs are the leader's.

    A batch cut at the end is left out. CorruptMessage; InvalidRecord when offsets fall.
    """
    batches: list[AppendedBatch] = []
    try:
        for position, header in iter_headers(data):
            validate_crc(data, position, header)
            if batches and header.base_offset <= batches[-1].last_offset:
                raise InvalidRecord(
                    f"offset {header.base_offset} follows {batches[-1].last_offset}"
                )
            marker = _marker(data, position) if header.is_control else None
            # Of a marker that compaction has emptied, there is nothing to remember.
            is_of_producer = marker is not None or not header.is_control
            batches.append(
                AppendedBatch(
                    header.producer_id if is_of_producer else NO_PRODUCER_ID,
                    header.producer_epoch,
                    header.base_sequence,
                    header.last_sequence,
                    header.base_offset,
                    header.last_offset,
                    header.max_timestamp,
                    header.is_transactional,
                    marker,
                    header.partition_leader_epoch,
                    position,
                    header.size,
                )
            )
    except CorruptRecord as error:
        raise CorruptMessage(str(error)) from None
    if batches and batches[0].first_offset < next_offset <= batches[0].last_offset:
        # A fetch from inside of a batch brings the whole of it; the log decides what to do.
        return batches
    if batches and batches[0].first_offset < next_offset:
        raise InvalidRecord(
            f"offset {batches[0].first_offset} is below the log's end {next_offset}"
        )
    return batches


def runs(
    batches: list[AppendedBatch], room: int, limit: int
) -> Iterator[tuple[int, int, list[AppendedBatch]]]:
    """Cut a follower's append into what each segment takes, in bytes [start, end) of its data.

    `room` is what the active segment has left, `limit` what a new one takes; a batch is never cut.
    Positions in the batches of a run count from its start.
    """
    first = 0
    while first < len(batches):
        start = batches[first].position
        if room < batches[first].size:
            room = limit
        last = first + 1
        while last < len(batches) and batches[last].position + batches[last].size - start <= room:
            last += 1
        run = batches[first:last]
        if start:
            run = [batch._replace(position=batch.position - start) for batch in run]
        yield start, batches[last - 1].position + batches[last - 1].size, run
        first, room = last, 0


def is_packed_otherwise(data: BytesLike, codec: Codec) -> bool:
    """Whether the first batch in `data` is not in `codec`."""
    return len(data) >= HEADER_BYTES and data[_ATTRIBUTES_AT + 1] & CODEC_MASK != codec


def recompressed(data: BytesLike, codec: Codec, level: int | None = None) -> bytearray:
    """A copy of `data` with every batch in `codec`; what cannot be read is left for `assign`."""
    out = bytearray()
    position = 0
    try:
        for position, header in iter_headers(data):
            end = position + header.size
            if header.attributes & CODEC_MASK == codec or header.is_control:
                out += data[position:end]
            else:
                validate_crc(data, position, header)
                out += recompress(data, position, codec, level=level)
            position = end
    except DecodeError as error:
        raise CorruptMessage(str(error)) from None
    out += data[position:]
    return out


def _too_short(rest: memoryview) -> BrokerError:
    """Messages of the formats before batches may be shorter than a batch's header."""
    if len(rest) > _MAGIC_AT and int.from_bytes(rest[8:12], "big") > 0 and rest[_MAGIC_AT] < MAGIC:
        return _wrong_format(rest[_MAGIC_AT])
    return CorruptMessage(f"{len(rest)} bytes are too few for a batch")


def _wrong_format(magic: int) -> BrokerError:
    if magic in {0, 1}:
        return UnsupportedFormat(f"records of format {magic} are not served")
    return CorruptMessage(f"records of format {magic}")


def _too_late(batch: memoryview, bound_ms: int, now_ms: int) -> InvalidTimestamp:
    late = later_than(batch, read_header(batch), now_ms + bound_ms)
    return InvalidTimestamp(f"a record is over {bound_ms} ms past {now_ms}", late)


def _not_for_clients(attributes: int) -> BrokerError:
    if attributes & CONTROL_BIT:
        return InvalidRecord("clients may not write control records")
    return InvalidTimestamp("a producer may not set the log append time")


def _marker(data: BytesLike, position: int) -> ControlMarker | None:
    try:
        return read_control_marker(data, position)
    except DecodeError as error:
        raise CorruptMessage(str(error)) from None


def _stamp(
    buffer: bytearray | memoryview, position: int, end: int, attributes: int, now_ms: int
) -> None:
    """Make `now_ms` the time of all records; the checksum covers that."""
    _INT16.pack_into(buffer, position + _ATTRIBUTES_AT, attributes | LOG_APPEND_TIME_BIT)
    _INT64.pack_into(buffer, position + _MAX_TIMESTAMP_AT, now_ms)
    with memoryview(buffer) as view:
        crc = crc32c(view[position + CRC_FROM : end])
    _UINT32.pack_into(buffer, position + CRC_AT, crc)


def _check_records(batch: memoryview, config: LogConfig, now_ms: int) -> None:
    bound_ms = config.timestamp_before_max_ms
    is_bound = bound_ms != FOREVER and not config.stamps
    check_records(
        batch,
        read_header(batch),
        needs_keys=config.is_compacted,
        oldest=now_ms - bound_ms if is_bound else None,
        bound_ms=bound_ms,
    )


def check_batches(
    own: Producers, batches: Sequence[AppendedBatch], origin: Origin
) -> BatchMark | None:
    """Raise unless every batch may follow what its producer wrote; the mark of a duplicate."""
    producers = own
    if len(batches) > 1:
        producers = producers.staged({batch.producer_id for batch in batches})
    for batch in batches:
        if batch.producer_id < 0:
            continue
        if batch.marker is not None:
            producers.check_marker(batch.producer_id, batch.producer_epoch, batch.marker)
            continue
        if origin is Origin.CLIENT:
            duplicate = producers.duplicate_of(batch)
            if duplicate is not None:
                return duplicate
        producers.check(batch, origin)
        if producers is not own:
            producers.record(batch)
    return None


__all__ = [
    "AppendedBatch",
    "accept",
    "assign",
    "check_batches",
    "in_place",
    "is_packed_otherwise",
    "recompressed",
    "runs",
]
