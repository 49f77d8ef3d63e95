"""Receiving through a function that takes the bytes: the same for both networks."""

import pytest
import trio
import trio.testing

from ottla.runtime.interfaces import Address, ConnectionLost, Network, Stream
from ottla.runtime.memory import MemoryNetwork, RecordingEvents
from ottla.runtime.readiness import BATCH, TURN_S
from ottla.runtime.real_network import STREAK_MAX, RealNetwork

HERE = Address("127.0.0.1", 0)


@pytest.fixture(params=["real", "memory"])
def network(request: pytest.FixtureRequest) -> Network:
    return RealNetwork(RecordingEvents()) if request.param == "real" else MemoryNetwork()


async def pair(network: Network) -> tuple[Stream, Stream]:
    listener = await network.listen(HERE)
    client = await network.connect(listener.address)
    server = await listener.accept()
    listener.close()
    return client, server


class Taker:
    """Keeps what comes, until it has `enough` bytes."""

    def __init__(self, enough: int = 1 << 30, size: int = 4) -> None:
        self.data = b""
        self.enough = enough
        self._buffer = bytearray(size)

    def buffer(self) -> memoryview:
        return memoryview(self._buffer)

    def take(self, count: int) -> bool:
        self.data += self._buffer[:count]
        return len(self.data) < self.enough


async def test_bytes_are_taken_until_the_taker_has_enough_and_then_until_the_end(
    network: Network,
) -> None:
    client, server = await pair(network)
    taker = Taker(enough=8)
    await client.send_all(b"one two three")
    assert await server.receive_while(taker.buffer, taker.take)
    assert taker.data == b"one two "
    taker.enough = 100
    client.close()
    assert not await server.receive_while(taker.buffer, taker.take)
    assert taker.data == b"one two three"
    server.close()


async def test_what_the_taker_raises_comes_out_and_the_stream_goes_on(network: Network) -> None:
    client, server = await pair(network)
    taker = Taker(enough=6, size=3)
    await client.send_all(b"badfine!!")

    def refuse(count: int) -> bool:
        raise ValueError(str(count))

    with pytest.raises(ValueError, match="3"):
        await server.receive_while(taker.buffer, refuse)
    assert await server.receive_while(taker.buffer, taker.take)
    assert taker.data == b"fine!!"
    client.close()
    server.close()


async def test_closing_the_stream_wakes_its_reader(network: Network) -> None:
    client, server = await pair(network)
    taker = Taker()

    async def read() -> None:
        with pytest.raises(ConnectionLost):
            await server.receive_while(taker.buffer, taker.take)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        server.close()
    with pytest.raises(ConnectionLost):
        await server.receive_while(taker.buffer, taker.take)
    client.close()


async def test_a_cancelled_reader_loses_nothing(network: Network) -> None:
    client, server = await pair(network)
    taker = Taker(enough=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.receive_while, taker.buffer, taker.take)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await client.send_all(b"later")
    assert taker.data == b""
    assert await server.receive_while(taker.buffer, taker.take)
    assert taker.data == b"later"
    client.close()
    server.close()


async def test_a_taker_may_end_another_reader_that_is_ready_too(network: Network) -> None:
    """Both are in the same batch of ready sockets; whoever comes first closes the other."""
    pairs = [await pair(network) for _ in range(2)]
    ended: list[str] = []

    async def read(index: int) -> None:
        other = pairs[1 - index][1]

        def take(_count: int) -> bool:
            other.close()
            return False

        try:
            await pairs[index][1].receive_while(Taker().buffer, take)
            ended.append("took")
        except ConnectionLost:
            ended.append("lost")

    async with trio.open_nursery() as nursery:
        for index in range(2):
            nursery.start_soon(read, index)
        await trio.testing.wait_all_tasks_blocked()
        for client, _ in pairs:
            client.send_nowait(b"x")
    assert sorted(ended) == ["lost", "took"]
    for client, server in pairs:
        client.close()
        server.close()


async def test_busy_peers_do_not_starve_other_tasks() -> None:
    """More busy sockets than one batch has; a task that yields each time still gets its turns."""
    network = RealNetwork(RecordingEvents())
    pairs = [await pair(network) for _ in range(BATCH + 8)]
    room = memoryview(bytearray(64))
    taken = turns = 0

    def take(count: int) -> bool:
        nonlocal taken
        taken += count
        return True

    async with trio.open_nursery() as nursery:
        for client, server in pairs:
            client.send_nowait(bytes(1 << 14))
            nursery.start_soon(server.receive_while, lambda: room, take)
        while taken < len(pairs) << 14:
            before = taken
            await trio.lowlevel.checkpoint()
            turns += 1
            assert taken - before <= 2 * BATCH * STREAK_MAX * len(room)
        nursery.cancel_scope.cancel()
    assert turns > 10
    for client, server in pairs:
        client.close()
        server.close()


async def test_a_turn_ends_soon_where_each_peer_takes_long() -> None:
    """Whoever takes 3 ms is followed by other tasks, but for the first look, which knew nothing."""
    network = RealNetwork(RecordingEvents())
    pairs = [await pair(network) for _ in range(8)]
    room = memoryview(bytearray(64))
    taken = 0

    def take(count: int) -> bool:
        nonlocal taken
        taken += 1
        end = trio.current_time() + 1.5 * TURN_S
        while trio.current_time() < end:
            pass
        return count == 0  # else it ends, and is served no more

    async with trio.open_nursery() as nursery:
        for _, server in pairs:
            nursery.start_soon(server.receive_while, lambda: room, take)
        await trio.testing.wait_all_tasks_blocked()
        first, second = pairs[:4], pairs[4:]
        for some in (first, second):
            for client, _ in some:
                client.send_nowait(b"x")
            expected = taken + len(some)
            while taken < expected:
                before = taken
                await trio.lowlevel.checkpoint()
                if some is not first:  # two: trio may turn the order of tasks round
                    assert taken - before <= 2
    for client, server in pairs:
        client.close()
        server.close()


async def test_what_a_taker_puts_off_is_settled_before_the_next_receive(network: Network) -> None:
    client, server = await pair(network)
    happened: list[str] = []
    buffer = bytearray(4)

    def room() -> memoryview:
        happened.append("buffer")
        return memoryview(buffer)

    def take(count: int) -> bool | None:
        happened.append(bytes(buffer[:count]).decode())
        return None

    def settle() -> bool:
        happened.append("settle")
        return happened.count("settle") < 3

    await client.send_all(b"one two ")  # twice as much as there is room for
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.receive_while, room, take, settle)
        await trio.testing.wait_all_tasks_blocked()
        assert [each for each in happened if each != "buffer"] == [
            "one ",
            "settle",
            "two ",
            "settle",
        ]
        await client.send_all(b"end")  # whose settling ends the wait
    assert happened[-2:] == ["end", "settle"]
    client.close()
    server.close()


async def test_sockets_that_are_ready_together_are_all_taken_before_any_is_settled() -> None:
    network = RealNetwork(RecordingEvents())
    pairs = [await pair(network) for _ in range(3)]
    happened: list[str] = []
    room = memoryview(bytearray(64))

    def put_off(_count: int) -> None:
        happened.append("take")

    def settle() -> bool:
        happened.append("settle")
        return False

    def settle_and_fail() -> bool:
        happened.append("settle")
        raise ValueError("only its own reader hears of it")

    async def fails() -> None:
        with pytest.raises(ValueError, match="only its own"):
            await pairs[0][1].receive_while(lambda: room, put_off, settle_and_fail)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails)
        for _, server in pairs[1:]:
            nursery.start_soon(server.receive_while, lambda: room, put_off, settle)
        await trio.testing.wait_all_tasks_blocked()
        for client, _ in pairs:
            client.send_nowait(b"x")
    assert happened == ["take"] * 3 + ["settle"] * 3
    for client, server in pairs:
        client.close()
        server.close()
