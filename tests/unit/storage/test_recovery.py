"""What a start makes of directories that a crash, an operator or another broker left."""

import random
from dataclasses import replace
from uuid import UUID

import pytest

from ottla.broker.storage.indexes import InsaneIndex, OffsetIndex, TimeIndex
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.txn_index import AbortedTxn, TxnIndex
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import DIRECTORY, NOW_MS, append, batch, open_log, records_of

CONFIG = LogConfig(segment_bytes=400, index_interval_bytes=100)
FIRST = f"{DIRECTORY}/{0:020d}"


def written(disk: MemoryDisk, count: int = 12) -> list[bytes]:
    """A log of one-record batches in several segments, killed; the values in it."""
    log = open_log(disk, CONFIG)
    values = [b"%03d" % at * 10 for at in range(count)]
    for value in values:
        append(log, batch(value), epoch=2)
    log.close(clean=False)
    return values


def reopened(disk: MemoryDisk, *, recovery_point: int = 0, clean: bool = False) -> Log:
    log = open_log(disk, CONFIG, clean=clean, recovery_point=recovery_point)
    log.check()
    return log


def values_of(log: Log) -> list[bytes | None]:
    return [record.value for record in records_of(log)]


def logs_in(disk: MemoryDisk) -> list[str]:
    return [name for name in disk.list_dir(DIRECTORY) if name.endswith(".log")]


@pytest.mark.parametrize("cut", [1, 7, 60, 61, 100])
def test_torn_tail_is_cut_at_the_last_whole_batch(cut: int) -> None:
    disk = MemoryDisk()
    values = written(disk)
    last = disk.open(f"{DIRECTORY}/{logs_in(disk)[-1]}")
    lost = -(-cut // 100) if cut < last.size() else len(values)
    last.truncate(last.size() - cut)
    log = reopened(disk)
    kept = values_of(log)
    assert kept == values[: len(kept)]
    assert len(kept) >= len(values) - lost - 1
    assert append(log, batch(b"next")) == len(kept)


def test_wrong_byte_ends_the_log_and_drops_the_segments_behind_it() -> None:
    disk = MemoryDisk()
    values = written(disk)
    second = logs_in(disk)[1]
    file = disk.open(f"{DIRECTORY}/{second}")
    file.write_at(file.size() - 3, b"#")
    log = reopened(disk)
    end = log.log_end
    assert int(second.split(".", maxsplit=1)[0]) <= end < len(values)
    assert values_of(log) == values[:end]
    assert len(logs_in(disk)) == 2


def test_nothing_below_the_recovery_point_is_scanned() -> None:
    disk = MemoryDisk()
    values = written(disk)
    disk.open(f"{FIRST}.log").write_at(80, b"#")  # a bad disk; found when it is read, not at start
    log = reopened(disk, recovery_point=len(values))
    assert log.log_end == len(values)


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 80, b"\xff" * 16, b"\x01" * 13])
@pytest.mark.parametrize("suffix", ["index", "timeindex"])
@pytest.mark.parametrize("clean", [True, False])
def test_indexes_may_be_missing_or_insane(suffix: str, content: bytes | None, clean: bool) -> None:
    disk = MemoryDisk()
    values = written(disk)
    reopened(disk).close(clean=True)
    for name in disk.list_dir(DIRECTORY):
        if name.endswith(f".{suffix}"):
            disk.remove(f"{DIRECTORY}/{name}")
            if content is not None:
                disk.open(f"{DIRECTORY}/{name}").append(content)
    log = reopened(disk, clean=clean, recovery_point=len(values))
    assert values_of(log) == values
    assert log.offset_for_timestamp(0) is not None
    log.truncate_to(5)
    assert values_of(log) == values[:5]


@pytest.mark.parametrize("clean", [True, False])
def test_crash_between_the_making_of_files_stops_no_start(clean: bool) -> None:
    disk = MemoryDisk()
    values = written(disk)
    reopened(disk).close(clean=True)
    end = len(values)
    disk.open(f"{DIRECTORY}/{end:020d}.log").close()  # a roll that got no further
    disk.open(f"{DIRECTORY}/{end + 9:020d}.index").close()  # an index without a log
    disk.open(f"{DIRECTORY}/leader-epoch-checkpoint.tmp").append(b"0\n")
    disk.open(f"{DIRECTORY}/partition.metadata").close()
    log = reopened(disk, clean=clean, recovery_point=end)
    assert values_of(log) == values
    assert log.topic_id is None
    assert append(log, batch(b"next")) == end
    assert f"{end + 9:020d}.index" not in disk.list_dir(DIRECTORY)


@pytest.mark.parametrize("recovery_point", [0, 1, 4])
def test_end_of_a_sealed_segment_that_a_power_cut_took_ends_a_compacted_log(
    recovery_point: int,
) -> None:
    """The segment behind it may outlive it; compaction leaves no hole above the recovery point."""
    disk = MemoryDisk()
    config = replace(CONFIG, cleanup_policy=frozenset({"compact"}))
    log = open_log(disk, config)
    while len(logs_in(disk)) < 4:
        append(log, build_batch([(b"k", b"%030d" % log.log_end, NOW_MS, ())]))
    end = log.log_end
    log.close(clean=False)
    first, second, third, _ = [int(name.removesuffix(".log")) for name in logs_in(disk)]
    assert first < recovery_point <= second or not recovery_point
    file = disk.open(f"{DIRECTORY}/{second:020d}.log")
    file.truncate(file.size() * (third - second - 1) // (third - second))  # without its last batch
    log = open_log(disk, config, clean=False, recovery_point=recovery_point)
    # Without a checkpoint it might be the work of a compaction: nothing is thrown away.
    assert log.log_end == (third - 1 if recovery_point else end)


def test_files_on_their_way_out_are_removed() -> None:
    disk = MemoryDisk()
    values = written(disk)
    for name in ("00000000000000000000.log.deleted", "00000000000000000003.log.cleaned"):
        disk.open(f"{DIRECTORY}/{name}").append(b"junk")
    assert values_of(reopened(disk)) == values
    assert not [name for name in disk.list_dir(DIRECTORY) if "." in name.split(".", 1)[1]]


def test_compaction_that_was_done_takes_the_place_of_its_segments() -> None:
    disk = MemoryDisk()
    values = written(disk)
    names = logs_in(disk)
    merged = b"".join(disk.read(f"{DIRECTORY}/{name}") for name in names[:2])
    disk.open(f"{FIRST}.log.swap").append(merged)
    assert values_of(reopened(disk)) == values
    assert logs_in(disk) == [names[0], *names[2:]]


def test_segment_lost_in_the_middle_ends_the_log() -> None:
    disk = MemoryDisk()
    values = written(disk)
    second = int(logs_in(disk)[1].split(".", maxsplit=1)[0])
    disk.remove(f"{DIRECTORY}/{second:020d}.log")
    log = reopened(disk)
    assert values_of(log) == values[:second]


def test_log_that_ends_below_its_start_begins_anew_there() -> None:
    disk = MemoryDisk()
    written(disk)
    log = open_log(disk, CONFIG, clean=False, log_start=50)
    assert (log.log_start, log.log_end) == (50, 50)
    assert append(log, batch(b"v")) == 50


def test_clean_start_reads_no_batch_but_the_last_ones() -> None:
    disk = MemoryDisk()
    values = written(disk)
    reopened(disk).close(clean=True)
    disk.open(f"{FIRST}.log").write_at(16, b"\x09")  # would be seen by any scan
    log = open_log(disk, CONFIG, clean=True, recovery_point=0)
    assert (log.log_end, log.recovery_point) == (len(values), len(values))


def test_torn_end_in_spite_of_a_clean_stop_is_cut() -> None:
    disk = MemoryDisk()
    values = written(disk)
    reopened(disk).close(clean=True)
    disk.open(f"{DIRECTORY}/{logs_in(disk)[-1]}").append(b"\x00" * 30)
    assert values_of(reopened(disk, clean=True, recovery_point=len(values))) == values


def test_idle_log_is_not_written_by_a_clean_stop() -> None:
    disk = MemoryDisk()
    written(disk)
    reopened(disk).close(clean=True)
    before = {name: disk.read(f"{DIRECTORY}/{name}") for name in disk.list_dir(DIRECTORY)}
    log = open_log(disk, CONFIG, clean=True)
    disk.capacity_bytes = 0  # any write would fail
    log.close(clean=True)
    assert before == {name: disk.read(f"{DIRECTORY}/{name}") for name in disk.list_dir(DIRECTORY)}


def test_recovery_says_what_it_did() -> None:
    disk = MemoryDisk()
    written(disk)
    file = disk.open(f"{DIRECTORY}/{logs_in(disk)[-1]}")
    file.truncate(file.size() - 1)
    events = RecordingEvents()
    log = open_log(disk, CONFIG, clean=False, events=events)
    (entry,) = events.named("log.recovered")
    assert entry.fields["partition"] == "t-0"
    assert entry.fields["log_end"] == log.log_end


def test_topic_id_is_kept_in_kafkas_file() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    topic_id = UUID("12345678-1234-5678-9234-567812345678")
    log.set_topic_id(topic_id)
    assert disk.read(f"{DIRECTORY}/partition.metadata") == (
        b"version: 0\ntopic_id: EjRWeBI0VniSNFZ4EjRWeA"
    )
    log.close(clean=False)
    assert open_log(disk, clean=False).topic_id == topic_id


def test_index_files_are_kafkas_byte_for_byte() -> None:
    disk = MemoryDisk()
    log = open_log(disk, LogConfig(index_interval_bytes=100))
    size = len(batch(b"v" * 40))
    for at in range(3):
        append(log, batch(b"v" * 40, b"w", timestamp=1000 + at))
    log.close(clean=True)
    position = len(batch(b"v" * 40, b"w"))
    assert size < position
    assert disk.read(f"{FIRST}.index") == (
        (3).to_bytes(4, "big")
        + position.to_bytes(4, "big")
        + (5).to_bytes(4, "big")
        + (2 * position).to_bytes(4, "big")
    )
    assert disk.read(f"{FIRST}.timeindex") == (
        (1001).to_bytes(8, "big")
        + (3).to_bytes(4, "big")
        + (1002).to_bytes(8, "big")
        + (5).to_bytes(4, "big")
    )


@pytest.mark.parametrize("seed", range(20))
def test_flush_makes_the_names_of_new_segments_durable_too(seed: int) -> None:
    disk = MemoryDisk()
    log = open_log(disk, CONFIG)
    append(log, batch(b"first"))
    log.flush()
    for _ in range(12):
        append(log, batch(b"v" * 50))
    log.flush()
    assert log.segment_count > 1
    disk.crash(random.Random(seed))
    assert reopened(disk, recovery_point=13).log_end == 13


def test_aborted_transaction_index_is_kafkas_byte_for_byte() -> None:
    disk = MemoryDisk()
    index = TxnIndex(disk, "/x.txnindex", exists=False)
    index.append(AbortedTxn(7, 1, 5, 6))
    index.append(AbortedTxn(8, 2, 9, 10))
    entry = "00000000000000000007000000000000000100000000000000050000000000000006"
    data = disk.read("/x.txnindex")
    assert data[:34] == bytes.fromhex(entry)
    disk.open("/x.txnindex").append(b"\x00\x00torn")
    again = TxnIndex(disk, "/x.txnindex", exists=True)
    assert again.entries() == [AbortedTxn(7, 1, 5, 6), AbortedTxn(8, 2, 9, 10)]
    again.truncate_to(9)
    assert disk.read("/x.txnindex") == data[:34]
    again.append(AbortedTxn(8, 2, 9, 10))
    assert disk.read("/x.txnindex") == data


@pytest.mark.parametrize("page", [0, 7, 60])
def test_page_lost_in_a_large_index_is_told(page: int) -> None:
    disk = MemoryDisk()
    offsets = OffsetIndex(disk, "/x.index", 0, lambda: None)
    times = TimeIndex(disk, "/x.timeindex", 0, lambda: None)
    for index in (offsets, times):
        index.reset()
    for at in range(40_000):
        offsets.append(at * 10, at * 100)
        times.append(NOW_MS + at, at * 10)
    for index, path in ((offsets, "/x.index"), (times, "/x.timeindex")):
        index.save()
        index.unload()
        index.load(1 << 30)
        assert len(index) == 40_000
        disk.open(path).write_at(page * 4096, bytes(4096))
        with pytest.raises(InsaneIndex):
            index.load(1 << 30)
    assert times.last() == (NOW_MS + 39_999, 399_990)


@pytest.mark.parametrize("seed", range(8))
async def test_topic_id_is_on_the_disk_with_the_first_records(seed: int) -> None:
    """Else a log could be taken for that of a topic which was made anew under its name."""
    for is_async in (False, True):
        disk = MemoryDisk()
        log = open_log(disk, CONFIG)
        log.set_topic_id(UUID(int=5))
        append(log, batch(b"value"))
        if is_async:
            await log.flush_async()
        else:
            log.flush()
        disk.crash(random.Random(seed))
        assert open_log(disk, CONFIG, clean=False).topic_id == UUID(int=5)


@pytest.mark.parametrize("seed", range(8))
async def test_topic_id_that_a_crash_has_cut_short_is_taken_for_none(seed: int) -> None:
    disk = MemoryDisk()
    open_log(disk, CONFIG).set_topic_id(UUID(int=5))
    disk.crash(random.Random(seed))
    log = open_log(disk, CONFIG, clean=False)
    assert log.topic_id in (None, UUID(int=5))
    log.set_topic_id(UUID(int=5))
    assert open_log(disk, CONFIG).topic_id == UUID(int=5)
