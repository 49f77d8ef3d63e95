"""DescribeProducers on whole brokers: who wrote, as leader and follower know it."""

import pytest
import trio
import trio.testing

from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_producers import (
    DescribeProducersRequest,
    PartitionResponse,
    TopicRequest,
)
from tests.support.logs import NOW_MS, sequenced
from tests.support.memory_cluster import MemoryCluster, memory_cluster
from tests.unit.durability.test_error_paths import Produced, produce_to
from tests.unit.durability.test_reads_from_followers import leader_of, wait_committed


async def describe(cluster: MemoryCluster, broker: int, topic: str, index: int = 0):
    request = DescribeProducersRequest(topics=[TopicRequest(name=topic, partition_indexes=[index])])
    answer = await cluster.ask(broker, request, 0)
    found: PartitionResponse = answer.topics[0].partitions[0]
    return found


@pytest.mark.slow
async def test_producers_are_described_by_every_replica(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(3) as cluster:
        await cluster.create_topic("t", replicas=2)
        leader = leader_of(cluster)
        for sequence in (0, 1):
            row = Produced("", ErrorCode.NONE)
            got = await produce_to(cluster, leader, row, sequenced(sequence), 9)
            assert got.error_code == ErrorCode.NONE
        for broker in (1, 2, 3):
            partition = cluster.services(broker).partitions.get(("t", 0))
            found = await describe(cluster, broker, "t")
            if partition is None:
                assert found.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
                continue
            await wait_committed(cluster, broker, 2)
            (producer,) = (await describe(cluster, broker, "t")).active_producers
            assert (producer.producer_id, producer.producer_epoch) == (7, 0)
            assert (producer.last_sequence, producer.last_timestamp) == (1, NOW_MS)
            assert producer.current_txn_start_offset == -1
        for topic, index in (("nothing", 0), ("t", 9)):
            code = (await describe(cluster, leader, topic, index)).error_code
            assert code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
