"""Loading what others wrote: transactions, tombstones, records and batches that make no sense."""

import random

import pytest

from ottla.broker.groups.group import Group
from ottla.broker.groups.records import (
    encode_group,
    encode_group_key,
    encode_offset,
    encode_offset_key,
)
from ottla.broker.groups.replay import Replay
from ottla.broker.groups.settings import OFFSETS_TOPIC, GroupSettings
from ottla.broker.groups.values import GroupRecord, Moment, OffsetEntry
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.reading import FileRange
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    ControlMarker,
    build_batch,
    build_control_batch,
    iter_headers,
)
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from ottla.runtime.memory_disk import Flip
from tests.support.offsets_partition import OffsetsReplica

NOW = Moment(0.0, 1_700_000_000_000)
TP = TopicPartition("t", 0)
PRODUCER = 77


class Replayed:
    """A log to write to, and the groups that come out of it."""

    def __init__(self) -> None:
        self.partition = OffsetsReplica(TopicPartition(OFFSETS_TOPIC, 0), FixedWallClock())
        self.events = RecordingEvents()
        self.groups: dict[str, Group] = {}

    def group_of(self, group_id: str) -> Group:
        fresh = Group(group_id, GroupSettings(), random.Random(1), NOW)
        return self.groups.setdefault(group_id, fresh)

    def write(self, *records: tuple[bytes | None, bytes | None], **options: object) -> None:
        batch = build_batch(((k, v, NOW.wall_ms, ()) for k, v in records), **options)
        self.append(batch)

    def append(self, batch: bytes) -> None:
        # As a follower would: nothing here depends on what a leader would have let in.
        placed = self.partition.log.log_end.to_bytes(8, "big") + batch[8:]
        self.partition.log.append_as_follower(placed)
        self.partition.commit()

    def mark(self, marker: int) -> None:
        self.append(
            build_control_batch(
                ControlMarker(marker, 0),
                timestamp_ms=NOW.wall_ms,
                producer_id=PRODUCER,
                producer_epoch=0,
            )
        )

    async def load(self, buffer_bytes: int = 1 << 20) -> dict[str, Group]:
        self.groups.clear()
        replay = Replay(self.partition, self.group_of, buffer_bytes, self.events)
        await replay.run()
        for group in self.groups.values():
            group.check()
        return self.groups


def offset(value: int, group_id: str = "g", tp: TopicPartition = TP) -> tuple[bytes, bytes]:
    entry = OffsetEntry(value, -1, "", NOW.wall_ms)
    return encode_offset_key(group_id, tp), encode_offset(entry)


TRANSACTIONAL = {
    "producer_id": PRODUCER,
    "producer_epoch": 0,
    "base_sequence": 0,
    "transactional": True,
}


async def test_transactional_offset_counts_from_its_commit_marker_on() -> None:
    log = Replayed()
    log.write(offset(1))
    log.write(offset(2), **TRANSACTIONAL)
    offsets = (await log.load())["g"].offsets
    assert offsets.get(TP).offset == 1
    assert offsets.is_unstable(TP)
    log.mark(COMMIT_MARKER)
    offsets = (await log.load())["g"].offsets
    assert offsets.get(TP).offset == 2
    assert offsets.is_settled


async def test_aborted_offset_never_counts() -> None:
    log = Replayed()
    log.write(offset(1))
    log.write(offset(2), **TRANSACTIONAL)
    log.mark(ABORT_MARKER)
    offsets = (await log.load())["g"].offsets
    assert offsets.get(TP).offset == 1
    assert offsets.is_settled


async def test_plain_commit_after_a_transactional_one_stands() -> None:
    """The marker comes later, but the record of the transaction is the older one."""
    log = Replayed()
    log.write(offset(2), **TRANSACTIONAL)
    log.write(offset(3))
    log.mark(COMMIT_MARKER)
    assert (await log.load())["g"].offsets.get(TP).offset == 3


async def test_tombstones_take_away() -> None:
    log = Replayed()
    empty = GroupRecord(4, "consumer", None, None, NOW.wall_ms, ())
    log.write(offset(1), (encode_group_key("g"), encode_group(empty)))
    log.write((encode_offset_key("g", TP), None), (encode_group_key("g"), None))
    assert (await log.load())["g"].is_disposable()


async def test_record_that_makes_no_sense_is_left_out_with_an_event() -> None:
    log = Replayed()
    key, value = offset(1)
    log.write((key, value[:-3]), (None, value), (b"\0\2\0\5ab", b""), offset(5, "h"))
    groups = await log.load()
    assert groups["h"].offsets.get(TP).offset == 5
    assert len(log.events.named("groups.record_skipped")) == 3


def flip(log: Replayed, at: int) -> Flip:
    """A bit of the byte `at` of the second batch reads wrong."""
    path = f"/log/{log.partition.tp}/{0:020}.log"
    (_, _), (second, _), *_ = iter_headers(log.partition.disk.read(path))
    return log.partition.disk.flip_bit(path, second + at, 3)


@pytest.mark.parametrize(("at", "groups_left"), [(70, {"a", "c"}), (11, {"a"})])
async def test_batch_that_is_damaged_everywhere_is_left_out_with_an_event(
    at: int, groups_left: set[str]
) -> None:
    log = Replayed()
    for group in "abc":
        log.write(offset(1, group))
    flip(log, at)
    assert set(await log.load()) == groups_left
    assert log.events.named("groups.batch_skipped") or log.events.named("groups.log_unreadable")


@pytest.mark.parametrize("at", [70, 11, 8])
async def test_batch_that_reads_right_when_looked_at_again_counts(at: int) -> None:
    log = Replayed()
    for group in "abc":
        log.write(offset(1, group))
    wrong = flip(log, at)

    def is_damaged(_records: FileRange, _offset: int) -> bool:
        wrong.undo()
        return False

    log.partition.is_damaged = is_damaged
    assert set(await log.load()) == {"a", "b", "c"}
    assert not log.events.named("groups.batch_skipped")


async def test_other_groups_records_are_passed_over() -> None:
    log = Replayed()
    log.write((b"\0\3\0\1g\0\0\0\1", b"x"), offset(5))
    assert (await log.load())["g"].offsets.get(TP).offset == 5
    assert len(log.events.named("groups.key_ignored")) == 1


async def test_compressed_batches_and_small_buffers() -> None:
    log = Replayed()
    for number in range(300):
        log.write(
            offset(number), offset(number, "h", TopicPartition("t", number)), codec=Codec.ZSTD
        )
    groups = await log.load(buffer_bytes=10)
    assert groups["g"].offsets.get(TP).offset == 299
    assert len(groups["h"].offsets) == 300
