"""Large requests between small ones, over real sockets: whole, in pieces, and leaving nothing."""

import os

import trio

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.api.dispatch import Dispatcher
from ottla.broker.server.connection import ConnectionLimits
from ottla.broker.server.listener import Server, ServerSettings
from ottla.broker.slices import server_settings
from ottla.config.broker import BrokerConfig
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.framing import SPARE_BYTES
from ottla.protocol.kafka.headers import encode_request_frame
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_network import RealNetwork
from tests.benchmarks.machine import resident_mb
from tests.support.served import Peer, services

LARGE = HeartbeatRequest(group_id="g", generation_id=1, member_id="m" * 30_000)
HUGE_BYTES = 1 << 20


async def serve(handle, client) -> None:
    """`client(connect)` beside a server of one handler."""
    api = Api(ApiKey.HEARTBEAT, versions=(0, 4), request_type=HeartbeatRequest, handle=handle)
    events = RecordingEvents()
    provided = services([api], events=events)
    network = RealNetwork(events)
    limits = ConnectionLimits(1 << 22, 500)
    settings = ServerSettings({"PLAINTEXT": Address("127.0.0.1", 0)}, limits, 600, 999, 999)
    server = Server(settings, network, Dispatcher(provided.registry, provided), provided, events)
    address = (await server.open())["PLAINTEXT"]

    async def connect() -> Peer:
        return Peer(await network.connect(address))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve)
        with trio.fail_after(20):
            await client(connect)
        nursery.cancel_scope.cancel()


def at_once(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
    return HeartbeatResponse()


async def later(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
    await trio.lowlevel.checkpoint()
    return HeartbeatResponse()


async def in_pieces(connect) -> None:
    """Pieces end within frames, and little follows what much was expected of."""
    small = HeartbeatRequest(group_id="g", generation_id=1, member_id="m")
    asked = [LARGE, small, LARGE, LARGE, small, small]
    data = b"".join(encode_request_frame(each, 4, n, "t") for n, each in enumerate(asked))
    for step in (7_000, 29_000, 31_000, 45_000, 200_000):
        peer = await connect()
        for at in range(0, len(data), step):
            await peer.stream.send_all(data[at : at + step])
            await trio.sleep(0.002)
        answers = [await peer.frame() for _ in asked]
        assert [int.from_bytes(answer[:4], "big") for answer in answers] == list(range(6))
        peer.stream.close()


async def test_requests_in_pieces_are_answered() -> None:
    await serve(at_once, in_pieces)


async def test_requests_in_pieces_are_answered_by_a_handler_that_waits() -> None:
    await serve(later, in_pieces)


async def test_connections_that_sent_much_once_keep_nothing_of_it() -> None:
    async def client(connect) -> None:
        request = HeartbeatRequest(group_id="g", generation_id=1, member_id="m" * 30_000)
        frame = encode_request_frame(request, 4, 1, "t")
        # Bytes behind a request are ignored, so that one of any size is easily made.
        size = HUGE_BYTES.to_bytes(4, "big")
        frame = size + frame[4:] + bytes(HUGE_BYTES - len(frame) + 4)
        peers = []
        before = 0.0
        for number in range(80):
            peers.append(await connect())
            await peers[-1].stream.send_all(frame)
            await peers[-1].frame()
            if number == 10:
                before = resident_mb(os.getpid())
        grown = resident_mb(os.getpid()) - before
        for peer in peers:
            peer.stream.close()
        assert grown < SPARE_BYTES / 1e6 + 10, "70 times 1 MB otherwise"

    await serve(at_once, client)


def test_what_a_peer_sends_waits_in_a_buffer_of_the_systems_size_unless_one_is_set() -> None:
    """A fixed one of 100 kB, as Kafka's, makes the receiver pay for the sender's segments."""
    required = {"broker.id": "1", "zookeeper.connect": "localhost:2181"}
    settings = server_settings(BrokerConfig.from_properties(required))
    assert (settings.receive_buffer_bytes, settings.send_buffer_bytes) == (None, 100 * 1024)
    key = {"socket.receive.buffer.bytes": "102400"}
    settings = server_settings(BrokerConfig.from_properties(required | key))
    assert settings.receive_buffer_bytes == 100 * 1024
