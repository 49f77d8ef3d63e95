"""The replica fetcher's sessions (KIP-227): what each request names, and when it starts anew."""

from dataclasses import dataclass, field
from uuid import UUID

import pytest
import trio
import trio.testing

from ottla.broker.errors import KafkaStorageError
from ottla.broker.ids import BrokerEpoch, BrokerId, TopicPartition
from ottla.broker.link import LinkLost
from ottla.broker.replication.fetcher import Fetchers, FetcherSettings, LeaderFetcher
from ottla.broker.replication.leader_range import EARLIEST, LATEST
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)
from ottla.protocol.kafka.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import RecordingEvents

TOPIC_ID = UUID(int=9)
SESSION = 77
BACKOFF_S = 1.0
SETTINGS = FetcherSettings(BrokerId(2), 0.5, 1, 1 << 20, 10 << 20, BACKOFF_S, 30, 1)


@dataclass(eq=False)
class Followed:
    """A partition whose log grows by what was fetched, one offset for each byte."""

    tp: TopicPartition
    topic_id: UUID = TOPIC_ID
    leader_epoch: int = 0
    log_start: int = 0
    log_end: int = 0
    latest_epoch: int = 0
    is_flushed_by_count: bool = False

    @property
    def log(self) -> "Followed":
        return self

    @property
    def settled_end(self) -> int:
        return self.log_end

    def append_fetched(self, records, leader_high_watermark, leader_log_start) -> None:
        self.log_end += len(records)
        self.log_start = max(self.log_start, leader_log_start)

    def truncate_after_divergence(self, leader_epoch, leader_end) -> None:
        self.log_end = leader_end

    def on_out_of_range(self, leader_start, leader_end) -> None:
        raise AssertionError("not in these tests")


@dataclass
class Link:
    """The leader: keeps the requests, answers what the test has put up, once it has."""

    answers: list[FetchResponse | OSError] = field(default_factory=list)
    requests: list[FetchRequest] = field(default_factory=list)
    more: trio.Event = field(default_factory=trio.Event)
    cuts: int = 0
    is_closed: bool = False

    def put(self, answer: FetchResponse) -> None:
        self.answers.append(answer)
        self.more.set()

    async def request_unbounded(self, message, version):
        self.requests.append(message)
        cuts = self.cuts
        while not self.answers:
            self.more = trio.Event()
            await self.more.wait()
            if self.cuts != cuts:
                raise LinkLost("disconnected")
        answer = self.answers.pop(0)
        await trio.sleep(0.01)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def disconnect(self) -> None:
        self.cuts += 1
        self.more.set()

    def close(self) -> None:
        self.is_closed = True


def answer(*given: tuple[int, bytes], error: int = 0, **more) -> FetchResponse:
    """Of (partition, records)."""
    partitions = [
        PartitionData(partition_index=index, records=records, error_code=error, high_watermark=0)
        for index, records in given
    ]
    topics = [FetchableTopicResponse(topic_id=TOPIC_ID, partitions=partitions)] if given else []
    return FetchResponse(session_id=more.pop("session_id", SESSION), responses=topics, **more)


def asked(request: FetchRequest) -> dict[int, int]:
    """Partition to offset."""
    return {p.partition: p.fetch_offset for t in request.topics for p in t.partitions}


def forgotten(request: FetchRequest) -> list[int]:
    return [index for topic in request.forgotten_topics_data for index in topic.partitions]


async def fetched(link: Link, *partitions: Followed, then=None, seconds: float = 10) -> Link:
    """What a fetcher of these partitions asks; `then` is called with it after a second."""
    fetcher = LeaderFetcher(BrokerId(1), link, SETTINGS, lambda: BrokerEpoch(5), RecordingEvents())
    for partition in partitions:
        fetcher.follow(partition)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetcher.run)
            await trio.sleep(1)
            if then is not None:
                then(fetcher)
    return link


def some(count: int) -> list[Followed]:
    return [Followed(TopicPartition("t", index)) for index in range(count)]


async def test_after_the_first_request_only_what_changed_is_named(autojump_clock):
    link = Link([answer(), answer((1, b"abc")), answer()])
    await fetched(link, *some(3), seconds=2)
    assert [asked(request) for request in link.requests] == [{0: 0, 1: 0, 2: 0}, {}, {1: 3}, {}]
    assert [request.session_epoch for request in link.requests] == [0, 1, 2, 3]
    assert link.requests[0].session_id == 0
    assert {request.session_id for request in link.requests[1:]} == {SESSION}


async def test_without_a_session_every_request_names_all(autojump_clock):
    link = Link([answer(session_id=0), answer((1, b"abc"), session_id=0)])
    await fetched(link, *some(2), seconds=2)
    assert [asked(request) for request in link.requests] == [{0: 0, 1: 0}] * 2 + [{0: 0, 1: 3}]


async def test_partition_that_is_left_is_forgotten(autojump_clock):
    link = Link([answer()])

    def leave(fetcher: LeaderFetcher) -> None:
        fetcher.unfollow(TopicPartition("t", 0))
        link.put(answer())

    await fetched(link, *some(2), then=leave)
    assert [forgotten(request) for request in link.requests] == [[], [], [0]]
    assert [asked(request) for request in link.requests] == [{0: 0, 1: 0}, {}, {}]


async def test_new_partition_does_not_wait_for_the_end_of_a_long_poll(autojump_clock):
    link = Link([answer()])
    new = Followed(TopicPartition("t", 2))
    await fetched(link, *some(2), then=lambda fetcher: fetcher.follow(new))
    assert asked(link.requests[-1]) == {0: 0, 1: 0, 2: 0}
    assert link.requests[-1].session_epoch == 0


async def test_partition_that_failed_is_left_out_until_its_pause_is_over(autojump_clock):
    failed = answer((0, b""), error=ErrorCode.NOT_LEADER_OR_FOLLOWER)
    link = Link([answer(), failed, answer()] + [answer()] * 150)
    await fetched(link, *some(2), seconds=3)
    named = [(asked(request), forgotten(request)) for request in link.requests]
    assert named[:3] == [({0: 0, 1: 0}, []), ({}, []), ({}, [0])]
    assert ({0: 0}, []) in named[3:]
    assert all(request == ({}, []) for request in named[3:] if request != ({0: 0}, []))


async def test_log_that_cannot_begin_where_the_leaders_does_is_tried_again(autojump_clock):
    """Its disk is full; the broker ended by it, found by seed 90968."""
    refused = []

    class Full(Followed):
        def on_out_of_range(self, leader_start, leader_end) -> None:
            refused.append((leader_start, leader_end))
            raise KafkaStorageError("no space left")

    class Ranged(Link):
        async def request(self, message, *, version, timeout_s):
            await trio.sleep(0.01)
            [topic] = message.topics
            [wanted] = topic.partitions
            found = ListOffsetsPartitionResponse(offset={EARLIEST: 5, LATEST: 9}[wanted.timestamp])
            return ListOffsetsResponse(topics=[ListOffsetsTopicResponse(partitions=[found])])

    out_of_range = answer((0, b""), error=ErrorCode.OFFSET_OUT_OF_RANGE)
    link = Ranged([out_of_range, answer(), out_of_range])
    await fetched(link, Full(TopicPartition("t", 0)))
    assert refused == [(5, 9)] * 2


async def test_leader_that_does_not_know_its_role_yet_is_asked_again_soon(autojump_clock):
    """Writes with acks=all wait for that follower; a second of backoff is a second of silence."""
    early = answer((0, b""), error=ErrorCode.UNKNOWN_LEADER_EPOCH)
    link = Link([answer(), early, early, answer(), answer((0, b"abc"))])
    await fetched(link, *some(1), seconds=0.2)
    assert [asked(request) for request in link.requests[:4]] == [{0: 0}, {}, {0: 0}, {0: 0}]
    assert asked(link.requests[-1]) == {0: 3}


async def test_alone_it_is_asked_for_anew_after_its_pause(autojump_clock):
    failed = answer((0, b""), error=ErrorCode.NOT_LEADER_OR_FOLLOWER)
    link = Link([answer(), failed])
    await fetched(link, *some(1), seconds=4)
    last = link.requests[-1]
    assert asked(last) == {0: 0}
    assert (last.session_id, last.session_epoch) == (SESSION, 0)
    assert len(link.requests) == 3


async def test_lost_session_begins_again_with_everything(autojump_clock):
    lost = FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    link = Link([answer(), answer((1, b"abc")), lost, answer()])
    await fetched(link, *some(2), seconds=2)
    assert asked(link.requests[3]) == {0: 0, 1: 3}
    assert (link.requests[3].session_id, link.requests[3].session_epoch) == (0, 0)


async def test_lost_link_begins_again_with_everything(autojump_clock):
    link = Link([answer(), LinkLost("gone"), answer((0, b"ab")), answer()])
    await fetched(link, *some(2), seconds=4)
    assert [asked(request) for request in link.requests[2:4]] == [{0: 0, 1: 0}, {0: 2}]


async def test_leader_that_does_not_answer_is_given_up_and_asked_anew(autojump_clock):
    """After `replica.fetch.wait.max.ms` and `replica.socket.timeout.ms`."""
    link = Link([answer()])
    await fetched(link, *some(2), seconds=30 + 0.5 + BACKOFF_S)
    assert [asked(request) for request in link.requests] == [{0: 0, 1: 0}, {}]
    assert link.cuts == 1
    link = Link([answer()])
    await fetched(link, *some(2), seconds=30 + 0.5 + BACKOFF_S + 0.1)
    assert [asked(request) for request in link.requests[2:]] == [{0: 0, 1: 0}]


async def test_role_that_comes_while_the_broker_stops_is_taken_without_a_fetcher():
    """Found by simulation seed 43: the request failed as if the broker were broken."""
    fetchers = Fetchers(
        SETTINGS,
        lambda *_where: pytest.fail("no link is opened any more"),
        lambda: BrokerEpoch(7),
        RecordingEvents(),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(fetchers.run)
        nursery.cancel_scope.cancel()
    [partition] = some(1)
    fetchers.follow(partition, BrokerId(1), Address("broker-1", 9092))


async def test_logs_that_wait_for_their_syncs_have_connections_of_their_own(autojump_clock):
    """Others would wait with them: a fetcher asks again once all it appended may be asked past."""
    links: list[Link] = []

    def connect(_leader, _address, _client_id) -> Link:
        links.append(Link())
        return links[-1]

    fetchers = Fetchers(SETTINGS, connect, lambda: BrokerEpoch(7), RecordingEvents())
    plain, flushed, later = some(3)
    flushed.is_flushed_by_count = True
    async with trio.open_nursery() as nursery:
        await nursery.start(fetchers.run)
        for each in (plain, flushed, later):
            fetchers.follow(each, BrokerId(1), Address("broker-1", 9092))
        await trio.testing.wait_all_tasks_blocked()
        assert [sorted(asked(link.requests[-1])) for link in links] == [[0, 2], [1]]
        later.is_flushed_by_count = True
        fetchers.rearrange()
        await trio.testing.wait_all_tasks_blocked()
        links[0].put(answer())
        await trio.sleep(0.1)
        assert forgotten(links[0].requests[-1]) == [2]
        assert sorted(asked(links[1].requests[-1])) == [1, 2]
        nursery.cancel_scope.cancel()


async def test_fetcher_that_is_not_needed_before_it_begins_ends_and_closes_its_link():
    """Found by simulation seed 34042: the broker ended with its task."""
    links: list[Link] = []

    def connect(_leader, _address, _client_id) -> Link:
        links.append(Link())
        return links[-1]

    fetchers = Fetchers(SETTINGS, connect, lambda: BrokerEpoch(7), RecordingEvents())
    [partition] = some(1)
    async with trio.open_nursery() as nursery:
        await nursery.start(fetchers.run)
        fetchers.follow(partition, BrokerId(1), Address("broker-1", 9092))
        fetchers.unfollow(partition.tp)
        fetchers.drop_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert [link.is_closed for link in links] == [True]
        nursery.cancel_scope.cancel()
