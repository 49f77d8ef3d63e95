"""The transactions that were aborted in a segment: what a read_committed reader has to skip
(KIP-98).

34 bytes per entry, big endian: int16 version 0, int64 producer id, int64 first offset, int64 last
offset (the abort marker's), int64 last stable offset when the marker was appended. Entries are in
the order of their markers. The file exists once there is an entry.
"""

import struct
from contextlib import suppress
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
    """All entries in memory: aborted transactions are few.

    An entry that could not be written, as on a full disk, is written by the next `save`. It is lost
    by a crash before that, but then the batches after the last producer snapshot bring it back.
    """

    __slots__ = ("_disk", "_entries", "_saved", "_unsynced", "path")

    def __init__(self, disk: Disk, path: str, *, exists: bool) -> None:
        self._disk = disk
        self.path = path
        self._entries: list[AbortedTxn] | None = None if exists else []
        self._saved = 0  # entries that are in the file
        self._unsynced = exists  # by a process that may have been killed

    def entries(self) -> list[AbortedTxn]:
        if self._entries is None:
            self._entries = _decode(self._disk.read(self.path))
            self._saved = len(self._entries)
        return self._entries

    def append(self, txn: AbortedTxn) -> None:
        entries = self.entries()
        if entries and entries[-1].last_offset >= txn.last_offset:
            return  # a replay after a crash meets what the file kept
        entries.append(txn)
        self._unsynced = True
        with suppress(OSError):  # the marker is in the log already; the next save or sync tells
            self.save()

    def save(self) -> None:
        """Write what is not in the file yet."""
        entries = self._entries
        if entries is None or self._saved == len(entries):
            return
        file = self._disk.open(self.path)
        try:
            whole = self._saved * _ENTRY.size
            if file.size() != whole:
                file.truncate(whole)
            file.append(b"".join(_ENTRY.pack(_VERSION, *txn) for txn in entries[self._saved :]))
        finally:
            file.close()
        self._saved = len(entries)

    def truncate_to(self, offset: int) -> None:
        """Drop the transactions whose marker is at `offset` or beyond."""
        entries = self.entries()
        kept = [txn for txn in entries if txn.last_offset < offset]
        if len(kept) < self._saved:
            file = self._disk.open(self.path)
            try:
                file.truncate(len(kept) * _ENTRY.size)
                file.sync_now()
            finally:
                file.close()
            self._saved = len(kept)
        self._entries = kept

    def sync_now(self) -> None:
        self.save()
        if self._unsynced:
            file = self._disk.open(self.path)
            try:
                file.sync_now()
            finally:
                file.close()
            self._unsynced = False

    async def sync(self) -> None:
        """As `sync_now`, off the loop; entries added meanwhile wait for the next one."""
        self.save()
        if not self._unsynced:
            return
        saved = self._saved
        file = self._disk.open(self.path)
        try:
            await file.sync()
        finally:
            file.close()
        self._unsynced = self._saved != saved


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
