"""A compacted log against its naive twin, all records ever written, through compactions that are
cut short at any change of the disk.
"""

import contextlib
import random
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Origin
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    ControlMarker,
    build_batch,
    build_control_batch,
    read_all_records,
)
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.compactions import FusedDisk, PowerCut, compact_now, headers_of
from tests.support.logs import DIRECTORY, NOW_MS, TP

RETENTION_MS = 1000
CONFIG = LogConfig(
    segment_bytes=600,
    index_interval_bytes=100,
    file_delete_delay_ms=0,
    cleanup_policy=frozenset({"compact"}),
    delete_retention_ms=RETENTION_MS,
)


@dataclass(frozen=True)
class Written:
    offset: int
    key: bytes
    value: bytes | None
    timestamp: int
    txn: tuple[int, int] | None  # (producer, number of its transaction)


Key = st.integers(0, 5).map(lambda n: b"key-%d" % n * (1 + 9 * (n % 2)))  # short and long ones
Producer = st.sampled_from([1, 2])
Records = st.lists(st.tuples(Key, st.booleans()), min_size=1, max_size=4)


class CompactionMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1 << 32))
    def start(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.memory = MemoryDisk()
        self.memory.make_dirs(DIRECTORY)
        self.memory.sync_dir(DIRECTORY)
        self.disk = FusedDisk(self.memory)
        self.now_ms = NOW_MS
        self.written: list[Written] = []
        self.spans: set[tuple[int, int]] = set()  # first and last offset of each batch
        self.end = 0
        self.cleaned_end = 0
        self.recovery_point = 0
        self.sequences: dict[int, int] = {}
        self.txns: dict[int, int] = {}  # by producer, how many it has begun
        self.open_txns: set[int] = set()
        self.aborted: set[tuple[int, int]] = set()
        self.first_seen_ms: dict[int, int] = {}  # tombstones: when a compaction first met them
        self.log = self.open()

    def open(self, *, clean: bool = True) -> Log:
        log = Log.open(
            self.disk,  # type: ignore[arg-type]
            DIRECTORY,
            TP,
            CONFIG,
            now_ms=self.now_ms,
            clean=clean,
            recovery_point=self.recovery_point,
            events=RecordingEvents(),
        )
        log.cleaned_end = self.cleaned_end
        return log

    # appends

    def append(self, data: bytes, origin: Origin = Origin.CLIENT) -> int:
        info = self.log.append_as_leader(data, leader_epoch=0, now_ms=self.now_ms, origin=origin)
        assert info.first_offset == self.end
        self.spans.add((info.first_offset, info.last_offset))
        self.end = self.log.log_end
        return info.first_offset

    def append_records(
        self, records: list[tuple[bytes, bool]], producer: int | None, codec: Codec, is_txn: bool
    ) -> None:
        self.now_ms += self.rng.randrange(20)
        values = [
            (key, b"%d" % self.rng.randrange(1 << 30) if has_value else None, self.now_ms + n, ())
            for n, (key, has_value) in enumerate(records)
        ]
        fields = {}
        if producer is not None:
            sequence = self.sequences.get(producer, 0)
            self.sequences[producer] = sequence + len(values)
            fields = {"producer_id": producer, "producer_epoch": 0, "base_sequence": sequence}
        first = self.append(build_batch(values, codec=codec, transactional=is_txn, **fields))
        txn = (producer, self.txns[producer]) if is_txn and producer is not None else None
        self.written += [
            Written(first + n, key, value, timestamp, txn)
            for n, (key, value, timestamp, _) in enumerate(values)
        ]

    @rule(records=Records, codec=st.sampled_from(list(Codec)))
    def write(self, records: list[tuple[bytes, bool]], codec: Codec) -> None:
        self.append_records(records, None, codec, is_txn=False)

    @rule(records=Records, producer=st.sampled_from([7, 8]))
    def write_as_idempotent(self, records: list[tuple[bytes, bool]], producer: int) -> None:
        self.append_records(records, producer, Codec.NONE, is_txn=False)

    @rule(records=Records, producer=Producer)
    def write_in_transaction(self, records: list[tuple[bytes, bool]], producer: int) -> None:
        if producer not in self.open_txns:
            self.open_txns.add(producer)
            self.txns[producer] = self.txns.get(producer, 0) + 1
        self.append_records(records, producer, Codec.NONE, is_txn=True)

    @rule(records=Records, producer=Producer, commits=st.booleans(), rolls=st.booleans())
    def write_whole_transaction(
        self, records: list[tuple[bytes, bool]], producer: int, commits: bool, rolls: bool
    ) -> None:
        self.write_in_transaction(records, producer)
        if rolls:
            self.roll()
        self.end_transactions(commits)

    @rule(commits=st.booleans())
    def end_transactions(self, commits: bool) -> None:
        for producer in sorted(self.open_txns):
            marker = ControlMarker(COMMIT_MARKER if commits else ABORT_MARKER, 0)
            batch = build_control_batch(
                marker, timestamp_ms=self.now_ms, producer_id=producer, producer_epoch=0
            )
            self.append(batch, Origin.INTERNAL)
            if not commits:
                self.aborted.add((producer, self.txns[producer]))
        self.open_txns.clear()
        self.log.forget_replicated(self.end)

    @rule(step_ms=st.integers(0, 2 * RETENTION_MS))
    def wait(self, step_ms: int) -> None:
        self.now_ms += step_ms
        self.log.remove_doomed(self.now_ms)

    def seal(self) -> None:
        """Have everything so far in sealed segments."""
        self.roll()
        self.append_records([(b"other", True)], None, Codec.NONE, is_txn=False)

    @rule()
    def roll(self) -> None:
        self.log.maybe_roll(self.now_ms + 2 * CONFIG.segment_ms)

    # compactions

    def compaction_end(self) -> int:
        sealed, sealed_end = self.log.sealed_segments()
        stable = self.log.first_unstable_offset
        if stable is None or stable >= sealed_end:
            return sealed_end
        return max((one.base for one in sealed if one.base <= stable), default=0)

    def compact(self, room_bytes: int) -> None:
        self.log.flush()
        self.recovery_point = self.log.recovery_point
        end = self.compaction_end()
        for record in self.written:
            if record.value is None and record.offset < end:
                self.first_seen_ms.setdefault(record.offset, self.now_ms)
        finished = compact_now(
            self.disk,  # type: ignore[arg-type]
            self.log,
            now_ms=self.now_ms,
            end=end,
            room_bytes=room_bytes,
        )
        assert finished.end <= max(end, self.cleaned_end)
        assert finished.end > self.cleaned_end or end <= self.cleaned_end
        self.cleaned_end = finished.end

    @rule(room_bytes=st.sampled_from([1, 600, 1 << 20, 1 << 20]), seals=st.booleans())
    def compact_whole(self, room_bytes: int, seals: bool) -> None:
        if seals:
            self.seal()
        self.compact(room_bytes)
        keys = [record.key for record in self.visible() if record.offset < self.cleaned_end]
        assert len(keys) == len(set(keys)), "a key is there twice below the cleaned end"

    @rule(fuse=st.integers(0, 60), seed=st.integers(0, 1 << 32))
    def compact_until_the_power_goes(self, fuse: int, seed: int) -> None:
        self.seal()
        self.log.flush()  # what is not flushed is the other machine's affair
        self.recovery_point = self.log.recovery_point
        self.disk.fuse = fuse
        with contextlib.suppress(PowerCut):
            self.compact(1 << 20)
        self.disk.fuse = None
        self.memory.crash(random.Random(seed))
        self.reopen(clean=False)
        names = self.memory.list_dir(DIRECTORY)
        assert not [name for name in names if name.endswith((".swap", ".cleaned"))]

    # stops

    def reopen(self, *, clean: bool) -> None:
        self.log = self.open(clean=clean)
        self.log.forget_replicated(self.end)
        assert self.log.log_end == self.end, "a compaction takes nothing from the end"

    @rule(clean=st.booleans(), without_snapshots=st.booleans())
    def restart(self, clean: bool, without_snapshots: bool) -> None:
        self.log.close(clean=clean)
        if clean:
            self.recovery_point = self.end
        if without_snapshots:
            for name in self.memory.list_dir(DIRECTORY):
                if name.endswith(".snapshot"):
                    self.memory.remove(f"{DIRECTORY}/{name}")
        self.reopen(clean=clean)

    # what must hold

    def everything(self) -> list[Written]:
        """All records that are left, with what was written at their offsets."""
        by_offset = {record.offset: record for record in self.written}
        found: list[Written] = []
        offset = 0
        while offset < self.end:
            info = self.log.read(offset, 300, end=self.end, at_least_one=True)
            data = bytes(info.data) if isinstance(info.data, bytes) else info.data.read()
            if not data:
                break
            for header, records in read_all_records(data):
                if not header.is_control:
                    for record in records:
                        twin = by_offset[record.offset]
                        assert (record.key, record.value) == (twin.key, twin.value)
                        assert record.timestamp == twin.timestamp
                        found.append(twin)
                offset = header.last_offset + 1
        offsets = [record.offset for record in found]
        assert offsets == sorted(set(offsets))
        return found

    def visible(self) -> list[Written]:
        """What a read_committed consumer makes of the log and of its aborted transactions."""
        by_offset = {record.offset: record for record in self.written}
        stable = self.log.first_unstable_offset
        end = self.end if stable is None else stable
        ahead = sorted(self.log.aborted_transactions(0, end), key=lambda txn: txn.first_offset)
        aborting: set[int] = set()
        found: list[Written] = []
        data = b"".join(self.memory.read(one.path + ".log") for one in self.log._segments.all)
        for header, records in read_all_records(data):
            while ahead and ahead[0].first_offset <= header.last_offset:
                aborting.add(ahead.pop(0).producer_id)
            if header.base_offset >= end:
                break
            if header.is_control:
                aborting.discard(header.producer_id)
            elif not (header.is_transactional and header.producer_id in aborting):
                found += [by_offset[record.offset] for record in records]
        return found

    @invariant()
    def every_record_left_was_written(self) -> None:
        if hasattr(self, "log"):
            self.log.check()
            self.everything()
            for header in headers_of(self.memory, self.log):
                assert (header.base_offset, header.last_offset) in self.spans

    @invariant()
    def the_last_value_of_each_key_is_left(self) -> None:
        if not hasattr(self, "log"):
            return
        stable = self.log.first_unstable_offset
        committed = [
            record
            for record in self.written
            if record.txn not in self.aborted and (stable is None or record.offset < stable)
        ]
        newest = {record.key: record for record in committed}
        visible = self.visible()
        assert set(visible) <= set(committed)
        left = {record.key: record for record in visible}
        for key, record in newest.items():
            if record.value is None and key not in left:
                seen_ms = self.first_seen_ms[record.offset]
                assert self.now_ms >= seen_ms + RETENTION_MS, "a tombstone went too early"
            else:
                assert left.get(key) == record

    @invariant()
    def producers_are_not_forgotten(self) -> None:
        if hasattr(self, "log"):
            for producer, sequence in self.sequences.items():
                assert self.log.producers.by_id[producer].last_sequence == sequence - 1
                has_txn = self.log.producers.has_open_txn(producer)
                assert has_txn == (producer in self.open_txns)

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def look_up_by_timestamp(self, data: st.DataObject) -> None:
        wanted = data.draw(st.sampled_from(self.written)).timestamp + data.draw(st.integers(-1, 1))
        found = self.log.offset_for_timestamp(wanted)
        expected = next((one for one in self.everything() if one.timestamp >= wanted), None)
        if found is None or expected is None:
            # Markers have timestamps too.
            assert expected is None
        else:
            assert found[1] <= expected.offset
            assert found[0] >= wanted

    @rule()
    def copy_to_a_follower(self) -> None:
        disk = MemoryDisk()
        copy = Log.open(
            disk, DIRECTORY, TP, CONFIG, now_ms=self.now_ms, clean=True, events=RecordingEvents()
        )
        while copy.log_end < self.end:
            info = self.log.read(copy.log_end, 500, end=self.end, at_least_one=True)
            assert not isinstance(info.data, bytes), "a copy does not reach the end"
            copy.append_as_follower(info.data.read(), now_ms=self.now_ms)
        assert headers_of(disk, copy) == headers_of(self.memory, self.log)
        for producer, sequence in self.sequences.items():
            assert copy.producers.by_id[producer].last_sequence == sequence - 1


TestCompactionMachine = CompactionMachine.TestCase
TestCompactionMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
