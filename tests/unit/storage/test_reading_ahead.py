"""What the system is told about readers that are behind the tail."""

from typing import cast

from ottla.broker.storage.log import Log
from ottla.broker.storage.reading import FileRange
from ottla.runtime.memory import MemoryDisk
from ottla.runtime.memory_disk import MemoryFile
from tests.support.logs import append, batch, open_log

RANGE = 128 * 1024


class NotedFile:
    """A file that notes what is said to be needed, and hands on the rest."""

    def __init__(self, file: object, needed: list[tuple[int, int]]) -> None:
        self._file = file
        self._needed = needed

    def will_need(self, offset: int, length: int) -> None:
        self._needed.append((offset, offset + length))

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class NotingDisk(MemoryDisk):
    def __init__(self) -> None:
        super().__init__()
        self.needed: list[tuple[int, int]] = []

    def open(self, path: str, *, create: bool = True) -> MemoryFile:
        return cast("MemoryFile", NotedFile(super().open(path, create=create), self.needed))


def filled() -> NotingDisk:
    """A disk with a log of 4 MB."""
    disk = NotingDisk()
    log = open_log(disk)
    for _ in range(200):
        append(log, batch(bytes(20_000)))
    log.close(clean=True)
    return disk


def read(log: Log, offset: int, max_bytes: int) -> FileRange:
    found = log.read(offset, max_bytes, end=log.log_end, at_least_one=True).data
    assert isinstance(found, FileRange)
    return found


def test_a_reader_behind_the_tail_is_announced_ahead_of_each_range_and_once() -> None:
    disk = filled()
    log = open_log(disk)
    offset = told = 0
    while offset < log.log_end:
        found = read(log, offset, RANGE)
        offset += found.length // batch_size()
        told = max(end for _, end in disk.needed)
        assert told >= min(found.offset + 2 * RANGE, log.size_bytes)
    assert told == log.size_bytes
    ends = [0] + [end for _, end in disk.needed]
    assert [start for start, _ in disk.needed] == ends[:-1], "each byte once, without a gap"
    assert len(disk.needed) < log.size_bytes / RANGE / 2


def test_readers_of_little_and_readers_near_the_end_are_not_announced() -> None:
    disk = filled()
    log = open_log(disk)
    read(log, 0, 30_000)
    offset = log.log_end
    append(log, batch(bytes(20_000)))
    read(log, offset, RANGE)
    assert disk.needed == []


def batch_size() -> int:
    return len(batch(bytes(20_000)))
