"""The codecs of a record batch's payload, in the framings that Kafka's clients write and read.

| id | codec  | framing                                                                       |
|----|--------|-------------------------------------------------------------------------------|
| 0  | none   |                                                                               |
| 1  | gzip   | RFC 1952                                                                      |
| 2  | snappy | Java: the xerial stream (below); librdkafka: one raw block; both are read     |
| 3  | lz4    | LZ4 frame 1.5, independent blocks only: the Java client reads nothing else    |
| 4  | zstd   | RFC 8878 (KIP-110)                                                            |

xerial stream: `82 'SNAPPY' 00`, int32 version 1, int32 lowest compatible version 1, then blocks,
each an int32 length and a raw snappy block of up to 32 KiB of input.

Decompression never yields more than its limit, and allocates in proportion to the bytes that are
there, not to the length that a header claims.
"""

import zlib
from enum import IntEnum
from typing import Any

from ottla.protocol.kafka.errors import DecodeError

BytesLike = bytes | bytearray | memoryview

DECOMPRESSED_BYTES_MAX = 128 << 20

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + b"\x00\x00\x00\x01\x00\x00\x00\x01"
_XERIAL_BLOCK_BYTES = 32 << 10
# No three bytes of snappy stand for more than 64 bytes of output.
_SNAPPY_RATIO_MAX = 32

# Magic; flags 0x60: version 01, independent blocks; 0x40: blocks of up to 64 KiB; 0x82: the second
# byte of xxh32 of the two bytes before.
_LZ4_HEADER = b"\x04\x22\x4d\x18\x60\x40\x82"
_LZ4_BLOCK_BYTES = 64 << 10
_LZ4_STORED = 1 << 31

_FIRST_GUESS_BYTES_MIN = 16 << 10


class Codec(IntEnum):
    """Values of the lowest three bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


def compress(codec: Codec, data: BytesLike, *, level: int | None = None) -> bytes:
    """`data` in the codec's framing; `level` where the codec has levels (gzip, lz4, zstd).

    A level of lz4 is one of its thorough packer; without one the fast packer does it.
    """
    match codec:
        case Codec.NONE:
            return bytes(data)
        case Codec.GZIP:
            packer = zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, 31)
            return packer.compress(data) + packer.flush()
        case Codec.SNAPPY:
            return _compress_snappy(data)
        case Codec.LZ4:
            return _compress_lz4(data, level)
        case Codec.ZSTD:
            import cramjam

            return bytes(cramjam.zstd.compress(data, level=3 if level is None else level))


def decompress(codec: Codec, data: BytesLike, *, limit: int = DECOMPRESSED_BYTES_MAX) -> bytes:
    """The reverse of `compress`. DecodeError: not the codec's framing, cut, or above `limit`."""
    match codec:
        case Codec.NONE:
            return bytes(data)
        case Codec.GZIP:
            return _decompress_gzip(data, limit)
        case Codec.SNAPPY:
            return _decompress_snappy(data, limit)
        case Codec.LZ4 | Codec.ZSTD:
            return _decompress_growing(codec, data, limit)


def _above(codec: Codec, limit: int) -> DecodeError:
    return DecodeError(f"{codec.name.lower()} data unpacks to more than {limit} bytes")


def _decompress_gzip(data: BytesLike, limit: int) -> bytes:
    parts: list[bytes] = []
    room = limit
    rest: BytesLike = data
    while rest:  # members may follow each other
        unpacker = zlib.decompressobj(31)
        try:
            part = unpacker.decompress(rest, room + 1)
        except zlib.error as error:
            raise DecodeError(f"not gzip: {error}") from None
        room -= len(part)
        if room < 0:
            raise _above(Codec.GZIP, limit)
        if not unpacker.eof:
            raise DecodeError("gzip data is cut")
        parts.append(part)
        rest = unpacker.unused_data
    if not parts:
        raise DecodeError("gzip data is empty")
    return b"".join(parts)


def _compress_snappy(data: BytesLike) -> bytes:
    import cramjam

    parts = [_XERIAL_HEADER]
    with memoryview(data) as view:
        for start in range(0, len(view), _XERIAL_BLOCK_BYTES):
            packed = bytes(
                cramjam.snappy.compress_raw(bytes(view[start : start + _XERIAL_BLOCK_BYTES]))
            )
            parts.append(len(packed).to_bytes(4, "big"))
            parts.append(packed)
    return b"".join(parts)


def _decompress_snappy(data: BytesLike, limit: int) -> bytes:
    raw = bytes(data)
    if not raw.startswith(_XERIAL_MAGIC):
        return _decompress_snappy_block(raw, limit)
    if len(raw) < len(_XERIAL_HEADER):
        raise DecodeError("xerial snappy header is cut")
    parts: list[bytes] = []
    room = limit
    position = len(_XERIAL_HEADER)
    while position < len(raw):
        start = position + 4
        end = start + int.from_bytes(raw[position:start], "big")
        if start > len(raw) or end > len(raw):
            raise DecodeError("xerial snappy block is cut")
        part = _decompress_snappy_block(raw[start:end], room)
        room -= len(part)
        parts.append(part)
        position = end
    return b"".join(parts)


def _decompress_snappy_block(block: bytes, limit: int) -> bytes:
    import cramjam

    try:
        claimed: int = cramjam.snappy.decompress_raw_len(block)
        if claimed > limit:
            raise _above(Codec.SNAPPY, limit)
        if claimed > len(block) * _SNAPPY_RATIO_MAX:
            raise DecodeError(f"snappy block of {len(block)} bytes cannot hold {claimed}")
        return bytes(cramjam.snappy.decompress_raw(block))
    except (cramjam.DecompressionError, OverflowError, ValueError) as error:
        raise DecodeError(f"not snappy: {error}") from None


def _compress_lz4(data: BytesLike, level: int | None) -> bytes:
    parts = [_LZ4_HEADER]
    with memoryview(data) as view:
        for start in range(0, len(view), _LZ4_BLOCK_BYTES):
            block = bytes(view[start : start + _LZ4_BLOCK_BYTES])
            packed = _packed_block(block, level)
            if len(packed) < len(block):
                parts.append(len(packed).to_bytes(4, "little"))
                parts.append(packed)
            else:
                parts.append((len(block) | _LZ4_STORED).to_bytes(4, "little"))
                parts.append(block)
    parts.append(b"\x00\x00\x00\x00")
    return b"".join(parts)


def _packed_block(block: bytes, level: int | None) -> bytes:
    """One block; `block` itself, or more than it, where it does not get smaller."""
    import cramjam

    if level is None:
        return bytes(cramjam.lz4.compress_block(block, store_size=False))
    # The library packs thoroughly into frames only: take the one block out of a frame.
    frame = bytes(cramjam.lz4.compress(block, level=level))
    at = 7 + 8 * (frame[4] >> 3 & 1)  # magic, flags, block size; the content's size; a check byte
    size = int.from_bytes(frame[at : at + 4], "little")
    return block if size & _LZ4_STORED else frame[at + 4 : at + 4 + size]


def _decompress_growing(codec: Codec, data: BytesLike, limit: int) -> bytes:
    """Unpack into a buffer that is doubled as long as the library says that it is too small."""
    import cramjam

    library: Any = cramjam.lz4 if codec is Codec.LZ4 else cramjam.zstd
    raw = bytes(data)
    room = min(limit, max(_FIRST_GUESS_BYTES_MIN, 4 * len(raw)))
    while True:
        output = bytearray(room)
        try:
            count: int = library.decompress_into(raw, output)
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise DecodeError(f"not {codec.name.lower()}: {error}") from None
        else:
            del output[count:]
            return bytes(output)
        if room >= limit:
            raise _above(codec, limit)
        room = min(limit, 2 * room)


__all__ = ["DECOMPRESSED_BYTES_MAX", "Codec", "compress", "decompress"]
