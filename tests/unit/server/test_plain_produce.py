"""Produce requests that are put off until the end of a turn: one write, and still one by one."""

import contextlib
from collections.abc import AsyncIterator

import trio
import trio.testing

from ottla.broker.api import produce
from ottla.broker.api.dispatch import Dispatcher
from ottla.broker.server.connection import ConnectionLimits
from ottla.broker.server.listener import Server, ServerSettings
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch, iter_headers
from ottla.runtime.interfaces import Address, Network
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from ottla.runtime.memory_disk import MemoryDisk, MemoryFile
from ottla.runtime.real_network import RealNetwork
from tests.support.led_partitions import led_partitions
from tests.support.served import Peer, services, serving

NOW_MS = 1_700_000_000_000
CLIENTS = 10


def request(sequence: int, *, producer: int = -1, acks: int = 1, text: str = "x") -> ProduceRequest:
    batch = build_batch(
        [(b"k", text.encode(), NOW_MS, [])],
        producer_id=producer,
        producer_epoch=0 if producer >= 0 else -1,
        base_sequence=sequence if producer >= 0 else -1,
    )
    data = PartitionProduceData(index=0, records=batch)
    topic = TopicProduceData(name="t", partition_data=[data])
    return ProduceRequest(acks=acks, timeout_ms=5_000, topic_data=[topic])


@contextlib.asynccontextmanager
async def serving_on(
    network: Network, disk: MemoryDisk, **more: object
) -> AsyncIterator[tuple[Address, list[Peer]]]:
    """A broker of one partition on a network of the test's; peers in the list are closed after."""
    events = RecordingEvents()
    registry, logs = await led_partitions(
        disk, "/data", "t", 1, wall_clock=FixedWallClock(), events=events, **more
    )
    provided = services([produce.API], events=events, partitions=registry)
    settings = ServerSettings(
        {"PLAINTEXT": Address("127.0.0.1", 0)}, ConnectionLimits(1 << 20, 500), 600, 99, 99
    )
    dispatcher = Dispatcher(provided.registry, provided)
    server = Server(settings, network, dispatcher, provided, events)
    addresses = await server.open()
    peers: list[Peer] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve)
        yield addresses["PLAINTEXT"], peers
        for peer in peers:
            peer.stream.close()
        nursery.cancel_scope.cancel()
    logs.close(clean=True)


async def test_what_many_connections_send_at_once_is_one_write(monkeypatch) -> None:
    writes: list[int] = []
    append = MemoryFile.append

    def counted(file: MemoryFile, data: bytes) -> None:
        writes.append(len(data))
        append(file, data)

    monkeypatch.setattr(MemoryFile, "append", counted)
    network, disk = RealNetwork(RecordingEvents()), MemoryDisk()
    async with serving_on(network, disk) as (address, peers):
        peers += [Peer(await network.connect(address)) for _ in range(CLIENTS)]
        with trio.fail_after(5):
            for peer in peers:
                await peer.ask(request(0), 9)
            writes.clear()
            for index, peer in enumerate(peers):  # no task of the server runs in between
                peer.stream.send_nowait(_frame(request(0, text=f"text {index}")))
            answers = [await peer.frame() for peer in peers]
            assert len(writes) == 1
    found = [decode_response(ApiKey.PRODUCE, 9, answer)[1] for answer in answers]
    offsets = [each.responses[0].partition_responses[0].base_offset for each in found]
    assert sorted(offsets) == list(range(CLIENTS, 2 * CLIENTS))
    log = disk.read("/data/t-0/00000000000000000000.log")
    headers = list(iter_headers(log))
    assert [header.base_offset for _, header in headers] == list(range(2 * CLIENTS))
    for index, offset in enumerate(offsets):
        position, header = headers[offset]
        assert f"text {index}".encode() in log[position : position + header.size]


def _frame(message: ProduceRequest) -> bytes:
    return encode_request_frame(message, 9, 7, "tester")


async def test_a_gap_in_a_producers_sequence_is_found_within_one_turn(autojump_clock) -> None:
    registry, logs = await led_partitions(
        MemoryDisk(), "/data", "t", 1, wall_clock=FixedWallClock(), events=RecordingEvents()
    )
    async with serving(produce.API, partitions=registry) as served:
        peer = await served.connect()
        await peer.send_all([(request(at, producer=7), 9) for at in (0, 1, 3, 1, 2)])
        found = [(await peer.answer())[1] for _ in range(5)]
    codes = [each.responses[0].partition_responses[0].error_code for each in found]
    offsets = [each.responses[0].partition_responses[0].base_offset for each in found]
    assert codes == [0, 0, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 0, 0]
    assert offsets == [0, 1, -1, 1, 2]  # the second 1 is known already
    logs.close(clean=True)


async def test_acks_all_waits_for_the_replicas_and_keeps_the_order(autojump_clock) -> None:
    """The first two are parked until their time is over, the one with acks=1 behind them too."""
    registry, logs = await led_partitions(
        MemoryDisk(),
        "/data",
        "t",
        1,
        wall_clock=FixedWallClock(),
        events=RecordingEvents(),
        replicas=(1, 2),
    )
    async with serving(produce.API, partitions=registry) as served:
        peer = await served.connect()
        began = trio.current_time()
        await peer.send_all([(request(0, acks=acks), 9) for acks in (-1, -1, 1)])
        found = [await peer.answer() for _ in range(3)]
        assert trio.current_time() - began >= 5
    codes = [each.responses[0].partition_responses[0].error_code for _, each in found]
    assert [number for number, _ in found] == [1, 2, 3]
    assert codes == [ErrorCode.REQUEST_TIMED_OUT] * 2 + [0]
    logs.close(clean=True)
