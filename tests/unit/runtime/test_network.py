"""One contract, two networks: what holds for the operating system holds for the one in memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from ottla.runtime.interfaces import Address, ConnectionLost, Disk, Network, Stream
from ottla.runtime.memory import MemoryDisk, MemoryNetwork, RecordingEvents
from ottla.runtime.real_disk import RealDisk
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


async def receive_exactly(stream: Stream, count: int) -> bytes:
    buffer = memoryview(bytearray(count))
    have = 0
    while have < count:
        got = await stream.receive_into(buffer[have:])
        assert got, "the stream ended early"
        have += got
    return bytes(buffer)


def fill(stream: Stream) -> int:
    """Send until nothing more goes; how many bytes went."""
    total = 0
    while sent := stream.send_nowait(b"x" * 65_536):
        total += sent
    return total


async def test_bytes_arrive_in_order(network: Network) -> None:
    client, server = await pair(network)
    await client.send_all(b"one")
    await client.send_all(b"two")
    assert await receive_exactly(server, 6) == b"onetwo"
    client.close()
    server.close()


async def test_accepted_connections_have_the_listeners_buffers() -> None:
    """What a peer does not take stays within them, where the system would give it megabytes."""
    network = RealNetwork(RecordingEvents())
    filled = []
    for send, receive in ((None, None), (20_000, 20_000)):
        listener = await network.listen(HERE, send_buffer_bytes=send, receive_buffer_bytes=receive)
        client = await network.connect(listener.address)
        server = await listener.accept()
        filled.append((fill(server), fill(client)))
        for each in (client, server, listener):
            each.close()
    (_, system_in), (out, into) = filled
    assert out < filled[0][0] / 2
    assert into < system_in


async def test_addresses_mirror_each_other(network: Network) -> None:
    client, server = await pair(network)
    assert client.local.port == server.peer.port
    assert client.peer.port == server.local.port
    client.close()
    server.close()


async def test_clean_close_is_read_as_zero_after_the_last_byte(network: Network) -> None:
    client, server = await pair(network)
    await client.send_all(b"last")
    client.close()
    buffer = memoryview(bytearray(16))
    assert await server.receive_into(buffer) == 4
    assert await server.receive_into(buffer) == 0
    server.close()


async def test_close_wakes_a_reader_of_the_same_stream(network: Network) -> None:
    client, server = await pair(network)

    async def read() -> None:
        with pytest.raises(ConnectionLost):
            await client.receive_into(memoryview(bytearray(1)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        client.close()
        client.close()
    server.close()


async def test_close_wakes_a_writer_of_the_same_stream(network: Network) -> None:
    client, server = await pair(network)

    async def write() -> None:
        with pytest.raises(ConnectionLost):
            await client.send_all(bytes(64 << 20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        client.close()
    server.close()


async def test_using_a_closed_stream_is_connection_lost(network: Network) -> None:
    client, server = await pair(network)
    client.close()
    with pytest.raises(ConnectionLost):
        client.send_nowait(b"x")
    with pytest.raises(ConnectionLost):
        await client.receive_into(memoryview(bytearray(1)))
    with pytest.raises(ConnectionLost):
        await client.wait_writable()
    server.close()


async def test_full_buffer_takes_nothing_until_the_peer_reads(network: Network) -> None:
    client, server = await pair(network)
    total = fill(client)
    assert client.send_nowait(b"x") == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_exactly, server, total)
        await client.wait_writable()
    assert client.send_nowait(b"x") == 1
    client.close()
    server.close()


async def test_sending_to_a_peer_that_closed_ends_in_connection_lost(network: Network) -> None:
    client, server = await pair(network)
    server.close()

    async def send_until_it_fails() -> None:
        with trio.fail_after(5):
            while True:  # TCP learns of it with the answer to the first bytes
                await client.send_all(b"anybody?")
                await trio.lowlevel.checkpoint()

    with pytest.raises(ConnectionLost):
        await send_until_it_fails()
    client.close()


async def test_closing_with_unread_bytes_resets_the_peer(network: Network) -> None:
    client, server = await pair(network)
    await client.send_all(b"never read")
    await trio.testing.wait_all_tasks_blocked(0.01)
    server.close()
    with pytest.raises(ConnectionLost), trio.fail_after(5):
        await client.receive_into(memoryview(bytearray(1)))
    client.close()


async def test_nobody_listening_is_a_refusal(network: Network) -> None:
    listener = await network.listen(HERE)
    listener.close()
    with pytest.raises(ConnectionRefusedError, match=str(listener.address.port)):
        await network.connect(listener.address)


async def test_unknown_host_is_an_os_error(network: Network) -> None:
    with pytest.raises(OSError):  # noqa: PT011  the resolver's words differ
        await network.connect(Address("no-such-host.invalid", 1))


async def test_port_taken_names_the_address(network: Network) -> None:
    listener = await network.listen(HERE)
    with pytest.raises(OSError, match=rf"in use.*127\.0\.0\.1:{listener.address.port}|in use"):
        await network.listen(Address("127.0.0.1", listener.address.port))
    listener.close()


async def test_close_of_a_listener_wakes_accept(network: Network) -> None:
    listener = await network.listen(HERE)

    async def accept() -> None:
        with pytest.raises(ConnectionLost):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        listener.close()
    with pytest.raises(ConnectionLost):
        await listener.accept()


async def test_listening_on_every_interface_is_reached_by_name(network: Network) -> None:
    listener = await network.listen(Address("", 0))
    client = await network.connect(Address("localhost", listener.address.port))
    server = await listener.accept()
    assert not server.peer.host.startswith("::ffff:")
    for one in (client, server, listener):
        one.close()


async def test_cancelled_receive_loses_no_bytes(network: Network) -> None:
    client, server = await pair(network)
    await client.send_all(b"kept")
    await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(4):
            await server.receive_into(memoryview(bytearray(1)))
        await trio.lowlevel.checkpoint()
    # Whatever was not handed out before the cancellation is still there.
    await client.send_all(b"!")
    rest = bytearray()
    while not rest.endswith(b"!"):
        rest += await receive_exactly(server, 1)
    assert b"kept!".endswith(bytes(rest))
    client.close()
    server.close()


async def test_busy_peer_does_not_starve_other_tasks() -> None:
    client, server = await pair(RealNetwork(RecordingEvents()))
    await client.send_all(b"x" * 10 * STREAK_MAX)
    await trio.testing.wait_all_tasks_blocked(0.01)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(10 * STREAK_MAX):
            await server.receive_into(memoryview(bytearray(1)))
        nursery.cancel_scope.cancel()
    assert turns >= 9
    client.close()
    server.close()


@pytest.mark.parametrize("make_disk", [RealDisk, MemoryDisk])
async def test_file_bytes_are_sent_from_their_offset(
    network: Network, make_disk: Callable[[], Disk], tmp_path: Path
) -> None:
    disk = make_disk()
    disk.make_dirs(str(tmp_path))
    file = disk.open(str(tmp_path / "segment"))
    file.append(b"0123456789")
    client, server = await pair(network)
    assert client.send_file_nowait(file, 3, 4) == 4
    assert await receive_exactly(server, 4) == b"3456"
    with pytest.raises(ConnectionLost, match="ends before byte 10"):
        client.send_file_nowait(file, 10, 1)
    file.close()
    client.close()
    server.close()


async def test_hosts_of_one_memory_network_have_their_own_ports() -> None:
    first = MemoryNetwork("broker-1")
    second = first.at("broker-2")
    one = await first.listen(Address("", 9092))
    two = await second.listen(Address("", 9092))
    await second.connect(Address("broker-1", 9092))
    assert (await one.accept()).peer.host == "broker-2"
    with pytest.raises(OSError, match="assign"):
        await first.listen(Address("broker-2", 9093))
    one.close()
    two.close()


async def test_reset_of_a_memory_stream_ends_both_ends() -> None:
    client, server = await pair(MemoryNetwork())
    client.reset()  # type: ignore[attr-defined]  # what the simulator does to a wire
    for stream in (client, server):
        with pytest.raises(ConnectionLost):
            await stream.receive_into(memoryview(bytearray(1)))
