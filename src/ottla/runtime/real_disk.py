"""The operating system's file system behind `Disk`.

Reads and writes go to the page cache on the loop; `sync` alone leaves it, on one of a few threads.
A file has one writer, the object that holds it, so its size is kept here and never asked for.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable

from ottla.runtime.interfaces import BytesLike, Disk, Result
from ottla.runtime.sync_threads import SyncThreads

# Syncs of one device queue in the kernel anyway; more threads would only wait there.
_SYNC_THREADS = 8
_TEMPORARY = ".tmp"
_PROBE = bytearray(1)  # where a byte goes that is only asked for


class RealFile:
    """One open file; see `File`. `close` waits for a running `sync` before the descriptor goes."""

    __slots__ = ("_closed", "_fd", "_path", "_size", "_syncing", "_threads")

    def __init__(self, fd: int, path: str, threads: SyncThreads) -> None:
        self._fd = fd
        self._path = path
        self._threads = threads
        self._size = os.fstat(fd).st_size
        self._syncing = 0  # syncs on their threads; the descriptor stays open for them
        self._closed = False

    @property
    def path(self) -> str:
        return self._path

    def fileno(self) -> int:
        return self._fd

    def append(self, data: BytesLike) -> None:
        start = self._size
        count = len(data)
        try:
            written = os.pwrite(self._fd, data, start)
            if written != count:
                self._write_rest(data, start, written)
        except OSError:
            if not self._closed:
                os.ftruncate(self._fd, start)
            raise
        self._size = start + count

    def write_at(self, offset: int, data: BytesLike) -> None:
        written = os.pwrite(self._fd, data, offset)
        if written != len(data):
            self._write_rest(data, offset, written)
        self._size = max(self._size, offset + len(data))

    def _write_rest(self, data: BytesLike, offset: int, written: int) -> None:
        with memoryview(data) as view:
            while written < len(view):
                step = os.pwrite(self._fd, view[written:], offset + written)
                if step == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
                written += step

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error
        if len(data) == length or not data:
            return data
        parts = [data]  # a signal or the 2 GiB limit of one call; or the end of the file
        have = len(data)
        while have < length:
            data = os.pread(self._fd, length - have, offset + have)
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def will_need(self, offset: int, length: int) -> None:
        try:
            os.preadv(self._fd, [_PROBE], offset + length - 1, os.RWF_NOWAIT)
        except OSError:  # not in memory, or the file system cannot tell
            pass
        else:
            return
        # A file system that takes no advice is none the worse for it.
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def size(self) -> int:
        return self._size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        self._size = size

    def reserve(self, size: int) -> None:
        with contextlib.suppress(OSError):
            os.posix_fallocate(self._fd, 0, size)

    def sync_now(self) -> None:
        os.fdatasync(self._fd)

    async def sync(self) -> None:
        # Not abandoned on cancel: a caller that unwinds must not overtake its own sync.
        self._syncing += 1
        try:
            await self._threads.run(os.fdatasync, self._fd)
        finally:
            self._syncing -= 1
            if self._closed and not self._syncing:
                self._release()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._syncing:
            self._release()

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def __repr__(self) -> str:
        return f"<RealFile {self._path} {self._size} bytes>"


class RealDirectoryLock:
    """An advisory lock of the whole file, which the kernel drops when the process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class RealDisk:
    """`Disk` over the machine's own file system."""

    def __init__(self) -> None:
        self._threads = SyncThreads(_SYNC_THREADS)
        self._beside = SyncThreads(_SYNC_THREADS)  # apart: what takes long keeps no sync waiting

    def open(self, path: str, *, create: bool = True) -> RealFile:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o644)
        return RealFile(fd, path, self._threads)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def list_dir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(path)

    def make_dirs(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def replace(self, path: str, data: bytes) -> None:
        temporary = path + _TEMPORARY
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        self.sync_dir(os.path.dirname(path) or ".")

    def rename(self, old: str, new: str) -> None:
        os.replace(old, new)

    def remove(self, path: str) -> None:
        os.remove(path)

    def remove_tree(self, path: str) -> None:
        import shutil

        shutil.rmtree(path)

    def sync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    async def beside(self, call: Callable[[], Result]) -> Result:
        found: list[Result] = []
        await self._beside.run(lambda _: found.append(call()), 0)
        return found[0]

    def space(self, path: str) -> tuple[int, int]:
        found = os.statvfs(path)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def lock(self, path: str) -> RealDirectoryLock:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return RealDirectoryLock(fd)


def _conforms(disk: RealDisk) -> Disk:
    return disk


__all__ = ["RealDirectoryLock", "RealDisk", "RealFile"]
