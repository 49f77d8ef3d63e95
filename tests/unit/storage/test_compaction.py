"""What a compaction keeps of a log, batch by batch: Kafka's cleaner, KIP-98, KIP-534."""

from dataclasses import replace

import pytest

from ottla.broker.storage.compaction import Order, SegmentSize, compact, grouped
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Origin
from ottla.broker.storage.segment import CorruptLog
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    DELETE_HORIZON_BIT,
    LOG_APPEND_TIME_BIT,
    ControlMarker,
    assemble_batch,
    build_batch,
    build_control_batch,
    iter_headers,
    read_records,
)
from ottla.runtime.memory import MemoryDisk
from tests.support.compactions import compact_now, headers_of, keyed, order_for
from tests.support.logs import NOW_MS, append, open_log, records_of

CONFIG = LogConfig(cleanup_policy=frozenset({"compact"}), delete_retention_ms=1000)


class Compacted:
    """A log whose segments end where a test says so."""

    def __init__(self, config: LogConfig = CONFIG) -> None:
        self.disk = MemoryDisk()
        self.log = open_log(self.disk, config)

    def write(self, *records: tuple[bytes | None, bytes | None], **fields: object) -> int:
        return append(self.log, keyed(*records, **fields))  # type: ignore[arg-type]

    def mark(self, marker: int, producer_id: int = 7) -> None:
        batch = build_control_batch(
            ControlMarker(marker, 0),
            timestamp_ms=NOW_MS,
            producer_id=producer_id,
            producer_epoch=0,
        )
        self.log.append_as_leader(batch, leader_epoch=0, now_ms=NOW_MS, origin=Origin.INTERNAL)
        self.log.forget_replicated(self.log.log_end)

    def roll(self) -> None:
        assert self.log.maybe_roll(NOW_MS + 2 * self.log.config.segment_ms)

    def seal(self) -> None:
        """All that was written is in sealed segments."""
        self.roll()
        self.write((b"end", b""))

    def compact(self, **options: int) -> None:
        compact_now(self.disk, self.log, **options)
        self.log.check()

    def left(self) -> list[tuple[int, bytes | None, bytes | None]]:
        """(offset, key, value) of what is left, but for the last record."""
        found = [(one.offset, one.key, one.value) for one in records_of(self.log)]
        return [one for one in found if one[1] != b"end"]


IN_TXN = {"producer_id": 7, "producer_epoch": 0, "transactional": True}


@pytest.mark.parametrize("codec", list(Codec))
def test_newest_record_of_a_key_stays_where_it_was(codec: Codec) -> None:
    made = Compacted()
    made.write((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), codec=codec)
    made.write((b"b", b"2"), (b"c", b"1"), codec=codec)
    made.seal()
    before = headers_of(made.disk, made.log)
    made.compact()
    assert made.left() == [(2, b"a", b"2"), (3, b"b", b"2"), (4, b"c", b"1")]
    after = headers_of(made.disk, made.log)
    assert [one.codec for one in after[:2]] == [codec, codec]
    for old, new in zip(before, after, strict=True):
        assert (old.base_offset, old.last_offset) == (new.base_offset, new.last_offset)
    assert after[1] == before[1], "a batch that stays whole is copied as it is"


def test_active_segment_is_left_alone() -> None:
    made = Compacted()
    made.write((b"a", b"1"), (b"a", b"2"))
    made.roll()
    made.write((b"a", b"3"), (b"a", b"4"))
    made.compact()
    assert made.left() == [(1, b"a", b"2"), (2, b"a", b"3"), (3, b"a", b"4")]


def test_last_batch_stays_though_its_segment_is_not_active_any_more() -> None:
    made = Compacted()
    made.write((b"a", None))
    made.roll()
    made.write((b"a", None))
    made.roll()
    made.compact()
    made.compact(now_ms=NOW_MS + 1_000_000)
    assert made.left() == [(1, b"a", None)], "a follower could not reach the end of the log"


def test_records_without_a_key_go() -> None:
    made = Compacted(replace(CONFIG, cleanup_policy=frozenset({"delete"})))
    made.write((None, b"1"), (b"a", b"1"), (None, b"2"))
    made.seal()
    made.compact()
    assert made.left() == [(1, b"a", b"1")]


def test_tombstone_stays_for_the_delete_retention_after_its_first_compaction() -> None:
    made = Compacted()
    made.write((b"a", b"1"), (b"b", b"1"))
    made.write((b"a", None), (b"c", b"1"))
    made.seal()
    long_after = NOW_MS + 1_000_000
    made.compact(now_ms=long_after)
    assert made.left() == [(1, b"b", b"1"), (2, b"a", None), (3, b"c", b"1")]
    header = headers_of(made.disk, made.log)[1]
    assert header.attributes & DELETE_HORIZON_BIT
    assert header.base_timestamp == long_after + 1000
    assert [one.timestamp for one in records_of(made.log)[1:3]] == [NOW_MS, NOW_MS]
    made.compact(now_ms=long_after + 999)
    assert (2, b"a", None) in made.left()
    made.compact(now_ms=long_after + 1000)
    assert made.left() == [(1, b"b", b"1"), (3, b"c", b"1")]
    assert headers_of(made.disk, made.log)[1].base_timestamp == long_after + 1000


def test_rebuilt_batch_has_the_youngest_timestamp_of_what_is_left() -> None:
    made = Compacted()
    records = [(b"a", b"1", NOW_MS + 5, ()), (b"b", b"1", NOW_MS + 2, [("h", b"x"), ("n", None)])]
    append(made.log, build_batch(records))
    made.write((b"a", b"2"))
    made.seal()
    made.compact()
    assert headers_of(made.disk, made.log)[0].max_timestamp == NOW_MS + 2
    [record, *_] = records_of(made.log)
    assert (record.offset, record.timestamp) == (1, NOW_MS + 2)
    assert record.headers == (("h", b"x"), ("n", None))
    assert made.log.offset_for_timestamp(NOW_MS + 1) == (NOW_MS + 2, 1, 0)


def test_log_append_time_stays() -> None:
    made = Compacted()
    batch = bytearray(keyed((b"a", b"1"), (b"b", None)))
    batch[22] |= LOG_APPEND_TIME_BIT
    header = next(iter_headers(batch))[1]
    stamped = assemble_batch(header._replace(max_timestamp=NOW_MS + 77), batch[61:])
    made.log.append_as_follower(stamped)
    made.write((b"a", b"2"))
    made.seal()
    made.compact()
    new = headers_of(made.disk, made.log)[0]
    assert new.max_timestamp == NOW_MS + 77
    assert new.attributes & LOG_APPEND_TIME_BIT
    assert records_of(made.log)[0].timestamp == NOW_MS + 77


# producers and transactions


def test_last_batch_of_an_active_producer_stays_without_records() -> None:
    made = Compacted()
    for sequence in range(3):
        made.write(
            (b"a", b"%d" % sequence), producer_id=9, producer_epoch=2, base_sequence=sequence
        )
    made.write((b"a", b"newest"))
    made.seal()
    made.compact()
    [empty, newest, _] = headers_of(made.disk, made.log)
    assert (empty.base_offset, empty.record_count, empty.size) == (2, 0, 61)
    assert (empty.producer_id, empty.producer_epoch, empty.base_sequence) == (9, 2, 2)
    assert empty.base_timestamp == -1
    assert newest.base_offset == 3
    assert made.left() == [(3, b"a", b"newest")]
    assert made.log.max_timestamp_offset() == (NOW_MS, 3, 0)


def test_empty_batch_goes_when_its_producer_wrote_again() -> None:
    made = Compacted()
    made.write((b"a", b"1"), producer_id=9, producer_epoch=0, base_sequence=0)
    made.write((b"a", b"2"))
    made.seal()
    made.compact()
    assert headers_of(made.disk, made.log)[0].record_count == 0
    made.write((b"b", b"1"), producer_id=9, producer_epoch=0, base_sequence=1)
    made.seal()
    made.compact()
    assert [one.base_offset for one in headers_of(made.disk, made.log)] == [1, 2, 3, 4]


def test_aborted_records_go_and_supersede_nothing() -> None:
    made = Compacted()
    made.write((b"a", b"kept"))
    made.write((b"a", b"aborted"), (b"b", b"aborted"), base_sequence=0, **IN_TXN)
    made.mark(ABORT_MARKER)
    made.seal()
    made.compact()
    # The batch is the last of its producer, so it stays without records, and its marker with it.
    assert made.left()[0] == (0, b"a", b"kept")
    assert [one.record_count for one in headers_of(made.disk, made.log)] == [1, 0, 1, 1]
    [txn] = made.log.aborted_transactions(0, made.log.log_end)
    assert (txn.producer_id, txn.first_offset, txn.last_offset) == (7, 1, 3)


def test_marker_goes_a_delete_retention_after_the_last_batch_of_its_transaction() -> None:
    made = Compacted()
    made.write((b"a", b"aborted"), base_sequence=0, **IN_TXN)
    made.mark(ABORT_MARKER)
    made.write((b"b", b"1"), base_sequence=1, **IN_TXN)
    made.mark(COMMIT_MARKER)
    made.write((b"b", b"2"), base_sequence=2, **IN_TXN)
    made.mark(COMMIT_MARKER)
    made.seal()

    def batches() -> list[tuple[int, bool]]:
        return [
            (one.base_offset, one.attributes & DELETE_HORIZON_BIT != 0)
            for one in headers_of(made.disk, made.log)
        ]

    made.compact()
    # The first pass met the aborted batch (0) and the superseded one (2), so their markers stay.
    assert batches() == [(1, False), (3, False), (4, False), (5, False), (6, False)]
    assert len(made.log.aborted_transactions(0, 6)) == 1
    made.compact()
    assert batches() == [(1, True), (3, True), (4, False), (5, False), (6, False)]
    assert made.log.aborted_transactions(0, 6) == []
    made.compact(now_ms=NOW_MS + 999)
    assert batches()[0] == (1, True)
    made.compact(now_ms=NOW_MS + 1000)
    assert batches() == [(4, False), (5, False), (6, False)]


def test_emptied_marker_is_copied_by_a_follower_and_remembered_by_nobody() -> None:
    """The last marker of a producer without data is kept for its epoch, without its record."""
    made = Compacted()
    made.mark(ABORT_MARKER)
    made.seal()
    made.compact()
    made.compact(now_ms=NOW_MS + 1000)
    [marker, last] = headers_of(made.disk, made.log)
    assert (marker.is_control, marker.record_count) == (True, 0)
    info = made.log.read(0, 1 << 20, end=made.log.log_end, at_least_one=True)
    assert not isinstance(info.data, bytes)
    copy = open_log(MemoryDisk(), CONFIG)
    copy.append_as_follower(info.data.read())
    assert copy.producers.by_id == {}
    assert copy.log_end == last.base_offset


# memory, groups, damage


def test_memory_bounds_a_pass_and_the_next_one_goes_on() -> None:
    made = Compacted()
    for n in range(40):
        made.write((b"key %d" % (n % 20), b"%d" % n))
    made.seal()
    passes = 0
    while made.log.cleaned_end < 40:
        before = made.log.cleaned_end
        made.compact(room_bytes=1000)
        assert made.log.cleaned_end > before
        passes += 1
        assert len(made.left()) >= 20
    assert passes > 3
    assert made.left() == [(n, b"key %d" % (n % 20), b"%d" % n) for n in range(20, 40)]


def test_batch_with_more_keys_than_memory_is_still_a_pass() -> None:
    made = Compacted()
    made.write(*[(b"%d" % n, b"1") for n in range(50)])
    made.write((b"0", b"2"))
    made.seal()
    finished = compact_now(made.disk, made.log, room_bytes=1)
    assert (finished.end, finished.keys) == (50, 50)


def test_long_keys_are_told_apart() -> None:
    made = Compacted()
    made.write((b"k" * 1000, b"1"), (b"k" * 1001, b"1"), (b"k" * 1000, b"2"))
    made.seal()
    made.compact()
    assert made.left() == [(1, b"k" * 1001, b"1"), (2, b"k" * 1000, b"2")]


def order(*sizes: tuple[int, int], end: int, **limits: int) -> Order:
    base = order_for(Compacted().log)
    return replace(base, segments=tuple(SegmentSize(*one) for one in sizes), end=end, **limits)


@pytest.mark.parametrize(
    ("sizes", "end", "limits", "bases"),
    [
        ([(0, 40), (5, 40), (9, 40)], 12, {"group_bytes": 100}, [[0, 5], [9]]),
        ([(0, 400), (5, 40), (9, 60)], 12, {"group_bytes": 100}, [[0], [5, 9]]),
        ([(0, 0), (5, 0), (9, 0)], 12, {"group_bytes": 100}, [[0, 5, 9]]),
        ([(0, 40), (5, 40)], 1 << 31, {"group_bytes": 100}, [[0, 5]]),
        ([(0, 40), (5, 40)], (1 << 31) + 1, {"group_bytes": 100}, [[0], [5]]),
        ([(0, 40), (5, 0)], (1 << 31) + 1, {"group_bytes": 100}, [[0, 5]]),
        (
            [(0, 400), (5, 400), (9, 400)],
            12,
            {"group_bytes": 1 << 20, "index_interval": 100, "index_entries_max": 8},
            [[0, 5], [9]],
        ),
        ([], 0, {}, []),
    ],
)
def test_small_segments_are_grouped(
    sizes: list[tuple[int, int]], end: int, limits: dict[str, int], bases: list[list[int]]
) -> None:
    made = order(*sizes, end=end, **limits)
    assert [[one.base for one in group] for group in grouped(made.segments, made)] == bases


def test_group_becomes_one_segment_and_its_snapshots_go() -> None:
    made = Compacted()
    for n in range(4):
        made.write((b"a%d" % n, b"1"), producer_id=9, producer_epoch=0, base_sequence=n)
        made.roll()
    made.write((b"end", b""))
    made.compact()
    assert made.log.segment_count == 2
    assert [one[0] for one in made.left()] == [0, 1, 2, 3]
    names = made.disk.list_dir(made.log.directory)
    assert [name for name in names if name.endswith(".snapshot")] == [f"{4:020d}.snapshot"]
    reopened = open_log(made.disk, CONFIG, clean=False)
    assert reopened.producers.by_id[9].last_sequence == 3


def test_nothing_is_replaced_by_itself() -> None:
    made = Compacted()
    made.write((b"a", b"1"), (b"b", b"1"))
    made.seal()
    segment = made.log.sealed_segments()[0][0]
    made.compact()
    assert made.log.sealed_segments()[0][0] is segment
    assert not [name for name in made.disk.list_dir(made.log.directory) if "cleaned" in name]


def corrupted(log: Log, disk: MemoryDisk, at: int) -> None:
    file = disk.open(log.sealed_segments()[0][0].path + ".log")
    file.write_at(at, bytes([file.read_at(at, 1)[0] ^ 0x55]))


@pytest.mark.parametrize("at", [16, 8, 70, 22])
def test_damage_stops_a_compaction_and_leaves_the_log(at: int) -> None:
    made = Compacted()
    made.write((b"a", b"1"), (b"b", b"1"))
    made.write((b"a", b"2"))
    made.seal()
    made.log.flush()
    corrupted(made.log, made.disk, at)
    with pytest.raises(CorruptLog, match="t-0"):
        list(compact(made.disk, order_for(made.log)))
    assert not [name for name in made.disk.list_dir(made.log.directory) if "cleaned" in name]


# the log afterwards


def test_reader_of_a_replaced_segment_finishes() -> None:
    made = Compacted()
    made.write((b"a", b"1"))
    made.write((b"a", b"2"))
    made.seal()
    info = made.log.read(0, 80, end=made.log.log_end, at_least_one=True)
    hinted = made.log.read(1, 80, end=made.log.log_end, at_least_one=True)
    made.compact()
    assert not isinstance(info.data, bytes)
    assert read_records(info.data.read())[0].value == b"1"
    assert not isinstance(hinted.data, bytes)
    again = made.log.read(1, 80, end=made.log.log_end, at_least_one=True)
    assert not isinstance(again.data, bytes)
    assert again.data.file is not hinted.data.file, "new readers get the new file"
    made.log.remove_doomed(NOW_MS + 10 * 60_000)
    assert not [name for name in made.disk.list_dir(made.log.directory) if "deleted" in name]


@pytest.mark.parametrize("offset", range(6))
def test_reading_in_a_hole_goes_on_behind_it(offset: int) -> None:
    made = Compacted()
    for n in range(5):
        made.write((b"a", b"%d" % n))
        if n % 2:
            made.roll()
    made.roll()
    made.write((b"end", b""))
    made.compact()
    info = made.log.read(offset, 1000, end=made.log.log_end, at_least_one=True)
    assert info.first_offset == (4 if offset < 5 else 5)
    assert made.log.read(0, 1000, end=4, at_least_one=True).data == b""


def test_cut_log_does_not_take_over_what_was_made_before() -> None:
    made = Compacted()
    made.write((b"a", b"1"))
    made.write((b"a", b"2"))
    made.roll()
    made.write((b"b", b"1"))
    made.log.flush()
    made.log.cleaned_end = 2
    truncations = made.log.truncations
    [step, _] = list(compact(made.disk, replace(order_for(made.log), first_dirty=0)))
    made.log.truncate_to(1)
    assert made.log.cleaned_end == 1
    assert not made.log.take_over(step.bases, truncations)
    assert records_of(made.log)[0].value == b"1"


def test_epochs_stay_what_they_were() -> None:
    made = Compacted()
    for epoch in range(3):
        append(made.log, keyed((b"a", b"%d" % epoch)), epoch=epoch)
    made.seal()
    ends = [made.log.end_offset_for_epoch(epoch) for epoch in range(3)]
    made.compact()
    assert [made.log.end_offset_for_epoch(epoch) for epoch in range(3)] == ends
    assert made.log.log_start == 0
