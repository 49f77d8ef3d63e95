"""The segments of a log in order: which file holds which offsets, and which files are on their way
out.

Invariants: `bases` are the segments' bases and rise; the last segment is the active one. The lists
are shared with the log's reader and stay the same objects for life.
"""

from bisect import bisect_right
from functools import partial

from ottla.broker.storage.compaction_swap import swap_in
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.segment import Segment
from ottla.runtime.interfaces import Disk


class Segments:
    """See the module. `names_changed` says that the directory has to be synced to keep its
    names.
    """

    __slots__ = ("_changes", "_disk", "_doomed", "_synced_changes", "all", "bases", "directory")

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self.directory = directory
        self.all: list[Segment] = []
        self.bases: list[int] = []
        self._doomed: list[tuple[int, Segment]] = []  # (when to remove, segment)
        self._changes = 1  # of names, so far
        self._synced_changes = 0  # how many of them are on stable storage

    def adopt(self, segments: list[Segment]) -> None:
        """Begin with the segments that a load has found."""
        self.all.extend(segments)
        self.bases.extend(segment.base for segment in segments)

    @property
    def size_bytes(self) -> int:
        return sum(segment.size for segment in self.all)

    @property
    def names_changed(self) -> bool:
        return self._changes != self._synced_changes

    def note_change(self) -> None:
        """A name in the directory changed."""
        self._changes += 1

    def note_synced(self) -> None:
        """All names as they are now are on stable storage."""
        self._synced_changes = self._changes

    def add(self, base: int, config: LogConfig, now_ms: int) -> Segment:
        """Make a new active segment. OSError: nothing has changed."""
        interval = config.index_interval_bytes
        segment = Segment(self._disk, self.directory, base, index_interval=interval, now_ms=now_ms)
        self.note_change()
        self.all.append(segment)
        self.bases.append(base)
        return segment

    def index_holding(self, offset: int) -> int:
        """Which segment's range holds `offset`; the first one for offsets below all."""
        return max(bisect_right(self.bases, offset) - 1, 0)

    def doom(self, first: int, end: int, due_ms: int) -> None:
        """Take segments out; their files go after `due_ms`: replies may still be sent from them."""
        for segment in self.all[first:end]:
            segment.mark_deleted()
            self._doomed.append((due_ms, segment))
        if first < end:
            self.note_change()
        del self.all[first:end]
        del self.bases[first:end]

    def replace(self, first: int, end: int, config: LogConfig, due_ms: int) -> None:
        """Put what compaction made of the segments [first, end) in their place. OSError."""
        old = self.all[first:end]

        def retire() -> None:
            for segment in old:
                segment.mark_deleted()

        swap_in(self._disk, self.directory, old[0].base, retire)
        new = Segment(
            self._disk,
            self.directory,
            old[0].base,
            index_interval=config.index_interval_bytes,
            now_ms=old[-1].created_ms,
        )
        if not new.txn_index.entries():
            self._disk.remove(new.txn_index.path)
        self._doomed.extend((due_ms, segment) for segment in old)
        self.all[first:end] = [new]
        self.bases[first:end] = [new.base]
        self.note_change()

    def remove_doomed(self, now_ms: int) -> None:
        kept: list[tuple[int, Segment]] = []
        for due_ms, segment in self._doomed:
            if due_ms <= now_ms:
                segment.remove()
            else:
                kept.append((due_ms, segment))
        self._doomed = kept

    def go_by(self, directory: str) -> None:
        """The directory has another name."""
        self.directory = directory
        for segment in self.all:
            segment.go_by(directory)
        for _, segment in self._doomed:
            segment.go_by(directory)

    def sync_names(self) -> None:
        if self.names_changed:
            self._disk.sync_dir(self.directory)
            self.note_synced()

    async def sync_names_beside(self) -> None:
        """As `sync_names`, off the loop."""
        if self.names_changed:
            changes = self._changes
            await self._disk.beside(partial(self._disk.sync_dir, self.directory))
            self._synced_changes = max(self._synced_changes, changes)

    def close(self) -> None:
        """Close all files, those on their way out included; a start removes these."""
        for segment in self.all:
            segment.close()
        for _, segment in self._doomed:
            segment.close()
        self._doomed.clear()

    def check(self, log_end: int) -> None:
        assert self.all
        assert self.bases == [segment.base for segment in self.all]
        assert self.bases == sorted(set(self.bases))
        for segment, end in zip(self.all, [*self.bases[1:], log_end], strict=True):
            segment.check()
            assert segment.next_offset() <= end


__all__ = ["Segments"]
