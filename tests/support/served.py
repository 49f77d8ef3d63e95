"""A server of a few APIs on an in-memory network, and peers that speak to it in whole frames."""

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from ottla.broker.api.api import Api, Services
from ottla.broker.api.api_versions import API as API_VERSIONS
from ottla.broker.api.dispatch import Dispatcher
from ottla.broker.api.fetch_sessions import FetchSessions
from ottla.broker.api.registry import Registry
from ottla.broker.metadata import MetadataCache
from ottla.broker.server.connection import ConnectionLimits
from ottla.broker.server.listener import Server, ServerSettings
from ottla.config.broker import BrokerConfig
from ottla.protocol.kafka.framing import FrameReader
from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.protocol.kafka.schema import schema_of
from ottla.runtime.interfaces import Address, Stream
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from ottla.runtime.memory_network import MemoryNetwork
from tests.support.partitions import MemoryPartitions


class Missing:
    """Stands where a test's handlers must not look."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        raise AssertionError(f"{self._name}.{attribute} was not expected to be used")


def services(
    apis: Iterable[Api] = (),
    *,
    events: RecordingEvents | None = None,
    partitions: Any = None,
    metadata: MetadataCache | None = None,
    config: dict[str, str] | None = None,
    **others: Any,
) -> Services:
    """The services of broker 1; what is not given must not be used."""
    rng = random.Random(1)
    members: dict[str, Any] = {
        name: Missing(name)
        for name in (
            "replicas",
            "log_manager",
            "log_moves",
            "controller",
            "ensemble",
            "groups",
            "producer_ids",
        )
    }
    return Services(
        broker_id=1,
        cluster_id="testing",
        config=BrokerConfig.from_properties(
            {"broker.id": "1", "zookeeper.connect": "localhost:2181"} | (config or {})
        ),
        wall_clock=FixedWallClock(),
        rng=rng,
        events=events or RecordingEvents(),
        registry=Registry(apis),
        metadata=metadata or MetadataCache(),
        partitions=partitions if partitions is not None else MemoryPartitions(),
        fetch_sessions=FetchSessions(10, rng),
        **(members | {"controller_link": lambda: None} | others),
    )


class Peer:
    """A client's side of one connection."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._frames = FrameReader(64 * 1024 * 1024)
        self._arrived: list[bytes] = []
        self._sent = 0
        self._asked: dict[int, tuple[int, int]] = {}

    async def send(self, message: Any, version: int) -> int:
        """Send a request; its correlation id."""
        return await self.send_all([(message, version)])

    async def send_all(self, messages: Iterable[tuple[Any, int]]) -> int:
        """Send requests in one go; the last one's correlation id."""
        data = b""
        for message, version in messages:
            self._sent += 1
            self._asked[self._sent] = (schema_of(type(message)).api, version)
            data += encode_request_frame(message, version, self._sent, "tester")
        await self.stream.send_all(data)
        return self._sent

    async def frame(self) -> bytes:
        """The next whole frame. EOFError when the server closed."""
        while not self._arrived:
            count = await self.stream.receive_into(self._frames.buffer())
            if not count:
                raise EOFError
            self._arrived += [bytes(frame) for frame in self._frames.received(count)]
        return self._arrived.pop(0)

    async def answer(self) -> tuple[int, Any]:
        """The next response: its correlation id and message."""
        frame = await self.frame()
        api, version = self._asked.pop(int.from_bytes(frame[:4], "big"))
        return decode_response(api, version, frame)

    async def ask(self, message: Any, version: int) -> Any:
        """Send a request and wait for its response."""
        sent = await self.send(message, version)
        correlation_id, answer = await self.answer()
        assert correlation_id == sent
        return answer

    async def is_closed(self) -> bool:
        """Wait for the server's end of the connection."""
        try:
            await self.frame()
        except (EOFError, OSError):
            return True
        return False


@dataclass
class Served:
    """A running server."""

    server: Server
    network: MemoryNetwork
    address: Address
    events: RecordingEvents
    services: Services
    peers: list[Peer] = field(default_factory=list)

    async def connect(self) -> Peer:
        peer = Peer(await self.network.connect(self.address))
        self.peers.append(peer)
        return peer

    def refusals(self) -> list[Any]:
        return self.events.named("connection.peer_refused")


@asynccontextmanager
async def serving(
    *apis: Api,
    max_frame: int = 1024 * 1024,
    max_queued: int = 100,
    max_queued_bytes: int = 1024 * 1024,
    max_idle_s: float = 600.0,
    max_connections: int = 1000,
    max_connections_per_address: int = 1000,
    buffer_bytes: int = 64 * 1024,
    request_bytes_max: int | None = None,
    **more: Any,
) -> AsyncIterator[Served]:
    """Serve `apis` and ApiVersions."""
    events = RecordingEvents()
    known = {api.key: api for api in (API_VERSIONS, *apis)}
    provided = services(known.values(), events=events, **more)
    network = MemoryNetwork(buffer_bytes=buffer_bytes)
    settings = ServerSettings(
        listeners={"PLAINTEXT": Address("", 0)},
        limits=ConnectionLimits(max_frame, max_queued, max_queued_bytes),
        max_idle_s=max_idle_s,
        max_connections=max_connections,
        max_connections_per_address=max_connections_per_address,
        request_bytes_max=request_bytes_max,
    )
    dispatcher = Dispatcher(provided.registry, provided)
    server = Server(settings, network, dispatcher, provided, events)
    addresses = await server.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve)
        served = Served(server, network, addresses["PLAINTEXT"], events, provided)
        yield served
        for peer in served.peers:
            peer.stream.close()
        nursery.cancel_scope.cancel()
