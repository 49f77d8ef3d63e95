"""A log against its naive twin, a list of batches, through appends, cuts, stops and power cuts."""

import random
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import build_batch, iter_headers, read_all_records
from ottla.runtime.memory import MemoryDisk, RecordingEvents

NOW_MS = 1_700_000_000_000
DIRECTORY = "/data/t-0"
TP = TopicPartition("t", 0)
CONFIG = LogConfig(
    segment_bytes=1500, index_interval_bytes=100, file_delete_delay_ms=0, retention_ms=1000
)


@dataclass(frozen=True)
class TwinBatch:
    first: int
    count: int
    epoch: int
    timestamp: int
    value: bytes

    @property
    def end(self) -> int:
        return self.first + self.count


class LogMachine(RuleBasedStateMachine):
    """`self.batches` is what the log holds; `self.durable_end` what no power cut may take."""

    @initialize(seed=st.integers(0, 1 << 32))
    def start(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = MemoryDisk()
        self.disk.make_dirs(DIRECTORY)
        self.disk.sync_dir(DIRECTORY)
        self.batches: list[TwinBatch] = []
        self.end = 0
        self.start_offset = 0
        self.epoch = 0
        self.now_ms = NOW_MS
        self.checkpointed = 0
        self.log = self.open(clean=True)

    def open(self, *, clean: bool) -> Log:
        return Log.open(
            self.disk,
            DIRECTORY,
            TP,
            CONFIG,
            now_ms=self.now_ms,
            clean=clean,
            recovery_point=self.checkpointed,
            log_start=self.start_offset,
            events=RecordingEvents(),
            owner=self,
        )

    def checkpoint(self) -> None:
        self.checkpointed = self.log.recovery_point

    def log_cut(self) -> None:
        self.checkpoint()

    def log_wants_flush(self, log: Log) -> bool:
        return False

    def log_failed(self, log: Log, what: str, error: OSError) -> None:
        raise AssertionError("this disk never fails") from error

    # appends

    @rule(
        count=st.integers(1, 4),
        size=st.integers(0, 300),
        codec=st.sampled_from(list(Codec)),
        step_ms=st.integers(-50, 200),
    )
    def append(self, count: int, size: int, codec: Codec, step_ms: int) -> None:
        self.now_ms += max(step_ms, 0)
        value = self.rng.randbytes(size)
        batch = TwinBatch(self.end, count, self.epoch, self.now_ms + min(step_ms, 0), value)
        info = self.log.append_as_leader(
            encode(replace(batch, first=0), codec), leader_epoch=self.epoch, now_ms=self.now_ms
        )
        assert (info.first_offset, info.last_offset) == (batch.first, batch.end - 1)
        assert not info.duplicate
        self.batches.append(batch)
        self.end = batch.end

    @rule(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=5), cut=st.integers(0, 60))
    def append_replicated(self, sizes: list[int], cut: int) -> None:
        data = b""
        for size in sizes:
            batch = TwinBatch(self.end, 2, self.epoch, self.now_ms, self.rng.randbytes(size))
            self.batches.append(batch)
            self.end = batch.end
            data += encode(batch, Codec.NONE, epoch=self.epoch)
        torn = encode(TwinBatch(self.end, 1, self.epoch, self.now_ms, b"x" * 20), Codec.NONE)
        info = self.log.append_as_follower(data + torn[:cut], now_ms=self.now_ms)
        assert info.batches == len(sizes)
        assert info.last_offset == self.end - 1

    @rule()
    def new_epoch(self) -> None:
        self.epoch += 1
        self.log.assign_epoch(self.epoch, self.end)

    # cuts

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(self.start_offset, self.end))
        self.log.truncate_to(offset)
        self.batches = [batch for batch in self.batches if batch.end <= offset]
        if offset < self.end:
            self.end = self.batches[-1].end if self.batches else self.log.log_end
            assert self.end <= offset
        self.start_offset = min(self.start_offset, self.end)

    @rule(ahead=st.integers(0, 100))
    def truncate_fully(self, ahead: int) -> None:
        self.end = self.start_offset = self.end + ahead
        self.batches = []
        self.log.truncate_fully_and_start_at(self.end)
        self.log.flush()
        self.checkpoint()

    @rule(data=st.data())
    def delete_records(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(self.start_offset, self.end))
        self.log.advance_log_start(offset)
        self.start_offset = offset

    @rule(high_watermark=st.integers(0, 200), step_ms=st.integers(0, 1500))
    def retain(self, high_watermark: int, step_ms: int) -> None:
        self.now_ms += step_ms
        high_watermark = min(max(high_watermark, self.start_offset), self.end)
        self.log.delete_expired(self.now_ms, high_watermark)
        self.log.remove_doomed(self.now_ms)
        self.log.unload_sealed_indexes()
        assert self.log.log_start <= max(high_watermark, self.start_offset)
        gone = [batch for batch in self.batches if batch.end <= self.log.log_start]
        assert len(gone) == len(
            [
                b
                for b in self.batches
                if b.first < self.log.log_start and b.end <= self.log.log_start
            ]
        )
        self.start_offset = self.log.log_start
        # Deletions are not durable, so a power cut may bring old segments back below the log start.

    @rule()
    def roll_by_time(self) -> None:
        self.log.maybe_roll(self.now_ms + CONFIG.segment_ms * 2)

    # stops

    @rule()
    def flush(self) -> None:
        self.log.flush()
        assert self.log.recovery_point == self.end
        self.checkpoint()

    @rule()
    def stop_and_start(self) -> None:
        self.log.close(clean=True)
        self.checkpoint()
        self.log = self.open(clean=True)
        assert self.log.recovery_point == self.end

    @rule()
    def kill_and_start(self) -> None:
        """The process dies, the page cache lives: nothing is lost."""
        self.log.close(clean=False)
        self.log = self.open(clean=False)

    @rule(seed=st.integers(0, 1 << 32))
    def lose_power(self, seed: int) -> None:
        durable = self.checkpointed
        self.disk.crash(random.Random(seed))
        self.log = self.open(clean=False)
        assert self.log.log_end >= durable, "flushed batches are lost"
        assert self.log.log_end <= self.end
        self.end = self.log.log_end
        self.start_offset = self.log.log_start
        self.batches = [batch for batch in self.batches if batch.end <= self.end]
        if self.start_offset == self.end:  # everything that was left is below the log start
            self.batches = []
        assert not self.batches or self.batches[-1].end == self.end
        self.epoch = max(self.epoch, self.log.latest_epoch)

    # what must hold

    @invariant()
    def invariants_hold(self) -> None:
        if hasattr(self, "log"):
            self.log.check()
            assert self.log.log_end == self.end
            assert self.log.log_start == self.start_offset

    @invariant()
    def every_batch_is_read_back(self) -> None:
        if not hasattr(self, "log"):
            return
        readable = [batch for batch in self.batches if batch.end > self.start_offset]
        offset, seen = self.start_offset, []
        while offset < self.end:
            info = self.log.read(offset, 400, end=self.end, at_least_one=True)
            data = bytes(info.data) if isinstance(info.data, bytes) else info.data.read()
            assert data, f"nothing at {offset}, log ends at {self.end}"
            for header, records in read_all_records(data):
                seen.append(
                    TwinBatch(
                        header.base_offset,
                        header.record_count,
                        header.partition_leader_epoch,
                        records[0].timestamp,
                        records[0].value or b"",
                    )
                )
                offset = header.last_offset + 1
        assert seen == readable

    @rule(data=st.data())
    def read_from_anywhere(self, data: st.DataObject) -> None:
        if self.start_offset == self.end:
            return
        offset = data.draw(st.integers(self.start_offset, self.end - 1))
        ends = [batch.end for batch in self.batches if batch.end > offset]
        end = data.draw(st.sampled_from(ends))
        max_bytes = data.draw(st.sampled_from([1, 100, 500, 5000]))
        info = self.log.read(offset, max_bytes, end=end, at_least_one=True)
        holding = next(batch for batch in self.batches if batch.end > offset)
        assert info.first_offset == holding.first
        assert not isinstance(info.data, bytes)
        headers = [header for _, header in iter_headers(info.data.read())]
        assert headers[0].base_offset == holding.first
        assert headers[-1].last_offset < end
        assert len(info.data) <= max_bytes or len(headers) == 1
        none = self.log.read(offset, 10, end=end, at_least_one=False)
        assert len(none.data) == 0

    @rule(data=st.data())
    def look_up_by_timestamp(self, data: st.DataObject) -> None:
        timestamps = sorted({batch.timestamp for batch in self.batches})
        if not timestamps:
            return
        wanted = data.draw(st.sampled_from(timestamps)) + data.draw(st.integers(-1, 1))
        expected = next(
            (
                (batch.timestamp, max(batch.first, self.start_offset), batch.epoch)
                for batch in self.batches
                if batch.timestamp >= wanted and batch.end > self.start_offset
            ),
            None,
        )
        assert self.log.offset_for_timestamp(wanted) == expected

    @rule(epoch=st.integers(-1, 12))
    def look_up_epoch_end(self, epoch: int) -> None:
        """KIP-320, for epochs that batches in the log show."""
        epochs = [batch.epoch for batch in self.batches if batch.end > self.start_offset]
        found, end = self.log.end_offset_for_epoch(epoch)
        if epoch in epochs:
            later = [batch.first for batch in self.batches if batch.epoch > epoch]
            assert found == epoch
            assert end == (later[0] if later else end)
        else:
            assert found <= epoch or found == -1


def encode(batch: TwinBatch, codec: Codec, *, epoch: int = -1) -> bytes:
    records = [(b"k", batch.value, batch.timestamp, ())] * batch.count
    return build_batch(records, base_offset=batch.first, leader_epoch=epoch, codec=codec)


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
