"""What a leader looks at in single records, where a topic's configuration asks for it: that each
has a key, in a compacted topic, and that none is too old.

Nothing is built for a record; values and headers are stepped over. This is a core.
"""

from collections.abc import Iterator

from ottla.broker.errors import CorruptMessage, InvalidRecord, InvalidTimestamp
from ottla.broker.storage.compaction_records import read_varint
from ottla.protocol.kafka.compression import decompress
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import HEADER_BYTES, BatchHeader
from ottla.runtime.interfaces import BytesLike

_NO_KEY = 1  # the length -1 as a zigzag varint, which has one byte


def check_records(
    batch: BytesLike, header: BatchHeader, *, needs_keys: bool, oldest: int | None, bound_ms: int
) -> None:
    """Look at every record of `batch`, whose header this is.

    oldest: the least timestamp that is taken, None for any; `bound_ms` says in an error why.
    CorruptMessage, InvalidRecord when a key is missing, InvalidTimestamp.
    """
    try:
        payload = decompress(header.codec, memoryview(batch)[HEADER_BYTES : header.size])
        if needs_keys:
            _check_keys(payload, header.record_count)
        if oldest is not None:
            _check_times(payload, header, oldest, bound_ms)
    except DecodeError as error:
        raise CorruptMessage(str(error)) from None
    except IndexError:
        raise CorruptMessage("the last record of a batch is cut") from None


def _check_keys(data: bytes, count: int) -> None:
    """A record: length, attributes, timestamp delta, offset delta, length of the key, ..."""
    size = len(data)
    at = 0
    keyless: list[int] = []
    for index in range(count):
        length = data[at]
        if length < 0x80:
            at += 1
        elif data[at + 1] < 0x80:
            length = (length & 0x7F) | data[at + 1] << 7
            at += 2
        else:
            length, at = read_varint(data, at)
            length *= 2
        end = at + (length >> 1)
        at += 1
        while data[at] >= 0x80:
            at += 1
        at += 1
        while data[at] >= 0x80:
            at += 1
        at += 1
        if data[at] == _NO_KEY:
            keyless.append(index)
        if length & 1 or not at < end <= size:  # an odd zigzag varint is negative
            raise CorruptMessage("a record does not fit in its batch")
        at = end
    if at != size:
        raise CorruptMessage(f"{size - at} bytes follow the last record of a batch")
    if keyless:
        raise InvalidRecord("a record without a key in a compacted topic", keyless)


def _check_times(data: bytes, header: BatchHeader, oldest: int, bound_ms: int) -> None:
    old = [index for index, timestamp in enumerate(_times(data, header)) if -1 < timestamp < oldest]
    if old:
        raise InvalidTimestamp(f"a record is over {bound_ms} ms older than the broker's time", old)


def later_than(batch: BytesLike, header: BatchHeader, newest: int) -> list[int]:
    """Which records of `batch` are later than `newest`; none where it cannot be read."""
    try:
        payload = decompress(header.codec, memoryview(batch)[HEADER_BYTES : header.size])
        return [index for index, at in enumerate(_times(payload, header)) if at > newest]
    except (DecodeError, CorruptMessage, IndexError):
        return []


def _times(data: bytes, header: BatchHeader) -> Iterator[int]:
    """The timestamp of each record. CorruptMessage."""
    size = len(data)
    at = 0
    for _ in range(header.record_count):
        length, at = read_varint(data, at)
        delta, after = read_varint(data, at + 1)
        yield header.base_timestamp + delta
        end = at + length
        if not after < end <= size:
            raise CorruptMessage("a record does not fit in its batch")
        at = end
    if at != size:
        raise CorruptMessage(f"{size - at} bytes follow the last record of a batch")


__all__ = ["check_records", "later_than"]
