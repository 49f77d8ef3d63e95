"""What a log is, and what is read of it: the innermost layer of `log.Log`.

Each layer adds what one reason needs: `LogState` reads, `FlushingLog` brings bytes to stable
storage and lets go, `CuttingLog` takes records away, `Log` appends.
"""

from collections.abc import Callable

from ottla.broker.errors import KafkaStorageError, OffsetOutOfRange
from ottla.broker.ids import TopicId, TopicPartition
from ottla.broker.storage import files
from ottla.broker.storage.epochs import LeaderEpochs
from ottla.broker.storage.group_commit import Signal
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_seams import LogOwner
from ottla.broker.storage.producers import Producers
from ottla.broker.storage.reading import EMPTY_READ, FileRange, Reader, ReadInfo
from ottla.broker.storage.segments import Segments
from ottla.broker.storage.snapshots import Snapshots
from ottla.broker.storage.txn_index import AbortedTxn
from ottla.runtime.interfaces import Disk, Events


class LogState:
    """See the module."""

    __slots__ = (
        "_disk",
        "_epoch_saves",
        "_epochs_saved",
        "_events",
        "_failing",
        "_flushed_ms",
        "_now_ms",
        "_owes_cut",
        "_owes_recovery_point",
        "_owes_topic_id",
        "_owner",
        "_reader",
        "_segments",
        "_snapshots",
        "_truncations",
        "cleaned_end",
        "config",
        "directory",
        "epochs",
        "flush_error",
        "is_closed",
        "log_end",
        "log_start",
        "on_cut",
        "on_settled",
        "producers",
        "recovery_point",
        "settled_end",
        "settlings",
        "topic_id",
        "tp",
    )

    def __init__(
        self,
        disk: Disk,
        directory: str,
        tp: TopicPartition,
        config: LogConfig,
        *,
        now_ms: int,
        events: Events,
    ) -> None:
        """An object without content; for `open`."""
        self._disk = disk
        self.directory = directory
        self.tp = tp
        self.config = config
        self._events = events
        self._now_ms = now_ms
        self._flushed_ms = now_ms
        self._segments = Segments(disk, directory)
        self._reader = Reader(self._segments.all, self._segments.bases)
        self._snapshots = Snapshots(disk, directory, ())
        self._truncations = 0
        self._epoch_saves = 0  # begun so far
        self._epochs_saved = 0  # which of them is on the disk
        self._failing = False
        self._owes_cut = False  # what a cut has to leave on the disk is not all there yet
        self._owes_recovery_point = False
        self._owes_topic_id = False  # it is written, and not synced
        self._owner: LogOwner | None = None
        self.settlings = Signal()
        self.epochs = LeaderEpochs()
        self.producers = Producers()
        self.topic_id: TopicId | None = None
        self.log_start = 0
        self.log_end = 0
        self.recovery_point = 0
        self.cleaned_end = 0  # where compaction has to begin; whoever keeps it on disk sets it
        self.settled_end = 0  # appends below may be acknowledged: `flush.messages` is kept
        self.on_settled: Callable[[], None] | None = None
        self.on_cut: Callable[[int], None] | None = None  # with the new end
        self.flush_error: KafkaStorageError | None = None  # of the last flush
        self.is_closed = False

    def report_to(self, events: Events) -> None:
        """From now on tell `events`, which name the partition."""
        self._events = events

    # --- what it is ---

    @property
    def latest_epoch(self) -> int:
        """The newest leader epoch known; -1 when there is none."""
        return self.epochs.latest

    @property
    def first_unstable_offset(self) -> int | None:
        """Where the oldest transaction begins that is open, or whose end `forget_replicated` has
        not seen below the high watermark; None when there is none.
        """
        first = self.producers.first_unstable_offset
        return None if first < 0 else max(first, self.log_start)

    @property
    def size_bytes(self) -> int:
        return self._segments.size_bytes

    @property
    def first_base(self) -> int:
        """The first segment's base offset: where the log starts unless it was told otherwise."""
        return self._segments.bases[0]

    @property
    def segment_count(self) -> int:
        return len(self._segments.all)

    @property
    def truncations(self) -> int:
        """How often the end was cut: while it stays the same, sealed segments are what they were,
        or gone."""
        return self._truncations

    def set_topic_id(self, topic_id: TopicId) -> None:
        """Write the topic id next to the log, once.

        It is synced with the first records. Thousands of logs may be made at once, and each sync
        takes its time; one that a crash has cut short is taken for none, and written again.
        """
        if self.topic_id != topic_id:
            file = self._disk.open(f"{self.directory}/{files.PARTITION_METADATA}")
            try:
                file.truncate(0)
                file.append(files.encode_partition_metadata(topic_id))
            finally:
                file.close()
            self.topic_id = topic_id
            self._owes_topic_id = True

    def _failed(self, what: str, error: OSError) -> KafkaStorageError:
        """Tell the directory, which decides what is to become of it; what to raise."""
        if self._owner is not None and not self.is_closed:
            self._owner.log_failed(self, what, error)
        return KafkaStorageError(f"{what} in {self.directory}: {error}")

    # --- reading ---

    def read(self, offset: int, max_bytes: int, *, end: int, at_least_one: bool) -> ReadInfo:
        """Batches from the one that holds `offset` on, all below `end`, as a range of a file.

        At most `max_bytes`, in whole batches where their ends are known cheaply; but the first
        batch whole if `at_least_one` (KIP-74). Empty when `offset` is at or above `end`.
        OffsetOutOfRange outside of [log_start, log_end]; KafkaStorageError when the file holds no
        batches.
        """
        if self.is_closed:
            raise KafkaStorageError(f"{self.directory} is closed")
        if offset < self.log_start or offset > self.log_end:
            raise OffsetOutOfRange(
                f"offset {offset} is outside of {self.log_start} to {self.log_end}"
            )
        log_end = self.log_end
        end = min(end, log_end)
        if offset >= end or (max_bytes <= 0 and not at_least_one):
            return EMPTY_READ
        try:
            return self._reader.read(offset, max_bytes, end, log_end, at_least_one)
        except OSError as error:
            raise self._failed("read", error) from error

    def verify(self, records: FileRange) -> None:
        """Check what `read` gave. CorruptLog names the file and the offset of a damaged batch."""
        try:
            data = records.read()
        except OSError as error:
            raise self._failed("read", error) from error
        for segment in self._segments.all:
            if segment.file is records.file:
                segment.verify(records.offset, data)

    def offset_for_timestamp(self, timestamp: int) -> tuple[int, int, int] | None:
        """(timestamp, offset, leader epoch or -1) of the first record that is not older."""
        return self._reader.offset_for_timestamp(timestamp, self.log_start)

    def max_timestamp_offset(self) -> tuple[int, int, int] | None:
        """(timestamp, offset, leader epoch or -1) of the youngest record (KIP-734)."""
        return self._reader.max_timestamp_offset(self.log_start)

    def aborted_transactions(self, start: int, end: int) -> list[AbortedTxn]:
        """Aborted transactions that overlap [start, end), for read_committed readers (KIP-98)."""
        found: list[AbortedTxn] = []
        for segment in self._segments.all[self._segments.index_holding(start) :]:
            for txn in segment.txn_index.entries():
                if txn.last_offset >= start and txn.first_offset < end:
                    found.append(txn)
                if txn.last_stable_offset >= end:
                    return found
        return found

    # --- leader epochs and producers ---

    def assign_epoch(self, epoch: int, start_offset: int) -> None:
        """A leader of `epoch` writes from `start_offset` on, even if it has not written yet."""
        self.epochs.assign(epoch, start_offset)

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """(epoch, end offset) of the largest epoch here that is not above `epoch`; (-1, -1) when
        unknown (KIP-320)."""
        return self.epochs.end_offset_for(epoch, self.log_end)

    def forget_replicated(self, high_watermark: int) -> None:
        """The high watermark moved: ended transactions below it hold the stable offset no
        longer.
        """
        self.producers.forget_replicated(high_watermark)

    def expire_producers(self, now_ms: int) -> None:
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms)

    def remove_stray_snapshots(self) -> None:
        """Those between segment bases, but for the last, were left by former ends of the log; for
        upkeep, as a start with thousands of logs does better than to wait for removals.
        """
        self._snapshots.keep(self._segments.bases + self._snapshots.offsets[-1:])

    def unload_sealed_indexes(self) -> None:
        """Give back the memory of indexes that readers of old segments had loaded."""
        for segment in self._segments.all[:-1]:
            segment.unload_indexes()

    def check(self) -> None:
        """Assert every invariant; reads all headers."""
        assert 0 <= self.log_start <= self.log_end
        assert self.recovery_point <= self.log_end
        assert self.settled_end <= self.log_end
        self._segments.check(self.log_end)
        self.epochs.check()
        assert all(start <= self.log_end for _, start in self.epochs.entries())
        self.producers.check_invariants()


__all__ = ["LogState"]
