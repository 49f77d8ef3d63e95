"""The variable-sized pieces of the Kafka encoding, shared by the compiled codecs.

An unsigned varint carries 7 bits per byte, lowest first, with the top bit set on all but the last
byte. "Compact" lengths are such varints holding length + 1, where 0 means null (KIP-482).
"""

import struct
import uuid
from collections.abc import Callable
from typing import Any, Final, NoReturn

Buffer = bytes | bytearray | memoryview

_CACHED_COUNT_MAX: Final = 1024
_CACHED_UUIDS_MAX: Final = 4096
_VARINT_MAX: Final = 0x7FFF_FFFF


class Malformed(ValueError):
    """What is wrong with the bytes at hand, before it is known which field they belong to."""


def uvarint(value: int) -> bytes:
    """Encode an unsigned varint."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def rest_of_uvarint(buffer: Buffer, position: int, first: int) -> tuple[int, int]:
    """Go on with a varint whose `first` byte, just before `position`, had its top bit set."""
    value, shift = first & 0x7F, 7
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 28:
            raise Malformed("a varint goes on after 5 bytes")
    if value > _VARINT_MAX:
        raise Malformed(f"a length or number of {value} is above 2^31 - 1")
    return value, position


def read_uvarint(buffer: Buffer, position: int) -> tuple[int, int]:
    """Decode an unsigned varint: its value and the position after it."""
    first = buffer[position]
    if first < 0x80:
        return first, position + 1
    return rest_of_uvarint(buffer, position + 1, first)


def skip_tags(buffer: Buffer, position: int, count: int, end: int) -> int:
    """Step over `count` tagged fields of which none is known; the position after them."""
    for _ in range(count):
        _, position = read_uvarint(buffer, position)
        size, position = read_uvarint(buffer, position)
        position += size
        if position > end:
            raise Malformed(f"a tagged field claims {size} bytes, {end - position + size} remain")
    return position


def bad_size(size: int, left: int) -> NoReturn:
    """A string or bytes field has an impossible length."""
    if size < 0:
        raise Malformed("is null, which this field may not be")
    raise Malformed(f"claims {size} bytes, {left} remain")


def bad_count(count: int, left: int) -> NoReturn:
    """An array claims more elements than its bytes could hold."""
    if count < 0:
        raise Malformed("is null, which this field may not be")
    raise Malformed(f"claims {count} elements, which {left} bytes cannot hold")


def bad_tag(number: int, consumed: int, claimed: int) -> NoReturn:
    """A tagged field's content and its announced size disagree."""
    raise Malformed(f"tagged field {number} takes {consumed} bytes but announced {claimed}")


_uuids: dict[bytes, uuid.UUID] = {}


def uuid_of(data: bytes) -> uuid.UUID:
    """The UUID of 16 bytes. Building one costs a microsecond and topic ids repeat: keep them."""
    known = _uuids.get(data)
    if known is None:
        if len(_uuids) >= _CACHED_UUIDS_MAX:
            _uuids.clear()
        known = _uuids[data] = uuid.UUID(bytes=data)
    return known


class Unpackers(dict[int, Callable[[Buffer, int], tuple[Any, ...]]]):
    """`unpack_from` for n numbers of one format, by n."""

    def __init__(self, letter: str) -> None:
        super().__init__()
        self.letter = letter

    def __missing__(self, count: int) -> Callable[[Buffer, int], tuple[Any, ...]]:
        unpack = struct.Struct(f">{count}{self.letter}").unpack_from
        if count <= _CACHED_COUNT_MAX:
            self[count] = unpack
        return unpack


class Packers(dict[int, Callable[..., bytes]]):
    """`pack` for a run of `fields` fixed values, an array length and n numbers, by n.

    The functions take the values of the run, the length as the wire has it (n, or n + 1 if compact)
    and the numbers.
    """

    def __init__(self, run: str, fields: int, letter: str, *, compact: bool) -> None:
        super().__init__()
        self.run = run
        self.fields = fields
        self.letter = letter
        self.compact = compact

    def __missing__(self, count: int) -> Callable[..., bytes]:
        pack = self._packer(count)
        if count <= _CACHED_COUNT_MAX:
            self[count] = pack
        return pack

    def _packer(self, count: int) -> Callable[..., bytes]:
        if not self.compact:
            return struct.Struct(f">{self.run}i{count}{self.letter}").pack
        if count + 1 < 0x80:
            return struct.Struct(f">{self.run}B{count}{self.letter}").pack
        length = uvarint(count + 1)
        whole = struct.Struct(f">{self.run}{len(length)}s{count}{self.letter}").pack
        fields = self.fields
        return lambda *values: whole(*values[:fields], length, *values[fields + 1 :])
