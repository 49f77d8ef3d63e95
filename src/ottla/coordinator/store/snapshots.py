"""Snapshot files `snapshot.<hex zxid>`: the whole state after one entry.

Framed records (`records`): the first is the msgpack array `[format, index, epoch, zxid]`, with a
fifth field where the members were ever changed: the entry of the configuration that held then. Next
come the state's pieces as they are, then an empty record. A file without the empty record, or with
a damaged one, does not count. Files appear under their name only once they are whole and synced.
"""

from collections.abc import Sequence

import msgpack
import trio

from ottla.coordinator.consensus.values import Position, Snapshot
from ottla.coordinator.store.records import PREFIX_SIZE, frame, leading_records, record_at
from ottla.coordinator.store.txn_log import zxid_of
from ottla.runtime.interfaces import Disk, File

FORMAT = 1
PREFIX = "snapshot."
TEMPORARY = ".tmp"
HEAD_BYTES_MAX = 128 * 1024
"""More than the first record ever has."""
SYNC_BYTES = 4 * 1024 * 1024
"""What is synced at a time, so that no sync of the log waits for a whole snapshot to be written."""


class SnapshotWriter:
    """One snapshot being written: `add` pieces, then `finish`; or `abandon`."""

    def __init__(self, disk: Disk, directory: str, at: Position, membership: bytes = b"") -> None:
        self._disk = disk
        self._directory = directory
        self._path = f"{directory}/{PREFIX}{at.zxid:x}"
        self._file: File = disk.open(self._path + TEMPORARY)
        self._file.truncate(0)
        head = [FORMAT, *at, membership] if membership else [FORMAT, *at]
        self._file.append(frame(msgpack.packb(head)))
        self._unsynced = 0

    def add(self, chunk: bytes) -> None:
        assert chunk
        self._file.append(frame(chunk))
        self._unsynced += len(chunk)

    async def breathe(self) -> None:
        """Let others go on; now and then until what was added so far is on the disk."""
        if self._unsynced < SYNC_BYTES:
            await trio.lowlevel.checkpoint()
        else:
            self._unsynced = 0
            await self._file.sync()

    async def finish(self) -> int:
        """Make the snapshot durable, then visible; its size in bytes."""
        self._file.append(frame(b""))
        await self._file.sync()
        size = self._file.size()
        self._file.close()
        self._disk.rename(self._path + TEMPORARY, self._path)
        self._disk.sync_dir(self._directory)
        return size

    def abandon(self) -> None:
        self._file.close()
        self._disk.remove(self._path + TEMPORARY)


async def save(disk: Disk, directory: str, snapshot: Snapshot) -> None:
    """Write a snapshot that is in memory, with pauses between its pieces."""
    writer = SnapshotWriter(disk, directory, snapshot.at, snapshot.membership)
    for chunk in snapshot.chunks:
        if chunk:
            writer.add(chunk)
        await writer.breathe()
    await writer.finish()


def names(disk: Disk, directory: str) -> list[str]:
    """All snapshots, newest first."""
    found = [
        name
        for name in disk.list_dir(directory)
        if name.startswith(PREFIX) and zxid_of(name, PREFIX) >= 0
    ]
    return sorted(found, key=lambda name: zxid_of(name, PREFIX), reverse=True)


def position(disk: Disk, path: str) -> Position | None:
    """Of which entry a snapshot is, by its first record alone."""
    file = disk.open(path, create=False)
    try:
        body = record_at(file.read_at(0, HEAD_BYTES_MAX), 0)
    finally:
        file.close()
    head = None if body is None else _head(body)
    return None if head is None else head[0]


def _head(body: bytes) -> tuple[Position, bytes] | None:
    """Of which entry, and the configuration at that time."""
    try:
        row = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException):
        return None
    match row:
        case [version, int(index), int(epoch), int(zxid), *rest] if version == FORMAT:
            membership = rest[0] if rest else b""
            if isinstance(membership, bytes):
                return Position(index, epoch, zxid), membership
    return None


def read(disk: Disk, path: str) -> Snapshot | None:
    """A snapshot, or None when the file is not whole."""
    data = disk.read(path)
    bodies: list[bytes] = []
    end = 0
    for start, body in leading_records(data):
        bodies.append(body)
        end = start + PREFIX_SIZE + len(body)
    if end != len(data) or len(bodies) < 2 or bodies[-1]:
        return None
    head = _head(bodies[0])
    chunks: Sequence[bytes] = bodies[1:-1]
    return None if head is None else Snapshot(head[0], chunks, head[1])


__all__ = ["PREFIX", "TEMPORARY", "SnapshotWriter", "names", "position", "read", "save"]
