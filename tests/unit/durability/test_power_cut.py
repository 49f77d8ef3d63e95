"""With `flush.messages=1` an acknowledgement means: on disk; with acks=all on every ISR member."""

import random

import pytest
import trio
import trio.testing

from ottla.protocol.kafka.messages.delete_topics import DeleteTopicsRequest
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.logs import NOW_MS, records_of
from tests.support.memory_cluster import MemoryCluster, memory_cluster

TOPIC = "t"


class Worst(random.Random):
    """Nothing survives a power cut that was not synced."""

    def random(self) -> float:
        return 0.0


async def produce(
    cluster: MemoryCluster, leader: int, acked: list[bytes], acks: int, name: str
) -> None:
    """Produce for as long as the broker answers, five requests at a time."""
    peer = await cluster.peer(leader)
    at = 0
    try:
        while True:
            values = [f"{name}-{at + each}".encode() for each in range(5)]
            at += 5
            await peer.send_all((request(value, acks), 9) for value in values)
            for value in values:
                _, answer = await peer.answer()
                if answer.responses[0].partition_responses[0].error_code == 0:
                    acked.append(value)
            await trio.sleep(0.001)  # else a broker that never waits would stop the mock clock
    except (OSError, EOFError):
        return


def request(value: bytes, acks: int) -> ProduceRequest:
    return ProduceRequest(
        acks=acks,
        timeout_ms=10_000,
        topic_data=[
            TopicProduceData(
                name=TOPIC,
                partition_data=[
                    PartitionProduceData(index=0, records=build_batch([(b"k", value, NOW_MS, ())]))
                ],
            )
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("replicas", "acks"), [(3, -1), (1, 1)])
async def test_nothing_acknowledged_is_lost_when_all_lose_power_at_once(
    autojump_clock: trio.testing.MockClock, replicas: int, acks: int, seed: int
) -> None:
    rng = random.Random(seed)
    settings = {"log_flush_interval_messages": "1"}
    async with memory_cluster(replicas, **settings) as cluster:
        for disk in cluster.disks.values():
            disk.sync_delay_s = 0.004
        await cluster.create_topic(TOPIC, replicas=replicas)
        leader = cluster.leader_of(TOPIC)
        acked: list[bytes] = []
        async with trio.open_nursery() as producers:
            for name in ("a", "b", "c"):
                producers.start_soon(produce, cluster, leader, acked, acks, name)
            await trio.sleep(1 + rng.random() / 10)
            for broker in list(cluster.handles):
                await cluster.kill(broker)
                cluster.disks[broker].crash(rng)
        assert len(acked) > 100
        async with trio.open_nursery() as starts:
            for broker in range(1, replicas + 1):
                starts.start_soon(lambda broker=broker: cluster.start(broker, **settings))
        with trio.fail_after(120):
            await cluster.wait_ready(TOPIC, replicas)
        for broker, partition in cluster.replicas_of(TOPIC):
            kept = {record.value for record in records_of(partition.log)}
            assert set(acked) <= kept, f"broker {broker} lost {sorted(set(acked) - kept)[:5]}"


@pytest.mark.slow
async def test_without_it_the_same_power_cuts_lose_what_was_acknowledged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """So that the test above can fail: acks=1 from one broker's page cache is no promise."""
    assert any([await lost_without_flushes(seed) for seed in range(5)])


async def lost_without_flushes(seed: int) -> int:
    """How many acknowledged records one power cut takes."""
    async with memory_cluster(1) as cluster:
        await cluster.create_topic(TOPIC, replicas=1)
        acked: list[bytes] = []
        async with trio.open_nursery() as producers:
            producers.start_soon(produce, cluster, 1, acked, 1, "a")
            await trio.sleep(0.2)
            await cluster.kill(1)
            cluster.disks[1].crash(random.Random(seed))
        await cluster.start(1)
        with trio.fail_after(120):
            await cluster.wait_ready(TOPIC, 1)
        ((_, partition),) = cluster.replicas_of(TOPIC)
        return len(acked) - len(records_of(partition.log))


async def test_deleted_topic_does_not_come_back_with_the_power(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its log would keep a new topic of the name from this broker."""
    async with memory_cluster(1) as cluster:
        await cluster.create_topic(TOPIC, replicas=1)
        disk = cluster.disks[1]
        disk.sync_dir(f"/data/{TOPIC}-0")
        await cluster.ask(1, DeleteTopicsRequest(topic_names=[TOPIC], timeout_ms=10_000), 4)
        with trio.fail_after(10):
            await cluster.events[1].wait_for("controller.topic_deleted")
        await cluster.kill(1)
        disk.crash(Worst())
        assert f"{TOPIC}-0" not in disk.list_dir("/data")
