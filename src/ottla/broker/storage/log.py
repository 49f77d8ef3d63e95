"""The log of one partition on this broker: batches in segments, and all that is known about them.

Owner: the partition, on the loop; every call is synchronous but `flush_async`. The log knows
nothing of roles or of the high watermark: who appends and how far one may read is told by the
caller. This layer opens, appends, rolls and deletes what is over; see `log_state` for the others.

Invariants: log_start <= log_end; recovery_point <= log_end; segments are sorted by base, the last
one is active; no offset is in two segments; everything below `recovery_point` is on stable storage.
"""

from collections.abc import Sequence

from ottla.broker.errors import KafkaStorageError, RecordListTooLarge
from ottla.broker.ids import TopicPartition
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
from ottla.broker.storage.loading import Loader
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_cutting import CuttingLog
from ottla.broker.storage.log_seams import AppendInfo, LogOwner
from ottla.broker.storage.plain_batches import assign_plain, take_back
from ottla.broker.storage.producers import Origin
from ottla.broker.storage.reading import FileRange, ReadInfo
from ottla.broker.storage.retention import count_expired
from ottla.broker.storage.segment import Segment
from ottla.broker.storage.snapshots import note_completed
from ottla.protocol.kafka.crc import crc32c
from ottla.runtime.interfaces import BytesLike, Disk, Events


class Log(CuttingLog):
    """See the module. Open with `Log.open`."""

    __slots__ = ()

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
        recovered: bool = False,
        recovery_point: int = 0,
        log_start: int = 0,
        events: Events,
        owner: LogOwner | None = None,
    ) -> "Log":
        """Load the log in `directory`, or begin one there. Blocks; OSError when the disk fails.

        `clean`: the last owner called `close(clean=True)`. `recovered`: a worker has checked what
        it left otherwise (`recovery`). Without an `owner`, flushes that are due
        block the append, and a cut recovery point is the caller's business.
        """
        events = events.bind(partition=str(tp))
        log = cls(disk, directory, tp, config, now_ms=now_ms, events=events)
        loader = Loader(disk, directory, config, now_ms=now_ms, events=events)
        loaded = loader.load(
            clean=clean, recovered=recovered, recovery_point=recovery_point, log_start=log_start
        )
        log._segments.adopt(loaded.segments)
        if clean and not loaded.is_new:
            log._segments.note_synced()
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
        buffer = in_place(data) if codec is None else recompressed(data, codec, config.codec_level)
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

    def append_plain(
        self, parts: Sequence[memoryview], *, leader_epoch: int, now_ms: int
    ) -> list[int]:
        """Append with one write what needs no second look; the first offset of each batch.

        Each of `parts` is one batch of a client, in writable memory. As many as are plain are taken
        from the front, perhaps none. What is left is for `append_as_leader`, one by one, which says
        what is wrong with it, rolls the segment, or meets the same broken disk.
        """
        config = self.config
        if self.is_closed or self._owes_cut or self._failing or not config.takes_runs:
            return []
        self._now_ms = now_ms
        run = assign_plain(
            parts,
            config,
            self.producers,
            next_offset=self.log_end,
            leader_epoch=leader_epoch,
            now_ms=now_ms,
        )
        first_offsets = run.first_offsets
        if not first_offsets:
            return first_offsets
        taken = parts[: len(first_offsets)]
        segment = self._segments.all[-1]
        position = segment.size
        if run.size > config.segment_bytes or (
            position and self._must_roll(segment, run.size, run.next_offset - 1, run.timestamp)
        ):
            take_back(taken)
            return []
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        try:
            segment.append(data, run.first_last, run.timestamp, run.timestamp_offset)
        except OSError:
            take_back(taken)
            return []
        self._reader.tail.extend(first_offsets, position, run.positions)
        if leader_epoch != self.epochs.latest and leader_epoch >= 0:
            self.epochs.assign(leader_epoch, first_offsets[0])
        for batch in run.of_producers:
            self.producers.record(batch)
        self.log_end = self.settled_end = run.next_offset
        return first_offsets

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
        begins_anew = batches[0].first_offset < log_end
        if begins_anew:
            self._begin_at_batch(batches[0])
        whole = batches[-1].position + batches[-1].size
        limit = self.config.segment_bytes
        try:
            with memoryview(data) as view:
                for start, end, run in runs(batches, limit - self._segments.all[-1].size, limit):
                    with view[start:end] as part:
                        self._append(part, run, self._now_ms)
        except KafkaStorageError:
            if begins_anew and self.log_end < self.log_start:
                self.log_end = self.settled_end = self.log_start  # empty, as it was
            raise
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
            waited_ms > self._roll_ms(segment)
            or len(segment.offset_index) >= config.offset_index_entries_max
            or len(segment.time_index) >= config.time_index_entries_max
        )

    def _roll_ms(self, segment: Segment) -> int:
        """The age at which `segment` is sealed: less than `segment.ms` by a part of
        `segment.jitter.ms` that its name decides, so that it is the same at every look.
        """
        config = self.config
        spread_ms = min(config.segment_jitter_ms, config.roll_ms)
        if spread_ms <= 0:
            return config.roll_ms
        return config.roll_ms - crc32c(f"{self.tp}/{segment.base}".encode()) % spread_ms

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
        if now_ms - (began if began >= 0 else segment.created_ms) <= self._roll_ms(segment):
            return False
        self._roll(now_ms)
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


__all__ = ["AppendInfo", "FileRange", "Log", "LogOwner", "ReadInfo"]
