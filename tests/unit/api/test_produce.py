"""Produce through the whole server, on partitions in memory."""

import trio

from ottla.broker.api.produce import API
from ottla.broker.errors import CorruptMessage, NotEnoughReplicas, RecordTooLarge
from ottla.broker.ids import TopicPartition
from ottla.broker.metadata import MetadataCache
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.api_versions import ApiVersionsRequest
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.images import partition, topic, update
from tests.support.partitions import MemoryPartition, MemoryPartitions
from tests.support.served import serving

BATCH = build_batch([(b"k", b"v", 1_700_000_000_000, [])])


def request(*wanted: tuple[str, int], acks: int = -1, records: bytes | None = BATCH):
    return ProduceRequest(
        acks=acks,
        timeout_ms=1_000,
        topic_data=[
            TopicProduceData(
                name=name, partition_data=[PartitionProduceData(index=index, records=records)]
            )
            for name, index in wanted
        ],
    )


def partitions(*indexes: int, **more) -> list[MemoryPartition]:
    return [MemoryPartition(TopicPartition("t", index), **more) for index in indexes]


def answers(response) -> list:
    return [each for topic in response.responses for each in topic.partition_responses]


async def test_offsets_count_on_and_every_version_is_answered(autojump_clock):
    async with serving(API, partitions=MemoryPartitions(*partitions(0))) as served:
        peer = await served.connect()
        for offset, version in enumerate(range(3, 12)):
            (answer,) = answers(await peer.ask(request(("t", 0)), version))
            assert (answer.error_code, answer.base_offset) == (0, offset)


async def test_acks_all_is_answered_when_the_batch_is_committed(autojump_clock):
    (held,) = partitions(0, hold=True)
    async with serving(API, partitions=MemoryPartitions(held)) as served:
        peer = await served.connect()
        await peer.send_all([(request(("t", 0)), 9)] * 5)
        await trio.sleep(0.5)
        assert held.log_end == 5, "later requests wait for the replicas of the first"
        held.commit()
        for offset in range(5):
            (answer,) = answers((await peer.answer())[1])
            assert (answer.error_code, answer.base_offset) == (0, offset)


async def test_acks_all_times_out_for_the_partitions_that_are_not_committed(autojump_clock):
    held, free = partitions(0, hold=True)[0], partitions(1)[0]
    async with serving(API, partitions=MemoryPartitions(held, free)) as served:
        peer = await served.connect()
        started = trio.current_time()
        slow, fast = answers(await peer.ask(request(("t", 0), ("t", 1)), 9))
        assert trio.current_time() - started == 1
        assert slow.error_code == ErrorCode.REQUEST_TIMED_OUT
        assert (fast.error_code, fast.base_offset) == (0, 0)


async def test_acks_all_fails_when_leadership_moves_meanwhile(autojump_clock):
    (held,) = partitions(0, hold=True)
    async with serving(API, partitions=MemoryPartitions(held)) as served:
        peer = await served.connect()
        await peer.send(request(("t", 0)), 9)
        await trio.sleep(0.1)
        held.resign()
        (answer,) = answers((await peer.answer())[1])
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        assert answer.base_offset == -1


async def test_an_offset_of_a_past_leadership_is_never_acknowledged(autojump_clock):
    """What was appended under an older epoch may be gone though the high watermark passed it."""
    first, second = partitions(0, 1, hold=True)
    async with serving(API, partitions=MemoryPartitions(first, second)) as served:
        peer = await served.connect()
        await peer.send(request(("t", 0)), 9)
        await peer.send(request(("t", 1)), 9)
        await trio.sleep(0.1)
        second.leader_epoch += 2
        second.commit()
        first.commit()
        await peer.answer()
        (answer,) = answers((await peer.answer())[1])
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_acks_0_gets_no_answer(autojump_clock):
    async with serving(API, partitions=MemoryPartitions(*partitions(0))) as served:
        peer = await served.connect()
        await peer.send_all([(request(("t", 0), acks=0), 9), (request(("t", 0), acks=1), 9)])
        number, answer = await peer.answer()
        assert number == 2
        assert answers(answer)[0].base_offset == 1


async def test_a_failed_produce_with_acks_0_closes_the_connection(autojump_clock):
    async with serving(API) as served:
        peer = await served.connect()
        await peer.send(request(("t", 0), acks=0), 9)
        assert await peer.is_closed()
        assert not served.refusals()


async def test_an_impossible_acks_is_refused_for_every_partition(autojump_clock):
    async with serving(API) as served:
        peer = await served.connect()
        found = answers(await peer.ask(request(("t", 0), ("u", 1), acks=2), 9))
        assert [each.error_code for each in found] == [ErrorCode.INVALID_REQUIRED_ACKS] * 2


async def test_one_bad_partition_does_not_keep_the_others(autojump_clock):
    bad, good = partitions(0, refuse=RecordTooLarge("too large"))[0], partitions(1)[0]
    async with serving(API, partitions=MemoryPartitions(bad, good)) as served:
        peer = await served.connect()
        first, second = answers(await peer.ask(request(("t", 0), ("t", 1)), 9))
        assert (first.error_code, first.error_message) == (
            ErrorCode.MESSAGE_TOO_LARGE,
            "too large",
        )
        assert second.error_code == 0


async def test_each_cause_has_its_code(autojump_clock):
    metadata = MetadataCache()
    metadata.apply(update(topic("t", 7, partition(4, 2, epoch=9))))
    registry = MemoryPartitions(
        MemoryPartition(TopicPartition("t", 0), refuse=CorruptMessage("crc")),
        MemoryPartition(TopicPartition("t", 1), refuse=NotEnoughReplicas("isr")),
        MemoryPartition(TopicPartition("t", 2), is_leader=False, leader_id=3),
        MemoryPartition(TopicPartition("t", 3)),
    )
    zstd = build_batch([(b"k", b"v", 0, [])], codec=Codec.ZSTD)
    table = [
        (9, ("t", 0), BATCH, ErrorCode.CORRUPT_MESSAGE),
        (9, ("t", 1), BATCH, ErrorCode.NOT_ENOUGH_REPLICAS),
        (9, ("t", 2), BATCH, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        (9, ("t", 4), BATCH, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        (9, ("t", 5), BATCH, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (9, ("t", 3), None, ErrorCode.INVALID_RECORD),
        (9, ("t", 3), b"", ErrorCode.INVALID_RECORD),
        (6, ("t", 3), zstd, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        (7, ("t", 3), zstd, ErrorCode.NONE),
        (9, ("__consumer_offsets", 0), BATCH, ErrorCode.INVALID_TOPIC_EXCEPTION),
    ]
    async with serving(API, partitions=registry, metadata=metadata) as served:
        peer = await served.connect()
        for version, where, records, code in table:
            (answer,) = answers(await peer.ask(request(where, records=records), version))
            assert answer.error_code == code, (where, records)


async def test_a_moved_partition_names_its_leader(autojump_clock):
    """KIP-951, from version 10 on."""
    metadata = MetadataCache()
    metadata.apply(update(topic("t", 7, partition(0, 2, epoch=9))))
    async with serving(API, metadata=metadata) as served:
        peer = await served.connect()
        response = await peer.ask(request(("t", 0)), 10)
        (answer,) = answers(response)
        assert (answer.current_leader.leader_id, answer.current_leader.leader_epoch) == (2, 9)
        (endpoint,) = response.node_endpoints
        assert (endpoint.node_id, endpoint.host, endpoint.port) == (2, "host2", 9002)


async def test_produce_is_advertised_from_0_and_served_from_3(autojump_clock):
    """KAFKA-18659: librdkafka stops to compress when the minimum is above 0."""
    async with serving(API) as served:
        peer = await served.connect()
        listed = (await peer.ask(ApiVersionsRequest(), 0)).api_keys
        assert (listed[0].api_key, listed[0].min_version, listed[0].max_version) == (0, 0, 11)
        await peer.stream.send_all(b"\0\0\0\x0a\0\0\0\x02\0\0\0\1\0\0")
        assert await peer.is_closed()
