"""Administration with outside clients: topics, configs, groups, offsets, lag."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewPartitions as AioPartitions
from aiokafka.admin import NewTopic as AioTopic
from aiokafka.admin.config_resource import ConfigResource as AioResource
from aiokafka.admin.config_resource import ConfigResourceType
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, OffsetSpec
from confluent_kafka.cimpl import NewTopic

from tests.compat.clients import AioKafka, ConfluentKafka, KafkaPython, Outside, Record, kafka
from tests.compat.conftest import MakeTopic
from tests.compat.group_members import ConfluentMember, wait_shared
from tests.support.clusters import wait_until
from tests.support.processes import LocalCluster

pytestmark = [pytest.mark.compat, pytest.mark.integration, pytest.mark.slow]


def produce(bootstrap: str, topic: str, count: int) -> None:
    ConfluentKafka().produce(bootstrap, topic, [Record(b"%d" % n, b"v") for n in range(count)])


@pytest.fixture
def python_admin(bootstrap: str) -> Iterator[Any]:
    client = kafka.admin.KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


def with_aiokafka(bootstrap: str, body: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await client.start()
        try:
            async with asyncio.timeout(30):
                await body(client)
        finally:
            await client.close()

    asyncio.run(main())


# librdkafka


def test_cluster_is_described(admin: AdminClient, cluster: LocalCluster) -> None:
    found = admin.describe_cluster().result(10)
    base = cluster.layout.base_port
    assert sorted((node.id, node.port) for node in found.nodes) == [
        (1, base), (2, base + 1), (3, base + 2)
    ]  # fmt: skip
    assert found.controller.id in {1, 2, 3}
    assert len(found.cluster_id) == 22


def test_topic_lives_grows_and_goes(admin: AdminClient, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=2)
    (described,) = (
        future.result(10) for future in admin.describe_topics(TopicCollection([topic])).values()
    )
    assert [len(each.replicas) for each in described.partitions] == [3, 3]
    assert str(described.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA"
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(10)
    wait_until(
        lambda: len(admin.list_topics(topic).topics[topic].partitions) == 5, "five partitions"
    )
    with pytest.raises(KafkaException, match="INVALID_PARTITIONS"):
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result(10)
    admin.delete_topics([topic])[topic].result(10)
    wait_until(lambda: topic not in admin.list_topics().topics, "the topic is gone")
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
        admin.delete_topics([topic])[topic].result(10)


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        (NewTopic("a/b", 1), "TOPIC_EXCEPTION"),
        (NewTopic("..", 1), "TOPIC_EXCEPTION"),
        (NewTopic("x" * 250, 1), "TOPIC_EXCEPTION"),
        (NewTopic("too-many-replicas", 1, 4), "INVALID_REPLICATION_FACTOR"),
        (NewTopic("no-partitions", 0), "INVALID_PARTITIONS"),
        (NewTopic("wrong-key", 1, config={"retention.msec": "5"}), "INVALID_CONFIG"),
        (NewTopic("wrong-value", 1, config={"retention.ms": "soon"}), "INVALID_CONFIG"),
        (NewTopic("twice-on-one", 1, replica_assignment=[[1, 1]]), "INVALID_REPLICA_ASSIGNMENT"),
    ],
    ids=lambda value: value.topic[:20] if isinstance(value, NewTopic) else "",
)
def test_topic_that_cannot_be_is_refused(admin: AdminClient, topic: NewTopic, error: str) -> None:
    with pytest.raises(KafkaException, match=error):
        admin.create_topics([topic])[topic.topic].result(10)
    assert topic.topic not in admin.list_topics().topics


def test_topic_twice_is_refused_and_validated_topic_is_not_made(
    admin: AdminClient, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        admin.create_topics([NewTopic(topic, 1)])[topic].result(10)
    validated = NewTopic("only-validated", 1)
    admin.create_topics([validated], validate_only=True)["only-validated"].result(10)
    assert "only-validated" not in admin.list_topics().topics


def test_configs_say_where_they_come_from(admin: AdminClient, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=1, retention_ms="123456")
    (found,) = (
        future.result(10)
        for future in admin.describe_configs(
            [ConfigResource(ConfigResource.Type.TOPIC, topic)]
        ).values()
    )
    assert found["retention.ms"].value == "123456"
    assert found["retention.ms"].source == 1  # of the topic itself
    assert not found["retention.ms"].is_default
    assert found["min.insync.replicas"].value == "2"  # cluster-start's brokers
    assert found["min.insync.replicas"].source == 4  # a broker's file
    assert found["cleanup.policy"].value == "delete"
    assert found["cleanup.policy"].source == 5  # the default

    (found,) = (
        future.result(10)
        for future in admin.describe_configs(
            [ConfigResource(ConfigResource.Type.BROKER, "2")]
        ).values()
    )
    assert found["broker.id"].value == "2"
    assert found["broker.id"].is_read_only
    assert found["inter.broker.protocol.version"].value.startswith("3.9")  # as kafka-ui asks


def test_group_is_listed_described_and_deleted(
    admin: AdminClient, bootstrap: str, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=4)
    group = "described-" + topic
    member = ConfluentMember(bootstrap, topic, group).start()
    try:
        wait_shared([member], 4)
        listed = admin.list_consumer_groups().result(10)
        assert not listed.errors
        assert group in {each.group_id for each in listed.valid}
        found = admin.describe_consumer_groups([group])[group].result(10)
        assert found.state == ConsumerGroupState.STABLE
        assert found.partition_assignor == "range"
        (described,) = found.members
        assert described.client_id == "rdkafka"
        assert described.host.lstrip("/") == "127.0.0.1"
        assert {each.partition for each in described.assignment.topic_partitions} == {0, 1, 2, 3}
        with pytest.raises(KafkaException, match="NON_EMPTY_GROUP"):
            admin.delete_consumer_groups([group])[group].result(10)
    finally:
        member.stop()
    found = admin.describe_consumer_groups([group])[group].result(10)
    assert found.state == ConsumerGroupState.EMPTY
    admin.delete_consumer_groups([group])[group].result(10)
    with pytest.raises(KafkaException, match="GROUP_ID_NOT_FOUND"):
        admin.delete_consumer_groups([group])[group].result(10)
    assert group not in {each.group_id for each in admin.list_consumer_groups().result(10).valid}


def test_offsets_are_listed_and_reset(
    admin: AdminClient, bootstrap: str, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    produce(bootstrap, topic, 25)
    at = TopicPartition(topic, 0)
    for spec, offset in [
        (OffsetSpec.earliest(), 0),
        (OffsetSpec.latest(), 25),
        (OffsetSpec.max_timestamp(), None),
        (OffsetSpec.for_timestamp(0), 0),
        (OffsetSpec.for_timestamp(4_000_000_000_000), -1),
    ]:
        found = admin.list_offsets({at: spec})[at].result(10)
        assert found.offset == offset if offset is not None else 0 <= found.offset < 25
    group = "reset-" + topic
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 10)])
    admin.alter_consumer_group_offsets([wanted])[group].result(10)
    assert len(ConfluentKafka().read(bootstrap, topic, group, 15)) == 15
    (found,) = (
        future.result(10)
        for future in admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)]
        ).values()
    )
    assert [(each.topic, each.partition, each.offset) for each in found.topic_partitions] == [
        (topic, 0, 25)
    ]


def test_records_are_deleted(admin: AdminClient, bootstrap: str, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=1)
    produce(bootstrap, topic, 20)
    at = TopicPartition(topic, 0, 12)
    assert admin.delete_records([at])[at].result(10).low_watermark == 12
    assert [read.offset for read in ConfluentKafka().read(bootstrap, topic, topic, 8)] == list(
        range(12, 20)
    )


# Lag, as exporters and user interfaces compute it


@pytest.mark.parametrize(
    "reader", [ConfluentKafka(), KafkaPython(), AioKafka()], ids=lambda r: r.name
)
def test_lag_of_a_group(
    reader: Outside, python_admin: Any, admin: AdminClient, bootstrap: str, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=3)
    group = "lag-" + topic
    produce(bootstrap, topic, 90)
    reader.read(bootstrap, topic, group, 90)
    produce(bootstrap, topic, 45)
    # kafka-ui and friends: all groups, then their offsets, then the ends of the partitions.
    groups = {each["group_id"] for each in python_admin.list_groups()}
    assert group in groups
    committed = python_admin.list_group_offsets([group])[group]
    ends = python_admin.list_partition_offsets(dict.fromkeys(committed, kafka.OffsetSpec.LATEST))
    lags = [ends[each].offset - committed[each].offset for each in committed]
    assert sum(lags) == 45
    sizes = {
        (directory["broker"], partition["partition_index"]): partition["partition_size"]
        for directory in python_admin.describe_log_dirs({topic: [0, 1, 2]})
        for log_dir in directory["log_dirs"]
        for found in log_dir["topics"]
        for partition in found["partitions"]
    }
    assert len(sizes) == 9, "three replicas of three partitions"
    assert all(size > 0 for size in sizes.values())


# kafka-python


def test_kafka_python_admin(python_admin: Any, bootstrap: str) -> None:
    topic = "made-with-kafka-python"
    python_admin.create_topics(
        [kafka.admin.NewTopic(topic, num_partitions=2, replication_factor=3)]
    )
    wait_until(lambda: topic in python_admin.list_topics(), "the topic")
    python_admin.create_partitions({topic: kafka.admin.NewPartitions(total_count=4)})
    wait_until(
        lambda: len(python_admin.describe_topics([topic])[0]["partitions"]) == 4, "four partitions"
    )
    produce(bootstrap, topic, 10)
    KafkaPython().read(bootstrap, topic, "of-kafka-python", 10)
    found = python_admin.describe_groups(["of-kafka-python"])["of-kafka-python"]
    assert (found["group_state"], found["protocol_type"]) == ("Empty", "consumer")
    cluster = python_admin.describe_cluster()
    assert {broker["broker_id"] for broker in cluster["brokers"]} == {1, 2, 3}
    resource = kafka.admin.ConfigResource(kafka.admin.ConfigResourceType.TOPIC, topic)
    assert "min.insync.replicas" in str(
        python_admin.describe_configs([resource], config_filter="all")
    )
    python_admin.delete_groups(["of-kafka-python"])
    python_admin.delete_topics([topic])
    wait_until(lambda: topic not in python_admin.list_topics(), "the topic is gone")


# aiokafka


def test_aiokafka_admin(bootstrap: str) -> None:
    topic = "made-with-aiokafka"

    async def body(client: Any) -> None:
        await client.create_topics([AioTopic(topic, num_partitions=2, replication_factor=3)])
        assert topic in await client.list_topics()
        await client.create_partitions({topic: AioPartitions(total_count=3)})
        (described,) = await client.describe_topics([topic])
        assert len(described["partitions"]) == 3
        assert len((await client.describe_cluster())["brokers"]) == 3
        resource = AioResource(ConfigResourceType.TOPIC, topic)
        assert "min.insync.replicas" in str(await client.describe_configs([resource]))

    async def groups(client: Any) -> None:
        assert ("of-aiokafka", "consumer") in {
            tuple(each)[:2] for each in await client.list_consumer_groups()
        }
        (answer,) = await client.describe_consumer_groups(["of-aiokafka"])
        assert answer.groups[0][2] == "Empty"
        offsets = await client.list_consumer_group_offsets("of-aiokafka")
        assert sum(each.offset for each in offsets.values()) == 10
        await client.delete_topics([topic])
        assert topic not in await client.list_topics()

    with_aiokafka(bootstrap, body)
    AioKafka().produce(bootstrap, topic, [Record(b"%d" % n, b"v") for n in range(10)])
    AioKafka().read(bootstrap, topic, "of-aiokafka", 10)
    with_aiokafka(bootstrap, groups)
