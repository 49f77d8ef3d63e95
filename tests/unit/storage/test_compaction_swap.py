"""Compacted files take the place of segments, or do not, whatever moment the power goes at."""

import random
from contextlib import suppress

import pytest

from ottla.broker.storage.compaction_swap import finish_swaps
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.protocol.kafka.records import Record
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.compactions import FusedDisk, PowerCut, compact_now, keyed
from tests.support.logs import DIRECTORY, NOW_MS, TP, append, open_log, records_of

CONFIG = LogConfig(
    cleanup_policy=frozenset({"compact"}), delete_retention_ms=0, index_interval_bytes=0
)


def reopened(disk: MemoryDisk | FusedDisk, recovery_point: int) -> Log:
    return Log.open(
        disk,  # type: ignore[arg-type]
        DIRECTORY,
        TP,
        LogConfig(),  # even if the topic is not compacted any more
        now_ms=NOW_MS,
        clean=False,
        recovery_point=recovery_point,
        events=RecordingEvents(),
    )


def dirty_log(disk: FusedDisk) -> Log:
    """Segments of one batch each; a key is deleted in the third, long enough ago."""
    log = open_log(disk, CONFIG)  # type: ignore[arg-type]
    for records in (
        [(b"a", b"1")],
        [(b"k", b"deleted"), (b"a", b"2")],
        [(b"k", None), (b"a", b"3")],
        [(b"a", b"4"), (b"b", b"1")],
        [(b"b", b"2")],
        [(b"a", b"5")],
    ):
        append(log, keyed(*records))
        log.maybe_roll(NOW_MS + 2 * CONFIG.segment_ms)
    # Notes when the tombstone may go, and leaves small segments for the next one.
    compact_now(disk, log, group_bytes=1)  # type: ignore[arg-type]
    append(log, keyed((b"a", b"6")))
    log.maybe_roll(NOW_MS + 2 * CONFIG.segment_ms)
    append(log, keyed((b"b", b"3")))
    log.flush()
    return log


def judge(records: list[Record]) -> None:
    newest = {record.key: record.value for record in records}
    assert newest.pop(b"k", None) is None, "a deleted key is back"
    assert newest == {b"a": b"6", b"b": b"3"}


def changes_of_a_compaction() -> int:
    disk = FusedDisk(MemoryDisk())
    log = dirty_log(disk)
    disk.fuse = 1 << 20
    compact_now(disk, log)  # type: ignore[arg-type]
    return (1 << 20) - disk.fuse


@pytest.mark.slow
def test_every_change_may_be_the_last() -> None:
    count = changes_of_a_compaction()
    assert count > 20
    for fuse in range(count):
        for seed in range(3):
            disk = FusedDisk(MemoryDisk())
            disk.disk.make_dirs(DIRECTORY)
            disk.disk.sync_dir(DIRECTORY)
            log = dirty_log(disk)
            end = log.log_end
            disk.fuse = fuse
            with suppress(PowerCut):
                compact_now(disk, log)  # type: ignore[arg-type]
            disk.disk.crash(random.Random(seed))
            log = reopened(disk.disk, end)
            log.check()
            assert log.log_end == end
            judge(records_of(log))
            assert not [
                name for name in disk.disk.list_dir(DIRECTORY) if name.endswith(("swap", "cleaned"))
            ]


def test_start_that_is_cut_short_too_goes_on_the_next_time() -> None:
    count = changes_of_a_compaction()
    for fuse in range(0, count, 3):
        disk = FusedDisk(MemoryDisk())
        disk.disk.make_dirs(DIRECTORY)
        disk.disk.sync_dir(DIRECTORY)
        log = dirty_log(disk)
        end = log.log_end
        disk.fuse = fuse
        with suppress(PowerCut):
            compact_now(disk, log)  # type: ignore[arg-type]
        for again in range(8):
            disk.fuse = None
            disk.disk.crash(random.Random(again))
            disk.fuse = again
            with suppress(PowerCut):
                reopened(disk, end)
        disk.disk.crash(random.Random(fuse))
        judge(records_of(reopened(disk.disk, end)))


LOG, INDEX = "00000000000000000000.log", "00000000000000000000.index"
OLD = {LOG: "o", INDEX: "o"}
NEW = {LOG: "n", INDEX: "n"}


@pytest.mark.parametrize(
    ("found", "left"),
    [
        # the compaction was not done
        ({f"{LOG}.cleaned": "n", f"{INDEX}.cleaned": "n", LOG: "o"}, {LOG: "o"}),
        ({f"{LOG}.cleaned": "n", f"{INDEX}.swap": "n", **OLD}, OLD),
        # it was done
        ({f"{LOG}.swap": "n", f"{INDEX}.swap": "n", **OLD}, NEW),
        ({f"{LOG}.swap": "n", f"{INDEX}.swap": "n", INDEX: "o"}, NEW),
        ({f"{LOG}.swap": "n", INDEX: "n"}, NEW),
        # as Kafka leaves it
        ({f"{LOG}.swap": "n", f"{INDEX}.cleaned": "n", **OLD}, NEW),
        ({LOG: "n", f"{INDEX}.swap": "n"}, NEW),
        ({f"{INDEX}.swap": "n"}, {}),
    ],
)  # fmt: skip
def test_what_a_start_makes_of_what_it_finds(found: dict[str, str], left: dict[str, str]) -> None:
    disk = MemoryDisk()
    disk.make_dirs("/d")
    for name, content in found.items():
        disk.open(f"/d/{name}").append(content.encode())
    names = finish_swaps(disk, "/d", disk.list_dir("/d"))
    assert {name: disk.read(f"/d/{name}").decode() for name in disk.list_dir("/d")} == left
    assert names == sorted(left)
