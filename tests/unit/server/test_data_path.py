"""Produce and Fetch from frame to log and back, over real partitions on a disk in memory."""

from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from ottla.broker.api import fetch, list_offsets, produce
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ReplicaState,
)
from ottla.protocol.kafka.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch, iter_headers
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from ottla.runtime.memory_disk import MemoryDisk
from tests.support.led_partitions import TOPIC_ID, led_partitions
from tests.support.served import serving

NOW_MS = 1_700_000_000_000


@asynccontextmanager
async def broker(*, replicas=(1,), min_isr=1, **more):
    registry, logs = await led_partitions(
        MemoryDisk(),
        "/data",
        "t",
        2,
        wall_clock=FixedWallClock(),
        events=RecordingEvents(),
        replicas=replicas,
        min_isr=min_isr,
    )
    apis = (produce.API, fetch.API, list_offsets.API)
    async with serving(*apis, partitions=registry, **more) as served:
        yield served
    logs.close(clean=True)


def put(batch: bytes, *, acks: int = -1, index: int = 0) -> ProduceRequest:
    data = PartitionProduceData(index=index, records=batch)
    return ProduceRequest(
        acks=acks,
        timeout_ms=5_000,
        topic_data=[TopicProduceData(name="t", partition_data=[data])],
    )


def get(offset: int, *, follower: int = -1, wait: int = 0, size: int = 1 << 24) -> FetchRequest:
    one = FetchPartition(
        partition=0, fetch_offset=offset, partition_max_bytes=size, current_leader_epoch=0
    )
    return FetchRequest(
        max_wait_ms=wait,
        min_bytes=1,
        replica_state=ReplicaState(replica_id=follower, replica_epoch=1),
        topics=[FetchTopic(topic_id=TOPIC_ID, partitions=[one])],
    )


def batch(text: str, count: int = 1, timestamp: int = NOW_MS) -> bytes:
    return build_batch([(b"k", text.encode(), timestamp, [])] * count)


async def produced(peer, data: bytes, **more):
    return (await peer.ask(put(data, **more), 9)).responses[0].partition_responses[0]


async def fetched(peer, request: FetchRequest):
    return (await peer.ask(request, 15)).responses[0].partitions[0]


async def test_what_was_produced_is_fetched_with_offsets_and_epochs(autojump_clock):
    async with broker() as served:
        peer = await served.connect()
        assert (await produced(peer, batch("one", 3))).base_offset == 0
        assert (await produced(peer, batch("two"))).base_offset == 3
        answer = await fetched(peer, get(0))
        headers = [header for _, header in iter_headers(bytes(answer.records))]
        assert [(h.base_offset, h.record_count) for h in headers] == [(0, 3), (3, 1)]
        assert {header.partition_leader_epoch for header in headers} == {0}
        assert (answer.high_watermark, answer.last_stable_offset) == (4, 4)
        middle = await fetched(peer, get(2))
        assert bytes(middle.records) == bytes(answer.records), "a batch is never cut at its front"


async def test_large_answers_come_whole_to_a_slow_reader(autojump_clock):
    """Above the inline size a range of the file goes out in as many pieces as the peer takes."""
    async with broker(max_frame=1 << 22, buffer_bytes=5_000) as served:
        peer = await served.connect()
        sent = [batch(f"{number}" * 30_000) for number in range(10)]
        for data in sent:
            assert (await produced(peer, data)).error_code == 0
        await peer.send_all([(get(0), 15), (get(9), 15)])
        await trio.sleep(5)
        first = (await peer.answer())[1].responses[0].partitions[0]
        assert len(first.records) == sum(map(len, sent))
        assert b"9" * 30_000 in bytes(first.records)
        last = (await peer.answer())[1].responses[0].partitions[0]
        assert len(last.records) == len(sent[9])


async def test_each_bad_batch_has_its_code_and_the_next_good_one_is_taken(autojump_clock):
    good = batch("x")
    wrong_crc = good[:-1] + bytes([good[-1] ^ 1])
    old_format = good[:16] + b"\1" + good[17:]
    too_large = batch("y" * 1_100_000)
    table = [
        (wrong_crc, ErrorCode.CORRUPT_MESSAGE),
        (good[:-3], ErrorCode.INVALID_RECORD),
        (old_format, ErrorCode.INVALID_RECORD),
        (too_large, ErrorCode.MESSAGE_TOO_LARGE),
    ]
    async with broker(max_frame=1 << 22) as served:
        peer, other = await served.connect(), await served.connect()
        for number, (data, code) in enumerate(table):
            answer = await produced(peer, data)
            assert (answer.error_code, answer.base_offset) == (code, -1)
            assert (await produced(other, good)).base_offset == number
        assert not served.refusals()
        assert not served.events.named("request.failed")


async def test_acks_all_waits_for_the_followers_fetch(autojump_clock):
    async with broker(replicas=(1, 2), min_isr=2) as served:
        peer, follower = await served.connect(), await served.connect()
        await peer.send(put(batch("x")), 9)
        await trio.sleep(1)
        answer = await fetched(follower, get(0, follower=2))
        assert len(answer.records) > 0
        assert len((await fetched(peer_consumer := await served.connect(), get(0))).records) == 0
        await follower.send(get(1, follower=2, wait=60_000), 15)
        acknowledged = (await peer.answer())[1].responses[0].partition_responses[0]
        assert (acknowledged.error_code, acknowledged.base_offset) == (0, 0)
        assert len((await fetched(peer_consumer, get(0))).records) > 0


async def test_what_was_packed_anew_waits_for_followers_beside_the_next_requests(autojump_clock):
    """All three share one replication round trip, as requests do that nothing is done about."""

    class Beside:
        async def beside(self, call):
            await trio.sleep(1)
            return call()

    async with broker(replicas=(1, 2), min_isr=2, log_manager=Beside()) as served:
        log = served.services.partitions.get(TopicPartition("t", 0)).log
        log.config = replace(log.config, compression_type="gzip")
        peer, follower = await served.connect(), await served.connect()
        await peer.send_all([(put(batch(text * 9000)), 9) for text in "abc"])
        await trio.sleep(3.5)
        assert log.log_end == 3
        await follower.send(get(3, follower=2), 15)
        found = [(await peer.answer())[1].responses[0].partition_responses[0] for _ in range(3)]
        assert [(each.error_code, each.base_offset) for each in found] == [(0, 0), (0, 1), (0, 2)]
        assert trio.current_time() < 5


async def test_a_follower_that_does_not_come_makes_acks_all_time_out(autojump_clock):
    async with broker(replicas=(1, 2), min_isr=2) as served:
        peer = await served.connect()
        started = trio.current_time()
        answer = await produced(peer, batch("x"))
        assert answer.error_code == ErrorCode.REQUEST_TIMED_OUT
        assert trio.current_time() - started == 5


async def test_acks_all_below_min_isr_is_refused_before_the_append(autojump_clock):
    async with broker(min_isr=2) as served:
        peer = await served.connect()
        answer = await produced(peer, batch("x"))
        assert answer.error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert (await produced(peer, batch("x"), acks=1)).base_offset == 0


async def test_offsets_by_time(autojump_clock):
    def ask(timestamp: int) -> ListOffsetsRequest:
        one = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
        return ListOffsetsRequest(
            replica_id=-1, topics=[ListOffsetsTopic(name="t", partitions=[one])]
        )

    async with broker() as served:
        peer = await served.connect()
        for number in range(5):
            await produced(peer, batch("x", timestamp=NOW_MS + number * 10))
        table = [
            (-1, (0, 5, -1)),
            (-2, (0, 0, -1)),
            (-3, (0, 4, NOW_MS + 40)),
            (NOW_MS + 11, (0, 2, NOW_MS + 20)),
            (NOW_MS + 41, (0, -1, -1)),
        ]
        for timestamp, expected in table:
            (answer,) = (await peer.ask(ask(timestamp), 9)).topics[0].partitions
            assert (answer.error_code, answer.offset, answer.timestamp) == expected
