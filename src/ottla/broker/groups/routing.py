"""Which partition of the offsets topic a group belongs to. Every client tool computes the same."""

from functools import lru_cache


def java_hash(text: str) -> int:
    """`String.hashCode()`: over UTF-16 units, as a signed 32-bit number."""
    units = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for position in range(0, len(units), 2):
        value = (31 * value + (units[position] << 8 | units[position + 1])) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


@lru_cache(maxsize=16_384)
def partition_for(key: str, partitions: int) -> int:
    """The partition of `key` among `partitions`, for groups and for transactional ids."""
    assert partitions > 0
    value = java_hash(key)
    return (0 if value == -(1 << 31) else abs(value)) % partitions


__all__ = ["java_hash", "partition_for"]
