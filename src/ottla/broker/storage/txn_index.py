"""The transactions that were aborted in a segment: what a read_committed reader has to skip
(KIP-98).

34 bytes per entry, big endian: int16 version 0, int64 producer id, int64 first offset, int64 last
offset (the abort marker's), int64 last stable offset when the marker was appended. Entries are in
the order of their markers. The file exists once there is an entry.
"""

import struct
from typing import NamedTuple

from ottla.runtime.interfaces import Disk

_ENTRY = struct.Struct(">hqqqq")
_VERSION = 0


class AbortedTxn(NamedTuple):
    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class TxnIndex:
    """All entries in memory: aborted transactions are few."""

    __slots__ = ("_disk", "_entries", "_unsynced", "path")

    def __init__(self, disk: Disk, path: str, *, exists: bool) -> None:
        self._disk = disk
        self.path = path
        self._entries: list[AbortedTxn] | None = None if exists else []
        self._unsynced = exists  # by a process that may have been killed

    def entries(self) -> list[AbortedTxn]:
        if self._entries is None:
            self._entries = _decode(self._disk.read(self.path))
        return self._entries

    def append(self, txn: AbortedTxn) -> None:
        entries = self.entries()
        if entries and entries[-1].last_offset >= txn.last_offset:
            return  # a replay after a crash meets what the file kept
        file = self._disk.open(self.path)
        try:
            whole = len(entries) * _ENTRY.size
            if file.size() != whole:
                file.truncate(whole)
            file.append(_ENTRY.pack(_VERSION, *txn))
        finally:
            file.close()
        entries.append(txn)
        self._unsynced = True

    def truncate_to(self, offset: int) -> None:
        """Drop the transactions whose marker is at `offset` or beyond."""
        entries = self.entries()
        kept = [txn for txn in entries if txn.last_offset < offset]
        if len(kept) < len(entries):
            file = self._disk.open(self.path)
            try:
                file.truncate(len(kept) * _ENTRY.size)
                file.sync_now()
            finally:
                file.close()
            self._entries = kept

    def sync_now(self) -> None:
        if self._unsynced:
            file = self._disk.open(self.path)
            try:
                file.sync_now()
            finally:
                file.close()
            self._unsynced = False


def _decode(data: bytes) -> list[AbortedTxn]:
    """The whole entries up to the first that makes no sense."""
    entries: list[AbortedTxn] = []
    whole = len(data) - len(data) % _ENTRY.size
    for version, *fields in _ENTRY.iter_unpack(data[:whole]):
        txn = AbortedTxn(*fields)
        if version != _VERSION or txn.first_offset > txn.last_offset:
            break
        if entries and txn.last_offset <= entries[-1].last_offset:
            break
        entries.append(txn)
    return entries


__all__ = ["AbortedTxn", "TxnIndex"]
