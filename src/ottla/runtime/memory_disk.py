"""A file system in memory that can lose its power.

Faults of `crash(rng)`, each of them legal for a POSIX file system:

* bytes written since a file's last sync: all stay, all vanish, or they end inside a write (a tear),
  in which case an earlier page that was never written back reads as zeros;
* names made, renamed or removed since their directory's last `sync_dir`: the changes of one
  directory survive up to some point, in order; a rename is whole or not at all;
* a sync of a file says nothing about its name, a `sync_dir` nothing about the files' bytes.

What never happens: synced bytes under a synced name change. `sync_dir` of a directory keeps the
directory's own name and those above it, and what happened beside them before, as journals do.

`flip_bit` makes readers see a wrong bit for a while, until its `Flip` is undone; what is on the
disk stays right. `capacity_bytes` may change at any time.

Handles opened before the crash fail with EIO, locks are free again.
"""

import errno
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import trio

from ottla.runtime.interfaces import BytesLike, Disk, Result

_PAGE = 4096


@dataclass(slots=True, eq=False)
class _Write:
    """One change of a file's bytes that is not synced yet; `data` None means cut to `offset`."""

    offset: int
    data: bytes | None


@dataclass(slots=True, eq=False)
class _Content:
    """A file: `live` is what readers see, `synced` plus all of `pending` is the same bytes."""

    live: bytearray = field(default_factory=bytearray)
    synced: bytearray = field(default_factory=bytearray)
    pending: list[_Write] = field(default_factory=list)
    settled: int = 0  # changes that left `pending` for `synced` so far


class Flip:
    """A bit that readers of a file see wrong."""

    def __init__(self, content: _Content, offset: int, bit: int) -> None:
        self._content = content
        self._offset = offset
        content.live[offset] ^= 1 << bit

    def undo(self) -> None:
        """Let the byte read as what was last written there, if it is still there."""
        content, offset = self._content, self._offset
        true = bytearray(content.synced)
        for write in content.pending:
            _apply(true, write)
        if offset < len(true):
            content.live[offset] = true[offset]


@dataclass(slots=True, eq=False)
class _Directory:
    live: dict[str, "_Node"] = field(default_factory=dict)
    synced: dict[str, "_Node"] = field(default_factory=dict)


_Node = _Content | _Directory


@dataclass(slots=True, eq=False)
class _NameChange:
    """One or two entries that change together: (directory, name, what it names from now on)."""

    edits: tuple[tuple[_Directory, str, _Node | None], ...]


def _apply(buffer: bytearray, write: _Write) -> None:
    if write.data is None:
        if write.offset < len(buffer):
            del buffer[write.offset :]
        else:
            buffer.extend(bytes(write.offset - len(buffer)))
        return
    if write.offset > len(buffer):
        buffer.extend(bytes(write.offset - len(buffer)))
    buffer[write.offset : write.offset + len(write.data)] = write.data


def _edit(names: dict[str, _Node], name: str, node: _Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class MemoryFile:
    """An open file; see `File`."""

    def __init__(self, disk: "MemoryDisk", content: _Content, path: str) -> None:
        self._disk = disk
        self._content = content
        self._path = path
        self._life = disk.crashes
        self._closed = False

    def append(self, data: BytesLike) -> None:
        self.write_at(len(self._content.live), data)

    def write_at(self, offset: int, data: BytesLike) -> None:
        self._require_open()
        self._disk.require_working(self._path)
        growth = max(0, offset + len(data) - len(self._content.live))
        self._disk.require_space(growth, self._path)
        self._change(_Write(offset, bytes(data)))

    def read_at(self, offset: int, length: int) -> bytes:
        self._require_open()
        self._disk.require_working(self._path)
        return bytes(memoryview(self._content.live)[offset : offset + length])

    def will_need(self, offset: int, length: int) -> None:
        self._require_open()

    def size(self) -> int:
        self._require_open()
        return len(self._content.live)

    def truncate(self, size: int) -> None:
        self._require_open()
        self._disk.require_working(self._path)
        self._change(_Write(size, None))

    def _change(self, write: _Write) -> None:
        before = len(self._content.live)
        _apply(self._content.live, write)
        self._disk.used_bytes += len(self._content.live) - before
        self._content.pending.append(write)

    def reserve(self, size: int) -> None:
        """There is nothing to be gained in memory."""

    def sync_now(self) -> None:
        self._require_open()
        self._disk.require_working(self._path)
        self._disk.require_sync(self._path)
        self._settle(len(self._content.pending))

    async def sync(self) -> None:
        self._require_open()
        goal = self._content.settled + len(self._content.pending)
        await self._disk.wait_sync(self._path)
        if self._life != self._disk.crashes:
            raise OSError(errno.EIO, "the disk crashed before the sync was done", self._path)
        self._disk.require_working(self._path)
        self._disk.require_sync(self._path)
        self._settle(max(0, goal - self._content.settled))

    def _settle(self, count: int) -> None:
        pending = self._content.pending
        count = min(count, len(pending))
        for write in pending[:count]:
            _apply(self._content.synced, write)
        del pending[:count]
        self._content.settled += count

    def close(self) -> None:
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        if self._life != self._disk.crashes:
            raise OSError(errno.EIO, "this handle is from before the crash", self._path)


class MemoryDirectoryLock:
    def __init__(self, disk: "MemoryDisk", path: str) -> None:
        self._disk = disk
        self._path = path
        self._life = disk.crashes

    def release(self) -> None:
        if self._life == self._disk.crashes:
            self._disk.locks.discard(self._path)


class MemoryDisk:
    """One disk. `capacity_bytes` bounds the sum of all files (ENOSPC); None is no bound."""

    def __init__(self, *, capacity_bytes: int | None = None, sync_delay_s: float = 0.0) -> None:
        self.capacity_bytes = capacity_bytes
        self.sync_delay_s = sync_delay_s
        self.used_bytes = 0
        self.crashes = 0
        self.locks: set[str] = set()
        self.broken: set[str] = set()  # everything below these paths fails with EIO
        self._root = _Directory()
        self._pending: list[_NameChange] = []

    # names

    def open(self, path: str, *, create: bool = True) -> MemoryFile:
        self.require_working(path)
        parent, name = self._parent(path)
        node = parent.live.get(name)
        if node is None:
            if not create:
                raise _missing(path)
            node = _Content()
            self._rename(_NameChange(((parent, name, node),)))
        if isinstance(node, _Directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return MemoryFile(self, node, path)

    def exists(self, path: str) -> bool:
        return self._find(path) is not None

    def list_dir(self, path: str) -> list[str]:
        self.require_working(path)
        return sorted(self._directory(path).live)

    def is_dir(self, path: str) -> bool:
        return isinstance(self._find(path), _Directory)

    def make_dirs(self, path: str) -> None:
        self.require_working(path)
        here = self._root
        for name in _parts(path):
            node = here.live.get(name)
            if node is None:
                node = _Directory()
                self._rename(_NameChange(((here, name, node),)))
            if not isinstance(node, _Directory):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            here = node

    def read(self, path: str) -> bytes:
        self.require_working(path)
        return bytes(self._file(path).live)

    def replace(self, path: str, data: bytes) -> None:
        self.require_working(path)
        parent, name = self._parent(path)
        old = parent.live.get(name)
        freed = len(old.live) if isinstance(old, _Content) else 0
        self.require_space(len(data), path)  # the old content is there until the new one is whole
        node = _Content(bytearray(data), bytearray(data))
        self.used_bytes += len(data) - freed
        self._rename(_NameChange(((parent, name, node),)))
        self.sync_dir(path.rpartition("/")[0])

    def rename(self, old: str, new: str) -> None:
        self.require_working(old)
        source, old_name = self._parent(old)
        target, new_name = self._parent(new)
        node = source.live.get(old_name)
        if node is None:
            raise _missing(old)
        there = target.live.get(new_name)
        if there is node:
            return
        if isinstance(there, _Directory) and there.live:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), new)
        self._forget(there)
        self._rename(_NameChange(((source, old_name, None), (target, new_name, node))))

    def remove(self, path: str) -> None:
        self.require_working(path)
        parent, name = self._parent(path)
        self._forget(self._file(path))
        self._rename(_NameChange(((parent, name, None),)))

    def remove_tree(self, path: str) -> None:
        self.require_working(path)
        tree = self._directory(path)
        for node in _walk(tree):
            self._forget(node)
        parent, name = self._parent(path)
        self._rename(_NameChange(((parent, name, None),)))

    def space(self, path: str) -> tuple[int, int] | None:
        self.require_working(path)
        if self.capacity_bytes is None:
            return None
        return self.capacity_bytes, max(self.capacity_bytes - self.used_bytes, 0)

    def sync_dir(self, path: str) -> None:
        self.require_working(path)
        here = self._root
        for name in _parts(path):
            node = here.live.get(name)
            if not isinstance(node, _Directory):
                raise _missing(path)
            self._settle_name(here, name)
            here = node
        self._settle(here)

    async def beside(self, call: Callable[[], Result]) -> Result:
        """As one step, after the time that a sync takes."""
        life = self.crashes
        await self.wait_sync("")
        if life != self.crashes:
            raise OSError(errno.EIO, "the disk crashed before the call was made")
        return call()

    def lock(self, path: str) -> MemoryDirectoryLock:
        self.open(path).close()
        key = "/".join(_parts(path))
        if key in self.locks:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), path)
        self.locks.add(key)
        return MemoryDirectoryLock(self, key)

    # what a simulated disk overrides

    async def wait_sync(self, path: str) -> None:
        """Take as long as a sync of `path` takes."""
        if self.sync_delay_s:
            await trio.sleep(self.sync_delay_s)
        else:
            await trio.lowlevel.checkpoint()

    def require_sync(self, path: str) -> None:
        """OSError when a sync of `path` fails now; what was written stays unsynced then."""

    # faults

    def kill(self) -> None:
        """The process that used the disk died: its handles and locks are gone, no byte is."""
        self.crashes += 1
        self.locks.clear()

    def crash(self, rng: random.Random) -> None:
        """Lose power now, and come back with what the disk happened to keep."""
        self.crashes += 1
        self.locks.clear()
        lost: set[int] = set()  # directories whose later changes did not reach the disk
        for change in self._pending:
            touched = {id(directory) for directory, _, _ in change.edits}
            if touched & lost or rng.random() < 0.3:
                lost |= touched
            else:
                for directory, name, node in change.edits:
                    _edit(directory.synced, name, node)
        self._pending.clear()
        self.used_bytes = 0
        for node in self._surviving(self._root):
            if isinstance(node, _Directory):
                node.live = dict(node.synced)
            else:
                _lose(node, rng)
                self.used_bytes += len(node.live)

    def flip_bit(self, path: str, offset: int, bit: int) -> Flip:
        """Readers see the byte at `offset` with `bit` (0 to 7) flipped until the flip is undone."""
        return Flip(self._file(path), offset, bit)

    def require_working(self, path: str) -> None:
        if self.broken and any(f"{path}/".startswith(f"{bad}/") for bad in self.broken):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def require_space(self, more: int, path: str) -> None:
        full = self.capacity_bytes is not None and self.used_bytes + more > self.capacity_bytes
        if full and more > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _surviving(self, directory: _Directory) -> Iterator[_Node]:
        yield directory
        for name in sorted(directory.synced):
            node = directory.synced[name]
            if isinstance(node, _Directory):
                yield from self._surviving(node)
            else:
                yield node

    # lookups

    def _rename(self, change: _NameChange) -> None:
        for directory, name, node in change.edits:
            _edit(directory.live, name, node)
        self._pending.append(change)

    def _settle(self, directory: _Directory) -> None:
        kept = []
        for change in self._pending:
            edits = change.edits
            if edits[0][0] is directory or edits[-1][0] is directory:
                for touched, name, node in edits:
                    _edit(touched.synced, name, node)
            else:
                kept.append(change)
        self._pending = kept

    def _settle_name(self, directory: _Directory, name: str) -> None:
        """Settle what `name` is, and what happened in `directory` before it became that."""
        mine = [
            change
            for change in self._pending
            if change.edits[0][0] is directory or change.edits[-1][0] is directory
        ]
        while mine and not any(
            touched is directory and each == name for touched, each, _ in mine[-1].edits
        ):
            mine.pop()
        for change in mine:
            self._pending.remove(change)
            for touched, each, node in change.edits:
                _edit(touched.synced, each, node)

    def _forget(self, node: _Node | None) -> None:
        if isinstance(node, _Content):
            self.used_bytes -= len(node.live)

    def _find(self, path: str) -> _Node | None:
        node: _Node = self._root
        for name in _parts(path):
            if not isinstance(node, _Directory) or name not in node.live:
                return None
            node = node.live[name]
        return node

    def _directory(self, path: str) -> _Directory:
        node = self._find(path)
        if node is None:
            raise _missing(path)
        if not isinstance(node, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node

    def _file(self, path: str) -> _Content:
        node = self._find(path)
        if node is None:
            raise _missing(path)
        if not isinstance(node, _Content):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return node

    def _parent(self, path: str) -> tuple[_Directory, str]:
        parts = _parts(path)
        assert parts, "the root has no name"
        node: _Node = self._root
        for name in parts[:-1]:
            child = node.live.get(name) if isinstance(node, _Directory) else None
            if child is None:
                raise _missing(path)
            node = child
        if not isinstance(node, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node, parts[-1]


def _lose(content: _Content, rng: random.Random) -> None:
    """Replace `live` by what a power cut leaves of it, which is then what the disk holds."""
    kept = content.synced
    if content.pending:
        fate = rng.random()
        count = len(content.pending)
        if fate < 0.3:
            whole = count
        elif fate < 0.5:
            whole = 0
        else:
            whole = rng.randrange(count)
        before = len(kept)
        for write in content.pending[:whole]:
            _apply(kept, write)
        if fate >= 0.5:
            _tear(kept, content.pending[whole], before, rng)
    content.pending.clear()
    content.live = bytearray(kept)


def _tear(kept: bytearray, write: _Write, synced_size: int, rng: random.Random) -> None:
    if not write.data:
        return
    cut = rng.randrange(len(write.data))
    _apply(kept, _Write(write.offset, write.data[:cut]))
    pages = range(-(-synced_size // _PAGE), len(kept) // _PAGE)
    if len(pages) > 1 and rng.random() < 0.2:
        page = rng.choice(pages[:-1]) * _PAGE
        kept[page : page + _PAGE] = bytes(_PAGE)


def _walk(directory: _Directory) -> Iterator[_Node]:
    for node in directory.live.values():
        if isinstance(node, _Directory):
            yield from _walk(node)
        yield node


@lru_cache(4096)
def _parts(path: str) -> tuple[str, ...]:
    return tuple([part for part in path.split("/") if part not in {"", "."}])


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _conforms(disk: MemoryDisk) -> Disk:
    return disk


__all__ = ["Flip", "MemoryDisk", "MemoryFile"]
