"""Whole brokers in one process: real `run_broker`s, the world around them in memory."""

from contextlib import asynccontextmanager
from functools import partial

import trio

from ottla.broker.main import run_broker
from ottla.config.broker import BrokerConfig
from ottla.protocol.kafka.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from ottla.protocol.kafka.messages.metadata import MetadataRequest, MetadataRequestTopic
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import MemoryDisk, MemoryNetwork, RecordingEvents, memory_runtime
from tests.support.served import Peer
from tests.unit.ensemble.members import Members

PORT = 9092


class MemoryCluster:
    """Brokers 1 to `count`, each on a host of its own; `peer(n)` connects a client to one."""

    def __init__(self, network: MemoryNetwork, members: Members, nursery: trio.Nursery) -> None:
        self.network = network
        self.members = members
        self.events: dict[int, RecordingEvents] = {}
        self.handles: dict[int, object] = {}
        self.disks: dict[int, MemoryDisk] = {}
        self._nursery = nursery
        self._stops: dict[int, trio.Event] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self.failures: dict[int, BaseException] = {}
        self._ended: dict[int, trio.Event] = {}

    async def start(self, broker: int, **settings: str) -> None:
        host = f"broker-{broker}"
        properties = {
            "broker.id": str(broker),
            "zookeeper.connect": self.members.connect,
            "listeners": f"PLAINTEXT://{host}:{PORT}",
            "log.dirs": "/data",
            "default.replication.factor": "3",
        }
        properties |= {key.replace("_", "."): value for key, value in settings.items()}
        self.events[broker] = RecordingEvents()
        self._stops[broker] = trio.Event()
        self._ended[broker] = trio.Event()
        runtime = memory_runtime(
            network=self.network.at(host),
            disk=self.disks.setdefault(broker, MemoryDisk()),
            events=self.events[broker],
            seed=broker,
        )
        self.handles[broker] = await self._nursery.start(
            partial(self._run, broker, BrokerConfig.from_properties(properties), runtime)
        )

    async def _run(self, broker, config, runtime, *, task_status) -> None:
        stop = self._stops[broker]
        self._scopes[broker] = trio.CancelScope()
        try:
            with self._scopes[broker]:
                await run_broker(config, runtime, stop=stop, task_status=task_status)
        except* OSError as failed:
            self.failures[broker] = failed
        self._ended[broker].set()

    async def kill(self, broker: int) -> None:
        """kill -9: nothing is closed, handed over or written any more."""
        self.disks[broker].kill()
        self._scopes[broker].cancel()
        await self._ended[broker].wait()
        del self.handles[broker]

    async def wait_failed(self, broker: int) -> BaseException:
        """Wait until a broker has ended by itself; why."""
        await self._ended[broker].wait()
        del self.handles[broker]
        return self.failures[broker]

    async def stop(self, broker: int) -> None:
        self._stops[broker].set()
        await self._ended[broker].wait()

    async def peer(self, broker: int) -> Peer:
        stream = await self.network.at("client").connect(Address(f"broker-{broker}", PORT))
        return Peer(stream)

    async def ask(self, broker: int, message, version: int):
        """One request on a connection of its own."""
        peer = await self.peer(broker)
        try:
            return await peer.ask(message, version)
        finally:
            peer.stream.close()

    def services(self, broker: int):
        return self.handles[broker].services

    def controller(self) -> int:
        (active,) = (n for n in self.handles if self.services(n).controller.is_active)
        return active

    async def create_topic(
        self, name: str, partitions: int = 1, replicas: int = 3, **configs: str
    ) -> None:
        """Make a topic and wait until every partition has a leader and all replicas in sync."""
        request = CreateTopicsRequest(
            topics=[
                CreatableTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=replicas,
                    configs=[
                        CreatableTopicConfig(name=key.replace("_", "."), value=value)
                        for key, value in configs.items()
                    ],
                )
            ],
            timeout_ms=10_000,
        )
        while not any(self.services(n).controller.is_active for n in self.handles):  # noqa: ASYNC110
            await trio.sleep(0.1)
        (made,) = (await self.ask(self.controller(), request, 7)).topics
        assert made.error_code == 0, made
        await self.wait_ready(name, replicas)

    async def wait_ready(self, name: str, replicas: int) -> None:
        """Wait until all partitions of a topic have a leader and so many replicas in sync."""
        while not await self._is_ready(name, replicas):  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def _is_ready(self, name: str, replicas: int) -> bool:
        request = MetadataRequest(topics=[MetadataRequestTopic(name=name)])
        for broker in self.handles:
            (topic,) = (await self.ask(broker, request, 9)).topics
            if topic.error_code or not topic.partitions:
                return False
            if any(each.leader_id < 0 for each in topic.partitions):
                return False
            if any(len(each.isr_nodes) < replicas for each in topic.partitions):
                return False
        return len(self.replicas_of(name)) == len(topic.partitions) * replicas

    def leader_of(self, name: str, partition: int = 0) -> int:
        (found,) = (
            n
            for n in self.handles
            for each in self.services(n).partitions
            if each.tp == (name, partition) and each.is_leader
        )
        return found

    def replicas_of(self, name: str):
        """(broker, partition) of each replica there is."""
        return [
            (n, each)
            for n in self.handles
            for each in self.services(n).partitions
            if each.tp.topic == name
        ]


@asynccontextmanager
async def memory_cluster(brokers: int = 3, **settings: str):
    """Started brokers over a three-member ensemble; under MockClock."""
    network = MemoryNetwork()
    async with trio.open_nursery() as nursery:
        members = Members(network, nursery)
        await members.start(3)
        cluster = MemoryCluster(network, members, nursery)
        for broker in range(1, brokers + 1):
            await cluster.start(broker, **settings)
        yield cluster
        nursery.cancel_scope.cancel()
