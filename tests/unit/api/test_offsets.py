"""ListOffsets, OffsetForLeaderEpoch and DeleteRecords on partitions in memory."""

import trio

from ottla.broker.api import delete_records, list_offsets, offset_for_leader_epoch
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from ottla.protocol.kafka.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from ottla.protocol.kafka.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from tests.support.partitions import MemoryPartition, MemoryPartitions
from tests.support.served import serving

TP = TopicPartition("t", 0)


class Timed(MemoryPartition):
    """Offsets 0 to 9 at timestamps 1000 to 1009; committed up to 8."""

    def offset_for_timestamp(self, timestamp: int) -> tuple[int, int, int] | None:
        found = max(timestamp, 1000)
        return (found, found - 1000, 5) if found < 1010 else None

    def max_timestamp_offset(self) -> tuple[int, int, int] | None:
        return self.offset_for_timestamp(1004)


def timed() -> MemoryPartitions:
    return MemoryPartitions(Timed(TP, log_start=2, log_end=10, high_watermark=8))


def ask_offsets(timestamp: int, *, index: int = 0, epoch: int = -1, replica_id: int = -1):
    return ListOffsetsRequest(
        replica_id=replica_id,
        topics=[
            ListOffsetsTopic(
                name="t",
                partitions=[
                    ListOffsetsPartition(
                        partition_index=index, current_leader_epoch=epoch, timestamp=timestamp
                    )
                ],
            )
        ],
    )


async def test_each_kind_of_timestamp_has_its_offset_since_its_version(autojump_clock):
    since = {-3: 7, -4: 8, -5: 9}
    table = [(-1, 8, -1), (-2, 2, -1), (-3, 4, 1004), (-4, 2, -1), (-5, -1, -1)]
    table += [(1003, 3, 1003), (1008, -1, -1), (9999, -1, -1)]
    async with serving(list_offsets.API, partitions=timed()) as served:
        peer = await served.connect()
        for version in range(1, 10):
            for timestamp, offset, found in table:
                response = await peer.ask(ask_offsets(timestamp), version)
                (answer,) = response.topics[0].partitions
                got = answer.error_code, answer.offset, answer.timestamp
                if version < since.get(timestamp, 1):
                    assert got == (ErrorCode.UNSUPPORTED_VERSION, -1, -1)
                else:
                    assert got == (0, offset, found)
        response = await peer.ask(ask_offsets(-1, replica_id=2), 9)
        assert response.topics[0].partitions[0].offset == 10, "a follower sees the log's end"


async def test_list_offsets_errors(autojump_clock):
    async with serving(list_offsets.API, partitions=timed()) as served:
        peer = await served.connect()
        table = [
            (ask_offsets(-1, index=1), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            (ask_offsets(-1, epoch=4), ErrorCode.FENCED_LEADER_EPOCH),
            (ask_offsets(-1, epoch=6), ErrorCode.UNKNOWN_LEADER_EPOCH),
            (ask_offsets(-77), ErrorCode.UNSUPPORTED_VERSION),
        ]
        for request, code in table:
            (answer,) = (await peer.ask(request, 9)).topics[0].partitions
            assert (answer.error_code, answer.offset) == (code, -1)


async def test_a_new_leader_does_not_send_consumers_back_in_time(autojump_clock):
    """KIP-207: while its high watermark is below the start of its epoch."""
    one = Timed(TP, log_start=2, log_end=10, high_watermark=8, epoch_start=9)
    async with serving(list_offsets.API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        table = [
            (9, ask_offsets(-1), ErrorCode.OFFSET_NOT_AVAILABLE),
            (4, ask_offsets(-1), ErrorCode.LEADER_NOT_AVAILABLE),
            (9, ask_offsets(9999), ErrorCode.OFFSET_NOT_AVAILABLE),
            (9, ask_offsets(-2), ErrorCode.NONE),
            (9, ask_offsets(1003), ErrorCode.NONE),
            (9, ask_offsets(-1, replica_id=2), ErrorCode.NONE),
        ]
        for version, request, code in table:
            (answer,) = (await peer.ask(request, version)).topics[0].partitions
            assert answer.error_code == code


async def test_the_end_of_a_leader_epoch(autojump_clock):
    def ask(epoch: int, current: int = -1, index: int = 0) -> OffsetForLeaderEpochRequest:
        one = OffsetForLeaderPartition(
            partition=index, current_leader_epoch=current, leader_epoch=epoch
        )
        return OffsetForLeaderEpochRequest(
            topics=[OffsetForLeaderTopic(topic="t", partitions=[one])]
        )

    table = [
        (ask(5), 0, 5, 10),
        (ask(4), 0, -1, -1),
        (ask(5, current=4), ErrorCode.FENCED_LEADER_EPOCH, -1, -1),
        (ask(5, index=3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1),
    ]
    async with serving(offset_for_leader_epoch.API, partitions=timed()) as served:
        peer = await served.connect()
        for version in (2, 3, 4):
            for request, code, epoch, end in table:
                (answer,) = (await peer.ask(request, version)).topics[0].partitions
                assert answer.error_code == code
                assert (answer.leader_epoch, answer.end_offset) == (epoch, end)


class Deletable(MemoryPartition):
    """`low` is the smallest log start of the followers."""

    low = 0
    cleanup_policy = frozenset({"delete"})

    @property
    def config(self) -> "Deletable":
        return self

    def low_watermark(self, log_start: int) -> int:
        return min(self.low, log_start)

    def advance_log_start(self, offset: int) -> None:
        self.log_start = offset


def delete(offset: int, topic: str = "t") -> DeleteRecordsRequest:
    one = DeleteRecordsPartition(partition_index=0, offset=offset)
    return DeleteRecordsRequest(
        topics=[DeleteRecordsTopic(name=topic, partitions=[one])], timeout_ms=1_000
    )


async def test_records_are_deleted_once_every_replica_has_moved(autojump_clock):
    one = Deletable(TP, log_end=10, high_watermark=8)
    async with serving(delete_records.API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        await peer.send(delete(5), 2)
        await trio.sleep(0.5)
        assert one.log_start == 5
        one.low = 5
        (answer,) = (await peer.answer())[1].topics[0].partitions
        assert (answer.error_code, answer.low_watermark) == (0, 5)
        (answer,) = (await peer.ask(delete(-1), 2)).topics[0].partitions
        assert one.log_start == 8
        assert answer.error_code == ErrorCode.REQUEST_TIMED_OUT
        (answer,) = (await peer.ask(delete(9), 2)).topics[0].partitions
        assert answer.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
        (answer,) = (await peer.ask(delete(0, "u"), 2)).topics[0].partitions
        assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        one.cleanup_policy = frozenset({"compact"})
        (answer,) = (await peer.ask(delete(8), 2)).topics[0].partitions
        assert answer.error_code == ErrorCode.POLICY_VIOLATION
