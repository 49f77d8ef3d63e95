"""Fetch through the whole server, on partitions in memory."""

from uuid import UUID

import trio

from ottla.broker.api.fetch import API
from ottla.broker.ids import TopicPartition
from ottla.broker.metadata import MetadataCache
from ottla.broker.storage.txn_index import AbortedTxn
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
    ReplicaState,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.images import partition as image
from tests.support.images import topic, update
from tests.support.partitions import TOPIC_ID, MemoryPartition, MemoryPartitions
from tests.support.served import serving

BATCH = build_batch([(b"k", b"v" * 50, 1_700_000_000_000, [])])
SIZE = len(BATCH)


def stocked(index: int = 0, batches: int = 3, name: str = "t") -> MemoryPartition:
    made = MemoryPartition(TopicPartition(name, index))
    for _ in range(batches):
        made.append_as_leader(memoryview(BATCH), acks=1)
    return made


def append(partition: MemoryPartition) -> None:
    partition.append_as_leader(memoryview(BATCH), acks=1)


async def append_later(partition: MemoryPartition) -> None:
    await trio.sleep(0.1)
    append(partition)


def request(*wanted: tuple[int, int], version: int = 12, size: int = 1 << 20, **more):
    """Fetch (partition, offset) of topic t, by its id from version 13 on."""
    return FetchRequest(
        max_wait_ms=more.pop("wait", 500),
        min_bytes=more.pop("min_bytes", 1),
        topics=[
            FetchTopic(
                topic="t" if version < 13 else "",
                topic_id=TOPIC_ID if version >= 13 else UUID(int=0),
                partitions=[
                    FetchPartition(
                        partition=index,
                        fetch_offset=offset,
                        partition_max_bytes=size,
                        current_leader_epoch=more.get("epoch", -1),
                    )
                    for index, offset in wanted
                ],
            )
        ]
        if wanted
        else [],
        **{key: value for key, value in more.items() if key != "epoch"},
    )


def answers(response) -> list:
    return [each for topic in response.responses for each in topic.partitions]


def cache() -> MetadataCache:
    metadata = MetadataCache()
    metadata.apply(update(topic("t", TOPIC_ID.int, image(0, 1), image(1, 1), image(9, 2))))
    return metadata


async def test_every_version_gives_records_from_the_offset_on(autojump_clock):
    one = stocked()
    async with serving(API, partitions=MemoryPartitions(one), metadata=cache()) as served:
        peer = await served.connect()
        for version in range(4, 18):
            (answer,) = answers(await peer.ask(request((0, 1), version=version), version))
            assert answer.error_code == 0, version
            assert bytes(answer.records) == one.batches[1][2] + one.batches[2][2]
            assert answer.high_watermark == 3


async def test_the_first_batch_is_whole_whatever_the_limits_say(autojump_clock):
    """KIP-74: in the first partition that has data, and in no other."""
    registry = MemoryPartitions(stocked(0), stocked(1))
    async with serving(API, partitions=registry) as served:
        peer = await served.connect()
        first, second = answers(await peer.ask(request((0, 0), (1, 0), size=1, max_bytes=1), 12))
        assert len(first.records) == SIZE
        assert len(second.records) == 0
        assert second.high_watermark == 3


async def test_the_response_limit_counts_over_all_partitions(autojump_clock):
    registry = MemoryPartitions(stocked(0), stocked(1))
    async with serving(API, partitions=registry) as served:
        peer = await served.connect()
        limit = SIZE * 4
        first, second = answers(await peer.ask(request((0, 0), (1, 0), max_bytes=limit), 12))
        assert len(first.records) == 3 * SIZE
        assert len(second.records) == SIZE


async def test_nothing_new_is_a_field_of_length_0_after_the_wait(autojump_clock):
    async with serving(API, partitions=MemoryPartitions(stocked())) as served:
        peer = await served.connect()
        started = trio.current_time()
        (answer,) = answers(await peer.ask(request((0, 3), wait=700), 12))
        assert trio.current_time() - started == 0.7
        assert answer.error_code == 0
        assert answer.records is not None
        assert len(answer.records) == 0


async def test_a_parked_fetch_is_answered_as_soon_as_records_are_committed(autojump_clock):
    one = stocked()
    async with serving(API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        await peer.send(request((0, 3), wait=60_000), 12)
        await trio.sleep(5)
        started = trio.current_time()
        one.append_as_leader(memoryview(BATCH), acks=1)
        (answer,) = answers((await peer.answer())[1])
        assert len(answer.records) == SIZE
        assert trio.current_time() == started
        assert one.waiters == 0, "a wake-up is left behind"


async def test_min_bytes_is_waited_for(autojump_clock):
    one = stocked(batches=1)
    async with serving(API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        await peer.send(request((0, 0), wait=60_000, min_bytes=3 * SIZE), 12)
        for _ in range(2):
            with trio.move_on_after(1) as scope:
                await peer.frame()
            assert scope.cancelled_caught
            one.append_as_leader(memoryview(BATCH), acks=1)
        (answer,) = answers((await peer.answer())[1])
        assert len(answer.records) == 3 * SIZE


async def test_losing_leadership_ends_the_wait(autojump_clock):
    one = stocked()
    async with serving(API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        await peer.send(request((0, 3), wait=60_000), 12)
        await trio.sleep(1)
        one.resign()
        (answer,) = answers((await peer.answer())[1])
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


async def test_a_peer_that_goes_away_leaves_no_wake_up(autojump_clock):
    one = stocked()
    async with serving(API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        await peer.send(request((0, 3), wait=60_000), 12)
        await trio.sleep(1)
        assert one.waiters == 1
        peer.stream.close()
        await trio.sleep(1)
        assert one.waiters == 0


async def test_an_error_answers_at_once_and_has_its_code(autojump_clock):
    registry = MemoryPartitions(stocked(), MemoryPartition(TopicPartition("t", 1), is_leader=False))
    unknown_id = FetchTopic(
        topic_id=UUID(int=99), partitions=[FetchPartition(partition=0, partition_max_bytes=1)]
    )
    async with serving(API, partitions=registry, metadata=cache()) as served:
        peer = await served.connect()
        table = [
            (12, request((0, 4)), ErrorCode.OFFSET_OUT_OF_RANGE),
            (12, request((0, 0), epoch=4), ErrorCode.FENCED_LEADER_EPOCH),
            (12, request((0, 0), epoch=6), ErrorCode.UNKNOWN_LEADER_EPOCH),
            (12, request((1, 0)), ErrorCode.NOT_LEADER_OR_FOLLOWER),
            (12, request((9, 0)), ErrorCode.NOT_LEADER_OR_FOLLOWER),
            (12, request((8, 0)), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            (13, FetchRequest(max_wait_ms=9, topics=[unknown_id]), ErrorCode.UNKNOWN_TOPIC_ID),
        ]
        started = trio.current_time()
        for version, asked, code in table:
            (answer,) = answers(await peer.ask(asked, version))
            assert answer.error_code == code
            assert len(answer.records) == 0
        assert trio.current_time() == started


async def test_a_moved_partition_names_its_leader_and_endpoint(autojump_clock):
    async with serving(API, metadata=cache()) as served:
        peer = await served.connect()
        response = await peer.ask(request((9, 0), version=16), 16)
        (answer,) = answers(response)
        assert (answer.current_leader.leader_id, answer.current_leader.leader_epoch) == (2, 5)
        assert [(each.node_id, each.port) for each in response.node_endpoints] == [(2, 9002)]


async def test_a_topic_created_anew_is_told_from_the_old_one(autojump_clock):
    metadata = cache()
    metadata.apply(update(topic("t", 55, image(0, 1))))
    async with serving(API, partitions=MemoryPartitions(stocked()), metadata=metadata) as served:
        peer = await served.connect()
        asked = request((0, 0), version=13)
        asked.topics[0].topic_id = UUID(int=55)
        (answer,) = answers(await peer.ask(asked, 13))
        assert answer.error_code == ErrorCode.INCONSISTENT_TOPIC_ID


async def test_a_follower_reads_to_the_log_end_and_is_noted(autojump_clock):
    one = MemoryPartition(TopicPartition("t", 0), hold=True)
    one.append_as_leader(memoryview(BATCH), acks=1)
    async with serving(API, partitions=MemoryPartitions(one), metadata=cache()) as served:
        peer = await served.connect()
        (answer,) = answers(await peer.ask(request((0, 0), replica_id=2), 12))
        assert len(answer.records) == SIZE
        state = ReplicaState(replica_id=3, replica_epoch=8)
        (answer,) = answers(await peer.ask(request((0, 0), version=15, replica_state=state), 15))
        assert len(answer.records) == SIZE
        assert one.follower_fetches == [(2, 0), (3, 0)]
        (answer,) = answers(await peer.ask(request((0, 0), wait=0), 12))
        assert len(answer.records) == 0, "a consumer does not see what is not committed"


async def test_aborted_transactions_are_named_to_read_committed_readers_only(autojump_clock):
    one = stocked()
    one.aborted = [AbortedTxn(9, 1, 2, 2)]
    async with serving(API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        (answer,) = answers(await peer.ask(request((0, 0), isolation_level=1), 12))
        assert [(a.producer_id, a.first_offset) for a in answer.aborted_transactions] == [(9, 1)]
        (answer,) = answers(await peer.ask(request((0, 0)), 12))
        assert answer.aborted_transactions is None


async def test_a_session_names_only_what_is_new(autojump_clock):
    """KIP-227."""
    first, second = stocked(0), stocked(1)
    registry = MemoryPartitions(first, second)
    async with serving(API, partitions=registry) as served:
        peer = await served.connect()
        response = await peer.ask(request((0, 3), (1, 3), wait=0, session_epoch=0), 12)
        session = response.session_id
        assert session > 0
        assert len(answers(response)) == 2
        response = await peer.ask(request(wait=0, session_id=session, session_epoch=1), 12)
        assert (response.session_id, answers(response)) == (session, [])
        second.append_as_leader(memoryview(BATCH), acks=1)
        response = await peer.ask(request(wait=0, session_id=session, session_epoch=2), 12)
        (answer,) = answers(response)
        assert (answer.partition_index, len(answer.records)) == (1, SIZE)
        response = await peer.ask(
            request(
                (0, 2),
                wait=0,
                session_id=session,
                session_epoch=3,
                forgotten_topics_data=[ForgottenTopic(topic="t", partitions=[1])],
            ),
            12,
        )
        (answer,) = answers(response)
        assert (answer.partition_index, len(answer.records)) == (0, SIZE)


async def test_a_partition_that_recovered_from_an_error_is_news(autojump_clock):
    one = stocked()
    async with serving(API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        session = (await peer.ask(request((0, 3), wait=0, session_epoch=0), 12)).session_id
        one.resign()
        response = await peer.ask(request(wait=0, session_id=session, session_epoch=1), 12)
        assert answers(response)[0].error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        one.is_leader = True
        response = await peer.ask(request(wait=0, session_id=session, session_epoch=2), 12)
        assert answers(response)[0].error_code == 0


async def test_a_session_reads_only_partitions_that_changed(autojump_clock):
    """KIP-227's promise: what an idle partition costs does not depend on being asked for."""
    partitions = [stocked(index) for index in range(3)]
    async with serving(API, partitions=MemoryPartitions(*partitions)) as served:
        peer = await served.connect()
        asked = [(index, 3) for index in range(3)]
        session = (await peer.ask(request(*asked, wait=0, session_epoch=0), 12)).session_id
        before = [partition.reads for partition in partitions]
        append(partitions[1])
        response = await peer.ask(request(wait=0, session_id=session, session_epoch=1), 12)
        (answer,) = answers(response)
        assert (answer.partition_index, len(answer.records)) == (1, SIZE)
        after = [partition.reads for partition in partitions]
        assert [now - then for now, then in zip(after, before, strict=True)] == [0, 1, 0]


async def test_a_log_start_that_retention_moved_is_news(autojump_clock):
    one = stocked()
    async with serving(API, partitions=MemoryPartitions(one)) as served:
        peer = await served.connect()
        session = (await peer.ask(request((0, 3), wait=0, session_epoch=0), 12)).session_id
        one.log_start = 2
        response = await peer.ask(request(wait=0, session_id=session, session_epoch=1), 12)
        assert answers(response)[0].log_start_offset == 2


async def test_a_parked_fetch_reads_again_only_what_changed(autojump_clock):
    partitions = [stocked(index) for index in range(3)]
    async with serving(API, partitions=MemoryPartitions(*partitions)) as served:
        peer = await served.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append_later, partitions[2])
            response = await peer.ask(request(*((index, 3) for index in range(3))), 12)
        assert [len(answer.records) for answer in answers(response)] == [0, 0, SIZE]
        assert [answer.high_watermark for answer in answers(response)] == [3, 3, 4]
        assert [partition.reads for partition in partitions] == [1, 1, 2]


async def test_session_errors_are_those_of_the_whole_response(autojump_clock):
    async with serving(API, partitions=MemoryPartitions(stocked()), metadata=cache()) as served:
        peer = await served.connect()
        response = await peer.ask(request(session_id=5, session_epoch=1), 12)
        assert response.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
        session = (await peer.ask(request((0, 0), session_epoch=0), 12)).session_id
        response = await peer.ask(request(session_id=session, session_epoch=7), 12)
        assert response.error_code == ErrorCode.INVALID_FETCH_SESSION_EPOCH
        response = await peer.ask(request(session_id=session, session_epoch=1, version=13), 13)
        assert response.error_code == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
        await peer.ask(request((0, 0), session_id=session, session_epoch=-1), 12)
        assert len(served.services.fetch_sessions) == 0
