"""Groups that come back from a partition of the offsets topic that was compacted."""

import random
from dataclasses import replace

import trio

from ottla.broker.groups.group import Group
from ottla.broker.groups.home import GroupHome
from ottla.broker.groups.settings import OFFSETS_TOPIC
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    ControlMarker,
    build_batch,
    build_control_batch,
)
from tests.support.compactions import compact_now
from tests.support.group_home import QUICK, Consumer, Stage
from tests.support.offsets_partition import OffsetsReplica
from tests.unit.groups.test_replay import TP, Replayed, offset

ONE = replace(QUICK, topic_partitions=1)


def compact(home: GroupHome, partition: OffsetsReplica) -> None:
    """All but what is written last; then what is deleted is over long ago."""
    log = partition.log
    log.maybe_roll(partition.wall_clock.now_ms() + 2 * log.config.segment_ms)
    Consumer(home, group_id="last").commit(1)
    before = log.size_bytes
    compact_now(log._disk, log, now_ms=partition.wall_clock.now_ms())
    assert log.size_bytes < before
    partition.wall_clock.advance(2 * log.config.delete_retention_ms)


def summary(group: Group) -> object:
    offsets = sorted((str(tp), group.offsets.get(tp)) for tp in group.offsets.all_keys())
    return group.state, group.last_record, offsets


async def commits(home: GroupHome) -> dict[str, int]:
    """Groups that come, commit, rebalance and go; what each has committed for partition 0."""
    rng = random.Random(5)
    expected: dict[str, int] = {}
    for name in ("g", "h"):
        member = Consumer(home, group_id=name)
        member.join_alone()
        for _ in range(40):
            value = rng.randrange(1000)
            assert member.commit(value).get_nowait() is ErrorCode.NONE
            member.commit(value + 1, partition=rng.randrange(1, 5))
            expected[name] = value
    simple = Consumer(home, group_id="simple")
    for value in range(30):
        assert simple.commit(value).get_nowait() is ErrorCode.NONE
    expected["simple"] = 29
    return expected


async def test_second_home_finds_the_last_word_of_each_group() -> None:
    stage = Stage(ONE)
    partition = stage.partitions[TopicPartition(OFFSETS_TOPIC, 0)]
    async with stage.home() as home:
        expected = await commits(home)
        before = {name: home.describe(name) for name in ("g", "h", "simple")}
        told = {name: summary(group) for name, group in before.items() if isinstance(group, Group)}
        assert len(told) == 3
        compact(home, partition)
        Consumer(home, group_id="late").commit(7)
    async with stage.home() as home:
        for name, summed in told.items():
            group = home.describe(name)
            assert isinstance(group, Group)
            assert summary(group) == summed
            assert Consumer(home, group_id=name).fetched() == expected[name]
        assert Consumer(home, group_id="late").fetched() == 7


async def test_deleted_group_stays_deleted_when_its_tombstones_are_gone() -> None:
    stage = Stage(ONE)
    partition = stage.partitions[TopicPartition(OFFSETS_TOPIC, 0)]
    async with stage.home() as home:
        simple = Consumer(home, group_id="simple")
        for value in range(10):
            simple.commit(value)
        assert home.delete("simple").get_nowait() is ErrorCode.NONE
        Consumer(home, group_id="other").commit(1)
        compact(home, partition)
        for value in range(3):
            Consumer(home, group_id="other").commit(value)
        compact(home, partition)
    assert b"simple" not in b"".join(
        partition.log._disk.read(one.path + ".log") for one in partition.log._segments.all
    )
    async with stage.home() as home:
        assert home.describe("simple") is None
        assert Consumer(home, group_id="other").fetched() == 2


async def test_offsets_of_transactions_are_what_was_committed() -> None:
    made = Replayed()
    in_txn = {"producer_id": 77, "producer_epoch": 0, "base_sequence": -1, "transactional": True}
    log = made.partition.log

    def write(value: int, **options: object) -> None:
        made.append(
            build_batch([(*offset(value), made.partition.wall_clock.now_ms(), ())], **options)
        )

    def end(kind: int) -> None:
        made.append(
            build_control_batch(
                ControlMarker(kind, 0), timestamp_ms=1, producer_id=77, producer_epoch=0
            )
        )
        log.forget_replicated(log.log_end)

    write(1)
    write(2, **in_txn)
    end(COMMIT_MARKER)
    write(3, **in_txn)
    end(ABORT_MARKER)
    log.maybe_roll(made.partition.wall_clock.now_ms() + 2 * log.config.segment_ms)
    made.write((b"\0\1\0\0", b""))
    for _ in range(3):
        compact_now(log._disk, log, now_ms=made.partition.wall_clock.now_ms())
        made.partition.wall_clock.advance(2 * log.config.delete_retention_ms)
        groups = await made.load()
        entry = groups["g"].offsets.get(TP)
        assert entry is not None
        assert entry.offset == 2
    await trio.lowlevel.checkpoint()
