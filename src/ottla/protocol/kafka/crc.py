"""CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of record batches and snapshots.

The work is done by the `crc32c` extension; `crc32c_pure` is its slow twin for machines without it.
"""

from collections.abc import Callable

BytesLike = bytes | bytearray | memoryview

_POLYNOMIAL = 0x82F63B78  # reflected
_table: list[int] = []


def _table_of_bytes() -> list[int]:
    if not _table:
        for byte in range(256):
            value = byte
            for _ in range(8):
                value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
            _table.append(value)
    return _table


def crc32c_pure(data: BytesLike, value: int = 0) -> int:
    """The checksum of what `value` covers followed by `data`, byte by byte in Python."""
    table = _table_of_bytes()
    value ^= 0xFFFFFFFF
    for byte in bytes(data):
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _fastest() -> Callable[..., int]:
    try:
        from crc32c import crc32c as native
    except ImportError:
        return crc32c_pure
    return native  # type: ignore[no-any-return,unused-ignore]  # untyped in some versions


crc32c = _fastest()
"""`crc32c(data, value=0)`: the checksum of `data`, going on from `value`."""

__all__ = ["crc32c", "crc32c_pure"]
