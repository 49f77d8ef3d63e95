"""How compacted files take the place of segments, so that a crash leaves the old or the new.

`.cleaned` files become `.swap`, the segments that they stand for go, `.swap` files become final.
In both renamings the `.log` goes last. So after a crash

| found                        | it means                          | what a start does           |
|------------------------------|-----------------------------------|-----------------------------|
| `.cleaned`, no `.log.swap`   | the compaction was not done       | removes `.cleaned`, `.swap` |
| `.log.swap`                  | it was done                       | goes on where it stopped    |
| other `.swap`, no `.cleaned` | Kafka did it and was nearly ready | gives the files their names |

This leans on one property of the file system: changes of names within one directory survive in
their order, those after some point not at all. Journals of Linux file systems have it; between the
two renamings the directory is synced besides. A `.log.swap` stands for the segments from its own
base up to its last batch. Segments of the group beyond that, of which nothing was left, may survive
a crash: they hold what newer records supersede, and go with the next compaction.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

from ottla.broker.storage import files
from ottla.broker.storage.compaction_output import discard_cleaned
from ottla.protocol.kafka.records import CorruptRecord, iter_headers
from ottla.runtime.interfaces import Disk

_LOG_LAST = tuple(reversed(files.SEGMENT_SUFFIXES))


def swap_in(disk: Disk, directory: str, base: int, retire: Callable[[], None]) -> None:
    """Put the `.cleaned` files of `base` in the place of the segments that `retire` takes away.

    OSError: before `retire` was called nothing has changed; later the next start completes it.
    """
    path = f"{directory}/{files.stem(base)}"
    try:
        for suffix in _LOG_LAST:
            disk.rename(path + suffix + files.CLEANED, path + suffix + files.SWAP)
        disk.sync_dir(directory)
    except OSError:
        with suppress(OSError):
            _take_back(disk, directory, base)
        raise
    retire()
    for suffix in _LOG_LAST:
        disk.rename(path + suffix + files.SWAP, path + suffix)


def _take_back(disk: Disk, directory: str, base: int) -> None:
    for suffix in files.SEGMENT_SUFFIXES:
        path = f"{directory}/{files.stem(base)}{suffix}{files.SWAP}"
        if disk.exists(path):
            disk.remove(path)
    discard_cleaned(disk, directory, base)


def finish_swaps(disk: Disk, directory: str, names: Iterable[str]) -> list[str]:
    """Complete or undo what a crash has left; the names that are in the directory afterwards."""
    left = set(names)
    swap = _Swap(disk, directory, left)
    stems = sorted({name.split(".", 1)[0] for name in left if name.endswith(files.SWAP)})
    for stem in stems:
        if stem + files.LOG + files.SWAP in left:
            swap.complete(stem)
        elif stem + files.LOG + files.CLEANED in left or stem + files.LOG not in left:
            swap.remove(stem, files.SWAP)
        else:
            swap.settle(stem)
    for stem in sorted({name.split(".", 1)[0] for name in left if name.endswith(files.CLEANED)}):
        swap.remove(stem, files.CLEANED)
    return sorted(left)


class _Swap:
    """The names that are left, and the disk that is kept the same."""

    def __init__(self, disk: Disk, directory: str, left: set[str]) -> None:
        self._disk = disk
        self._directory = directory
        self._left = left

    def complete(self, stem: str) -> None:
        for suffix in files.SEGMENT_SUFFIXES:
            # Kafka may have come no further than the log; it has synced the others before.
            if stem + suffix + files.CLEANED in self._left:
                self._rename(stem + suffix + files.CLEANED, stem + suffix + files.SWAP)
        log = stem + files.LOG + files.SWAP
        base = files.offset_of(log.removesuffix(files.SWAP), files.LOG)
        if base is None:
            return
        end = max(_end_of(self._disk.read(f"{self._directory}/{log}"), base), base + 1)
        for name in sorted(self._left):
            other = files.offset_of(name, files.LOG)
            if other is not None and base <= other < end:
                self.remove(files.stem(other), "")
        self.settle(stem)

    def settle(self, stem: str) -> None:
        """Give the `.swap` files of a segment their names, the log last."""
        for suffix in _LOG_LAST:
            name = stem + suffix
            if name + files.SWAP in self._left:
                self._rename(name + files.SWAP, name)

    def remove(self, stem: str, kind: str) -> None:
        for suffix in _LOG_LAST:
            name = stem + suffix + kind
            if name in self._left:
                self._disk.remove(f"{self._directory}/{name}")
                self._left.discard(name)

    def _rename(self, old: str, new: str) -> None:
        self._disk.rename(f"{self._directory}/{old}", f"{self._directory}/{new}")
        self._left.discard(old)
        self._left.add(new)


def _end_of(data: bytes, base: int) -> int:
    end = base
    with suppress(CorruptRecord):
        for _, header in iter_headers(data):
            end = header.last_offset + 1
    return end


__all__ = ["finish_swaps", "swap_in"]
