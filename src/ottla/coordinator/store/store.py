"""One member's durable state: txn log and snapshots, opened, written, purged.

Crash safety: everything that a finished `sync` covered is there after any crash; what it did not
cover is there in part, as a prefix, or not at all. Both directories have a `version-2` inside, as
ZooKeeper's have, and a lock file against a second process.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ottla.coordinator.consensus.values import HardState, Persist, Position, Snapshot
from ottla.coordinator.store import snapshots, txn_log
from ottla.coordinator.store.txn_log import CorruptStore, LogContent, SegmentWriter
from ottla.protocol.peer.entries import Entry
from ottla.runtime.interfaces import DirectoryLock, Disk, Events

VERSION_DIRECTORY = "version-2"
_LOCK = ".lock"


class StoreInUse(Exception):
    """Another process has this data directory open."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a store held when it was opened. `snapshot` None: the state is empty."""

    hard: HardState
    snapshot: Snapshot | None
    entries: Sequence[Entry]

    @property
    def base(self) -> Position:
        return Position() if self.snapshot is None else self.snapshot.at


class Store:
    """Owned by the node: `write` and `sync_here` from its turns, `sync` by one task beside them.

    Once a write or a sync has failed, all that come later fail: what a segment lacks would be a
    hole in it, and a sync that succeeds after one that did not says nothing.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        log_directory: str,
        snapshot_directory: str,
        locks: Sequence[DirectoryLock],
        force_sync: bool,
        recovered: Recovered,
        last_name: int,
    ) -> None:
        self._disk = disk
        self._log_directory = log_directory
        self._snapshot_directory = snapshot_directory
        self._locks = locks
        self._force_sync = force_sync
        self.recovered = recovered
        self._hard = recovered.hard
        last = recovered.entries[-1] if recovered.entries else None
        self._last = recovered.base if last is None else Position(last.index, last.epoch, last.zxid)
        self._writer = SegmentWriter(disk, log_directory, last_name)
        self._queue: deque[Persist] = deque()  # waits behind a snapshot that is being saved
        self._written = 0  # sequence of the last Persist that is in the page cache
        self._roll_wanted = False
        self._failure: OSError | None = None

    @classmethod
    def open(
        cls, disk: Disk, data_dir: str, log_dir: str, *, force_sync: bool, events: Events
    ) -> "Store":
        """Read what is there, repair a torn tail. Raises CorruptStore, StoreInUse, OSError."""
        directories = [f"{data_dir}/{VERSION_DIRECTORY}", f"{log_dir}/{VERSION_DIRECTORY}"]
        locks: list[DirectoryLock] = []
        for directory in dict.fromkeys(directories):
            disk.make_dirs(directory)
            disk.sync_dir(directory)
            try:
                locks.append(disk.lock(f"{directory}/{_LOCK}"))
            except BlockingIOError:
                for lock in locks:
                    lock.release()
                raise StoreInUse(f"{directory} is in use by another process") from None
        snapshot_directory, log_directory = directories
        try:
            _remove_temporary(disk, snapshot_directory)
            snapshot = _newest_snapshot(disk, snapshot_directory, events)
            recovered = _recover(disk, log_directory, snapshot, events)
        except BaseException:
            for lock in locks:
                lock.release()
            raise
        names = txn_log.segments(disk, log_directory)
        return cls(
            disk,
            log_directory=log_directory,
            snapshot_directory=snapshot_directory,
            locks=locks,
            force_sync=force_sync,
            recovered=recovered,
            last_name=txn_log.zxid_of(names[-1], txn_log.PREFIX) if names else 0,
        )

    def release_recovered(self) -> None:
        """Keep no second copy of what was read: the tree and the log have it by now."""
        hard, snapshot = self.recovered.hard, self.recovered.snapshot
        if snapshot is not None:
            snapshot = Snapshot(snapshot.at, (), snapshot.membership)
        self.recovered = Recovered(hard, snapshot, ())

    def write(self, persist: Persist) -> None:
        """Hand a write to the operating system; durable after a `sync` that begins later."""
        self._require_sound()
        try:
            if persist.snapshot is not None or self._queue:
                self._queue.append(persist)
            else:
                self._append(persist)
        except OSError as error:
            self._failure = error
            raise

    def _require_sound(self) -> None:
        failure = self._failure
        if failure is not None:
            raise OSError(failure.errno, failure.strerror, failure.filename)

    def _append(self, persist: Persist) -> None:
        if persist.hard is not None or persist.blocks:
            self._writer.write(persist, self._last, self._hard)
        if persist.hard is not None:
            self._hard = persist.hard
        if persist.blocks:
            entry = persist.blocks[-1].entries[-1]
            self._last = Position(entry.index, entry.epoch, entry.zxid)
        self._written = persist.sequence

    async def sync(self) -> int:
        """Wait until all writes so far are durable; the sequence up to which they are."""
        self._require_sound()
        try:
            sequence = await self._sync()
        except OSError as error:
            self._failure = error
            raise
        self._require_sound()
        return sequence

    async def _sync(self) -> int:
        while self._queue:
            persist = self._queue[0]
            if persist.snapshot is not None:
                # The snapshot is safe before the log says that it begins after it.
                await snapshots.save(self._disk, self._snapshot_directory, persist.snapshot)
                self._writer.roll()
                self._last = persist.snapshot.at
            self._append(persist)
            self._queue.popleft()
        sequence = self._written
        is_last = self._roll_wanted or self._writer.size >= txn_log.SEGMENT_BYTES
        if is_last:
            self._writer.trim()
        if self._force_sync:
            await self._writer.sync()
        if is_last:
            self._writer.roll()
            self._roll_wanted = False
            return self._written
        return sequence

    def sync_here(self, limit: int) -> int | None:
        """As `sync`, at once; None: it would do more than to sync up to `limit` bytes."""
        self._require_sound()
        writer = self._writer
        if self._queue or self._roll_wanted or writer.size >= txn_log.SEGMENT_BYTES:
            return None
        if self._force_sync:
            if writer.unsynced > limit:
                return None
            try:
                writer.sync_now()
            except OSError as error:
                self._failure = error
                raise
        return self._written

    def begin_snapshot(self, at: Position, membership: bytes = b"") -> snapshots.SnapshotWriter:
        """Write the state as of an applied entry; the log goes on in a new segment soon."""
        self._roll_wanted = True
        return snapshots.SnapshotWriter(self._disk, self._snapshot_directory, at, membership)

    def purge(self, retain: int) -> list[str]:
        """Remove all but the newest `retain` snapshots, and segments that none of these needs."""
        names = snapshots.names(self._disk, self._snapshot_directory)
        removed = [f"{self._snapshot_directory}/{name}" for name in names[retain:]]
        for path in removed:
            self._disk.remove(path)
        if len(names) >= retain:
            oldest = snapshots.position(
                self._disk, f"{self._snapshot_directory}/{names[retain - 1]}"
            )
            if oldest is not None:
                removed.extend(self._purge_segments(oldest))
        return removed

    def _purge_segments(self, oldest: Position) -> list[str]:
        paths = [
            f"{self._log_directory}/{name}"
            for name in txn_log.segments(self._disk, self._log_directory)
        ]
        needless = 0
        for following, path in enumerate(paths[1:], start=1):
            base = txn_log.segment_base(self._disk, path)
            if base is None or base.index > oldest.index:
                break
            needless = following
        for path in paths[:needless]:
            self._disk.remove(path)
        return paths[:needless]

    def finish(self) -> None:
        """Before a clean end: put everything written on stable storage."""
        self._writer.roll()

    def close(self) -> None:
        """Release files and locks; what was not synced is left to the operating system."""
        self._writer.close()
        for lock in self._locks:
            lock.release()


def _remove_temporary(disk: Disk, directory: str) -> None:
    for name in disk.list_dir(directory):
        if name.startswith(snapshots.PREFIX) and name.endswith(snapshots.TEMPORARY):
            disk.remove(f"{directory}/{name}")


def _newest_snapshot(disk: Disk, directory: str, events: Events) -> Snapshot | None:
    for name in snapshots.names(disk, directory):
        snapshot = snapshots.read(disk, f"{directory}/{name}")
        if snapshot is not None:
            return snapshot
        events.warning("coordinator_store.snapshot_skipped", file=f"{directory}/{name}")
    return None


def _recover(disk: Disk, directory: str, snapshot: Snapshot | None, events: Events) -> Recovered:
    at = Position() if snapshot is None else snapshot.at
    content = LogContent(settled=at.index)
    paths = [f"{directory}/{name}" for name in txn_log.segments(disk, directory)]
    if paths and txn_log.segment_base(disk, paths[-1]) is None:
        events.warning("coordinator_store.tail_repaired", file=paths[-1], kept_bytes=0)
        txn_log.remove_stillborn(disk, paths.pop())
        disk.sync_dir(directory)
    for path in paths[_first_needed(disk, paths, at) :]:
        cut_to = txn_log.read_segment(disk, path, content, is_last=path is paths[-1])
        if cut_to is not None:
            if not txn_log.is_reserved(disk, path, cut_to):
                events.warning("coordinator_store.tail_repaired", file=path, kept_bytes=cut_to)
            file = disk.open(path, create=False)
            file.truncate(cut_to)
            file.close()
    if paths:
        # What a killed process wrote and did not sync is read here as if it were safe.
        file = disk.open(paths[-1], create=False)
        file.sync_now()
        file.close()
    entries = _entries_after(content, at, directory)
    hard = content.hard
    last_epoch = entries[-1].epoch if entries else at.epoch
    if hard.epoch < last_epoch:  # the log was removed and the snapshot kept
        hard = HardState(last_epoch)
    return Recovered(hard, snapshot, entries)


def _first_needed(disk: Disk, paths: list[str], at: Position) -> int:
    """The last segment that begins at or before the snapshot; older ones are not read at all."""
    for number in range(len(paths) - 1, -1, -1):
        base = txn_log.segment_base(disk, paths[number])
        if base is None:
            raise CorruptStore(f"{paths[number]} is damaged at offset 0")
        if base.index <= at.index:
            return number
    if paths:
        raise CorruptStore(
            f"{paths[0]} begins after entry {base.index if base else 0}, but the newest readable "
            f"snapshot ends at entry {at.index}"
        )
    return 0


def _entries_after(content: LogContent, at: Position, directory: str) -> Sequence[Entry]:
    """The log's entries behind a snapshot, if the log runs through the snapshot's entry."""
    base = content.base
    if base is None:
        return []
    if base.index > at.index:
        raise CorruptStore(
            f"the log in {directory} begins after entry {base.index}, but the newest readable "
            f"snapshot ends at entry {at.index}"
        )
    skip = at.index - base.index
    if skip > len(content.entries):
        return []
    epoch = content.entries[skip - 1].epoch if skip else base.epoch
    # Otherwise the snapshot came from a leader and replaced these entries.
    return content.entries[skip:] if epoch == at.epoch else []


def directory_bytes(disk: Disk, directory: str) -> int:
    """What the files of a store's directory take."""
    place = f"{directory}/{VERSION_DIRECTORY}"
    total = 0
    if not disk.exists(place):
        return 0
    for name in disk.list_dir(place):
        try:
            file = disk.open(f"{place}/{name}", create=False)
        except FileNotFoundError:
            continue  # purged meanwhile
        total += file.size()
        file.close()
    return total


__all__ = ["VERSION_DIRECTORY", "Recovered", "Store", "StoreInUse"]
