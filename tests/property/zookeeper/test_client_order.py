"""Several clients pipeline at random while commits come at random: what each may rely on."""

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.coordinator.client_port.port import ClientPort
from ottla.coordinator.settings import CoordinatorSettings
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    CreateRequest,
    GetDataRequest,
    GetDataResponse,
    ReplyHeader,
    SetDataRequest,
    SetDataResponse,
    WatcherEvent,
)
from ottla.protocol.zookeeper.opcodes import XID_NOTIFICATION, OpCode
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import MemoryNetwork, memory_runtime
from tests.support.solo_member import SoloEnsemble
from tests.support.zk_client import ZkClient

REQUESTS = 30


class Pipeliner:
    """Reads and writes one node; checks every frame against what came before."""

    def __init__(self, client, rng):
        self.client = client
        self.rng = rng
        self.kinds = {}
        self.zxid = 0
        self.version = 0  # the newest that this client has seen or made
        self.next_xid = 1000

    async def send_some(self):
        batch = b""
        for _ in range(self.rng.randint(1, 8)):
            self.next_xid += 1
            opcode = self.rng.choice([OpCode.GET_DATA, OpCode.SET_DATA])
            if opcode == OpCode.GET_DATA:
                request = GetDataRequest("/a", watch=self.rng.random() < 0.5)
            else:
                request = SetDataRequest("/a", b"%d" % self.next_xid)
            self.kinds[self.next_xid] = opcode
            batch += self.client.encode(opcode, request, self.next_xid)
        await self.client.stream.send_all(batch)

    def check_frame(self, frame, expected_xid):
        """The xid after which to go on."""
        reader = Reader(frame)
        xid, zxid, error = ReplyHeader.decode(reader)
        assert error == 0
        assert zxid >= self.zxid, "a client must not go back in time"
        self.zxid = zxid
        if xid == XID_NOTIFICATION:
            assert WatcherEvent.decode(reader).path == "/a"
            assert zxid > self.shown, "an event came after an answer that showed its change"
            return expected_xid
        assert xid == expected_xid, "answers come in the order of requests"
        if self.kinds[xid] == OpCode.SET_DATA:
            version = SetDataResponse.decode(reader).stat.version
            assert version > self.version
        else:
            _, stat = GetDataResponse.decode(reader)
            version = stat.version
            assert version >= self.version, "a client sees its own writes"
            self.shown = stat.mzxid
        self.version = version
        return expected_xid + 1

    shown = 0  # mzxid that the newest read has shown

    async def check_all(self):
        xid = 1001
        while xid <= self.next_xid:
            xid = self.check_frame(await self.client.next_frame(), xid)


async def scenario(seed):
    rng = random.Random(seed)
    network = MemoryNetwork("clients")
    ensemble = SoloEnsemble()
    settings_ = CoordinatorSettings("/d", client_address=Address("", 2181))
    runtime = memory_runtime(network=network.at("member"))
    port = ClientPort(ensemble.members[0], settings_, runtime)
    async with trio.open_nursery() as nursery:
        await nursery.start(port.serve)
        clients = [await ZkClient.connect(network, Address("member", 2181)) for _ in range(3)]
        await clients[0].call(OpCode.CREATE, CreateRequest("/a", b"", OPEN_ACL))
        pipeliners = [Pipeliner(client, rng) for client in clients]
        ensemble.held = True
        for _ in range(REQUESTS):
            if rng.random() < 0.6:
                await rng.choice(pipeliners).send_some()
            if rng.random() < 0.6:
                await trio.testing.wait_all_tasks_blocked()
            if rng.random() < 0.7:
                ensemble.release(rng.randint(1, 10))
        await trio.testing.wait_all_tasks_blocked()
        ensemble.held = False
        ensemble.release()
        for pipeliner in pipeliners:
            await pipeliner.check_all()
        ensemble.members[0].watches.check()
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_client_sees_its_requests_in_order_and_time_going_forward(seed):
    trio.run(scenario, seed)
