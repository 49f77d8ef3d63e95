"""What is expected of a stream's peer decides when its reader is woken, and loses nothing."""

import trio
import trio.testing

from ottla.runtime.interfaces import Address, Stream
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_network import EXPECTED_MAX, EXPECTED_MIN, RealNetwork


async def pair() -> tuple[Stream, Stream]:
    network = RealNetwork(RecordingEvents())
    listener = await network.listen(Address("127.0.0.1", 0))
    client = await network.connect(listener.address)
    server = await listener.accept()
    listener.close()
    return client, server


class Counting:
    """Takes everything; how often it was woken for it."""

    def __init__(self) -> None:
        self.room = memoryview(bytearray(1 << 20))
        self.counts: list[int] = []

    def buffer(self) -> memoryview:
        return self.room

    def take(self, count: int) -> bool:
        self.counts.append(count)
        return True


async def settled() -> None:
    """Loopback delivers within the call; the loop then has its turns."""
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()


async def test_a_reader_sleeps_until_what_it_expects_is_there() -> None:
    client, server = await pair()
    taker = Counting()
    server.expect(3 * EXPECTED_MIN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.receive_while, taker.buffer, taker.take)
        for _ in range(2):
            await client.send_all(bytes(EXPECTED_MIN))
            await settled()
        assert taker.counts == []
        await client.send_all(bytes(EXPECTED_MIN))
        await settled()
        assert sum(taker.counts) == 3 * EXPECTED_MIN
        server.expect(0)
        await client.send_all(b"a little")
        await settled()
        assert taker.counts[-1] == len(b"a little")
        client.close()  # ends the reader
    server.close()


async def test_the_peers_end_wakes_a_reader_that_expects_more() -> None:
    client, server = await pair()
    taker = Counting()
    server.expect(EXPECTED_MAX)
    await client.send_all(b"not much")
    client.close()
    with trio.fail_after(5):
        assert not await server.receive_while(taker.buffer, taker.take)
    assert taker.counts == [len(b"not much")]
    server.close()


async def test_more_than_the_system_keeps_for_a_socket_may_be_expected() -> None:
    network = RealNetwork(RecordingEvents())
    listener = await network.listen(Address("127.0.0.1", 0), receive_buffer_bytes=4096)
    client = await network.connect(listener.address)
    server = await listener.accept()
    listener.close()
    taker = Counting()
    server.expect(1 << 30)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.receive_while, taker.buffer, taker.take)
        with trio.fail_after(5):
            await client.send_all(bytes(300_000))
            while sum(taker.counts) < 300_000 - EXPECTED_MAX:
                await settled()
        client.close()
    server.close()
