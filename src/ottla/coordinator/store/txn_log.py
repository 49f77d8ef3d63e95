"""The txn log: segments `log.<hex zxid>` of framed records, only ever appended to.

| record body (msgpack array) | meaning |
|---|---|
| `[0, format, index, epoch, zxid, hard epoch, vote]` | first of a segment: what it follows |
| `[1, safe, hard epoch or nil, vote or nil, block, ...]` | one write: hard state, entry blocks |

`safe` is the length of this segment that was known to be on stable storage before the write. A
damaged record below the largest `safe` is a hole in synced data and an error; above it, it is the
tail that a crash tore, and is cut off. A block whose first index is at or below the last one drops
the log's tail from there (a conflict, Raft 3.5). A segment that does not follow the one before it
starts the log anew (a snapshot was installed). Behind the last record of the newest segment there
may be zeros, reserved for what comes. Names ascend; the zxid is that of the segment's
first entry wherever that keeps the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack

from ottla.coordinator.consensus.values import HardState, Persist, Position
from ottla.coordinator.store.records import (
    PREFIX_SIZE,
    frame,
    later_records,
    leading_records,
    record_at,
)
from ottla.protocol.peer.entries import Entry, decode_block
from ottla.protocol.peer.errors import ProtocolError
from ottla.runtime.interfaces import Disk, File

FORMAT = 1
PREFIX = "log."
SEGMENT_BYTES = 64 * 1024 * 1024
RESERVED_BYTES = 64 * 1024
RESERVED_WRITES = 32
"""So far ahead, or for so many writes like the last one, the file is long already: a sync then
writes data alone, and no new length. A quiet member takes little from a disk that is nearly full.
"""
_HEADER, _WRITE = 0, 1
_NO_MORE = 1 << 63  # a segment's end that no write reaches


class CorruptStore(Exception):
    """Data that was safe on disk is damaged or missing: a person must look at it."""


@dataclass(slots=True)
class LogContent:
    """What the log says: the hard state, and the entries after `base`.

    Entries up to `settled` are in a snapshot; where the log has them again, they need no past.
    """

    settled: int = 0
    hard: HardState = field(default_factory=HardState)
    base: Position | None = None
    entries: list[Entry] = field(default_factory=list)

    @property
    def last(self) -> Position:
        if self.entries:
            entry = self.entries[-1]
            return Position(entry.index, entry.epoch, entry.zxid)
        return self.base or Position()

    def begin_segment(self, base: Position, hard: HardState) -> None:
        if self.base is None or base != self.last:
            self.base = base
            self.entries = []
        self.hard = hard

    def add_block(self, entries: Sequence[Entry], where: str) -> None:
        base = self.base or Position()
        first = entries[0].index
        if first <= base.index <= self.settled:
            # A conflict reached back before the oldest segment that is read or left.
            base = self.base = Position(first - 1)
            self.entries = []
        if not base.index < first <= self.last.index + 1:
            raise CorruptStore(f"{where}: entry {first} after entry {self.last.index}")
        del self.entries[first - base.index - 1 :]
        self.entries.extend(entries)


def segments(disk: Disk, directory: str) -> list[str]:
    """Names of all segments, oldest first."""
    names = [name for name in disk.list_dir(directory) if name.startswith(PREFIX)]
    return sorted(names, key=lambda name: zxid_of(name, PREFIX))


def zxid_of(name: str, prefix: str) -> int:
    """The number in a file's name; -1 when it is not hexadecimal."""
    try:
        return int(name.removeprefix(prefix), 16)
    except ValueError:
        return -1


def segment_base(disk: Disk, path: str) -> Position | None:
    """What a segment follows; None when its first record is not whole."""
    file = disk.open(path, create=False)
    try:
        body = record_at(file.read_at(0, 256), 0)
    finally:
        file.close()
    return None if body is None else _header(_row(body, path), path)[0]


def read_segment(disk: Disk, path: str, content: LogContent, *, is_last: bool) -> int | None:
    """Add a segment to `content`; the length to cut it to, when a crash left more.

    That is a torn write, or zeros that were reserved for later ones. Raises CorruptStore.
    """
    data = disk.read(path)
    safe = 0
    end = 0
    for position, body in leading_records(data):
        where = f"{path} at offset {position}"
        row = _row(body, where)
        if position == 0:
            content.begin_segment(*_header(row, where))
        else:
            safe = max(safe, _apply_write(content, row, where))
        end = position + PREFIX_SIZE + len(body)
    if end == len(data):
        return None
    if not is_last:
        raise CorruptStore(f"{path} is damaged at offset {end}, and a later segment exists")
    safe = max(safe, _safe_behind(data, end, path))
    if end < safe:
        raise CorruptStore(f"{path} is damaged at offset {end}, below the synced {safe} bytes")
    return end


def is_reserved(disk: Disk, path: str, position: int) -> bool:
    """Whether there is nothing but zeros behind `position`."""
    file = disk.open(path, create=False)
    try:
        return not file.read_at(position, file.size() - position).strip(b"\0")
    finally:
        file.close()


def _safe_behind(data: bytes, position: int, path: str) -> int:
    safe = 0
    for body in later_records(data, position):
        row = _row(body, path)
        if row[0] == _WRITE and isinstance(row[1], int):
            safe = max(safe, row[1])
    return safe


def remove_stillborn(disk: Disk, path: str) -> None:
    """Remove the newest segment, whose first record never got whole; CorruptStore if it had."""
    safe = _safe_behind(disk.read(path), 0, path)
    if safe:
        raise CorruptStore(f"{path} is damaged at offset 0, below the synced {safe} bytes")
    disk.remove(path)


def _row(body: bytes, where: str) -> list[object]:
    try:
        row = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptStore(f"{where}: a record with a right checksum reads as {error}") from None
    if not isinstance(row, list) or len(row) < 4:
        raise CorruptStore(f"{where}: a record that is no record of this format")
    return row


def _header(row: list[object], where: str) -> tuple[Position, HardState]:
    match row:
        case [0, int(version), int(index), int(epoch), int(zxid), int(hard_epoch), vote]:
            if version != FORMAT:
                raise CorruptStore(f"{where}: format {version}, this version reads {FORMAT}")
            return Position(index, epoch, zxid), HardState(hard_epoch, _vote(vote))
    raise CorruptStore(f"{where}: not the start of a segment")


def _vote(vote: object) -> int | None:
    return vote if isinstance(vote, int) else None


def _apply_write(content: LogContent, row: list[object], where: str) -> int:
    match row:
        case [1, int(safe), hard_epoch, vote, *blocks]:
            if isinstance(hard_epoch, int):
                content.hard = HardState(hard_epoch, _vote(vote))
            for encoded in blocks:
                try:
                    block = decode_block(encoded if isinstance(encoded, bytes) else b"")
                except ProtocolError as error:
                    raise CorruptStore(f"{where}: {error}") from None
                content.add_block(block.entries, where)
            return safe
    raise CorruptStore(f"{where}: not a write")


class SegmentWriter:
    """The segment that writes go to. One task writes; `sync` may run beside further writes."""

    def __init__(self, disk: Disk, directory: str, last_name: int) -> None:
        self._disk = disk
        self._directory = directory
        self._last_name = last_name
        self._file: File | None = None
        self._reserved = 0
        self._safe = 0

    @property
    def size(self) -> int:
        """Bytes in the current segment."""
        return 0 if self._file is None else self._file.size()

    @property
    def unsynced(self) -> int:
        """Bytes of it that are not known to be on stable storage."""
        return self.size - self._safe

    def write(self, persist: Persist, after: Position, hard: HardState) -> None:
        """Append one write; `after` and `hard` are what the log says before it."""
        head = b""
        if self._file is None:
            head = self._begin(persist, after, hard)
        changed = persist.hard
        row: list[object] = [
            _WRITE,
            self._safe,
            None if changed is None else changed.epoch,
            None if changed is None else changed.vote,
        ]
        row.extend(block.encode() for block in persist.blocks)
        assert self._file is not None
        record = head + frame(msgpack.packb(row))
        end = self._file.size() + len(record)
        if end > self._reserved:
            self._reserved = end + max(RESERVED_BYTES, RESERVED_WRITES * len(record))
            self._file.reserve(self._reserved)
        self._file.append(record)

    def _begin(self, persist: Persist, after: Position, hard: HardState) -> bytes:
        first = persist.blocks[0].entries[0].zxid if persist.blocks else after.zxid + 1
        self._last_name = max(first, self._last_name + 1)
        path = f"{self._directory}/{PREFIX}{self._last_name:x}"
        self._file = self._disk.open(path)
        assert self._file.size() == 0
        self._disk.sync_dir(self._directory)
        self._safe = self._reserved = 0
        return frame(msgpack.packb([_HEADER, FORMAT, *after, hard.epoch, hard.vote]))

    async def sync(self) -> None:
        """Wait until everything written before the call is on stable storage."""
        file = self._file
        if file is not None:
            size = file.size()
            await file.sync()
            if file is self._file:
                self._safe = size

    def sync_now(self) -> None:
        """As `sync`, without letting anybody else run."""
        file = self._file
        if file is not None:
            file.sync_now()
            self._safe = file.size()

    def trim(self) -> None:
        """Give back what was reserved, before the `sync` that is to be this segment's last one.

        To put a shorter length on disk may take the file system long, and `roll` holds the loop.
        """
        if self._file is not None and self._reserved != _NO_MORE:
            self._reserved = _NO_MORE
            self._file.truncate(self._file.size())

    def roll(self) -> None:
        """End the segment; the next write begins another. Blocks for one sync."""
        if self._file is not None:
            self.trim()
            self._file.sync_now()
            self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


__all__ = [
    "FORMAT",
    "PREFIX",
    "SEGMENT_BYTES",
    "CorruptStore",
    "LogContent",
    "SegmentWriter",
    "is_reserved",
    "read_segment",
    "remove_stillborn",
    "segment_base",
    "segments",
    "zxid_of",
]
