"""Fetches that wait: answered in the turn that brought the records, in order, and let go of."""

import pytest
import trio
import trio.testing

from ottla.broker.api import fetch, produce
from ottla.broker.api.dispatch import Dispatcher
from ottla.broker.ids import TopicPartition
from ottla.broker.server.connection import ConnectionLimits
from ottla.broker.server.listener import Server, ServerSettings
from ottla.protocol.kafka.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.interfaces import Address, Network
from ottla.runtime.memory import MemoryNetwork, RecordingEvents
from ottla.runtime.real_network import RealNetwork
from tests.support.partitions import MemoryPartition, MemoryPartitions
from tests.support.served import Peer, services

BATCH = build_batch([(b"k", b"v", 1_700_000_000_000, [])])


def put() -> ProduceRequest:
    data = PartitionProduceData(index=0, records=BATCH)
    topic = TopicProduceData(name="t", partition_data=[data])
    return ProduceRequest(acks=1, timeout_ms=5_000, topic_data=[topic])


def get(offset: int, *, wait_ms: int = 60_000, min_bytes: int = 1) -> FetchRequest:
    one = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
    topic = FetchTopic(topic="t", partitions=[one])
    return FetchRequest(max_wait_ms=wait_ms, min_bytes=min_bytes, topics=[topic])


class Broker:
    """One partition, served on a network of the test's."""

    def __init__(self, network: Network, nursery: trio.Nursery) -> None:
        self.network = network
        self.partition = MemoryPartition(TopicPartition("t", 0))
        events = RecordingEvents()
        provided = services(
            [produce.API, fetch.API], events=events, partitions=MemoryPartitions(self.partition)
        )
        settings = ServerSettings(
            {"PLAINTEXT": Address("127.0.0.1", 0)}, ConnectionLimits(1 << 20, 500), 600, 99, 99
        )
        dispatcher = Dispatcher(provided.registry, provided)
        self.server = Server(settings, network, dispatcher, provided, events)
        self._nursery = nursery
        self.peers: list[Peer] = []

    async def start(self) -> None:
        self.address = (await self.server.open())["PLAINTEXT"]
        self._nursery.start_soon(self.server.serve)

    async def connect(self) -> Peer:
        self.peers.append(Peer(await self.network.connect(self.address)))
        return self.peers[-1]

    def stop(self) -> None:
        for peer in self.peers:
            peer.stream.close()
        self._nursery.cancel_scope.cancel()

    async def parked(self, count: int) -> None:
        with trio.fail_after(5):
            while self.partition.waiters != count:
                await trio.lowlevel.checkpoint()


@pytest.fixture(params=["real", "memory"])
def network(request: pytest.FixtureRequest) -> Network:
    return RealNetwork(RecordingEvents()) if request.param == "real" else MemoryNetwork()


def records(answer: object) -> int:
    return len(answer.responses[0].partitions[0].records or b"")


async def test_a_fetch_is_answered_in_the_turn_that_brought_the_records() -> None:
    async with trio.open_nursery() as nursery:
        broker = Broker(RealNetwork(RecordingEvents()), nursery)
        await broker.start()
        consumer, producer = await broker.connect(), await broker.connect()
        await consumer.send(get(0), 11)
        await broker.parked(1)
        await producer.ask(put(), 9)
        with trio.CancelScope() as scope:
            scope.cancel()  # it may not wait
            _, answer = await consumer.answer()
        assert records(answer) == len(BATCH)
        broker.stop()


async def test_what_is_not_enough_leaves_a_fetch_parked(network: Network) -> None:
    async with trio.open_nursery() as nursery:
        broker = Broker(network, nursery)
        await broker.start()
        consumer, producer = await broker.connect(), await broker.connect()
        await consumer.send(get(0, min_bytes=2 * len(BATCH)), 11)
        await broker.parked(1)
        await producer.ask(put(), 9)
        await broker.parked(1)
        await producer.ask(put(), 9)
        with trio.fail_after(5):
            _, answer = await consumer.answer()
        assert records(answer) == 2 * len(BATCH)
        await broker.parked(0)
        broker.stop()


async def test_replies_behind_a_parked_one_come_after_it(network: Network) -> None:
    async with trio.open_nursery() as nursery:
        broker = Broker(network, nursery)
        await broker.start()
        consumer, producer = await broker.connect(), await broker.connect()
        more = get(0, min_bytes=2 * len(BATCH))
        await consumer.send_all([(get(0), 11), (get(0, wait_ms=0), 11), (more, 11), (put(), 9)])
        # The second found nothing, the last wakes the first; the third waits for one more.
        with trio.fail_after(5):
            found = [await consumer.answer() for _ in range(2)]
            assert [number for number, _ in found] == [1, 2]
            assert [records(answer) for _, answer in found] == [len(BATCH), 0]
            await producer.ask(put(), 9)
            found = [await consumer.answer() for _ in range(2)]
        assert [number for number, _ in found] == [3, 4]
        assert records(found[0][1]) == 2 * len(BATCH)
        broker.stop()


async def test_its_time_is_over(autojump_clock) -> None:
    async with trio.open_nursery() as nursery:
        broker = Broker(MemoryNetwork(), nursery)
        await broker.start()
        consumers = [await broker.connect() for _ in range(3)]
        began = trio.current_time()
        for consumer, wait_ms in zip(consumers, (3_000, 1_000, 2_000), strict=True):
            await consumer.send(get(0, wait_ms=wait_ms), 11)
        for index, seconds in ((1, 1), (2, 2), (0, 3)):
            _, answer = await consumers[index].answer()
            assert records(answer) == 0
            assert seconds <= trio.current_time() - began < seconds + 0.1
        await broker.parked(0)
        broker.stop()


async def test_a_consumer_that_leaves_is_let_go_of(network: Network) -> None:
    async with trio.open_nursery() as nursery:
        broker = Broker(network, nursery)
        await broker.start()
        consumer, producer = await broker.connect(), await broker.connect()
        await consumer.send(get(0), 11)
        await broker.parked(1)
        consumer.stream.close()
        await broker.parked(0)
        await producer.ask(put(), 9)
        broker.stop()


async def test_a_consumer_may_leave_in_the_moment_of_its_answer() -> None:
    """Its nursery is closed by then, and the replies behind need one: seed 9221 with moves."""
    async with trio.open_nursery() as nursery:
        broker = Broker(MemoryNetwork(), nursery)
        await broker.start()
        for held in range(100):
            consumer, producer = await broker.connect(), await broker.connect()
            later = get(held + 1, min_bytes=1 << 20)
            await consumer.send_all([(get(held), 11), (later, 11), (later, 11)])
            await broker.parked(1)
            async with trio.open_nursery() as together:
                together.start_soon(producer.ask, put(), 9)
                for _ in range(held % 10):
                    await trio.lowlevel.checkpoint()
                consumer.stream.close()
            producer.stream.close()
            await broker.parked(0)
        broker.stop()
