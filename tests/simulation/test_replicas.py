"""Copies of a compacted partition: what they may differ in, and what they may not."""

from ottla.broker.storage.log_config import LogConfig
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    ControlMarker,
    build_batch,
    build_control_batch,
)
from ottla.runtime.memory import MemoryDisk
from tests.simulation.world.replicas import batches, compacted_difference, known_end
from tests.support.compactions import compact_now, keyed
from tests.support.logs import NOW_MS, append, open_log


def one(offset: int, key: bytes, value: bytes | None, **options) -> bytes:
    return build_batch([(key, value, 0, ())], base_offset=offset, **options)


def written(offset: int, key: bytes, value: bytes) -> bytes:
    return one(offset, key, value, producer_id=7, producer_epoch=0, transactional=True)


def marker(offset: int, kind: int) -> bytes:
    return build_control_batch(
        ControlMarker(kind, 0), timestamp_ms=0, producer_id=7, producer_epoch=0, base_offset=offset
    )


WHOLE = one(0, b"a", b"1") + one(1, b"b", b"1") + one(2, b"a", b"2")


def test_a_compacted_copy_is_as_good_as_a_whole_one():
    compacted = one(1, b"b", b"1") + one(2, b"a", b"2")
    assert compacted_difference(WHOLE, compacted, 3) is None
    assert compacted_difference(compacted, WHOLE, 3) is None


def test_a_newest_value_that_is_gone_is_found():
    for copy in (one(2, b"a", b"2"), one(0, b"a", b"1") + one(1, b"b", b"1")):
        assert "lost" in compacted_difference(WHOLE, copy, 3)
        assert "lost" in compacted_difference(copy, WHOLE, 3)


def test_another_record_at_an_offset_is_found():
    assert "offset 1" in compacted_difference(WHOLE, WHOLE.replace(b"b\x021", b"b\x022"), 3)


def test_a_value_that_a_newer_one_beyond_the_end_replaced_may_be_gone():
    ahead = one(1, b"b", b"1") + one(2, b"a", b"2") + one(3, b"b", b"2")
    assert compacted_difference(WHOLE, ahead.replace(one(1, b"b", b"1"), b""), 3) is None


def test_a_copy_is_read_beyond_an_old_high_watermark_as_far_as_it_may_be_compacted():
    disk = MemoryDisk()
    copy = open_log(disk, LogConfig(cleanup_policy=frozenset({"compact"})))
    for value in (b"1", b"2"):
        append(copy, keyed((b"a", value)))
        copy.maybe_roll(NOW_MS + 2 * copy.config.segment_ms)
    append(copy, keyed((b"b", b"1")))
    compact_now(disk, copy)
    data = batches(copy, 0, known_end(copy, high_watermark=1))
    assert compacted_difference(one(0, b"a", b"1"), data, 1) is None
    assert "lost" in compacted_difference(one(0, b"a", b"1"), batches(copy, 0, 1), 1)


def test_a_removal_may_be_there_or_forgotten():
    removed = WHOLE + one(3, b"b", None)
    assert compacted_difference(removed, one(2, b"a", b"2"), 4) is None


def test_only_values_of_committed_transactions_count():
    aborted = WHOLE + written(3, b"a", b"3") + marker(4, ABORT_MARKER)
    assert compacted_difference(aborted, WHOLE, 5) is None
    committed = WHOLE + written(3, b"a", b"3") + marker(4, COMMIT_MARKER)
    assert "lost" in compacted_difference(committed, WHOLE, 5)
