"""Configuration changed by IncrementalAlterConfigs acts on every broker, without a restart."""

import trio

from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from ottla.protocol.kafka.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.memory_cluster import memory_cluster

TOPIC, BROKER = 2, 4


def change(kind: int, name: str, **configs: str | None) -> IncrementalAlterConfigsRequest:
    """Set the named keys (with _ for .), or delete those that are None."""
    return IncrementalAlterConfigsRequest(
        resources=[
            AlterConfigsResource(
                resource_type=kind,
                resource_name=name,
                configs=[
                    AlterableConfig(
                        name=key.replace("_", "."),
                        config_operation=1 if value is None else 0,
                        value=value,
                    )
                    for key, value in configs.items()
                ],
            )
        ]
    )


async def alter(cluster, broker, kind, name, **configs) -> None:
    (done,) = (await cluster.ask(broker, change(kind, name, **configs), 1)).responses
    assert done.error_code == 0, done.error_message
    await trio.sleep(0.5)  # virtual: the notice's way to the brokers


async def produce(cluster, topic: str, size: int = 10, *, acks: int = -1) -> int:
    """The error code of a write to partition 0."""
    batch = build_batch([(b"k", b"v" * size, 1_700_000_000_000, ())])
    request = ProduceRequest(
        acks=acks,
        timeout_ms=2000,
        topic_data=[
            TopicProduceData(
                name=topic, partition_data=[PartitionProduceData(index=0, records=batch)]
            )
        ],
    )
    answer = await cluster.ask(cluster.leader_of(topic), request, 9)
    return answer.responses[0].partition_responses[0].error_code


async def value(cluster, broker: int, kind: int, name: str, key: str) -> tuple[str, int]:
    """Value and source by DescribeConfigs."""
    request = DescribeConfigsRequest(
        resources=[
            DescribeConfigsResource(
                resource_type=kind, resource_name=name, configuration_keys=[key]
            )
        ]
    )
    (found,) = (await cluster.ask(broker, request, 4)).results[0].configs
    return found.value, found.config_source


async def test_topic_keys_act_on_every_replica(autojump_clock):
    async with memory_cluster() as cluster:
        await cluster.create_topic("t")
        assert await produce(cluster, "t", 5000) == 0
        await alter(cluster, 2, TOPIC, "t", retention_ms="1000", max_message_bytes="2000")
        replicas = cluster.replicas_of("t")
        assert len(replicas) == 3
        for _, replica in replicas:
            assert replica.log.config.retention_ms == 1000
            assert replica.log.config.max_message_bytes == 2000
        assert await produce(cluster, "t", 5000) == ErrorCode.MESSAGE_TOO_LARGE
        for broker in (1, 2, 3):
            assert await value(cluster, broker, TOPIC, "t", "retention.ms") == ("1000", 1)
        await alter(cluster, 3, TOPIC, "t", max_message_bytes=None)
        assert await produce(cluster, "t", 5000) == 0


async def test_retention_deletes_by_its_new_value(autojump_clock):
    async with memory_cluster(log_retention_check_interval_ms="10000") as cluster:
        await cluster.create_topic("t")
        assert await produce(cluster, "t") == 0
        await alter(cluster, 1, TOPIC, "t", retention_ms="1000", segment_ms="100")
        await trio.sleep(60)
        assert {replica.log.log_start for _, replica in cluster.replicas_of("t")} == {1}


async def test_min_insync_replicas_acts_on_the_leader_at_once(autojump_clock):
    async with memory_cluster() as cluster:
        await cluster.create_topic("t", replicas=2)
        assert await produce(cluster, "t") == 0
        await alter(cluster, 1, TOPIC, "t", min_insync_replicas="3")
        assert await produce(cluster, "t") == ErrorCode.NOT_ENOUGH_REPLICAS
        await alter(cluster, 1, TOPIC, "t", min_insync_replicas="2")
        assert await produce(cluster, "t") == 0
        # From the defaults of all brokers, for topics that have no value of their own.
        await alter(cluster, 1, TOPIC, "t", min_insync_replicas=None)
        await alter(cluster, 2, BROKER, "", min_insync_replicas="3")
        assert await produce(cluster, "t") == ErrorCode.NOT_ENOUGH_REPLICAS


async def test_broker_defaults_reach_topics_without_a_value_of_their_own(autojump_clock):
    async with memory_cluster() as cluster:
        await cluster.create_topic("own")
        await cluster.create_topic("plain")
        await alter(cluster, 1, TOPIC, "own", segment_bytes="5000")
        await alter(cluster, 1, BROKER, "", log_segment_bytes="7000")
        await alter(cluster, 2, BROKER, "2", log_segment_bytes="9000")
        expected = {1: 7000, 2: 9000, 3: 7000}
        for broker, replica in cluster.replicas_of("plain"):
            assert replica.log.config.segment_bytes == expected[broker]
        for _, replica in cluster.replicas_of("own"):
            assert replica.log.config.segment_bytes == 5000
        assert await value(cluster, 2, BROKER, "2", "log.segment.bytes") == ("9000", 2)
        assert await value(cluster, 1, BROKER, "1", "log.segment.bytes") == ("7000", 3)
        assert await value(cluster, 2, BROKER, "", "log.segment.bytes") == ("7000", 3)
        await alter(cluster, 1, BROKER, "", log_segment_bytes="8000")
        # What does not count for this broker is known to it all the same.
        assert await value(cluster, 2, BROKER, "", "log.segment.bytes") == ("8000", 3)
        await alter(cluster, 2, BROKER, "2", log_segment_bytes=None)
        assert cluster.services(2).config.int("log.segment.bytes") == 8000


async def test_parts_that_keep_values_take_the_new_ones(autojump_clock):
    async with memory_cluster() as cluster:
        await cluster.create_topic("t", partitions=12)
        await alter(cluster, 1, BROKER, "", num_replica_fetchers="2", max_connections_per_ip="1")
        fetchers = cluster.handles[1].services.replicas._fetchers
        assert {slot for _, slot in fetchers._running} == {0, 1}
        assert await produce(cluster, "t") == 0, "followers copy over their new connections"
        peer = await cluster.peer(1)
        assert await (await cluster.peer(1)).is_closed()
        peer.stream.close()


async def test_unclean_elections_are_allowed_for_all(autojump_clock):
    async with memory_cluster() as cluster:
        await cluster.create_topic("t", replicas=2)
        leader = cluster.leader_of("t")
        (follower,) = (n for n, each in cluster.replicas_of("t") if n != leader)
        other = next(n for n in (1, 2, 3) if n not in {leader, follower})
        for broker in (follower, leader):
            await cluster.stop(broker)
            cluster.handles.pop(broker)
        await cluster.start(follower)
        await trio.sleep(30)
        (state,) = (each for n, each in cluster.replicas_of("t") if n == follower)
        assert not state.is_leader
        await alter(cluster, other, BROKER, "", unclean_leader_election_enable="true")
        await trio.sleep(5)
        assert cluster.leader_of("t") == follower


async def test_a_start_takes_what_is_set(autojump_clock):
    async with memory_cluster() as cluster:
        await cluster.create_topic("t")
        await alter(cluster, 1, TOPIC, "t", segment_bytes="5000")
        await alter(cluster, 1, BROKER, "", log_retention_ms="777000", num_replica_fetchers="2")
        await alter(cluster, 3, BROKER, "3", log_retention_ms="999000")
        await cluster.stop(3)
        await cluster.start(3)
        assert cluster.services(3).config.int("log.retention.ms") == 999_000
        (loaded,) = (log for log in cluster.services(3).log_manager.logs.values())
        assert loaded.config.segment_bytes == 5000
        assert loaded.config.retention_ms == 999_000
