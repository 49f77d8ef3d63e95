"""Fetches without a session that name what was named before: decoded and read only where new."""

import random
from uuid import UUID

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.broker.api.api import ConnectionContext
from ottla.broker.api.fetch import API, _asked
from ottla.broker.api.fetch_sessions import FetchedPartition
from ottla.broker.api.repeated_fetch import FRAME_BYTES_MIN, RepeatedFetches
from ottla.broker.ids import TopicPartition
from ottla.broker.metadata import MetadataCache
from ottla.protocol.kafka import codec
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
    ReplicaState,
)
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.interfaces import Address
from tests.support.images import partition as image
from tests.support.images import topic, update
from tests.support.partitions import TOPIC_ID, MemoryPartition, MemoryPartitions
from tests.support.served import services, serving

BATCH = build_batch([(b"k", b"v" * 50, 1_700_000_000_000, [])])
SIZE = len(BATCH)
VERSIONS = range(4, 18)
COUNT = 40  # partitions; such a request is large enough to be remembered
assert COUNT * 16 > FRAME_BYTES_MIN

NAMED = ("index", "fetch_offset", "max_bytes", "current_leader_epoch", "last_fetched_epoch")


def context() -> ConnectionContext:
    return ConnectionContext(services([API]), "PLAINTEXT", Address("peer", 1))


def request(version: int, wanted: dict[int, int], size: int = 1 << 20, **more) -> FetchRequest:
    """Fetch {partition: offset} of topic t without a session."""
    topic = FetchTopic(
        topic="t" if version < 13 else "",
        topic_id=TOPIC_ID if version >= 13 else UUID(int=0),
        partitions=[
            FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=size)
            for index, offset in wanted.items()
        ],
    )
    return FetchRequest(**{"max_wait_ms": 0, "min_bytes": 1, "topics": [topic], **more})


def decoded(fetches: RepeatedFetches, connection: ConnectionContext, version: int, body: bytes):
    return fetches.decode(connection, version, memoryview(b"head" + body), 4)


def fields(asked: list[FetchedPartition]) -> list[tuple[object, ...]]:
    return [
        (one.topic, one.replica_log_start, *(getattr(one, name) for name in NAMED)) for one in asked
    ]


numbers = st.integers(-1, 2**31 - 1)
entries = st.builds(
    FetchPartition,
    partition=numbers,
    fetch_offset=st.integers(-1, 2**63 - 1),
    partition_max_bytes=numbers,
)


@settings(max_examples=25)
@given(
    st.sampled_from(VERSIONS),
    st.lists(st.tuples(st.text(max_size=9), st.lists(entries, max_size=9)), max_size=4),
    st.integers(0, 1),
    numbers,
)
def test_what_is_cut_here_is_what_the_codec_decodes(version, topics, isolation, epoch):
    message = FetchRequest(
        max_wait_ms=7, min_bytes=8, max_bytes=9, isolation_level=isolation, topics=[]
    )
    for number, (name, partitions) in enumerate(topics):
        for one in partitions:
            one.current_leader_epoch = epoch if version >= 9 else -1
            one.log_start_offset = epoch if version >= 5 else -1
            one.last_fetched_epoch = epoch if version >= 12 else -1
        topic = FetchTopic(partitions=partitions)
        if version >= 13:
            topic.topic_id = UUID(int=number)
        else:
            topic.topic = name + str(number)
        message.topics.append(topic)
    body = codec.encode(message, version)
    found = decoded(RepeatedFetches(), context(), version, body)
    expected = codec.decode_request(FetchRequest, version, body)
    assert found is not None
    assert fields(found.asked) == fields(_asked(expected, version >= 13))
    expected.topics = []
    assert found.request == expected


@settings(max_examples=25)
@given(st.sampled_from(VERSIONS), st.binary(max_size=200), st.integers(0, 200))
def test_bytes_that_do_not_fit_are_left_to_the_codec(version, noise, cut):
    """Whatever it makes of them, an error that names the field or a request."""
    body = codec.encode(request(version, {0: 1, 1: 2}), version)
    for broken in (noise, body[:cut], body[:cut] + noise, body + noise):
        found = decoded(RepeatedFetches(), context(), version, broken)
        if found is not None:
            expected = codec.decode_request(FetchRequest, version, broken)
            assert fields(found.asked) == fields(_asked(expected, version >= 13))


@pytest.mark.parametrize(
    ("version", "more"),
    [
        (7, {"session_epoch": 0}),
        (7, {"session_id": 5, "session_epoch": 1}),
        (11, {"rack_id": "a"}),
        (12, {"rack_id": "a"}),
        (12, {"replica_id": 2}),
        (15, {"replica_state": ReplicaState(replica_id=2)}),
        (12, {"cluster_id": "c"}),
        (12, {"forgotten_topics_data": [ForgottenTopic(topic="t", partitions=[1])]}),
    ],
)
def test_only_a_consumers_plain_request_is_remembered(version, more):
    connection = context()
    body = codec.encode(request(version, {0: 1}, **more), version)
    assert decoded(RepeatedFetches(), connection, version, body) is None
    assert connection.last_fetch is None


def test_a_partition_is_known_again_in_another_place_but_not_at_another_offset():
    fetches, connection = RepeatedFetches(), context()
    first = decoded(fetches, connection, 12, codec.encode(request(12, {0: 1, 1: 1, 2: 1}), 12))
    body = codec.encode(request(12, {1: 1, 2: 5, 0: 1}), 12)
    second = decoded(fetches, connection, 12, body)
    assert [one in first.asked for one in second.asked] == [True, False, True]
    assert decoded(fetches, connection, 12, body) is second


def test_what_one_isolation_level_found_is_not_for_the_other():
    fetches, connection = RepeatedFetches(), context()
    first = decoded(fetches, connection, 12, codec.encode(request(12, {0: 1}), 12))
    body = codec.encode(request(12, {0: 1}, isolation_level=1), 12)
    second = decoded(fetches, connection, 12, body)
    assert second.asked[0] is not first.asked[0]


def test_what_is_remembered_is_bounded_and_goes_with_the_connection():
    fetches = RepeatedFetches(partitions_max=4)
    body = codec.encode(request(12, dict.fromkeys(range(3), 0)), 12)
    small = codec.encode(request(12, {0: 1, 1: 1}), 12)
    large, other = context(), context()
    assert decoded(fetches, large, 12, body) is not None
    assert decoded(fetches, other, 12, small) is not None
    assert other.last_fetch is None
    fetches.forget(large)
    assert decoded(fetches, other, 12, small) is other.last_fetch
    fetches.forget(other)
    assert fetches.remembered == 0


def stocked(count: int = COUNT) -> list[MemoryPartition]:
    made = [MemoryPartition(TopicPartition("t", index)) for index in range(count)]
    for partition in made:
        partition.append_as_leader(memoryview(BATCH), acks=1)
    return made


def named() -> MetadataCache:
    metadata = MetadataCache()
    metadata.apply(update(topic("t", TOPIC_ID.int, *(image(index, 1) for index in range(COUNT)))))
    return metadata


def answers(response) -> dict[int, tuple[int, int]]:
    return {
        each.partition_index: (len(each.records), each.high_watermark)
        for topic in response.responses
        for each in topic.partitions
    }


@pytest.mark.parametrize("version", [4, 11, 12, 17])
async def test_only_partitions_with_news_are_read_again(autojump_clock, version):
    partitions = stocked()
    async with serving(API, partitions=MemoryPartitions(*partitions)) as served:
        peer = await served.connect()
        offsets = dict.fromkeys(range(COUNT), 1)
        first = await peer.ask(request(version, offsets), version)
        partitions[7].append_as_leader(memoryview(BATCH), acks=1)
        before = [partition.reads for partition in partitions]
        order = list(offsets)
        random.Random(1).shuffle(order)
        for asked in (order, sorted(order), sorted(order)):
            response = await peer.ask(request(version, {n: offsets[n] for n in asked}), version)
            assert list(answers(response)) == asked
            assert answers(response) == answers(first) | {7: (SIZE, 2)}
        reads = [now.reads - then for now, then in zip(partitions, before, strict=True)]
        assert reads == [3 if index == 7 else 0 for index in range(COUNT)]


async def test_what_did_not_fit_is_read_when_it_does(autojump_clock):
    """KIP-74: the first partition's batch comes whatever its size; others within the limits."""
    partitions = stocked()
    async with serving(API, partitions=MemoryPartitions(*partitions)) as served:
        peer = await served.connect()
        offsets = dict.fromkeys(range(COUNT), 0)
        for _ in range(2):
            found = answers(await peer.ask(request(12, offsets, max_bytes=3 * SIZE), 12))
            assert [size for size, _ in found.values()] == [SIZE] * 3 + [0] * (COUNT - 3)
        assert [partition.reads for partition in partitions] == [2] * 3 + [1] * (COUNT - 3)
        for ended in range(3):  # less before it: what is behind gets their share
            offsets[ended] = 1
        found = answers(await peer.ask(request(12, offsets, max_bytes=4 * SIZE), 12))
        assert [size for size, _ in found.values()] == [0] * 3 + [SIZE] * 4 + [0] * (COUNT - 7)
        del offsets[3]
        found = answers(await peer.ask(request(12, offsets, size=1), 12))
        assert [size for size, _ in found.values()] == [0] * 3 + [SIZE] + [0] * (COUNT - 5)


async def test_a_parked_request_and_the_same_one_behind_it_both_get_the_records(autojump_clock):
    partitions = stocked()
    offsets = dict.fromkeys(range(COUNT), 1)
    async with serving(API, partitions=MemoryPartitions(*partitions)) as served:
        peer = await served.connect()
        for _ in range(2):
            await peer.send(request(12, offsets, max_wait_ms=60_000), 12)
        await trio.sleep(1)
        partitions[3].append_as_leader(memoryview(BATCH), acks=1)
        for _ in range(2):
            found = answers((await peer.answer())[1])
            assert found[3] == (SIZE, 2)
            assert {index for index, (size, _) in found.items() if size} == {3}


async def test_a_connection_that_ends_leaves_nothing_remembered(autojump_clock):
    async with serving(API, partitions=MemoryPartitions(*stocked())) as served:
        peer = await served.connect()
        await peer.ask(request(12, dict.fromkeys(range(COUNT), 1)), 12)
        fetches = served.server._dispatcher._fetches
        assert fetches.remembered == COUNT
        peer.stream.close()
        await trio.sleep(1)
        assert fetches.remembered == 0


def change(rng: random.Random, partition: MemoryPartition) -> None:
    """Something that the next fetch has to see."""
    what = rng.randrange(6)
    if what < 3 and partition.is_leader:
        partition.append_as_leader(memoryview(BATCH), acks=1)
    elif what == 3:
        partition.log_start = partition.high_watermark
    elif what == 4:
        partition.hold = not partition.hold
        partition.commit()
    else:
        partition.is_leader = not partition.is_leader
        partition.changes += 1  # as `Partition.make_leader`, `make_follower` and `stop` do


@pytest.mark.parametrize("seed", range(4))
async def test_answers_are_those_of_a_connection_that_remembers_nothing(autojump_clock, seed):
    rng = random.Random(seed)
    partitions = stocked()
    version = rng.choice(VERSIONS)
    offsets = dict.fromkeys(range(COUNT), 0)
    async with serving(API, partitions=MemoryPartitions(*partitions), metadata=named()) as served:
        peer = await served.connect()
        for _ in range(12):
            for partition in rng.sample(partitions, 3):
                change(rng, partition)
            order = rng.sample(list(offsets), rng.choice([COUNT, COUNT, COUNT - 3]))
            message = request(
                version,
                {index: offsets[index] for index in order},
                size=rng.choice([1, SIZE, 1 << 20]),
                max_bytes=rng.choice([0, 5 * SIZE, 1 << 20]),
                isolation_level=rng.choice([0, 0, 0, 1]),
            )
            found = await peer.ask(message, version)
            assert found == await (await served.connect()).ask(message, version)
            for index, (size, _) in answers(found).items():
                if rng.random() < 0.7:  # else it asks for the same again
                    offsets[index] += size // SIZE
