"""Record batches of format 2, the unit in which records travel, are stored and are replicated.

Batch (KIP-98, KIP-101; big endian):

| at | field                  | type   |                                                        |
|----|------------------------|--------|---------------------------------------------------------|
| 0  | base offset            | int64  | offset of the first record                             |
| 8  | length                 | int32  | bytes that follow this field                           |
| 12 | partition leader epoch | int32  | set by the leader that appended it                     |
| 16 | magic                  | int8   | 2                                                      |
| 17 | CRC-32C                | uint32 | of everything from 21 on, so not of offset and epoch   |
| 21 | attributes             | int16  | bits 0-2 codec, 3 log append time, 4 transactional,    |
|    |                        |        | 5 control, 6 delete horizon in base timestamp (KIP-534)|
| 23 | last offset delta      | int32  | stays as it was when compaction removes records        |
| 27 | base timestamp         | int64  | ms                                                     |
| 35 | max timestamp          | int64  | ms                                                     |
| 43 | producer id            | int64  | -1: not idempotent                                     |
| 51 | producer epoch         | int16  |                                                        |
| 53 | base sequence          | int32  |                                                        |
| 57 | record count           | int32  |                                                        |
| 61 | records                |        | compressed as a whole                                  |

Record: varint length, int8 attributes (0), varlong timestamp delta, varint offset delta, varint key
length (-1: null) and key, the same for the value, varint count of headers, each with varint key
length, key, varint value length (-1: null), value. Varints are zigzag coded.

Control record: key = int16 version, int16 type (0 abort, 1 commit); value = int16 version, int32
epoch of the transaction's home. Formats 0 and 1 are not read or written.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ottla.protocol.kafka.compression import (
    DECOMPRESSED_BYTES_MAX,
    Codec,
    compress,
    decompress,
)
from ottla.protocol.kafka.crc import crc32c
from ottla.protocol.kafka.errors import DecodeError

BytesLike = bytes | bytearray | memoryview
Header = tuple[str, bytes | None]
RecordInput = tuple[bytes | None, bytes | None, int, Sequence[Header]]
"""Key, value, timestamp in ms, headers."""

MAGIC = 2
LENGTH_PREFIX_BYTES = 12
"""Base offset and length: what a batch's length field does not count."""
HEADER_BYTES = 61
CRC_AT = 17
CRC_FROM = 21

CODEC_MASK = 0x07
LOG_APPEND_TIME_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40

NO_PRODUCER_ID = -1
NO_SEQUENCE = -1
NO_TIMESTAMP = -1
SEQUENCE_MAX = 0x7FFFFFFF

HEADER_STRUCT = struct.Struct(">qiibIhiqqqhii")
"""All fields up to the records, in the order of the table."""

_COVERED_STRUCT = struct.Struct(">hiqqqhii")
_UNCOVERED_STRUCT = struct.Struct(">qiibI")
_CONTROL_KEY_STRUCT = struct.Struct(">hh")
_CONTROL_VALUE_STRUCT = struct.Struct(">hi")

ABORT_MARKER = 0
COMMIT_MARKER = 1


class CorruptRecord(DecodeError):
    """Bytes that are no record batch, or a batch that contradicts itself or its checksum."""


class BatchHeader(NamedTuple):
    """A batch's fields; `size` is that of the whole batch, prefix included."""

    base_offset: int
    size: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def last_sequence(self) -> int:
        return last_sequence(self.base_sequence, self.last_offset_delta)

    @property
    def codec(self) -> Codec:
        """CorruptRecord when the bits name no codec."""
        return codec_of(self.attributes)

    @property
    def is_transactional(self) -> bool:
        return self.attributes & TRANSACTIONAL_BIT != 0

    @property
    def is_control(self) -> bool:
        return self.attributes & CONTROL_BIT != 0

    @property
    def timestamp_type(self) -> int:
        """0 create time, 1 log append time, -1 when there is none."""
        if self.max_timestamp == NO_TIMESTAMP:
            return -1
        return 1 if self.attributes & LOG_APPEND_TIME_BIT else 0


class Record(NamedTuple):
    """One record with its absolute offset and timestamp (ms)."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class ControlMarker(NamedTuple):
    """What a control batch says: `type` is ABORT_MARKER, COMMIT_MARKER or another's invention."""

    type: int
    home_epoch: int


def codec_of(attributes: int) -> Codec:
    number = attributes & CODEC_MASK
    if number > Codec.ZSTD:
        raise CorruptRecord(f"unknown compression codec {number}")
    return Codec(number)


def last_sequence(base_sequence: int, last_offset_delta: int) -> int:
    """Sequence of a batch's last record; after 2^31 - 1 comes 0."""
    if base_sequence < 0:
        return NO_SEQUENCE
    return (base_sequence + last_offset_delta) & SEQUENCE_MAX


def read_header(data: BytesLike, position: int = 0) -> BatchHeader:
    """The header at `position`. CorruptRecord: cut, another format, an impossible length."""
    if len(data) - position < HEADER_BYTES:
        raise CorruptRecord(f"{len(data) - position} bytes are too few for a batch header")
    fields = HEADER_STRUCT.unpack_from(data, position)
    header = BatchHeader(fields[0], fields[1] + LENGTH_PREFIX_BYTES, *fields[2:])
    if header.magic != MAGIC:
        raise CorruptRecord(f"batch of format {header.magic}, not {MAGIC}")
    if header.size < HEADER_BYTES:
        raise CorruptRecord(f"batch of {header.size} bytes is smaller than its header")
    if header.last_offset_delta < 0:
        raise CorruptRecord(f"last offset delta {header.last_offset_delta} is negative")
    return header


def iter_headers(data: BytesLike, position: int = 0) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of each whole batch; a cut one at the end is left out, as fetches have it.

    CorruptRecord on bytes that no batch starts with; checksums are not looked at.
    """
    end = len(data)
    while end - position >= HEADER_BYTES:
        header = read_header(data, position)
        if header.size > end - position:
            return
        yield position, header
        position += header.size


def validate_crc(data: BytesLike, position: int, header: BatchHeader) -> None:
    """CorruptRecord unless the checksum of the batch at `position` is what its header says."""
    with memoryview(data) as view:
        if len(view) - position < header.size:
            raise CorruptRecord("batch is cut")
        actual = crc32c(view[position + CRC_FROM : position + header.size])
    if actual != header.crc:
        raise CorruptRecord(
            f"batch at offset {header.base_offset} has CRC {actual:#010x}, not {header.crc:#010x}"
        )


# --- reading records ---


def read_records(
    data: BytesLike, position: int = 0, *, limit: int = DECOMPRESSED_BYTES_MAX
) -> list[Record]:
    """The records of the one batch at `position`, unpacked to at most `limit` bytes.

    Records of a control batch are returned as they are. CorruptRecord or DecodeError when the bytes
    make no sense; the checksum is the caller's business.
    """
    header = read_header(data, position)
    if header.size > len(data) - position:
        raise CorruptRecord("batch is cut")
    with memoryview(data) as view:
        payload = decompress(
            header.codec, view[position + HEADER_BYTES : position + header.size], limit=limit
        )
    if not 0 <= header.record_count <= len(payload):
        raise CorruptRecord(f"{len(payload)} bytes cannot hold {header.record_count} records")
    appended_at = header.max_timestamp if header.attributes & LOG_APPEND_TIME_BIT else None
    records: list[Record] = []
    at = 0
    for _ in range(header.record_count):
        record, at = _read_record(payload, at, header, appended_at)
        records.append(record)
    if at != len(payload):
        raise CorruptRecord(f"{len(payload) - at} bytes follow the last record of a batch")
    return records


def read_all_records(
    data: BytesLike, *, limit: int = DECOMPRESSED_BYTES_MAX
) -> Iterator[tuple[BatchHeader, list[Record]]]:
    """Header and records of each whole batch, control batches included."""
    for position, header in iter_headers(data):
        yield header, read_records(data, position, limit=limit)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most ten bytes, and where it ends."""
    value = 0
    shift = 0
    size = len(data)
    while at < size:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:
            break
    raise CorruptRecord("a varint is cut or too long")


def _read_bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    size, at = _read_varint(data, at)
    if size < 0:
        if size != -1:
            raise CorruptRecord(f"a field of length {size}")
        return None, at
    if size > end - at:
        raise CorruptRecord(f"a field of length {size} where {end - at} bytes are left")
    return data[at : at + size], at + size


def _read_record(
    data: bytes, at: int, header: BatchHeader, appended_at: int | None
) -> tuple[Record, int]:
    size, at = _read_varint(data, at)
    end = at + size
    if size < 1 or end > len(data):
        raise CorruptRecord(f"a record of length {size} where {len(data) - at} bytes are left")
    timestamp_delta, at = _read_varint(data, at + 1)
    offset_delta, at = _read_varint(data, at)
    if not 0 <= offset_delta <= header.last_offset_delta:
        raise CorruptRecord(f"offset delta {offset_delta} is outside of the batch")
    key, at = _read_bytes(data, at, end)
    value, at = _read_bytes(data, at, end)
    count, at = _read_varint(data, at)
    if count:
        headers, at = _read_record_headers(data, at, end, count)
    else:
        headers = ()
    if at != end:
        raise CorruptRecord("a record's length is not that of its fields")
    timestamp = header.base_timestamp + timestamp_delta if appended_at is None else appended_at
    return Record(header.base_offset + offset_delta, timestamp, key, value, headers), at


def _read_record_headers(
    data: bytes, at: int, end: int, count: int
) -> tuple[tuple[Header, ...], int]:
    if not 0 <= count <= end - at:
        raise CorruptRecord(f"{count} record headers where {end - at} bytes are left")
    headers: list[Header] = []
    for _ in range(count):
        key, at = _read_bytes(data, at, end)
        if key is None:
            raise CorruptRecord("a record header without a key")
        value, at = _read_bytes(data, at, end)
        try:
            headers.append((key.decode(), value))
        except UnicodeDecodeError:
            raise CorruptRecord("a record header's key is not UTF-8") from None
    return tuple(headers), at


def read_control_marker(data: BytesLike, position: int = 0) -> ControlMarker | None:
    """What the control batch at `position` says; None when compaction emptied it."""
    records = read_records(data, position)
    if not records:
        return None
    key, value = records[0].key, records[0].value
    if key is None or len(key) < _CONTROL_KEY_STRUCT.size:
        raise CorruptRecord("a control record without a type")
    if value is None or len(value) < _CONTROL_VALUE_STRUCT.size:
        raise CorruptRecord("a control record without an epoch")
    return ControlMarker(
        _CONTROL_KEY_STRUCT.unpack_from(key)[1], _CONTROL_VALUE_STRUCT.unpack_from(value)[1]
    )


# --- writing batches ---


def _put_varint(out: bytearray, value: int) -> None:
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_bytes(out: bytearray, value: bytes | None) -> None:
    if value is None:
        out.append(1)  # zigzag of -1
    else:
        _put_varint(out, len(value))
        out += value


def _put_record(
    out: bytearray, record: RecordInput, base_timestamp: int, offset_delta: int
) -> None:
    key, value, timestamp, headers = record
    body = bytearray(1)  # attributes
    _put_varint(body, timestamp - base_timestamp)
    _put_varint(body, offset_delta)
    _put_bytes(body, key)
    _put_bytes(body, value)
    _put_varint(body, len(headers))
    for name, content in headers:
        _put_bytes(body, name.encode())
        _put_bytes(body, content)
    _put_varint(out, len(body))
    out += body


def build_batch(
    records: Iterable[RecordInput],
    *,
    base_offset: int = 0,
    leader_epoch: int = -1,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = -1,
    base_sequence: int = NO_SEQUENCE,
    codec: Codec = Codec.NONE,
    transactional: bool = False,
    control: bool = False,
) -> bytes:
    """One batch with the records at consecutive offsets; at least one record."""
    payload = bytearray()
    base_timestamp = max_timestamp = NO_TIMESTAMP
    count = 0
    for record in records:
        timestamp = record[2]
        if count == 0:
            base_timestamp = max_timestamp = timestamp
        max_timestamp = max(max_timestamp, timestamp)
        _put_record(payload, record, base_timestamp, count)
        count += 1
    assert count > 0, "a batch holds at least one record"
    attributes = int(codec)
    if transactional:
        attributes |= TRANSACTIONAL_BIT
    if control:
        attributes |= CONTROL_BIT
    header = BatchHeader(
        base_offset=base_offset,
        size=0,
        partition_leader_epoch=leader_epoch,
        magic=MAGIC,
        crc=0,
        attributes=attributes,
        last_offset_delta=count - 1,
        base_timestamp=base_timestamp,
        max_timestamp=max_timestamp,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        record_count=count,
    )
    return assemble_batch(header, compress(codec, payload))


def assemble_batch(header: BatchHeader, payload: BytesLike) -> bytes:
    """`header` and the (compressed) `payload` as a batch; `size` and `crc` are computed."""
    covered = _COVERED_STRUCT.pack(*header[5:])
    crc = crc32c(payload, crc32c(covered))
    size = HEADER_BYTES + len(payload)
    prefix = _UNCOVERED_STRUCT.pack(
        header.base_offset,
        size - LENGTH_PREFIX_BYTES,
        header.partition_leader_epoch,
        header.magic,
        crc,
    )
    return b"".join((prefix, covered, payload))


def recompress(data: BytesLike, position: int, codec: Codec, *, level: int | None = None) -> bytes:
    """The batch at `position` with its payload in another codec; records stay untouched."""
    header = read_header(data, position)
    with memoryview(data) as view:
        payload = decompress(header.codec, view[position + HEADER_BYTES : position + header.size])
    attributes = header.attributes & ~CODEC_MASK | codec
    packed = compress(codec, payload, level=level)
    return assemble_batch(header._replace(attributes=attributes), packed)


def build_control_batch(
    marker: ControlMarker,
    *,
    timestamp_ms: int,
    producer_id: int,
    producer_epoch: int,
    base_offset: int = 0,
    leader_epoch: int = -1,
) -> bytes:
    """The batch that ends a transaction of the producer in this partition (KIP-98)."""
    key = _CONTROL_KEY_STRUCT.pack(0, marker.type)
    value = _CONTROL_VALUE_STRUCT.pack(0, marker.home_epoch)
    return build_batch(
        [(key, value, timestamp_ms, ())],
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=True,
        control=True,
    )
