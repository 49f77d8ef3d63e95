"""A broker that comes back while the cluster still believes in its previous life."""

import random

import pytest
import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.main import SESSION_FILE
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.leader_and_isr import (
    LeaderAndIsrPartitionState,
    LeaderAndIsrRequest,
    LeaderAndIsrTopicState,
)
from tests.support.memory_cluster import MemoryCluster, memory_cluster

TOPIC = "t"


def lead(cluster: MemoryCluster, broker: int) -> LeaderAndIsrRequest:
    """What the controller told the `broker` that leads the topic, as it still may be under way."""
    (partition,) = (each for each in cluster.services(broker).partitions if each.tp.topic == TOPIC)
    state = LeaderAndIsrPartitionState(
        partition_index=0,
        controller_epoch=1,
        leader=broker,
        leader_epoch=partition.leader_epoch,
        isr=[broker],
        partition_epoch=0,
        replicas=[1, 2, 3],
        adding_replicas=[],
        removing_replicas=[],
        is_new=False,
    )
    return LeaderAndIsrRequest(
        controller_id=cluster.controller(),
        controller_epoch=1,
        broker_epoch=cluster.members.tree.nodes[f"/brokers/ids/{broker}"].czxid,
        topic_states=[
            LeaderAndIsrTopicState(
                topic_name=TOPIC, topic_id=partition.topic_id, partition_states=[state]
            )
        ],
        live_leaders=[],
    )


@pytest.mark.slow
async def test_orders_for_the_previous_life_wait_for_the_registration_and_are_stale(
    autojump_clock,
) -> None:
    """Else a log that a power cut emptied would lead. Cluster simulation, seeds 83 and 142."""
    async with memory_cluster(3) as cluster, trio.open_nursery() as nursery:
        await cluster.create_topic(TOPIC)
        leader = cluster.leader_of(TOPIC)
        order = lead(cluster, leader)
        await cluster.kill(leader)
        disk = cluster.disks[leader]
        disk.crash(random.Random(1))
        if disk.exists(f"/data/{SESSION_FILE}"):
            disk.remove(f"/data/{SESSION_FILE}")  # nothing ends the old session but its timeout

        nursery.start_soon(cluster.start, leader)
        while not cluster.events[leader].named("broker.waits_for_own_znode"):  # noqa: ASYNC110
            await trio.sleep(0.01)
        peer = await cluster.peer(leader)
        with trio.move_on_after(1) as early:
            await peer.send_all([(order, 6)])
            await peer.answer()
        assert early.cancelled_caught
        assert not cluster.events[leader].named("broker.registered")

        _, answer = await peer.answer()
        assert cluster.events[leader].named("broker.registered")
        assert answer.error_code == ErrorCode.STALE_BROKER_EPOCH
        await cluster.wait_ready(TOPIC, 3)
        assert cluster.leader_of(TOPIC) != leader
        tp = TopicPartition(TOPIC, 0)
        assert not [
            each
            for each in cluster.events[leader].named("partition.leader_started")
            if each.fields.get("partition") == str(tp)
        ]
