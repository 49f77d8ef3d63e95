"""The log of one partition on this broker: batches in segments, and all that is known about them.

Owner: the partition, on the loop; every call is synchronous but `flush_async`. The log knows
nothing of roles or of the high watermark: who appends and how far one may read is told by the
caller.

Invariants: log_start <= log_end; recovery_point <= log_end; segments are sorted by base, the last
one is active; no offset is in two segments; everything below `recovery_point` is on stable storage.
"""

from collections.abc import Callable, Sequence

from ottla.broker.errors import KafkaStorageError, OffsetOutOfRange, RecordListTooLarge
from ottla.broker.ids import TopicId, TopicPartition
from ottla.broker.storage import files
from ottla.broker.storage.batches import (
    AppendedBatch,
    accept,
    assign,
    check_batches,
    in_place,
    recompressed,
    runs,
)
from ottla.broker.storage.epochs import LeaderEpochs
from ottla.broker.storage.group_commit import Settling, Signal
from ottla.broker.storage.loading import Loader
from ottla.broker.storage.log_config import FOREVER, LogConfig
from ottla.broker.storage.log_seams import AppendInfo, LogOwner
from ottla.broker.storage.producers import Origin, Producers
from ottla.broker.storage.reading import EMPTY_READ, FileRange, Reader, ReadInfo
from ottla.broker.storage.retention import count_expired
from ottla.broker.storage.segment import Segment
from ottla.broker.storage.segments import Segments
from ottla.broker.storage.snapshots import Snapshots, note_completed, restore_producers
from ottla.broker.storage.txn_index import AbortedTxn
from ottla.runtime.interfaces import BytesLike, Disk, Events


class Log:
    """See the module. Open with `Log.open`."""

    __slots__ = (
        "_disk",
        "_events",
        "_failing",
        "_flushed_ms",
        "_now_ms",
        "_owes_cut",
        "_owes_recovery_point",
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
        self._failing = False
        self._owes_cut = False  # what a cut has to leave on the disk is not all there yet
        self._owes_recovery_point = False
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
        self.flush_error: KafkaStorageError | None = None  # of the last flush
        self.is_closed = False

    @classmethod
    def open(
        cls,
        disk: Disk,
        directory: str,
        tp: TopicPartition,
        config: LogConfig,
        *,
        now_ms: int,
        clean: bool,
        recovery_point: int = 0,
        log_start: int = 0,
        events: Events,
        owner: LogOwner | None = None,
    ) -> "Log":
        """Load the log in `directory`, or begin one there. Blocks; OSError when the disk fails.

        `clean`: the last owner called `close(clean=True)`. Without an `owner`, flushes that are due
        block the append, and a cut recovery point is the caller's business.
        """
        events = events.bind(partition=str(tp))
        log = cls(disk, directory, tp, config, now_ms=now_ms, events=events)
        loader = Loader(disk, directory, config, now_ms=now_ms, events=events)
        loaded = loader.load(clean=clean, recovery_point=recovery_point, log_start=log_start)
        log._segments.adopt(loaded.segments)
        log._segments.names_changed = not clean or loaded.is_new
        log.log_start = loaded.log_start
        log.log_end = loaded.log_end
        log.recovery_point = loaded.recovery_point
        log.epochs = loaded.epochs
        log.producers = loaded.producers
        log._snapshots = loaded.snapshots
        log._owner = owner
        log.settled_end = log.recovery_point if log.wants_flush else log.log_end
        metadata = f"{directory}/{files.PARTITION_METADATA}"
        if disk.exists(metadata):
            log.topic_id = files.decode_partition_metadata(disk.read(metadata))
        if loaded.bytes_cut:
            log._events.warning("log.recovered", log_end=log.log_end, bytes_cut=loaded.bytes_cut)
        return log

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

    def set_topic_id(self, topic_id: TopicId) -> None:
        """Write the topic id next to the log, durably, once."""
        if self.topic_id != topic_id:
            self._disk.replace(
                f"{self.directory}/{files.PARTITION_METADATA}",
                files.encode_partition_metadata(topic_id),
            )
            self.topic_id = topic_id

    # --- appending ---

    def append_as_leader(
        self,
        data: BytesLike,
        *,
        leader_epoch: int,
        now_ms: int,
        validate_producer: bool = True,
        origin: Origin = Origin.CLIENT,
    ) -> AppendInfo:
        """Give the batches in `data` offsets from the log's end on, and append them.

        A writable view, as of a receive buffer, is the log's from then on: offsets and epoch are
        written into it, whatever comes of it. Anything else is copied first.
        Raises CorruptMessage, InvalidRecord, RecordTooLarge, RecordListTooLarge, UnsupportedFormat,
        InvalidTimestamp, OutOfOrderSequence, InvalidProducerEpoch, InvalidTxnState,
        TransactionHomeFenced, KafkaStorageError; then nothing was appended.
        """
        if self.is_closed or self._owes_cut:
            self._require_writable()
        config = self.config
        self._now_ms = now_ms
        codec = config.codec
        buffer = in_place(data) if codec is None else recompressed(data, codec)
        batches = assign(
            buffer,
            config,
            next_offset=self.log_end,
            leader_epoch=leader_epoch,
            now_ms=now_ms,
            origin=origin,
        )
        if len(buffer) > config.segment_bytes:
            raise RecordListTooLarge(
                f"{len(buffer)} bytes, segment.bytes is {config.segment_bytes}"
            )
        if validate_producer:
            duplicate = check_batches(self.producers, batches, origin)
            if duplicate is not None:
                return AppendInfo(
                    duplicate.first_offset,
                    duplicate.last_offset,
                    duplicate.timestamp if config.stamps else -1,
                    self.log_start,
                    True,
                    0,
                    0,
                )
        first_offset = batches[0].first_offset
        self._append(buffer, batches, now_ms)
        return AppendInfo(
            first_offset,
            self.log_end - 1,
            now_ms if config.stamps else -1,
            self.log_start,
            False,
            len(batches),
            len(buffer),
        )

    def append_as_follower(self, data: BytesLike, *, now_ms: int | None = None) -> AppendInfo:
        """Append batches as the leader sent them; a batch cut at the end is left out.

        Offsets may leave holes (a compacted leader) but never go back, with one exception: an empty
        log takes a first batch that begins below its end, and then begins where that batch does.
        Raises CorruptMessage, InvalidRecord, KafkaStorageError.
        """
        if self.is_closed or self._owes_cut:
            self._require_writable()
        if now_ms is not None:
            self._now_ms = now_ms
        batches = accept(data, self.log_end)
        log_end = self.log_end
        if not batches:
            return AppendInfo(log_end, log_end - 1, -1, self.log_start, False, 0, 0)
        if batches[0].first_offset < log_end:
            self._begin_at_batch(batches[0])
        whole = batches[-1].position + batches[-1].size
        limit = self.config.segment_bytes
        with memoryview(data) as view:
            for start, end, run in runs(batches, limit - self._segments.all[-1].size, limit):
                with view[start:end] as part:
                    self._append(part, run, self._now_ms)
        return AppendInfo(
            batches[0].first_offset,
            self.log_end - 1,
            -1,
            self.log_start,
            False,
            len(batches),
            whole,
        )

    def _require_writable(self) -> None:
        if self.is_closed:
            raise KafkaStorageError(f"{self.directory} is closed")
        try:
            self._finish_cut()
        except OSError as error:
            raise self._append_failed(error) from error

    def _begin_at_batch(self, batch: AppendedBatch) -> None:
        """A fetch at a log start inside of a batch brought all of it: begin there (KIP-107)."""
        if self.size_bytes or self.log_start != self.log_end:
            raise KafkaStorageError(
                f"batch {batch.first_offset}-{batch.last_offset} overlaps the end {self.log_end}"
            )
        log_start = self.log_start
        self.truncate_fully_and_start_at(batch.first_offset)
        self.log_start = log_start

    def _append(self, data: BytesLike, batches: list[AppendedBatch], now_ms: int) -> None:
        """Write checked batches, all into one segment, and remember them."""
        first, last = batches[0], batches[-1]
        timestamp, timestamp_offset = first.timestamp, first.last_offset
        for batch in batches[1:]:
            if batch.timestamp > timestamp:
                timestamp, timestamp_offset = batch.timestamp, batch.last_offset
        segment = self._segments.all[-1]
        try:
            if segment.size and self._must_roll(segment, len(data), last.last_offset, timestamp):
                segment = self._roll(now_ms)
            position = segment.size
            segment.append(data, first.last_offset, timestamp, timestamp_offset)
        except OSError as error:
            raise self._append_failed(error) from error
        if self._failing:
            self._failing = False
            self._events.info("log.append_recovered")
        tail = self._reader.tail
        epochs = self.epochs
        next_offset = self.log_end
        for batch in batches:
            if batch.first_offset != next_offset:
                tail.clear()  # a hole: the batch before does not hold the offsets up to this one
            next_offset = batch.last_offset + 1
            tail.append(batch.first_offset, position + batch.position)
            if batch.leader_epoch != epochs.latest and batch.leader_epoch >= 0:
                epochs.assign(batch.leader_epoch, batch.first_offset)
            if batch.producer_id >= 0:
                self._remember(batch, segment)
        self.log_end = next_offset
        if next_offset - self.recovery_point >= self.config.flush_messages:
            self.flush_if_wanted()
        else:
            self.settled_end = next_offset

    def _remember(self, batch: AppendedBatch, segment: Segment) -> None:
        marker = batch.marker
        if marker is None:
            self.producers.record(batch)
            return
        completed = self.producers.end_txn(
            batch.producer_id, batch.producer_epoch, marker, batch.first_offset, batch.timestamp
        )
        note_completed(self.producers, segment, completed)

    def _append_failed(self, error: OSError) -> KafkaStorageError:
        """The disk refused; the file holds what it held. The next append tries again."""
        if not self._failing:
            self._failing = True
            self._events.error("log.append_failed", reason=str(error), log_end=self.log_end)
        return self._failed("append", error)

    def _failed(self, what: str, error: OSError) -> KafkaStorageError:
        """Tell the directory, which decides what is to become of it; what to raise."""
        if self._owner is not None and not self.is_closed:
            self._owner.log_failed(self, what, error)
        return KafkaStorageError(f"{what} in {self.directory}: {error}")

    # --- rolling ---

    def _must_roll(self, segment: Segment, length: int, last_offset: int, timestamp: int) -> bool:
        config = self.config
        if segment.size + length > config.segment_bytes or not segment.fits(last_offset, length):
            return True
        if segment.first_timestamp >= 0:
            waited_ms = timestamp - segment.first_timestamp
        else:
            waited_ms = self._now_ms - segment.created_ms
        return (
            waited_ms > config.roll_ms
            or len(segment.offset_index) >= config.offset_index_entries_max
            or len(segment.time_index) >= config.time_index_entries_max
        )

    def _roll(self, now_ms: int) -> Segment:
        """Seal the active segment and go on in a new one at the log's end."""
        try:
            self._segments.all[-1].seal()
            self._snapshots.take(self.log_end, self.producers)
            segment = self._segments.add(self.log_end, self.config, now_ms)
        except OSError as error:
            raise self._append_failed(error) from error
        self._reader.tail.clear()
        self._events.debug("log.rolled", base=segment.base)
        return segment

    def _try_roll(self, now_ms: int) -> bool:
        """False when the disk has no room for another segment."""
        try:
            self._roll(now_ms)
        except KafkaStorageError:
            return False
        return True

    def maybe_roll(self, now_ms: int) -> bool:
        """Roll a segment whose time is over though nobody appends; for upkeep."""
        self._now_ms = max(now_ms, self._now_ms)
        segment = self._segments.all[-1]
        if segment.size == 0:
            return False
        began = segment.first_timestamp
        if now_ms - (began if began >= 0 else segment.created_ms) <= self.config.roll_ms:
            return False
        self._roll(now_ms)
        return True

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
        end = min(end, self.log_end)
        if offset >= end or (max_bytes <= 0 and not at_least_one):
            return EMPTY_READ
        try:
            return self._reader.read(offset, max_bytes, end, self.log_end, at_least_one)
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

    # --- leader epochs ---

    def assign_epoch(self, epoch: int, start_offset: int) -> None:
        """A leader of `epoch` writes from `start_offset` on, even if it has not written yet."""
        self.epochs.assign(epoch, start_offset)

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """(epoch, end offset) of the largest epoch here that is not above `epoch`; (-1, -1) when
        unknown (KIP-320)."""
        return self.epochs.end_offset_for(epoch, self.log_end)

    # --- cutting ---

    def truncate_to(self, offset: int) -> None:
        """Drop all batches that reach `offset` or beyond, durably; at the log's end or above it,
        only the epoch that begins there: of a leadership that appended nothing.
        """
        if offset < self._segments.bases[0]:
            self.truncate_fully_and_start_at(offset)
            return
        try:
            if offset >= self.log_end:
                self.epochs.truncate_from_end(self.log_end)
                self._save_epochs()
                return
            self._doom_from(self._segments.index_holding(offset) + 1)
            log_end = self._segments.all[-1].truncate_to(offset)
            self._events.info("log.truncated", log_end=log_end, was=self.log_end)
            self._cut_to(log_end)
            self._owes_cut = True
            restore_producers(
                self.producers,
                self._snapshots,
                self._segments.all,
                log_start=self.log_start,
                log_end=log_end,
                events=self._events,
            )
            self._finish_cut()
        except OSError as error:
            raise self._failed("truncation", error) from error

    def truncate_fully_and_start_at(self, offset: int) -> None:
        """Drop everything; the next append gets `offset`, where the log starts too."""
        try:
            self._doom_from(0)
            self._segments.add(offset, self.config, self._now_ms)
            self._events.info("log.restarted", log_end=offset, was=self.log_end)
            self.epochs.clear()
            self.producers.clear()
            self._cut_to(offset)
            self.log_start = self.settled_end = offset
            self._owes_cut = True
            self._snapshots.keep(())
            self._finish_cut()
        except OSError as error:
            if not self._segments.all:
                self.abandon()  # the next start finds a log without segments, which is a new one
            raise self._failed("truncation", error) from error

    def _cut_to(self, log_end: int) -> None:
        self._truncations += 1
        self._reader.forget()
        self.log_end = log_end
        self.log_start = min(self.log_start, log_end)
        self.cleaned_end = min(self.cleaned_end, log_end)
        self.epochs.truncate_from_end(log_end)
        self.settled_end = min(self.settled_end, log_end)
        if self.recovery_point > log_end:
            self.recovery_point = log_end
            self._owes_recovery_point = True
        self.settlings.wake()

    def _finish_cut(self) -> None:
        """Write what has to be on the disk before offsets that were cut are given again. OSError:
        nothing is appended until this succeeds."""
        self._save_epochs()
        # The offsets of segments that went will be written again, in other files.
        self._segments.sync_names()
        if self._owes_recovery_point:
            if self._owner is not None:
                self._owner.log_cut()
            self._owes_recovery_point = False
        self._owes_cut = False

    def _doom_from(self, first: int) -> None:
        due_ms = self._now_ms + self.config.file_delete_delay_ms
        self._segments.doom(first, len(self._segments.all), due_ms)

    def remove_doomed(self, now_ms: int) -> None:
        """Remove the files of segments that were taken out long enough ago; for upkeep."""
        self._segments.remove_doomed(now_ms)

    def advance_log_start(self, offset: int) -> bool:
        """Hide the records below `offset` (DeleteRecords, or the leader's log start); segments go
        at the next `delete_expired`. OffsetOutOfRange above the log's end.
        """
        if offset > self.log_end:
            raise OffsetOutOfRange(f"log start {offset} is above the log's end {self.log_end}")
        if offset <= self.log_start:
            return False
        self.log_start = offset
        self.epochs.truncate_from_start(offset)
        self.producers.forget_before(offset)
        self._events.info("log.start_advanced", log_start=offset)
        return True

    def delete_expired(self, now_ms: int, high_watermark: int) -> int:
        """Delete old segments by log start, size and time; how many. Nothing at or above
        `high_watermark` goes."""
        self._now_ms = max(now_ms, self._now_ms)
        segments = self._segments
        count = count_expired(
            segments,
            self.config,
            log_start=self.log_start,
            log_end=self.log_end,
            now_ms=now_ms,
            limit=high_watermark,
        )
        if count == len(segments.all) and (
            segments.all[-1].size == 0 or not self._try_roll(now_ms)
        ):
            count -= 1
        if count == 0:
            return 0
        start = segments.bases[count]
        segments.doom(0, count, self._now_ms + self.config.file_delete_delay_ms)
        self._reader.forget()
        self.advance_log_start(start)
        self._snapshots.drop_below(start)
        self._events.info("log.segments_deleted", count=count, log_start=self.log_start)
        return count

    # --- compaction ---

    @property
    def truncations(self) -> int:
        """How often the end was cut: while it stays the same, sealed segments are what they were,
        or gone."""
        return self._truncations

    def sealed_segments(self) -> tuple[list[Segment], int]:
        """What compaction may replace: the segments before the last one that holds a batch, and
        where they end.

        That one stays even when it is not active any more, so that whoever copies the log reaches
        its end.
        """
        segments = self._segments.all
        last = len(segments) - 1
        while last > 0 and segments[last].size == 0:
            last -= 1
        return segments[:last], segments[last].base

    def take_over(self, bases: Sequence[int], truncations: int) -> bool:
        """Put the `.cleaned` files of segment `bases[0]` in the place of the segments `bases`.

        False, with no effect, when these are not there any more as they were when there had been
        so many `truncations`. Readers that hold the old files go on. KafkaStorageError.
        """
        segments = self._segments
        first = segments.index_holding(bases[0])
        end = first + len(bases)
        if (
            self.is_closed
            or truncations != self._truncations
            or segments.bases[first:end] != list(bases)
        ):
            return False
        assert end < len(segments.all), "the active segment is not compacted"
        try:
            due_ms = self._now_ms + self.config.file_delete_delay_ms
            segments.replace(first, end, self.config, due_ms)
            self._reader.forget_hints()
            self._snapshots.drop(bases[1:])
        except OSError as error:
            raise self._failed("compaction", error) from error
        return True

    # --- upkeep ---

    def forget_replicated(self, high_watermark: int) -> None:
        """The high watermark moved: ended transactions below it hold the stable offset no
        longer.
        """
        self.producers.forget_replicated(high_watermark)

    def expire_producers(self, now_ms: int) -> None:
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms)

    def unload_sealed_indexes(self) -> None:
        """Give back the memory of indexes that readers of old segments had loaded."""
        for segment in self._segments.all[:-1]:
            segment.unload_indexes()

    def needs_flush(self, now_ms: int) -> bool:
        """Whether upkeep should flush: a sealed segment is not synced, or `flush.ms` is over."""
        if self.recovery_point < self._segments.bases[-1]:
            return True
        if self.config.flush_ms == FOREVER or self.recovery_point == self.log_end:
            return False
        return now_ms - self._flushed_ms >= self.config.flush_ms

    @property
    def wants_flush(self) -> bool:
        """Whether more is not flushed than `flush.messages` allows."""
        return self.log_end - self.recovery_point >= self.config.flush_messages

    def flush_if_wanted(self) -> None:
        """See to it that what `flush.messages` asks for is done; without an owner, at once."""
        if not self.wants_flush:
            return
        self.flush_error = None
        if self._owner is None or not self._owner.log_wants_flush(self):
            self.flush()

    def settling(self) -> Settling:
        """What may have to be waited for before anything appended so far is acknowledged."""
        return Settling(self, self.log_end)

    def _flushed_to(self, end: int) -> None:
        self.flush_error = None
        self.recovery_point = max(self.recovery_point, end)
        settled = self.recovery_point if self.wants_flush else self.log_end
        if settled > self.settled_end:
            self.settled_end = settled
            if self.on_settled is not None:
                self.on_settled()
        self.settlings.wake()

    def flush(self) -> None:
        """Block until everything appended is on stable storage."""
        try:
            for segment in self._unflushed():
                segment.flush_now()
            self._finish_flush()
        except OSError as error:
            raise self._flush_failed(error) from error
        self._flushed_to(self.log_end)

    async def flush_async(self) -> None:
        """As `flush`, off the loop, for what was appended before the call."""
        end = self.log_end
        truncations = self._truncations
        try:
            for segment in self._unflushed():
                if segment in self._segments.all and not self.is_closed:
                    await segment.flush()
            if truncations != self._truncations or self.is_closed:
                return
            self._finish_flush()
        except OSError as error:
            raise self._flush_failed(error) from error
        self._flushed_to(end)

    def _flush_failed(self, error: OSError) -> KafkaStorageError:
        self.flush_error = self._failed("flush", error)
        self.settlings.wake()
        return self.flush_error

    def _unflushed(self) -> list[Segment]:
        return self._segments.all[self._segments.index_holding(self.recovery_point) :]

    def _finish_flush(self) -> None:
        self._save_epochs()
        self._segments.sync_names()
        self._flushed_ms = self._now_ms

    def _save_epochs(self) -> None:
        if self.epochs.is_dirty:
            path = f"{self.directory}/{files.LEADER_EPOCHS}"
            self._disk.replace(path, self.epochs.encode())
            self.epochs.is_dirty = False
            self._segments.names_changed = False  # the directory is synced with it

    def close(self, *, clean: bool) -> None:
        """Let go of the files. `clean` makes everything durable first, so that the next open need
        not scan."""
        if self.is_closed:
            return
        if clean and not self._is_settled():
            self._segments.all[-1].seal()
            self._snapshots.take(self.log_end, self.producers)
            self._segments.names_changed = True
            self.flush()
        self.is_closed = True
        self.settlings.wake()
        self._segments.close()

    def _is_settled(self) -> bool:
        """Whether a clean stop has nothing to write: the log was not touched since a clean
        start.
        """
        return (
            self.recovery_point == self.log_end
            and not self.epochs.is_dirty
            and not self._segments.names_changed
            and self.log_end in self._snapshots.offsets
        )

    def abandon(self) -> None:
        """The disk is not to be trusted any more: take nothing, give nothing, write nothing."""
        self.is_closed = True
        self.settlings.wake()

    def let_go(self) -> None:
        """Close the files of an abandoned log."""
        assert self.is_closed
        self._segments.close()

    def moved_to(self, directory: str) -> None:
        """The directory was renamed, to be deleted; open files stay readable until `delete`."""
        self.directory = directory
        self.is_closed = True
        self.settlings.wake()

    def delete(self) -> None:
        """Close the files and remove the directory with all that is in it."""
        self.is_closed = True
        self._segments.close()
        if self._disk.exists(self.directory):
            self._disk.remove_tree(self.directory)

    def check(self) -> None:
        """Assert every invariant; reads all headers."""
        assert 0 <= self.log_start <= self.log_end
        assert self.recovery_point <= self.log_end
        assert self.settled_end <= self.log_end
        self._segments.check(self.log_end)
        self.epochs.check()
        assert all(start <= self.log_end for _, start in self.epochs.entries())
        self.producers.check_invariants()


__all__ = ["AppendInfo", "FileRange", "Log", "LogOwner", "ReadInfo"]
