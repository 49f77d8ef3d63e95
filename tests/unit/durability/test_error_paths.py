"""Every error path of Produce and Fetch: what a client of a version gets, on a whole broker.

One row for each (API, version, cause, code). Brokers 1 and 2, topic `t` with one replica on each of
two partitions, so that each broker leads one and knows of the other.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import trio
import trio.testing

from ottla.broker.ids import LeaderEpoch, TopicPartition
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.crc import crc32c
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ReplicaState,
)
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import CRC_AT, CRC_FROM, build_batch
from tests.support.logs import NOW_MS, sequenced
from tests.support.memory_cluster import MemoryCluster, memory_cluster

HOUR_MS = 3_600_000
ATTRIBUTES_AT = 22  # the low byte


def plain(value: bytes = b"value", timestamp: int = NOW_MS, **more: Any) -> bytes:
    return build_batch([(b"k", value, timestamp, ())], **more)


def keyless() -> bytes:
    return build_batch([(None, b"value", NOW_MS, ())])


def with_attributes(data: bytes, attributes: int) -> bytes:
    """Another low byte of the batch's attributes, under a right checksum."""
    changed = with_byte(data, ATTRIBUTES_AT, attributes)
    return changed[:CRC_AT] + crc32c(changed[CRC_FROM:]).to_bytes(4, "big") + changed[CRC_FROM:]


def with_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


@dataclass(frozen=True)
class Produced:
    """A cause: what is sent, and to whom. `broker` leads partition `partition` unless said."""

    cause: str
    code: ErrorCode
    records: bytes | None = plain()
    topic: str = "t"
    partition: int = 0
    away: bool = False
    acks: int = -1
    versions: tuple[int, ...] = (3, 7, 8, 9, 11)
    before: tuple[bytes, ...] = ()


PRODUCED = [
    Produced("one sound batch", ErrorCode.NONE),
    Produced("no topic", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, topic="nothing"),
    Produced("no partition", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, partition=9),
    Produced("led elsewhere", ErrorCode.NOT_LEADER_OR_FOLLOWER, away=True),
    Produced("acks is 2", ErrorCode.INVALID_REQUIRED_ACKS, acks=2),
    Produced("no records", ErrorCode.INVALID_RECORD, records=None),
    Produced("empty records", ErrorCode.INVALID_RECORD, records=b""),
    Produced("two batches", ErrorCode.INVALID_RECORD, records=plain() + plain()),
    Produced("a cut batch", ErrorCode.INVALID_RECORD, records=plain()[:-1]),
    Produced("a flipped bit", ErrorCode.CORRUPT_MESSAGE, records=with_byte(plain(), -1 + 68, 1)),
    Produced("format 1", ErrorCode.INVALID_RECORD, with_byte(plain(), 16, 1)),
    Produced("too large", ErrorCode.MESSAGE_TOO_LARGE, records=plain(bytes(2000))),
    Produced(
        "of the future", ErrorCode.INVALID_TIMESTAMP, records=plain(timestamp=NOW_MS * 2)
    ),
    Produced(
        "zstd of an old client", ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
        records=plain(codec=Codec.ZSTD), versions=(3, 6),
    ),
    Produced("zstd", ErrorCode.NONE, records=plain(codec=Codec.ZSTD), versions=(7, 11)),
    Produced("a sequence of one's own", ErrorCode.NONE, records=sequenced(0)),
    Produced(
        "a gap in the sequence", ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        records=sequenced(5), before=(sequenced(0),),
    ),
    Produced(
        "a former life", ErrorCode.INVALID_PRODUCER_EPOCH,
        records=sequenced(1, epoch=0), before=(sequenced(0, epoch=1),),
    ),
    Produced("a duplicate", ErrorCode.NONE, records=sequenced(0), before=(sequenced(0),)),
    Produced("too few in sync", ErrorCode.NOT_ENOUGH_REPLICAS, topic="strict"),
    Produced("too few, and no matter", ErrorCode.NONE, topic="strict", acks=1),
    Produced("larger than a segment", ErrorCode.RECORD_LIST_TOO_LARGE, plain(bytes(900)), "short"),
    Produced("no key where keys count", ErrorCode.INVALID_RECORD, keyless(), "compacted"),
    Produced("a key where keys count", ErrorCode.NONE, topic="compacted"),
    Produced("a control batch", ErrorCode.INVALID_RECORD, records=plain(control=True)),
    Produced(
        "a codec that nobody knows", ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
        records=with_attributes(plain(), 5),
    ),
    Produced(
        "the broker's clock, from a client", ErrorCode.INVALID_TIMESTAMP,
        records=with_attributes(plain(), 8),
    ),
    Produced("an internal topic", ErrorCode.INVALID_TOPIC_EXCEPTION, topic="__consumer_offsets"),
]  # fmt: skip


@dataclass(frozen=True)
class Fetched:
    cause: str
    code: ErrorCode
    topic: str = "t"
    partition: int = 0
    offset: int = 0
    epoch: int = -1
    away: bool = False
    versions: tuple[int, ...] = (4, 9, 11, 12, 13, 17)
    topic_id: UUID | None = None
    session: tuple[int, int] = (0, -1)
    replica: int = -1
    at_top: bool = False


FETCHED = [
    Fetched("what is there", ErrorCode.NONE),
    Fetched("the end", ErrorCode.NONE, offset=2),
    Fetched("beyond the end", ErrorCode.OFFSET_OUT_OF_RANGE, offset=3),
    Fetched("below the start", ErrorCode.OFFSET_OUT_OF_RANGE, offset=-5),
    Fetched(
        "no topic", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, topic="nothing", versions=(4, 11, 12)
    ),
    Fetched("no such id", ErrorCode.UNKNOWN_TOPIC_ID, topic_id=UUID(int=99), versions=(13, 17)),
    Fetched("no id", ErrorCode.UNKNOWN_TOPIC_ID, topic_id=UUID(int=0), versions=(13, 17)),
    Fetched("no partition", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, partition=9, versions=(4, 12)),
    Fetched("led elsewhere", ErrorCode.NOT_LEADER_OR_FOLLOWER, away=True),
    Fetched(
        "a later epoch", ErrorCode.UNKNOWN_LEADER_EPOCH, epoch=100, versions=(9, 11, 12, 13, 17)
    ),
    Fetched(
        "a former epoch", ErrorCode.FENCED_LEADER_EPOCH, topic="later", epoch=0,
        versions=(9, 11, 12, 13, 17),
    ),
    Fetched("the present epoch", ErrorCode.NONE, topic="later", epoch=1, versions=(9, 12, 17)),
    Fetched(
        "no such session", ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
        session=(77, 5), at_top=True, versions=(7, 12, 17),
    ),
    Fetched(
        "a follower that is none", ErrorCode.UNKNOWN_LEADER_EPOCH, replica=7, versions=(4, 12, 17)
    ),
]  # fmt: skip


@asynccontextmanager
async def two_brokers() -> AsyncIterator[tuple[MemoryCluster, Callable[..., int]]]:
    settings = {
        "message_max_bytes": "1500",
        "auto_create_topics_enable": "false",
        "log_message_timestamp_after_max_ms": "3600000",
    }
    async with memory_cluster(2, **settings) as c:
        await c.create_topic("t", partitions=2, replicas=1)
        await c.create_topic("strict", partitions=2, replicas=1)
        await c.create_topic("later", partitions=2, replicas=1)
        await c.create_topic("short", partitions=2, replicas=1, segment_bytes="500")
        await c.create_topic("compacted", partitions=2, replicas=1, cleanup_policy="compact")
        before = {"message_timestamp_before_max_ms": str(HOUR_MS)}
        await c.create_topic("recent", partitions=2, replicas=1, **before)
        for broker in (1, 2):
            for each in c.services(broker).partitions:
                if each.tp.topic == "strict":
                    each.set_min_isr(2)
                if each.tp.topic == "later":
                    each.leader_epoch = LeaderEpoch(1)

        def leader_of(topic: str, partition: int, *, away: bool = False) -> int:
            tp = TopicPartition(topic, partition)
            for broker in (1, 2):
                found = c.services(broker).partitions.get(tp)
                if found is not None and found.is_leader:
                    return 3 - broker if away else broker
            return 1

        yield c, leader_of


async def produce_to(
    cluster: MemoryCluster, broker: int, row: Produced, records: bytes | None, version: int
) -> Any:
    request = ProduceRequest(
        acks=row.acks,
        timeout_ms=1000,
        topic_data=[
            TopicProduceData(
                name=row.topic,
                partition_data=[PartitionProduceData(index=row.partition, records=records)],
            )
        ],
    )
    answer = await cluster.ask(broker, request, version)
    return answer.responses[0].partition_responses[0]


@pytest.mark.slow
async def test_error_paths_of_produce(autojump_clock: trio.testing.MockClock) -> None:
    wrong = []
    async with two_brokers() as (cluster, leader_of):
        for row in PRODUCED:
            for version in row.versions:
                broker = leader_of(row.topic, row.partition, away=row.away)
                for other in (1, 2):
                    for each in cluster.services(other).partitions:
                        each.log.producers.clear()
                for data in row.before:
                    await produce_to(cluster, broker, row, data, version)
                got = await produce_to(cluster, broker, row, row.records, version)
                code = ErrorCode(got.error_code)
                if code is not row.code or (got.base_offset >= 0) != (code is ErrorCode.NONE):
                    wrong.append((row.cause, version, code.name, got.base_offset))
                assert version >= 8 or got.error_message is None
    assert not wrong


@pytest.mark.slow
async def test_the_records_that_are_why_are_named(autojump_clock: trio.testing.MockClock) -> None:
    """KIP-467, from version 8 on; others of the batch may be sent again as they are."""
    late, key = NOW_MS + 2 * HOUR_MS, b"k"
    rows = [
        ("compacted", [(key, NOW_MS), (None, NOW_MS), (key, NOW_MS), (None, NOW_MS)], [1, 3]),
        ("t", [(key, NOW_MS), (key, NOW_MS), (key, late)], [2]),
        ("recent", [(key, NOW_MS - 2 * HOUR_MS), (key, NOW_MS), (key, 0)], [0, 2]),
    ]
    async with two_brokers() as (cluster, leader_of):
        for topic, records, indexes in rows:
            for codec in (Codec.NONE, Codec.GZIP):
                data = build_batch([(k, b"v", at, ()) for k, at in records], codec=codec)
                row = Produced("", ErrorCode.INVALID_RECORD, topic=topic)
                for version in (7, 8, 11):
                    got = await produce_to(cluster, leader_of(topic, 0), row, data, version)
                    named = [each.batch_index for each in got.record_errors]
                    assert named == (indexes if version >= 8 else [])
                    assert got.error_code != ErrorCode.NONE


@pytest.mark.slow
async def test_error_paths_of_fetch(autojump_clock: trio.testing.MockClock) -> None:
    wrong = []
    async with two_brokers() as (cluster, leader_of):
        for partition in (0, 1):
            for _ in range(2):
                row = Produced("", ErrorCode.NONE, partition=partition)
                await produce_to(cluster, leader_of("t", partition), row, plain(), 9)
        metadata = cluster.services(1).metadata
        for row in FETCHED:
            topic = metadata.topic(row.topic) or metadata.topic("t")
            for version in row.versions:
                broker = leader_of(row.topic, row.partition, away=row.away)
                answer = await cluster.ask(
                    broker, fetch_request(row, version, topic.topic_id), version
                )
                if row.at_top:
                    code = ErrorCode(answer.error_code)
                else:
                    code = ErrorCode(answer.responses[0].partitions[0].error_code)
                if code is not row.code:
                    wrong.append((row.cause, version, code.name))
    assert not wrong


def fetch_request(row: Fetched, version: int, topic_id: UUID) -> FetchRequest:
    wanted = topic_id if row.topic_id is None else row.topic_id
    topic = FetchTopic(topic_id=wanted) if version >= 13 else FetchTopic(topic=row.topic)
    topic.partitions = [
        FetchPartition(
            partition=row.partition,
            fetch_offset=row.offset,
            partition_max_bytes=1 << 20,
            current_leader_epoch=row.epoch,
        )
    ]
    session_id, session_epoch = row.session
    request = FetchRequest(max_bytes=1 << 20, min_bytes=0, max_wait_ms=0, topics=[topic])
    if version >= 15:
        request.replica_state = ReplicaState(replica_id=row.replica)
    else:
        request.replica_id = row.replica
    if version >= 7:
        request.session_id, request.session_epoch = session_id, session_epoch
    return request
