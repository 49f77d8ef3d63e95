"""Jute, ZooKeeper's record encoding: big-endian numbers, length-prefixed strings and buffers.

| type       | bytes                                                             |
|------------|-------------------------------------------------------------------|
| boolean    | 1: 0 or 1                                                         |
| int, long  | 4, 8: two's complement                                            |
| ustring    | int length, then UTF-8; length -1 is null                         |
| buffer     | int length, then bytes; length -1 is null                         |
| vector<T>  | int count, then the elements; count -1 is null                    |
| record     | its fields, one after the other                                   |

A null string reads as "" wherever the protocol gives null no meaning of its own: some clients write
an empty string as null. Lengths and counts are checked against the bytes that are there before
anything is allocated.
"""

import struct
from collections.abc import Iterable

from ottla.protocol.zookeeper.errors import DecodeError

INT = struct.Struct(">i")
LONG = struct.Struct(">q")
_PACK_INT = INT.pack
_UNPACK_INT = INT.unpack_from
_UNPACK_LONG = LONG.unpack_from
_NULL = b"\xff\xff\xff\xff"

BytesLike = bytes | bytearray | memoryview


class Reader:
    """A position in encoded bytes. Every method moves on, or raises DecodeError."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: BytesLike, at: int = 0) -> None:
        self.data = data
        self.at = at
        self.end = len(data)

    @property
    def remaining(self) -> int:
        return self.end - self.at

    def int32(self) -> int:
        at = self.at
        self.at = at + 4
        try:
            value: int = _UNPACK_INT(self.data, at)[0]
        except struct.error:
            raise self._short("int") from None
        return value

    def int64(self) -> int:
        at = self.at
        self.at = at + 8
        try:
            value: int = _UNPACK_LONG(self.data, at)[0]
        except struct.error:
            raise self._short("long") from None
        return value

    def boolean(self) -> bool:
        at = self.at
        self.at = at + 1
        try:
            return self.data[at] != 0
        except IndexError:
            raise self._short("boolean") from None

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Several fixed-size fields at once."""
        at = self.at
        self.at = at + layout.size
        try:
            return layout.unpack_from(self.data, at)
        except struct.error:
            raise self._short(layout.format) from None

    def string(self) -> str:
        at = self.at + 4
        data = self.data
        try:
            length: int = _UNPACK_INT(data, at - 4)[0]
        except struct.error:
            raise self._short("string") from None
        if length <= 0:
            if length < -1:
                raise DecodeError(f"string of length {length}")
            self.at = at
            return ""
        end = at + length
        if end > self.end:
            raise self._short("string")
        self.at = end
        try:
            return str(data[at:end], "utf-8")
        except UnicodeDecodeError:
            raise DecodeError(f"string at {at} is not UTF-8") from None

    def present_string(self) -> str:
        """A string that may be empty but not null."""
        at = self.at
        text = self.string()
        if not text and self.data[at] == 0xFF:
            raise DecodeError("null where a string was expected")
        return text

    def string_or_none(self) -> str | None:
        at = self.at
        text = self.string()
        return None if not text and self.data[at] == 0xFF else text

    def buffer(self) -> bytes | None:
        at = self.at + 4
        data = self.data
        try:
            length: int = _UNPACK_INT(data, at - 4)[0]
        except struct.error:
            raise self._short("buffer") from None
        if length < 0:
            if length != -1:
                raise DecodeError(f"buffer of length {length}")
            self.at = at
            return None
        end = at + length
        if end > self.end:
            raise self._short("buffer")
        self.at = end
        return bytes(data[at:end])

    def count(self, element_size_min: int) -> int:
        """The count of a vector whose elements take at least so many bytes; null counts 0."""
        count = self.int32()
        if count == -1:
            return 0
        if count < 0 or count * element_size_min > self.end - self.at:
            raise DecodeError(f"vector of {count} elements in {self.end - self.at} bytes")
        return count

    def strings(self) -> list[str]:
        return [self.string() for _ in range(self.count(4))]

    def finish(self) -> None:
        """Refuse bytes that are left over."""
        if self.at != self.end:
            raise DecodeError(f"{self.end - self.at} bytes after the message")

    def _short(self, what: str) -> DecodeError:
        return DecodeError(f"bytes end within a field ({what})")


def put_string(text: str | None) -> bytes:
    if text is None:
        return _NULL
    raw = text.encode()
    return _PACK_INT(len(raw)) + raw


def put_buffer(data: bytes | None) -> bytes:
    if data is None:
        return _NULL
    return _PACK_INT(len(data)) + data


def put_strings(texts: Iterable[str]) -> bytes:
    raw = [text.encode() for text in texts]
    parts = [_PACK_INT(len(raw))]
    for item in raw:
        parts.append(_PACK_INT(len(item)))
        parts.append(item)
    return b"".join(parts)


__all__ = ["INT", "LONG", "BytesLike", "Reader", "put_buffer", "put_string", "put_strings"]
