"""Consensus log entries, and blocks of them that are encoded once for the disk and every peer.

A block is one msgpack array of `[index, epoch, zxid, payload]`. The leader encodes it once; the
same bytes go to its own txn log and to all followers, and a follower writes what it received.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgpack

from ottla.protocol.peer.errors import ProtocolError

COUNTER_MAX = 0xFFFFFFFF
EPOCH_MAX = 0x7FFFFFFF


class Entry(NamedTuple):
    """One log entry. zxid = epoch << 32 | counter; counter 0 is the no-op that opens an epoch."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no entry needs
    epoch: int
    zxid: int
    payload: bytes


class Block:
    """Consecutive entries, at least one, with their encoding kept once it is known."""

    __slots__ = ("_encoded", "entries")

    def __init__(self, entries: Sequence[Entry], encoded: bytes | None = None) -> None:
        assert entries
        self.entries: Sequence[Entry] = entries
        self._encoded = encoded

    @property
    def first_index(self) -> int:
        return self.entries[0].index

    @property
    def last_index(self) -> int:
        return self.entries[-1].index

    def encode(self) -> bytes:
        """The block's bytes, the same object at every call."""
        encoded = self._encoded
        if encoded is None:
            encoded = self._encoded = msgpack.packb(self.entries)
        return encoded

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and list(self.entries) == list(other.entries)

    def __hash__(self) -> int:
        return hash(self.last_index)

    def __repr__(self) -> str:
        return f"Block({self.first_index}..{self.last_index})"


def decode_block(data: bytes) -> Block:
    """Read a block and check what a log relies on: types, ranges, order. ProtocolError."""
    try:
        rows = msgpack.unpackb(data, use_list=False, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolError(f"entries are not msgpack: {error}") from None
    if type(rows) is not tuple or not rows:
        raise ProtocolError("a block of entries is not a filled array")
    entries: list[Entry] = []
    expected = -1
    last_epoch = 0
    for row in rows:
        if type(row) is not tuple or len(row) != 4:
            raise ProtocolError("an entry does not have four fields")
        index, epoch, zxid, payload = row
        if (
            type(index) is not int
            or type(epoch) is not int
            or type(zxid) is not int
            or type(payload) is not bytes
        ):
            raise ProtocolError("an entry has a field of the wrong type")
        if zxid >> 32 != epoch or not last_epoch <= epoch <= EPOCH_MAX or epoch < 1 or index < 1:
            raise ProtocolError(f"entry {index} of epoch {epoch} has zxid {zxid:#x}")
        if expected not in (-1, index):
            raise ProtocolError(f"entry {index} where {expected} was expected")
        expected = index + 1
        last_epoch = epoch
        entries.append(Entry(index, epoch, zxid, payload))
    return Block(entries, bytes(data))


__all__ = ["COUNTER_MAX", "EPOCH_MAX", "Block", "Entry", "decode_block"]
