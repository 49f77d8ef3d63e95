"""Producer snapshots of one log on disk, and how producer state comes back from them after a start.

Snapshots are caches of what the batches say: a missing or broken one costs a longer scan only.
"""

from collections.abc import Sequence

from ottla.broker.storage import files
from ottla.broker.storage.batches import AppendedBatch
from ottla.broker.storage.producers import (
    CompletedTxn,
    CorruptSnapshot,
    Producers,
    decode_snapshot,
    encode_snapshot,
)
from ottla.broker.storage.segment import Segment
from ottla.broker.storage.txn_index import AbortedTxn
from ottla.protocol.kafka.records import BatchHeader, read_control_marker
from ottla.runtime.interfaces import Disk, Events


class Snapshots:
    """The `.snapshot` files of one directory."""

    __slots__ = ("_disk", "directory", "offsets")

    def __init__(self, disk: Disk, directory: str, names: Sequence[str]) -> None:
        self._disk = disk
        self.directory = directory
        found = [files.offset_of(name, files.SNAPSHOT) for name in names]
        self.offsets = sorted(offset for offset in found if offset is not None)

    def _path(self, offset: int) -> str:
        return f"{self.directory}/{files.stem(offset)}{files.SNAPSHOT}"

    def take(self, offset: int, producers: Producers) -> None:
        """Write the state as of `offset`. Not synced: its CRC tells a torn one."""
        file = self._disk.open(self._path(offset))
        try:
            file.truncate(0)
            file.append(encode_snapshot(producers))
        finally:
            file.close()
        if offset not in self.offsets:
            self.offsets.append(offset)
            self.offsets.sort()

    def load_latest(self, producers: Producers, events: Events) -> int | None:
        """Load the last readable snapshot and return its offset; broken ones are removed."""
        while self.offsets:
            offset = self.offsets[-1]
            try:
                producers.load(decode_snapshot(self._disk.read(self._path(offset))))
            except (CorruptSnapshot, FileNotFoundError) as error:
                events.warning("producer_snapshot.dropped", offset=offset, reason=str(error))
                self._remove(offset)
            else:
                return offset
        return None

    def keep(self, wanted: Sequence[int]) -> None:
        for offset in [offset for offset in self.offsets if offset not in wanted]:
            self._remove(offset)

    def drop(self, unwanted: Sequence[int]) -> None:
        for offset in [offset for offset in self.offsets if offset in unwanted]:
            self._remove(offset)

    def drop_above(self, offset: int) -> None:
        for above in [one for one in self.offsets if one > offset]:
            self._remove(above)

    def drop_below(self, offset: int) -> None:
        for below in [one for one in self.offsets if one < offset]:
            self._remove(below)

    def _remove(self, offset: int) -> None:
        self.offsets.remove(offset)
        path = self._path(offset)
        if self._disk.exists(path):
            self._disk.remove(path)


def restore_producers(
    producers: Producers,
    snapshots: Snapshots,
    segments: Sequence[Segment],
    *,
    log_start: int,
    log_end: int,
    events: Events,
) -> None:
    """Bring `producers` to their state as of `log_end`: the last snapshot, then the batches after
    it.
    """
    producers.clear()
    snapshots.drop_above(log_end)
    start = snapshots.load_latest(producers, events)
    if start is None:
        start = log_start
    for at, segment in enumerate(segments):
        segment_end = segments[at + 1].base if at + 1 < len(segments) else log_end
        if segment_end <= start or segment.size == 0:
            continue
        for position, header in segment.scan(segment.offset_index.position_for(start)):
            if header.producer_id >= 0 and header.base_offset >= start:
                _replay(producers, segment, position, header)


def _replay(producers: Producers, segment: Segment, position: int, header: BatchHeader) -> None:
    if not header.is_control:
        producers.record(
            AppendedBatch(
                header.producer_id,
                header.producer_epoch,
                header.base_sequence,
                header.last_sequence,
                header.base_offset,
                header.last_offset,
                header.max_timestamp,
                header.is_transactional,
                None,
                header.partition_leader_epoch,
                position,
                header.size,
            )
        )
        return
    marker = read_control_marker(segment.file.read_at(position, header.size))
    if marker is not None:
        completed = producers.end_txn(
            header.producer_id,
            header.producer_epoch,
            marker,
            header.base_offset,
            header.max_timestamp,
        )
        note_completed(producers, segment, completed)


def note_completed(producers: Producers, segment: Segment, completed: CompletedTxn | None) -> None:
    """Enter an aborted transaction in the index of the segment that holds its marker."""
    if completed is not None and completed.aborted:
        segment.txn_index.append(
            AbortedTxn(
                completed.producer_id,
                completed.first_offset,
                completed.last_offset,
                producers.last_stable_after(completed),
            )
        )


__all__ = ["Snapshots", "note_completed", "restore_producers"]
