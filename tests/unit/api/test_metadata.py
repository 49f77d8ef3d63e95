"""Metadata, DescribeCluster, DescribeTopicPartitions, and topics that are created on the way."""

from uuid import UUID

import pytest
import trio

from ottla.broker.api import describe_cluster, describe_topic_partitions
from ottla.broker.api.metadata import API
from ottla.broker.controller.topics import NewTopic, TopicOutcome
from ottla.broker.metadata import MetadataCache
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_cluster import DescribeClusterRequest
from ottla.protocol.kafka.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    TopicRequest,
)
from ottla.protocol.kafka.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.support.images import broker, partition, topic, update
from tests.support.served import serving


def asked(*names: str, **more) -> MetadataRequest:
    return MetadataRequest(
        topics=[MetadataRequestTopic(name=name) for name in names],
        **{"allow_auto_topic_creation": False} | more,
    )


def cache(*topics, **more) -> MetadataCache:
    metadata = MetadataCache()
    metadata.apply(update(*topics, **more))
    return metadata


class Creator:
    """A controller that creates what it is told to, `delay` seconds later."""

    is_active = True

    def __init__(self, metadata: MetadataCache, *, delay: float = 0.1, leader: int = 1) -> None:
        self._metadata = metadata
        self._delay = delay
        self._leader = leader
        self.wishes: list[NewTopic] = []

    async def create_topics(self, wishes, *, timeout_s, validate_only) -> list[TopicOutcome]:
        self.wishes += wishes
        await trio.sleep(self._delay)
        for number, wish in enumerate(wishes):
            self._metadata.apply(update(topic(wish.name, 50 + number, partition(0, self._leader))))
        return [TopicOutcome(wish.name) for wish in wishes]


async def test_every_version_names_brokers_and_leaders(autojump_clock):
    metadata = cache(topic("t", 7, partition(0, 2)), topic("u", 8, partition(0, 1)))
    async with serving(API, metadata=metadata) as served:
        peer = await served.connect()
        for version in range(13):
            request = asked("t", allow_auto_topic_creation=True)
            response = await peer.ask(request, version)
            assert [each.node_id for each in response.brokers] == [1, 2, 3]
            assert (response.brokers[1].host, response.brokers[1].port) == ("host2", 9002)
            (found,) = response.topics
            assert (found.error_code, found.name) == (0, "t")
            assert found.partitions[0].leader_id == 2
            assert list(found.partitions[0].replica_nodes) == [1, 2, 3]
            if version >= 1:
                assert response.controller_id == 1
            if version >= 2:
                assert response.cluster_id == "testing"
            if version >= 10:
                assert found.topic_id == UUID(int=7)


@pytest.mark.parametrize(("version", "topics"), [(0, []), (1, None), (12, None)])
async def test_all_topics_can_be_asked_for(autojump_clock, version, topics):
    metadata = cache(topic("t", 7, partition(0, 2)), topic("u", 8, partition(0, 1)))
    async with serving(API, metadata=metadata) as served:
        peer = await served.connect()
        response = await peer.ask(MetadataRequest(topics=topics), version)
        assert [each.name for each in response.topics] == ["t", "u"]
        if version:
            assert (await peer.ask(MetadataRequest(topics=[]), version)).topics == []


async def test_a_broker_that_knows_nothing_yet_waits_for_the_controller(autojump_clock, nursery):
    """librdkafka may lose its next request after it was told of no brokers at all."""
    metadata = MetadataCache()

    async def controller() -> None:
        await trio.sleep(1)
        metadata.apply(update(topic("t", 7, partition(0, 2))))

    nursery.start_soon(controller)
    async with serving(API, metadata=metadata) as served:
        peer = await served.connect()
        response = await peer.ask(asked("t"), 12)
        assert [each.node_id for each in response.brokers] == [1, 2, 3]
        assert response.topics[0].partitions[0].leader_id == 2


async def test_without_any_controller_the_answer_comes_all_the_same(autojump_clock):
    async with serving(API, metadata=MetadataCache()) as served:
        peer = await served.connect()
        response = await peer.ask(asked("t"), 12)
        assert list(response.brokers) == []
        assert response.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_an_answer_is_made_anew_when_the_cluster_changes(autojump_clock):
    metadata = cache(topic("t", 7, partition(0, 2)))
    async with serving(API, metadata=metadata) as served:
        peer = await served.connect()
        for leader in (2, 2, 3):
            metadata.apply(update(topic("t", 7, partition(0, leader))))
            response = await peer.ask(asked("t"), 12)
            assert response.topics[0].partitions[0].leader_id == leader


async def test_each_cause_has_its_code(autojump_clock):
    brokers = (broker(1), broker(2, "INTERNAL"))
    metadata = cache(
        topic("t", 7, partition(0, -1), partition(1, 3), partition(2, 2), partition(3, 1)),
        brokers=brokers,
    )
    async with serving(API, metadata=metadata) as served:
        peer = await served.connect()
        response = await peer.ask(asked("t"), 12)
        assert [(each.error_code, each.leader_id) for each in response.topics[0].partitions] == [
            (ErrorCode.LEADER_NOT_AVAILABLE, -1),
            (ErrorCode.LEADER_NOT_AVAILABLE, -1),
            (ErrorCode.LISTENER_NOT_FOUND, -1),
            (0, 1),
        ]
        assert list(response.topics[0].partitions[3].offline_replicas) == [2, 3]
        old = await peer.ask(asked("t"), 5)
        assert old.topics[0].partitions[2].error_code == ErrorCode.LEADER_NOT_AVAILABLE
        oldest = await peer.ask(asked("t", allow_auto_topic_creation=True), 0)
        assert oldest.topics[0].partitions[3].error_code == ErrorCode.REPLICA_NOT_AVAILABLE
        response = await peer.ask(asked("unknown", "bad name", ""), 12)
        assert [each.error_code for each in response.topics] == [
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            ErrorCode.INVALID_TOPIC_EXCEPTION,
        ]
        by_id = MetadataRequest(
            topics=[
                MetadataRequestTopic(topic_id=UUID(int=7), name=None),
                MetadataRequestTopic(topic_id=UUID(int=8), name=None),
            ]
        )
        response = await peer.ask(by_id, 12)
        assert [(each.name, each.error_code) for each in response.topics] == [
            ("t", 0),
            (None, ErrorCode.UNKNOWN_TOPIC_ID),
        ]


async def test_a_missing_topic_is_created_and_the_answer_has_its_leader(autojump_clock):
    metadata = cache()
    controller = Creator(metadata)
    async with serving(API, metadata=metadata, controller=controller) as served:
        peer = await served.connect()
        response = await peer.ask(asked("new", allow_auto_topic_creation=True), 12)
        (found,) = response.topics
        assert (found.error_code, found.partitions[0].leader_id) == (0, 1)
        assert [wish.name for wish in controller.wishes] == ["new"]


async def test_a_topic_without_a_leader_in_time_is_leader_not_available(autojump_clock):
    metadata = cache()

    class Slow(Creator):
        async def create_topics(self, wishes, *, timeout_s, validate_only):
            return [TopicOutcome(wish.name) for wish in wishes]

    async with serving(API, metadata=metadata, controller=Slow(metadata)) as served:
        peer = await served.connect()
        response = await peer.ask(asked("new", allow_auto_topic_creation=True), 12)
        assert response.topics[0].error_code == ErrorCode.LEADER_NOT_AVAILABLE


async def test_without_a_controller_a_missing_topic_is_leader_not_available(autojump_clock):
    class Bystander:
        is_active = False

    async with serving(API, metadata=cache(), controller=Bystander()) as served:
        peer = await served.connect()
        response = await peer.ask(asked("new", allow_auto_topic_creation=True), 12)
        assert response.topics[0].error_code == ErrorCode.LEADER_NOT_AVAILABLE


@pytest.mark.parametrize("by_broker", [True, False])
async def test_nothing_is_created_where_broker_or_client_forbid_it(autojump_clock, by_broker):
    config = {"auto.create.topics.enable": "false"} if by_broker else {}
    async with serving(API, metadata=cache(), config=config) as served:
        peer = await served.connect()
        response = await peer.ask(asked("new", allow_auto_topic_creation=by_broker), 12)
        assert response.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_the_offsets_topic_is_created_with_its_own_settings(autojump_clock):
    metadata = cache()
    controller = Creator(metadata)
    config = {"offsets.topic.num.partitions": "3", "offsets.topic.replication.factor": "2"}
    async with serving(API, metadata=metadata, controller=controller, config=config) as served:
        peer = await served.connect()
        await peer.ask(asked("__consumer_offsets", allow_auto_topic_creation=True), 12)
    (wish,) = controller.wishes
    assert (wish.partitions, wish.replication_factor) == (3, 2)
    assert wish.configs["cleanup.policy"] == "compact"


async def test_describe_cluster(autojump_clock):
    async with serving(describe_cluster.API, metadata=cache()) as served:
        peer = await served.connect()
        for version in (0, 1):
            response = await peer.ask(DescribeClusterRequest(), version)
            assert (response.error_code, response.cluster_id) == (0, "testing")
            assert (response.controller_id, len(response.brokers)) == (1, 3)
        response = await peer.ask(DescribeClusterRequest(endpoint_type=2), 1)
        assert response.error_code == ErrorCode.MISMATCHED_ENDPOINT_TYPE


async def test_topic_partitions_come_in_pages(autojump_clock):
    metadata = cache(
        topic("a", 1, *(partition(index, 1) for index in range(3))),
        topic("b", 2, *(partition(index, 2) for index in range(3))),
    )
    async with serving(describe_topic_partitions.API, metadata=metadata) as served:
        peer = await served.connect()
        seen, cursor = [], None
        while True:
            request = DescribeTopicPartitionsRequest(response_partition_limit=2, cursor=cursor)
            response = await peer.ask(request, 0)
            for found in response.topics:
                seen += [(found.name, each.partition_index) for each in found.partitions]
            cursor = response.next_cursor
            if cursor is None:
                break
        assert seen == [(name, index) for name in "ab" for index in range(3)]
        request = DescribeTopicPartitionsRequest(
            topics=[TopicRequest(name="c")], cursor=Cursor(topic_name="a", partition_index=0)
        )
        (unknown,) = (await peer.ask(request, 0)).topics
        assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
