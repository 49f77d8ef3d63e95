import pytest

from ottla.coordinator.client_port.port import ClientPort
from ottla.coordinator.settings import CoordinatorSettings
from ottla.protocol.zookeeper.messages import ConnectRequest
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import MemoryNetwork, RecordingEvents, memory_runtime
from tests.support.solo_member import SoloEnsemble
from tests.support.zk_client import ZkClient


class Stand:
    """Members with their client ports on one in-memory network."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.events = RecordingEvents()
        self.network = MemoryNetwork("clients", buffer_bytes=8192)
        self.ensemble = SoloEnsemble()
        self.ports = []

    async def start(self, size=1, **settings):
        self.ensemble = SoloEnsemble(size)
        for member in self.ensemble.members:
            host = f"member{member.member_id}"
            runtime = memory_runtime(network=self.network.at(host), events=self.events)
            port = ClientPort(
                member,
                CoordinatorSettings("/data", client_address=Address("", 2181), **settings),
                runtime,
            )
            await self.nursery.start(port.serve)
            self.ports.append(port)
        return self

    @property
    def member(self):
        return self.ensemble.members[0]

    def address(self, member_id=1):
        return Address(f"member{member_id}", 2181)

    async def connect(self, member_id=1, **request):
        request.setdefault("timeout", 10_000)
        return await ZkClient.connect(
            self.network, self.address(member_id), ConnectRequest(**request)
        )

    async def reconnect(self, client, member_id=1, **request):
        session = client.session
        return await self.connect(
            member_id, session_id=session.session_id, password=session.password, **request
        )

    async def raw(self, data):
        stream = await self.network.connect(self.address())
        await stream.send_all(data)
        answer = b""
        buffer = memoryview(bytearray(65536))
        try:
            while count := await stream.receive_into(buffer):
                answer += bytes(buffer[:count])
        except OSError:
            pass
        stream.close()
        return answer


@pytest.fixture
def stand(nursery):
    return Stand(nursery)
