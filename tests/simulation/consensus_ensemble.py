"""Whole coordinator members on an in-memory world under trio's mock clock."""

import random
from contextlib import asynccontextmanager

import trio

from ottla.coordinator.main import run_coordinator
from ottla.coordinator.settings import CoordinatorSettings
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import CreateRequest, SetDataRequest
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import MemoryDisk, MemoryNetwork, RecordingEvents, memory_runtime


class Ensemble:
    """Members 1..n on hosts c1..cn, each with a disk that outlives it."""

    def __init__(self, nursery, size, seed=1, **settings):
        self.nursery = nursery
        self.rng = random.Random(seed)
        self.ids = range(1, size + 1)
        self.network = MemoryNetwork("nowhere")
        self.networks = {me: self.network.at(f"c{me}") for me in self.ids}
        self.disks = {me: MemoryDisk(sync_delay_s=0.002) for me in self.ids}
        self.events = {me: RecordingEvents() for me in self.ids}
        self.settings = settings
        self.scopes: dict[int, trio.CancelScope] = {}
        self.stops: dict[int, trio.Event] = {}
        self.ended: dict[int, trio.Event] = {}
        self.nodes = {}

    def host(self, me):
        """One more machine, for a member that is to join."""
        self.networks[me] = self.network.at(f"c{me}")
        self.disks[me] = MemoryDisk(sync_delay_s=0.002)
        self.events[me] = RecordingEvents()

    async def start(self, me, listed=None):
        """`listed` are the members that stand in its file, if not those that all began with."""
        members = {i: Address(f"c{i}", 2888) for i in self.ids} if len(self.ids) > 1 else {}
        if listed is not None:
            members = {i: Address(f"c{i}", 2888) for i in listed}
        settings = CoordinatorSettings(
            data_dir="/data",
            my_id=me,
            members=members,
            client_address=Address(f"c{me}", 2181),
            **self.settings,
        )
        runtime = memory_runtime(
            network=self.networks[me],
            disk=self.disks[me],
            events=self.events[me],
            seed=self.rng.getrandbits(32),
        )
        self.scopes[me] = trio.CancelScope()
        self.stops[me] = trio.Event()
        self.ended[me] = trio.Event()

        async def life(task_status):
            with self.scopes[me]:
                await run_coordinator(
                    settings, runtime, stop=self.stops[me], task_status=task_status
                )
            self.nodes.pop(me, None)
            self.ended[me].set()

        handle = await self.nursery.start(life)
        self.nodes[me] = handle.node

    async def kill(self, me):
        """Like a power cut: nothing is finished, unsynced bytes are lost or not."""
        self.scopes[me].cancel()
        await self.ended[me].wait()
        self.disks[me].crash(self.rng)

    async def stop(self, me):
        self.stops[me].set()
        await self.ended[me].wait()

    def leader(self):
        leaders = [me for me, node in self.nodes.items() if node.role == "leader"]
        return leaders[0] if len(leaders) == 1 else None

    async def settled(self, within_s=5.0):
        """Wait until there is a leader and every running member serves; the leader."""
        deadline = trio.current_time() + within_s
        while not (self.leader() and all(node.is_serving for node in self.nodes.values())):
            assert trio.current_time() < deadline, "no settled ensemble in time"
            await trio.sleep(0.01)
        return self.leader()

    def check(self):
        for node in self.nodes.values():
            node._core.check()
            node.tree.check()


@asynccontextmanager
async def ensemble(size, **settings):
    async with trio.open_nursery() as nursery:
        world = Ensemble(nursery, size, **settings)
        for me in world.ids:
            await world.start(me)
        yield world
        world.check()
        nursery.cancel_scope.cancel()


async def create(node, session, path, data=b"", *, ephemeral=False):
    body = CreateRequest(path, data, OPEN_ACL, 1 if ephemeral else 0).encode()
    return await node.submit(session.session_id, int(OpCode.CREATE), body, ())


async def set_data(node, session, path, data):
    body = SetDataRequest(path, data, -1).encode()
    return await node.submit(session.session_id, int(OpCode.SET_DATA), body, ())


async def serving(node, expected, within_s=1.2):
    """Wait until a member begins, or ceases, to serve."""
    deadline = trio.current_time() + within_s
    while node.is_serving is not expected:
        assert trio.current_time() < deadline
        await trio.sleep(0.01)
