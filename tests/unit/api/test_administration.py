"""Topic administration, elections, configuration, and what the controller says to a broker."""

from uuid import UUID

import pytest

from ottla.broker.api import (
    controller_decisions,
    controller_requests,
    create_partitions,
    create_topics,
    delete_topics,
    describe_configs,
    elect_leaders,
)
from ottla.broker.controller.reign import Deposed
from ottla.broker.controller.topics import TopicOutcome
from ottla.broker.ensemble.errors import NoNode
from ottla.broker.ids import TopicPartition
from ottla.broker.metadata import MetadataCache
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from ottla.protocol.kafka.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from ottla.protocol.kafka.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from ottla.protocol.kafka.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from ottla.protocol.kafka.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from ottla.protocol.kafka.messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse
from ottla.protocol.kafka.messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from ottla.protocol.zookeeper.messages import Stat
from tests.support.images import partition, topic, update
from tests.support.served import serving

ADMIN = (create_topics.API, delete_topics.API, create_partitions.API, elect_leaders.API)


class Office:
    """A controller that says yes, and remembers what it was asked."""

    def __init__(self, *, is_active: bool = True) -> None:
        self.is_active = is_active
        self.asked: list[object] = []

    @property
    def state(self) -> "Office | None":
        return self if self.is_active else None

    @property
    def names(self) -> dict[UUID, str]:
        return {UUID(int=7): "t"}

    async def create_topics(self, wishes, *, timeout_s, validate_only):
        self.asked += wishes
        return [
            TopicOutcome(wish.name, topic_id=UUID(int=7), partitions=3, replication_factor=1)
            for wish in wishes
        ]

    async def create_partitions(self, wishes, *, timeout_s, validate_only):
        self.asked += wishes
        return [TopicOutcome(wish.name) for wish in wishes]

    async def delete_topics(self, names, *, timeout_s):
        self.asked += names
        return [TopicOutcome(name) for name in names]

    async def elect_leaders(self, partitions, *, unclean):
        if not self.is_active:
            raise Deposed
        return {
            TopicPartition("t", 0): (ErrorCode.NONE, None),
            TopicPartition("t", 1): (ErrorCode.ELECTION_NOT_NEEDED, "already"),
        }


CREATE = CreateTopicsRequest(
    topics=[
        CreatableTopic(
            name="t",
            num_partitions=3,
            replication_factor=1,
            configs=[CreatableTopicConfig(name="retention.ms", value="77")],
        )
    ]
)
GROW = CreatePartitionsRequest(
    topics=[CreatePartitionsTopic(name="t", count=5, assignments=None)], timeout_ms=1000
)
BY_NAME = DeleteTopicsRequest(topic_names=["t"], timeout_ms=1000)
BY_ID = DeleteTopicsRequest(topics=[DeleteTopicState(topic_id=UUID(int=7))], timeout_ms=1000)
ELECT = ElectLeadersRequest(topic_partitions=[TopicPartitions(topic="t", partitions=[0, 1])])


def codes(response) -> list[int]:
    """The error codes of an answer, wherever its API has them."""
    if hasattr(response, "replica_election_results"):
        return [r.error_code for t in response.replica_election_results for r in t.partition_result]
    for name in ("topics", "responses", "results"):
        if hasattr(response, name):
            return [each.error_code for each in getattr(response, name)]
    raise AssertionError(response)


EVERY_VERSION = [
    *((CREATE, version) for version in range(2, 8)),
    *((BY_NAME, version) for version in range(1, 6)),
    (BY_ID, 6),
    *((GROW, version) for version in range(4)),
    *((ELECT, version) for version in range(3)),
]


async def test_the_controller_is_asked_in_every_version(autojump_clock):
    async with serving(*ADMIN, controller=Office(), metadata=MetadataCache()) as served:
        peer = await served.connect()
        for request, version in EVERY_VERSION:
            found = codes(await peer.ask(request, version))
            expected = [0, ErrorCode.ELECTION_NOT_NEEDED] if request is ELECT else [0]
            assert found == expected, (request, version)


async def test_a_broker_without_office_sends_everybody_to_the_controller(autojump_clock):
    office = Office(is_active=False)
    async with serving(*ADMIN, controller=office, metadata=MetadataCache()) as served:
        peer = await served.connect()
        for request, version in EVERY_VERSION:
            found = codes(await peer.ask(request, version))
            assert set(found) == {ErrorCode.NOT_CONTROLLER}, (request, version)
        assert office.asked == []


async def test_a_created_topic_is_described_from_version_5_on(autojump_clock):
    async with serving(*ADMIN, controller=Office(), metadata=MetadataCache()) as served:
        peer = await served.connect()
        (old,) = (await peer.ask(CREATE, 4)).topics
        assert old.num_partitions == -1
        (new,) = (await peer.ask(CREATE, 7)).topics
        assert (new.num_partitions, new.replication_factor) == (3, 1)
        assert new.topic_id == UUID(int=7)
        configs = {each.name: (each.value, each.config_source) for each in new.configs}
        assert configs["retention.ms"] == ("77", 1)
        assert configs["cleanup.policy"] == ("delete", 5)


async def test_requests_that_contradict_themselves_are_refused_topic_by_topic(autojump_clock):
    office = Office()
    twice = [CreatableTopic(name="a", num_partitions=1, replication_factor=1)] * 2
    doubled = CreatableTopic(
        name="b",
        num_partitions=-1,
        replication_factor=-1,
        assignments=[CreatableReplicaAssignment(partition_index=0, broker_ids=[1])] * 2,
    )
    unset = CreatableTopic(
        name="c", num_partitions=1, configs=[CreatableTopicConfig(name="x", value=None)]
    )
    good = CreatableTopic(name="d", num_partitions=1, replication_factor=1)
    async with serving(*ADMIN, controller=office, metadata=MetadataCache()) as served:
        peer = await served.connect()
        response = await peer.ask(CreateTopicsRequest(topics=[*twice, doubled, unset, good]), 7)
        assert {each.name: each.error_code for each in response.topics} == {
            "a": ErrorCode.INVALID_REQUEST,
            "b": ErrorCode.INVALID_REQUEST,
            "c": ErrorCode.INVALID_REQUEST,
            "d": 0,
        }
        assert [wish.name for wish in office.asked] == ["d"]


async def test_deleting_by_an_unknown_id(autojump_clock):
    request = DeleteTopicsRequest(
        topics=[DeleteTopicState(topic_id=UUID(int=7)), DeleteTopicState(topic_id=UUID(int=8))],
        timeout_ms=1000,
    )
    both = DeleteTopicsRequest(topics=[DeleteTopicState(name="t", topic_id=UUID(int=7))])
    async with serving(*ADMIN, controller=Office(), metadata=MetadataCache()) as served:
        peer = await served.connect()
        found = (await peer.ask(request, 6)).responses
        assert {each.topic_id.int: (each.name, each.error_code) for each in found} == {
            7: ("t", 0),
            8: (None, ErrorCode.UNKNOWN_TOPIC_ID),
        }
        assert codes(await peer.ask(both, 6)) == [ErrorCode.INVALID_REQUEST]


async def test_all_partitions_elect_and_name_those_that_needed_it(autojump_clock):
    async with serving(*ADMIN, controller=Office(), metadata=MetadataCache()) as served:
        peer = await served.connect()
        response = await peer.ask(ElectLeadersRequest(topic_partitions=None), 2)
        assert codes(response) == [0]


class ConfigEnsemble:
    """An ensemble in which topic `t` has one override."""

    async def get_data(self, path: str) -> tuple[bytes, Stat]:
        if path != "/config/topics/t":
            raise NoNode(path)
        return b'{"version":1,"config":{"retention.ms":"5000"}}', Stat(*[0] * 11)


def describe(kind: int, name: str, keys: list[str] | None = None, **more):
    resource = DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=keys
    )
    return DescribeConfigsRequest(resources=[resource], **more)


async def test_configurations_in_every_version(autojump_clock):
    metadata = MetadataCache()
    metadata.apply(update(topic("t", 7, partition(0, 1))))
    config = {"log.segment.bytes": "2000000", "num.partitions": "4"}
    provided = {"ensemble": ConfigEnsemble(), "metadata": metadata, "config": config}
    async with serving(describe_configs.API, **provided) as served:
        peer = await served.connect()
        for version in range(1, 5):
            (result,) = (await peer.ask(describe(2, "t"), version)).results
            assert result.error_code == 0
            found = {each.name: each for each in result.configs}
            assert (found["retention.ms"].value, found["retention.ms"].config_source) == ("5000", 1)
            assert (found["segment.bytes"].value, found["segment.bytes"].config_source) == (
                "2000000",
                4,
            )
            assert found["cleanup.policy"].config_source == 5
            (result,) = (await peer.ask(describe(4, "1"), version)).results
            found = {each.name: each for each in result.configs}
            assert (found["num.partitions"].value, found["num.partitions"].config_source) == (
                "4",
                4,
            )
            assert found["inter.broker.protocol.version"].value.startswith("3.9")


async def test_synonyms_and_documentation_come_when_asked_for(autojump_clock):
    metadata = MetadataCache()
    metadata.apply(update(topic("t", 7, partition(0, 1))))
    async with serving(
        describe_configs.API,
        ensemble=ConfigEnsemble(),
        metadata=metadata,
        config={"log.retention.ms": "9000"},
    ) as served:
        peer = await served.connect()
        request = describe(
            2, "t", ["retention.ms"], include_synonyms=True, include_documentation=True
        )
        (found,) = (await peer.ask(request, 4)).results[0].configs
        assert [(each.name, each.value, each.source) for each in found.synonyms] == [
            ("retention.ms", "5000", 1),
            ("log.retention.ms", "9000", 4),
            ("log.retention.hours", "168", 5),
        ]
        assert found.documentation
        assert found.config_type == 5


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (2, "unknown", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (4, "2", ErrorCode.INVALID_REQUEST),
        (8, "1", ErrorCode.INVALID_REQUEST),
        (99, "", ErrorCode.INVALID_REQUEST),
        (4, "", ErrorCode.NONE),
    ],
)
async def test_configurations_that_are_not_here(autojump_clock, kind, name, code):
    async with serving(describe_configs.API) as served:
        peer = await served.connect()
        (result,) = (await peer.ask(describe(kind, name), 4)).results
        assert (result.error_code, result.configs) == (code, [])


class Replicas:
    """Fences controller epochs below 3, and broker epochs below 10."""

    controller_epoch = 3

    def fence(self, controller_epoch: int, broker_epoch: int) -> ErrorCode:
        if controller_epoch < self.controller_epoch:
            return ErrorCode.STALE_CONTROLLER_EPOCH
        return ErrorCode.STALE_BROKER_EPOCH if -1 < broker_epoch < 10 else ErrorCode.NONE

    async def apply_leader_and_isr(self, request, *, version):
        return LeaderAndIsrResponse(error_code=self.fence(request.controller_epoch, -1))

    async def apply_stop_replica(self, request):
        return StopReplicaResponse(error_code=self.fence(request.controller_epoch, -1))

    def drop_moved_away(self, request):
        pass


class Groups:
    def __init__(self) -> None:
        self.deleted: list[str] = []

    def on_topic_deleted(self, topic_name: str) -> None:
        self.deleted.append(topic_name)


async def test_a_former_controller_is_refused_in_every_version(autojump_clock):
    provided = {"replicas": Replicas(), "groups": Groups(), "metadata": MetadataCache()}
    async with serving(*controller_decisions.APIS, **provided) as served:
        peer = await served.connect()
        new = update()
        new.controller_epoch = 4
        table = [
            *((LeaderAndIsrRequest(controller_epoch=2), version) for version in range(4, 8)),
            *((StopReplicaRequest(controller_epoch=2), version) for version in range(2, 5)),
            *((update(), version) for version in range(6, 9)),
        ]
        for request, version in table:
            response = await peer.ask(request, version)
            assert response.error_code == ErrorCode.STALE_CONTROLLER_EPOCH
        assert served.services.metadata.controller_id == -1
        assert (await peer.ask(new, 8)).error_code == 0
        assert served.services.metadata.controller_id == 1
        assert served.services.replicas.controller_epoch == 4
        new.broker_epoch = 9
        assert (await peer.ask(new, 8)).error_code == ErrorCode.STALE_BROKER_EPOCH


async def test_groups_learn_of_topics_that_are_gone(autojump_clock):
    groups = Groups()
    provided = {"replicas": Replicas(), "groups": groups, "metadata": MetadataCache()}
    async with serving(*controller_decisions.APIS, **provided) as served:
        peer = await served.connect()
        for leader in (1, -2):
            request = update(topic("t", 7, partition(0, leader)))
            request.controller_epoch = 3
            assert (await peer.ask(request, 8)).error_code == 0
        assert groups.deleted == ["t"]


def test_what_brokers_ask_the_controller_is_served_in_all_versions():
    assert [(api.key.name, api.versions) for api in controller_requests.APIS] == [
        ("CONTROLLED_SHUTDOWN", (0, 3)),
        ("ALTER_PARTITION", (2, 3)),
        ("ALLOCATE_PRODUCER_IDS", (0, 0)),
    ]
