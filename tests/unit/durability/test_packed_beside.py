"""Large batches that their topic wants in another codec are packed beside the loop."""

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch, iter_headers
from tests.support.logs import NOW_MS, records_of
from tests.support.memory_cluster import memory_cluster

PACK_S = 0.5
VERSION = 9


def request(topic: str, value: bytes, *, acks: int = 1, codec: Codec = Codec.NONE, damage: int = 0):
    batch = bytearray(build_batch([(b"k", value, NOW_MS, ())], codec=codec))
    batch[-1] ^= damage
    data = PartitionProduceData(index=0, records=bytes(batch))
    return ProduceRequest(
        acks=acks,
        timeout_ms=5_000,
        topic_data=[TopicProduceData(name=topic, partition_data=[data])],
    )


def answer_of(response) -> tuple[int, int]:
    (topic,) = response.responses
    (partition,) = topic.partition_responses
    return partition.error_code, partition.base_offset


@pytest.mark.parametrize("acks", [1, -1])
async def test_others_are_served_meanwhile_and_the_connection_keeps_its_order(
    autojump_clock: trio.testing.MockClock, acks: int
) -> None:
    async with memory_cluster(1, offsets_topic_replication_factor="1") as cluster:
        await cluster.create_topic("packed", replicas=1, compression_type="gzip")
        await cluster.create_topic("plain", replicas=1)
        large, small = b"L" * 50_000, b"s"
        cluster.disks[1].sync_delay_s = PACK_S  # what is done beside the loop takes as long
        peer, other = await cluster.peer(1), await cluster.peer(1)
        began = trio.current_time()
        await peer.send_all(
            [
                (request("packed", small, acks=acks), VERSION),
                (request("packed", large, acks=acks), VERSION),
                (request("packed", small, acks=acks), VERSION),
                (request("packed", large, acks=acks, damage=1), VERSION),
            ]
        )
        await trio.sleep(PACK_S / 4)
        assert answer_of(await other.ask(request("plain", large), VERSION)) == (0, 0)
        assert trio.current_time() - began < PACK_S
        found = [answer_of((await peer.answer())[1]) for _ in range(4)]
        assert found == [(0, 0), (0, 1), (0, 2), (ErrorCode.CORRUPT_MESSAGE, -1)]
        log = cluster.services(1).log_manager.get(TopicPartition("packed", 0))
        assert [record.value for record in records_of(log)] == [small, large, small]
        data = log.read(0, 1 << 20, end=3, at_least_one=True).data.read()
        assert [header.codec for _, header in iter_headers(data)] == [Codec.GZIP] * 3


async def test_levels_are_those_of_the_topic(autojump_clock: trio.testing.MockClock) -> None:
    """KIP-390. Lower levels of one codec leave more bytes of the same records."""
    text = b"".join(b"%d times %d is %d; " % (a, b, a * b) for a in range(60) for b in range(60))
    sizes: dict[str, list[int]] = {}
    async with memory_cluster(1, offsets_topic_replication_factor="1") as cluster:
        for codec, levels in (("gzip", "19"), ("zstd", ("1", "19")), ("lz4", ("9", "12"))):
            for level in levels:
                topic = f"{codec}-{level}"
                config = {"compression_type": codec, f"compression_{codec}_level": level}
                await cluster.create_topic(topic, replicas=1, **config)
                assert answer_of(await cluster.ask(1, request(topic, text), VERSION)) == (0, 0)
                log = cluster.services(1).log_manager.get(TopicPartition(topic, 0))
                sizes.setdefault(codec, []).append(log.size_bytes)
                assert [record.value for record in records_of(log)] == [text]
    for low, high in sizes.values():
        assert high < low * 0.9
