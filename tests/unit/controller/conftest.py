import random
from dataclasses import dataclass

import pytest
import trio

from ottla.broker.controller.controller import Controller
from ottla.broker.controller.settings import ControllerSettings
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.registration import prepare_cluster, register_broker
from ottla.broker.ensemble.stale_session import SessionFile
from ottla.broker.ids import BrokerId
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import FixedWallClock, MemoryDisk, MemoryNetwork, RecordingEvents
from tests.unit.controller.brokers import RecordingBroker, info
from tests.unit.ensemble.members import Members

SESSION_TIMEOUT_MS = 6000


@dataclass
class Node:
    """A broker process: its session, its controller, its recording port."""

    id: int
    broker: RecordingBroker
    client: EnsembleClient
    controller: Controller
    scope: trio.CancelScope
    epoch: int


class Cluster:
    """Brokers on one ensemble in memory."""

    def __init__(self, members, network, nursery) -> None:
        self.members = members
        self.network = network
        self.events = RecordingEvents()
        self.settings = {"auto_leader_rebalance_enable": False}
        self.candidates = True  # False: brokers that start now do not stand for election
        self.nodes: dict[int, Node] = {}
        self.recorders: dict[int, RecordingBroker] = {}
        self._nursery = nursery

    async def start(self, *ids) -> None:
        for each in ids:
            await self.start_broker(each)

    async def start_broker(self, broker_id) -> Node:
        if broker_id not in self.recorders:
            self.recorders[broker_id] = RecordingBroker()
            host = f"broker-{broker_id}"
            listener = await self.network.at(host).listen(Address(host, 9092))
            self._nursery.start_soon(self.recorders[broker_id].serve, listener)
        client = EnsembleClient(
            self.network.at(f"broker-{broker_id}"),
            self.members.connect,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            rng=random.Random(broker_id),
            events=self.events,
        )
        controller = Controller(
            client,
            BrokerId(broker_id),
            ControllerSettings(**self.settings),
            network=self.network.at(f"broker-{broker_id}"),
            events=self.events.bind(on=broker_id),
            rng=random.Random(broker_id),
            wall_clock=FixedWallClock(),
        )
        scope = trio.CancelScope()
        epoch = await self._nursery.start(self._live, broker_id, client, controller, scope)
        node = Node(broker_id, self.recorders[broker_id], client, controller, scope, epoch)
        self.nodes[broker_id] = node
        return node

    async def _live(self, broker_id, client, controller, scope, *, task_status) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(client.run)
                await client.wait_connected()
                await prepare_cluster(client, random.Random(9))
                epoch = await register_broker(
                    client,
                    info(broker_id),
                    session_file=SessionFile(MemoryDisk(), "/session"),
                    wall_clock=FixedWallClock(),
                    events=self.events,
                )
                task_status.started(epoch)
                if self.candidates:
                    await controller.run()
                await trio.sleep_forever()

    def kill(self, broker_id) -> None:
        """The process is gone; its session lives on until it expires."""
        self.nodes.pop(broker_id).scope.cancel()

    async def stop(self, broker_id) -> None:
        """The process ends its session."""
        node = self.nodes.pop(broker_id)
        await node.client.close()
        node.scope.cancel()

    async def controller(self) -> Controller:
        """The one in office."""
        while True:
            for node in self.nodes.values():
                if node.controller.is_active:
                    return node.controller
            await trio.sleep(0.05)

    async def settle(self, seconds: float = 1.0) -> None:
        await trio.sleep(seconds)
        for node in self.nodes.values():
            if node.controller.state is not None:
                node.controller.state.check()


@pytest.fixture
async def cluster(nursery):
    network = MemoryNetwork()
    members = Members(network, nursery)
    await members.start(3)
    return Cluster(members, network, nursery)
