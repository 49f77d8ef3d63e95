"""What a log takes, refuses, returns and throws away."""

import pytest
import trio

from ottla.broker.errors import (
    BrokerError,
    CorruptMessage,
    InvalidConfig,
    InvalidRecord,
    InvalidTimestamp,
    KafkaStorageError,
    OffsetOutOfRange,
    RecordListTooLarge,
    RecordTooLarge,
    UnsupportedCompression,
    UnsupportedFormat,
)
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log_config import LogConfig, TimestampType
from ottla.broker.storage.producers import Origin
from ottla.broker.storage.reading import FileRange
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import build_batch, iter_headers, read_header, validate_crc
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import DIRECTORY, NOW_MS, append, batch, open_log, records_of

HOUR_MS = 3_600_000


def patched(data: bytes, at: int, value: bytes) -> bytes:
    """`data` with other bytes at `at`, and the right checksum for them."""
    from ottla.protocol.kafka.crc import crc32c

    changed = bytearray(data)
    changed[at : at + len(value)] = value
    changed[17:21] = crc32c(changed[21:]).to_bytes(4, "big")
    return bytes(changed)


GOOD = batch(b"one", b"two")


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", InvalidRecord),
        (b"\x00" * 60, CorruptMessage),
        (GOOD[:-1], CorruptMessage),
        (GOOD + b"\x00", CorruptMessage),
        (GOOD[:-1] + b"\x07", CorruptMessage),
        (GOOD[:8] + b"\xff\xff\xff\xff" + GOOD[12:], CorruptMessage),
        (GOOD[:16] + b"\x01" + GOOD[17:], UnsupportedFormat),
        (GOOD[:16] + b"\x03" + GOOD[17:], CorruptMessage),
        (batch(b"v", base_offset=1), InvalidRecord),
        (batch(b"v", control=True), InvalidRecord),
        (patched(GOOD, 23, b"\x00\x00\x00\x02"), InvalidRecord),
        (patched(GOOD, 57, b"\x00\x00\x00\x00"), InvalidRecord),
        (patched(GOOD, 21, b"\x00\x08"), InvalidTimestamp),
        (patched(GOOD, 21, b"\x00\x05"), UnsupportedCompression),
        (batch(b"v", producer_id=3, producer_epoch=0), InvalidRecord),
        (batch(b"v", timestamp=NOW_MS + HOUR_MS + 1), InvalidTimestamp),
        (batch(bytes(1001)), RecordTooLarge),
        (batch(bytes(900)) * 3, RecordListTooLarge),
        (GOOD + GOOD[:-1] + b"\x07", CorruptMessage),
    ],
)
def test_leader_refuses(data: bytes, refusal: type[BrokerError]) -> None:
    log = open_log(config=LogConfig(max_message_bytes=1000, segment_bytes=2000))
    append(log, batch(b"before"))
    with pytest.raises(refusal):
        append(log, data)
    assert log.log_end == 1
    assert [record.value for record in records_of(log)] == [b"before"]
    log.check()


def test_leader_assigns_offsets_and_epoch_and_leaves_the_rest_alone() -> None:
    log = open_log()
    append(log, batch(b"before"))
    data = GOOD + batch(b"three", codec=Codec.ZSTD)
    info = log.append_as_leader(data, leader_epoch=4, now_ms=NOW_MS)
    assert info == (1, 3, -1, 0, False, 2, len(data))
    stored = log.read(1, 1 << 20, end=4, at_least_one=True).data
    assert isinstance(stored, FileRange)
    assert [
        (header.base_offset, header.partition_leader_epoch, header.crc)
        for _, header in iter_headers(stored.read())
    ] == [(1, 4, read_header(GOOD).crc), (3, 4, read_header(data, len(GOOD)).crc)]
    assert data[:8] == bytes(8), "the caller's bytes are not touched"
    assert (log.latest_epoch, log.epochs.entries()) == (4, [(0, 0), (4, 1)])


def test_log_append_time_stamps_and_signs_anew() -> None:
    log = open_log(config=LogConfig(timestamp_type=TimestampType.LOG_APPEND_TIME))
    info = log.append_as_leader(batch(b"v", timestamp=1), leader_epoch=0, now_ms=NOW_MS)
    assert info.log_append_time_ms == NOW_MS
    stored = log.read(0, 1 << 20, end=1, at_least_one=True).data
    assert isinstance(stored, FileRange)
    validate_crc(stored.read(), 0, read_header(stored.read()))
    assert [record.timestamp for record in records_of(log)] == [NOW_MS]
    assert log.offset_for_timestamp(NOW_MS) == (NOW_MS, 0, 0)


def test_compression_type_brings_batches_to_one_codec() -> None:
    log = open_log(config=LogConfig(compression_type="lz4"))
    values = [b"a" * 500, b"b" * 500]
    append(log, batch(*values) + batch(*values, codec=Codec.LZ4) + batch(*values, codec=Codec.GZIP))
    stored = log.read(0, 1 << 20, end=6, at_least_one=True).data
    assert isinstance(stored, FileRange)
    data = stored.read()
    for position, header in iter_headers(data):
        assert header.codec is Codec.LZ4
        validate_crc(data, position, header)
    assert [record.value for record in records_of(log)] == values * 3
    with pytest.raises(CorruptMessage):
        append(log, GOOD[:-1] + b"\x07")


def test_compacted_topics_take_keyed_records_only() -> None:
    log = open_log(config=LogConfig(cleanup_policy=frozenset({"compact"})))
    append(log, batch(b"v", codec=Codec.SNAPPY))
    with pytest.raises(InvalidRecord):
        append(log, build_batch([(b"k", b"v", NOW_MS, ()), (None, b"v", NOW_MS, ())]))
    assert log.log_end == 1


def test_old_timestamps_are_refused_where_that_is_configured() -> None:
    log = open_log(config=LogConfig(timestamp_before_max_ms=1000))
    append(log, batch(b"v", timestamp=NOW_MS - 1000))
    append(log, batch(b"v", timestamp=-1))
    with pytest.raises(InvalidTimestamp):
        append(log, batch(b"v", timestamp=NOW_MS - 1001))


@pytest.mark.parametrize(
    "values",
    [
        {"compression_type": "brotli"},
        {"cleanup_policy": frozenset({"shred"})},
        {"segment_bytes": 1},
        {"segment_ms": 0},
    ],
)
def test_bad_configurations_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InvalidConfig):
        LogConfig(**values)  # type: ignore[arg-type]


# followers


def replicated(offset: int, *values: bytes, epoch: int = 0) -> bytes:
    return batch(*values, base_offset=offset, leader_epoch=epoch)


def test_follower_keeps_the_leaders_bytes() -> None:
    log = open_log(config=LogConfig(segment_bytes=400))
    data = b"".join(replicated(at * 2, b"a" * 50, b"b" * 50) for at in range(8))
    log.append_as_follower(data + replicated(16, b"cut")[:-1])
    assert log.log_end == 16
    assert log.segment_count > 1
    stored = b""
    for offset in range(0, 16, 2):
        info = log.read(offset, 1, end=16, at_least_one=True)
        assert isinstance(info.data, FileRange)
        stored += info.data.read()
    assert stored == data
    log.check()


def test_follower_refuses_offsets_that_fall_and_bad_checksums() -> None:
    log = open_log()
    log.append_as_follower(replicated(0, b"v"))
    for data, refusal in (
        (replicated(0, b"v"), InvalidRecord),
        (replicated(2, b"v") + replicated(1, b"v"), InvalidRecord),
        (replicated(1, b"v")[:-1] + b"\x01", CorruptMessage),
        (b"\x01" * 80, CorruptMessage),
        (replicated(0, b"v", b"w"), KafkaStorageError),
    ):
        with pytest.raises(refusal):
            log.append_as_follower(data)
        assert log.log_end == 1
    assert log.append_as_follower(b"").batches == 0
    log.append_as_follower(replicated(5, b"after a hole"))
    assert log.log_end == 6
    assert log.read(1, 100, end=6, at_least_one=True).first_offset == 5


def test_follower_that_starts_inside_of_a_batch_begins_where_the_batch_does() -> None:
    log = open_log(log_start=5)
    log.append_as_follower(replicated(4, b"a", b"b", b"c"))
    assert (log.log_start, log.log_end) == (5, 7)
    assert [record.offset for record in records_of(log)] == [5, 6]
    log.check()


# reading


def test_reads_outside_of_the_log_are_refused_and_at_the_end_are_empty() -> None:
    log = open_log()
    for _ in range(5):
        append(log, batch(b"v"))
    log.advance_log_start(2)
    for offset in (1, 6):
        with pytest.raises(OffsetOutOfRange):
            log.read(offset, 100, end=5, at_least_one=True)
    for offset, end in ((5, 5), (3, 3), (4, 2)):
        assert len(log.read(offset, 100, end=end, at_least_one=True).data) == 0


def test_sequential_reader_of_old_segments_scans_each_place_once() -> None:
    disk = MemoryDisk()
    log = open_log(disk, LogConfig(segment_bytes=20_000, index_interval_bytes=1000))
    for _ in range(1000):
        append(log, batch(b"v" * 30))
    log.close(clean=True)
    log = open_log(disk)
    offset = reads = 0
    while offset < 1000:
        info = log.read(offset, 3000, end=1000, at_least_one=True)
        assert isinstance(info.data, FileRange)
        headers = [header for _, header in iter_headers(info.data.read())]
        assert headers[0].base_offset == info.first_offset == offset
        assert sum(header.size for header in headers) == len(info.data), "whole batches"
        offset = headers[-1].last_offset + 1
        reads += 1
    assert reads < 60


def test_timestamps_are_found_inside_of_compressed_batches() -> None:
    log = open_log()
    for start in (0, 10, 5):
        records = [(b"k", b"v", start + at, ()) for at in range(4)]
        append(log, build_batch(records, codec=Codec.GZIP))
    assert log.offset_for_timestamp(2) == (2, 2, 0)
    assert log.offset_for_timestamp(4) == (10, 4, 0)
    assert log.offset_for_timestamp(14) is None
    assert log.max_timestamp_offset() == (13, 7, 0)
    assert open_log().max_timestamp_offset() is None


# space


def test_retention_by_size_time_and_log_start_never_passes_the_high_watermark() -> None:
    config = LogConfig(segment_bytes=200, retention_bytes=400, retention_ms=1000)
    log = open_log(config=config)
    for at in range(10):
        append(log, batch(b"v" * 50, timestamp=NOW_MS + at), now_ms=NOW_MS + at)
    segments = log.segment_count
    assert log.delete_expired(NOW_MS, 0) == 0
    assert log.delete_expired(NOW_MS, 10) > 0
    assert log.size_bytes <= 400 + 200
    assert log.segment_count < segments
    assert log.log_start > 0
    log.advance_log_start(9)
    log.delete_expired(NOW_MS, 10)
    assert log.first_base <= 9
    assert log.delete_expired(NOW_MS + 2000, 9) == 0
    log.delete_expired(NOW_MS + 2000, 10)
    assert (log.log_start, log.log_end, log.size_bytes) == (10, 10, 0)
    append(log, batch(b"after"), now_ms=NOW_MS + 2000)
    log.check()


def test_batch_around_the_log_start_that_a_full_disk_refuses_is_taken_later() -> None:
    """Its begin was below the log start, and so was the end after the refusal: seed 93006."""
    disk = MemoryDisk()
    log = open_log(disk)
    log.truncate_fully_and_start_at(6)
    around = batch(b"a", b"b", b"c", b"d", b"e", base_offset=4)
    disk.capacity_bytes = disk.used_bytes
    for _ in range(2):
        with pytest.raises(KafkaStorageError):
            log.append_as_follower(around)
        assert (log.log_start, log.log_end) == (6, 6)
        log.check()
    disk.capacity_bytes = None
    log.append_as_follower(around)
    assert (log.log_start, log.log_end) == (6, 9)
    assert [record.value for record in records_of(log)][-3:] == [b"c", b"d", b"e"]
    log.close(clean=False)
    again = open_log(disk, clean=False, log_start=6)
    assert (again.log_start, again.log_end) == (6, 9)


def test_deleted_segments_stay_readable_until_their_delay_is_over() -> None:
    disk = MemoryDisk()
    log = open_log(disk, LogConfig(segment_bytes=200, file_delete_delay_ms=1000))
    for _ in range(6):
        append(log, batch(b"v" * 50))
    info = log.read(0, 100, end=6, at_least_one=True)
    assert isinstance(info.data, FileRange)
    before = info.data.read()
    log.truncate_fully_and_start_at(100)
    assert info.data.read() == before
    assert any(name.endswith(".deleted") for name in disk.list_dir(DIRECTORY))
    log.remove_doomed(NOW_MS + 1000)
    assert not any(name.endswith(".deleted") for name in disk.list_dir(DIRECTORY))
    assert append(log, batch(b"v")) == 100


def test_full_disk_refuses_appends_and_comes_back_by_itself() -> None:
    disk = MemoryDisk()
    events = RecordingEvents()
    log = open_log(disk, events=events)
    append(log, batch(b"before"))
    disk.capacity_bytes = disk.used_bytes + 10
    for _ in range(2):
        with pytest.raises(KafkaStorageError):
            append(log, batch(b"v" * 100))
    assert log.log_end == 1
    assert [record.value for record in records_of(log)] == [b"before"]
    disk.capacity_bytes = None
    assert append(log, batch(b"after")) == 1
    assert [entry.name for entry in events.entries] == [
        "log.append_failed",
        "log.append_recovered",
    ]
    log.check()


def test_segments_roll_by_size_time_and_full_indexes() -> None:
    for config, step_ms in (
        (LogConfig(segment_bytes=100), 0),
        (LogConfig(segment_ms=10), 11),
        (LogConfig(segment_index_bytes=24, index_interval_bytes=0), 0),
    ):
        log = open_log(config=config)
        for at in range(4):
            now_ms = NOW_MS + at * step_ms
            append(log, batch(b"v", timestamp=now_ms), now_ms=now_ms)
        assert log.segment_count > 1, config
        log.check()
    log = open_log(config=LogConfig(segment_ms=10))
    append(log, batch(b"v"))
    assert not log.maybe_roll(NOW_MS + 10)
    assert log.maybe_roll(NOW_MS + 11)
    assert not log.maybe_roll(NOW_MS + 99), "an empty segment is not rolled"


def test_jitter_closes_segments_at_different_ages_below_that_of_the_topic() -> None:
    ages = set()
    for partition in range(20):
        log = open_log(config=LogConfig(segment_ms=1000, segment_jitter_ms=400))
        log.tp = TopicPartition("t", partition)
        append(log, batch(b"v"))
        age = next(ms for ms in range(2000) if log.maybe_roll(NOW_MS + ms))
        assert 600 < age <= 1001
        ages.add(age)
    assert len(ages) > 10


def test_indexes_of_sealed_segments_go_from_memory_in_every_round_of_upkeep() -> None:
    """Also where nobody has read them since the round before."""
    log = open_log(MemoryDisk(), LogConfig(segment_bytes=300, index_interval_bytes=0))
    for _ in range(12):
        append(log, batch(b"value"))
    for _ in range(3):
        log.unload_sealed_indexes()
    assert len(records_of(log)) == 12
    log.unload_sealed_indexes()


def test_flush_messages_bounds_what_is_not_synced() -> None:
    log = open_log(config=LogConfig(flush_messages=3))
    append(log, batch(b"a", b"b"))
    assert log.recovery_point == 0
    append(log, batch(b"c"))
    assert log.recovery_point == 3


async def test_async_flush_covers_what_was_there_when_it_began(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = MemoryDisk(sync_delay_s=1)
    log = open_log(disk)
    append(log, batch(b"a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.flush_async)
        await trio.sleep(0.5)
        append(log, batch(b"b"))
    assert (log.recovery_point, log.log_end) == (1, 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.flush_async)
        await trio.sleep(0.5)
        log.truncate_to(1)
    assert log.recovery_point == 1


def test_internal_appends_may_carry_what_clients_may_not() -> None:
    log = open_log()
    late = batch(b"v", timestamp=NOW_MS + 2 * HOUR_MS, base_offset=9)
    log.append_as_leader(late, leader_epoch=0, now_ms=NOW_MS, origin=Origin.INTERNAL)
    assert log.log_end == 1


def test_a_receive_buffer_is_written_into_and_anything_else_is_copied() -> None:
    log = open_log()
    given = batch(b"a", b"b")
    append(log, given)
    buffer = bytearray(batch(b"c"))
    append(log, memoryview(buffer))
    kept = memoryview(bytes(batch(b"d")))
    append(log, kept)
    assert [record.offset for record in records_of(log)] == [0, 1, 2, 3]
    assert given == batch(b"a", b"b")
    assert bytes(kept) == batch(b"d")
    assert int.from_bytes(buffer[:8], "big") == 2
