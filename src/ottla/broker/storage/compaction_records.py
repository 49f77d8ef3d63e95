"""The records of a batch as compaction sees them: where each lies, its key, whether it has a value.

Records that stay are copied as bytes, not taken apart and put together again. This is a core.
"""

from collections.abc import Sequence
from hashlib import blake2b

from ottla.protocol.kafka.compression import compress, decompress
from ottla.protocol.kafka.records import (
    CODEC_MASK,
    DELETE_HORIZON_BIT,
    HEADER_BYTES,
    LOG_APPEND_TIME_BIT,
    NO_TIMESTAMP,
    BatchHeader,
    CorruptRecord,
    assemble_batch,
    validate_crc,
)

Span = tuple[int, int, int, int, int, bytes | None, bool]
"""(start, end, end of the timestamp delta, timestamp delta, offset delta, key, has a value).

A plain tuple, as one is made for each record."""

_KEY_BYTES_MAX = 32
_ENTRY_BYTES = 33 + 32 + 104  # a bytes object, an integer, a dict's slot just after it has grown


class LatestOffsets:
    """The last offset of each key in a part of a log, in `room` bytes of memory.

    `latest` is the last offset up to which all keys are in here. A key that is longer than its
    digest is kept as such; digests are longer than the keys that are kept as they are, so that the
    two never meet.
    """

    __slots__ = ("latest", "offsets", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self.latest = -1
        self.offsets: dict[bytes, int] = {}

    @property
    def is_full(self) -> bool:
        return self.room <= 0

    def put(self, header: BatchHeader, spans: Sequence[Span], start: int) -> None:
        """Add the keys of a batch from offset `start` on, whether or not there is room."""
        offsets = self.offsets
        base = header.base_offset
        before = len(offsets)
        key_bytes = 0
        for _, _, _, _, offset_delta, key, _ in spans:
            offset = base + offset_delta
            if key is None or offset < start:
                continue
            if len(key) > _KEY_BYTES_MAX:
                key = _digest(key)
            if key not in offsets:
                key_bytes += len(key)
            offsets[key] = offset
        self.room -= (len(offsets) - before) * _ENTRY_BYTES + key_bytes

    def is_superseded(self, key: bytes, offset: int) -> bool:
        """Whether there is a newer record of the key."""
        if len(key) > _KEY_BYTES_MAX:
            key = _digest(key)
        return offset < self.offsets.get(key, -1)


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=_KEY_BYTES_MAX + 1).digest()


def read_spans(batch: bytes, header: BatchHeader) -> tuple[bytes, list[Span]]:
    """The unpacked payload of a batch and the place of each record in it. CorruptRecord,
    DecodeError."""
    validate_crc(batch, 0, header)
    with memoryview(batch) as view:
        payload = decompress(header.codec, view[HEADER_BYTES:])
    return payload, _spans(payload, header)


def _spans(payload: bytes, header: BatchHeader) -> list[Span]:
    found: list[Span] = []
    size = len(payload)
    last_delta = header.last_offset_delta
    at = 0
    try:
        for _ in range(header.record_count):
            start = at
            length, at = read_varint(payload, at)
            end = at + length
            timestamp_delta, timestamp_end = read_varint(payload, at + 1)
            offset_delta, at = read_varint(payload, timestamp_end)
            key_length, at = read_varint(payload, at)
            if key_length >= 0:
                key = payload[at : at + key_length]
                at += key_length
            else:
                key = None
            has_value = read_varint(payload, at)[0] >= 0
            if not at < end <= size or not 0 <= offset_delta <= last_delta:
                raise CorruptRecord("a record's length or offset is outside of its batch")
            found.append((start, end, timestamp_end, timestamp_delta, offset_delta, key, has_value))
            at = end
    except IndexError:
        raise CorruptRecord("the last record of a batch is cut") from None
    if at != size:
        raise CorruptRecord(f"{size - at} bytes follow the last record of a batch")
    return found


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint and where it ends. IndexError when it is cut."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    value = byte & 0x7F
    shift = 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + 1
        shift += 7
        if shift > 63:
            raise CorruptRecord("a varint is too long")


def delete_horizon_ms(header: BatchHeader) -> int | None:
    """When the tombstones and markers of a batch may go; None when nobody has said it yet."""
    return header.base_timestamp if header.attributes & DELETE_HORIZON_BIT else None


def rebuilt(
    header: BatchHeader, payload: bytes, kept: Sequence[Span], horizon_ms: int | None
) -> tuple[bytes, BatchHeader]:
    """The batch with the `kept` records only; same offsets, sequences and codec.

    `horizon_ms`: when its tombstones may go, if that is to be noted now; it takes the place of the
    base timestamp (KIP-534), so each record gets another delta.
    """
    attributes, base_timestamp = header.attributes, header.base_timestamp
    if horizon_ms is None:
        body = b"".join([payload[span[0] : span[1]] for span in kept])
    else:
        body = _moved(payload, kept, base_timestamp - horizon_ms)
        attributes |= DELETE_HORIZON_BIT
    max_timestamp = header.max_timestamp
    if not attributes & LOG_APPEND_TIME_BIT:
        max_timestamp = base_timestamp + max(span[3] for span in kept)
    changed = header._replace(
        attributes=attributes,
        base_timestamp=base_timestamp if horizon_ms is None else horizon_ms,
        max_timestamp=max_timestamp,
        record_count=len(kept),
    )
    data = assemble_batch(changed, compress(header.codec, body))
    return data, changed._replace(size=len(data))


def _moved(payload: bytes, kept: Sequence[Span], shift_ms: int) -> bytes:
    """The records with `shift_ms` added to each timestamp delta."""
    out = bytearray()
    for _, end, timestamp_end, timestamp_delta, _, _, _ in kept:
        body = bytearray(1)  # attributes
        _put_varint(body, timestamp_delta + shift_ms)
        body += payload[timestamp_end:end]
        _put_varint(out, len(body))
        out += body
    return bytes(out)


def _put_varint(out: bytearray, value: int) -> None:
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def emptied(header: BatchHeader) -> tuple[bytes, BatchHeader]:
    """The batch without a record, for its producer's last sequence alone."""
    changed = header._replace(
        attributes=header.attributes & ~(CODEC_MASK | DELETE_HORIZON_BIT),
        base_timestamp=NO_TIMESTAMP,
        record_count=0,
        size=HEADER_BYTES,
    )
    return assemble_batch(changed, b""), changed


__all__ = [
    "LatestOffsets",
    "Span",
    "delete_horizon_ms",
    "emptied",
    "read_spans",
    "read_varint",
    "rebuilt",
]
