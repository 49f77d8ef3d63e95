"""Framed records: what txn logs and snapshots are made of.

| bytes | field |
|---|---|
| 4 | magic `OTL1` |
| 4 | length of the body, big endian |
| 4 | CRC-32C of the body, big endian |
| length | body |

The magic lets a reader find whole records behind a damaged one, which is how a torn tail is told
from a hole in data that was already safe (`txn_log.read_segment`).
"""

import struct
from collections.abc import Iterator

import crc32c

from ottla.runtime.interfaces import BytesLike

MAGIC = b"OTL1"
_PREFIX = struct.Struct(">4sII")
PREFIX_SIZE = _PREFIX.size


def frame(body: bytes) -> bytes:
    """The record that holds `body`."""
    return _PREFIX.pack(MAGIC, len(body), crc32c.crc32c(body)) + body


def record_at(data: BytesLike, position: int) -> bytes | None:
    """The body of the whole, undamaged record that starts at `position`; None: there is none."""
    start = position + PREFIX_SIZE
    if start > len(data):
        return None
    magic, length, checksum = _PREFIX.unpack_from(data, position)
    if magic != MAGIC or length > len(data) - start:
        return None
    body = bytes(data[start : start + length])
    return body if crc32c.crc32c(body) == checksum else None


def leading_records(data: BytesLike) -> Iterator[tuple[int, bytes]]:
    """(position, body) of the records from the start up to the first that is damaged or cut."""
    position = 0
    while (body := record_at(data, position)) is not None:
        yield position, body
        position += PREFIX_SIZE + len(body)


def later_records(data: bytes, position: int) -> Iterator[bytes]:
    """Bodies of undamaged records anywhere behind a damaged one at `position`."""
    position = data.find(MAGIC, position + 1)
    while position >= 0:
        body = record_at(data, position)
        if body is not None:
            yield body
        position = data.find(MAGIC, position + (1 if body is None else PREFIX_SIZE + len(body)))


__all__ = ["MAGIC", "PREFIX_SIZE", "frame", "later_records", "leading_records", "record_at"]
