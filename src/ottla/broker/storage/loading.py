"""From a partition's directory to a log: what a start finds, checks, repairs and throws away.

After a clean stop nothing is scanned but the last batches of the last segment. After anything else
every batch from the recovery point on is checked; the log ends at the first that is torn or wrong,
or at a hole between segments. No file that is missing, empty or half written stops a start.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ottla.broker.storage import files
from ottla.broker.storage.checkpoints import MalformedCheckpoint
from ottla.broker.storage.compaction_swap import finish_swaps
from ottla.broker.storage.epochs import LeaderEpochs
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Producers
from ottla.broker.storage.segment import CorruptLog, Segment
from ottla.broker.storage.snapshots import Snapshots, restore_producers
from ottla.protocol.kafka.records import BatchHeader
from ottla.runtime.interfaces import Disk, Events


@dataclass(slots=True)
class Loaded:
    """Everything that a log is made of."""

    segments: list[Segment]
    log_start: int
    log_end: int
    recovery_point: int
    epochs: LeaderEpochs
    producers: Producers
    snapshots: Snapshots
    bytes_cut: int
    is_new: bool


class Loader:
    """One load of one directory; use once."""

    def __init__(
        self, disk: Disk, directory: str, config: LogConfig, *, now_ms: int, events: Events
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._config = config
        self._now_ms = now_ms
        self._events = events
        self._bytes_cut = 0

    def load(
        self, *, clean: bool, recovered: bool = False, recovery_point: int, log_start: int
    ) -> Loaded:
        """OSError, or CorruptLog where bytes below the recovery point are no batches.

        `recovered`: not clean, but another load has checked it since, and left what it found.
        """
        self._disk.make_dirs(self._directory)
        names = self._tidy(self._disk.list_dir(self._directory))
        segments = self._open_segments(names)
        try:
            loaded = self._load(
                names,
                segments,
                is_whole=clean or recovered,
                recovery_point=recovery_point,
                log_start=log_start,
            )
        except (OSError, CorruptLog):
            for segment in segments:
                segment.close()
            raise
        if clean:
            loaded.recovery_point = loaded.log_end
        return loaded

    def _load(
        self,
        names: list[str],
        segments: list[Segment],
        *,
        is_whole: bool,
        recovery_point: int,
        log_start: int,
    ) -> Loaded:
        epochs, epochs_are_known = self._load_epochs()
        if segments:
            log_end = self._recover(
                segments, epochs, is_whole=is_whole, recovery_point=recovery_point
            )
            if log_end < log_start:
                self._events.warning("log.emptied", log_end=log_end, log_start=log_start)
                self._drop(segments, 0)
                epochs.clear()
        is_new = not segments
        if is_new:
            segments.append(self._segment(max(log_start, 0)))
            log_end = segments[0].base
        if not epochs_are_known and (is_whole or recovery_point > segments[0].base):
            # What recovery has not read already.
            self._rebuild_epochs(segments, epochs)
        log_start = max(log_start, segments[0].base)
        epochs.truncate_from_end(log_end)
        epochs.truncate_from_start(log_start)
        producers = Producers()
        snapshots = Snapshots(self._disk, self._directory, names)
        restore_producers(
            producers,
            snapshots,
            segments,
            log_start=log_start,
            log_end=log_end,
            events=self._events,
        )
        return Loaded(
            segments=segments,
            log_start=log_start,
            log_end=log_end,
            recovery_point=min(recovery_point, log_end),
            epochs=epochs,
            producers=producers,
            snapshots=snapshots,
            bytes_cut=self._bytes_cut,
            is_new=is_new,
        )

    # files

    def _segment(self, base: int) -> Segment:
        return Segment(
            self._disk,
            self._directory,
            base,
            index_interval=self._config.index_interval_bytes,
            now_ms=self._now_ms,
        )

    def _tidy(self, names: list[str]) -> list[str]:
        """Remove what is on its way out, finish compactions that were done; the names left."""
        disk, directory = self._disk, self._directory
        kept: list[str] = []
        for name in names:
            if name.endswith((files.DELETED, files.UNFINISHED)):
                disk.remove(f"{directory}/{name}")
            else:
                kept.append(name)
        if any(name.endswith((files.SWAP, files.CLEANED)) for name in kept):
            kept = finish_swaps(disk, directory, kept)
        logs = {name.removesuffix(files.LOG) for name in kept if name.endswith(files.LOG)}
        for name in list(kept):
            stem, _, suffix = name.rpartition(".")
            if f".{suffix}" in files.SEGMENT_SUFFIXES and stem not in logs:
                disk.remove(f"{directory}/{name}")
                kept.remove(name)
        return kept

    def _open_segments(self, names: list[str]) -> list[Segment]:
        bases = sorted(
            base for name in names if (base := files.offset_of(name, files.LOG)) is not None
        )
        return [self._segment(base) for base in bases]

    def _drop(self, segments: list[Segment], first: int) -> None:
        """Remove the segments from index `first` on, at once: nobody reads them yet."""
        for segment in segments[first:]:
            segment.mark_deleted()
            segment.remove()
        if segments[first:]:
            # Their offsets will be written again, in other files: they must not come back.
            self._disk.sync_dir(self._directory)
        del segments[first:]

    # batches

    def _recover(
        self, segments: list[Segment], epochs: LeaderEpochs, *, is_whole: bool, recovery_point: int
    ) -> int:
        """Check what has to be checked; the log's end."""
        if is_whole:
            try:
                return segments[-1].next_offset()
            except CorruptLog as error:
                self._events.warning("log.torn", reason=str(error))
                recovery_point = min(recovery_point, segments[-1].base)
        visit = _epoch_reader(epochs)
        end = segments[0].base
        # Compaction alone removes the last records of a segment, and nothing above the recovery
        # point, which it has on the disk before. Above it, a power cut took them: what was written
        # later may outlive them. Where the checkpoint is gone nobody can tell one from the other.
        may_have_holes = self._config.is_compacted and recovery_point <= segments[0].base
        for at, segment in enumerate(segments):
            following = segments[at + 1].base if at + 1 < len(segments) else None
            if following is not None and following <= recovery_point:
                end = following
                continue
            if segment.base < end or (
                segment.base > max(end, recovery_point) and not may_have_holes
            ):
                self._events.warning("log.cut", reason="segments do not join", offset=end)
                self._bytes_cut += sum(later.size for later in segments[at:])
                self._drop(segments, at)
                break
            end, cut = segment.recover(recovery_point, visit)
            if cut:
                self._bytes_cut += cut
                self._events.warning(
                    "log.cut", reason="a torn or wrong batch", offset=end, bytes=cut
                )
                self._drop(segments, at + 1)
                break
        return end

    # leader epochs

    def _load_epochs(self) -> tuple[LeaderEpochs, bool]:
        """The epochs in the file, and whether there is a readable file."""
        path = f"{self._directory}/{files.LEADER_EPOCHS}"
        try:
            return LeaderEpochs.decode(self._disk.read(path)), True
        except FileNotFoundError:
            return LeaderEpochs(), False
        except MalformedCheckpoint as error:
            self._events.warning("leader_epochs.rebuilt", reason=str(error))
            return LeaderEpochs(), False

    def _rebuild_epochs(self, segments: list[Segment], epochs: LeaderEpochs) -> None:
        epochs.clear()
        visit = _epoch_reader(epochs)
        for segment in segments:
            for _, header in segment.scan(0):
                visit(header)


def _epoch_reader(epochs: LeaderEpochs) -> Callable[[BatchHeader], None]:
    def visit(header: BatchHeader) -> None:
        if header.partition_leader_epoch > epochs.latest:
            epochs.assign(header.partition_leader_epoch, header.base_offset)

    return visit


__all__ = ["Loaded", "Loader"]
