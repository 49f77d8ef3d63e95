"""TCP in memory: listeners, host names, streams with bounded buffers.

What holds as it does for TCP: bytes arrive in order and whole or not at all; a full buffer stops
the sender; a clean close lets the peer read what is left and then its end; closing with unread
bytes resets the connection; nobody listening is a refusal. What does not: there is no latency
(trio's scheduler decides), and a send to a peer that closed fails at once instead of at the second
attempt.

`MemoryNetwork()` is one host. `at(name)` is the same network seen from another host, so that
every daemon of a cluster in one process can bind its own ports.
"""

import errno
import os
import socket
from collections import deque
from collections.abc import Callable

import trio

from ottla.runtime.interfaces import Address, BytesLike, ConnectionLost, File, Network
from ottla.runtime.readiness import receive_each

_BUFFER_BYTES = 64 * 1024
_EPHEMERAL_FIRST = 49_152
_OWN_NAMES = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}


class _Pipe:
    """One direction of a connection. 0 <= len(data) <= capacity."""

    __slots__ = ("_changed", "capacity", "data", "ended", "reset")

    def __init__(self, capacity: int) -> None:
        self.data = bytearray()
        self.capacity = capacity
        self.ended = False  # the writer closed: what is left may be read, then the end
        self.reset = False  # the reader closed, or the writer with unread bytes of its own
        self._changed = trio.Event()

    def wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def wait_change(self) -> None:
        await self._changed.wait()


class MemoryStream:
    """One end of a connection; see `Stream`."""

    __slots__ = ("_closed", "_incoming", "_local", "_outgoing", "_peer")

    def __init__(self, local: Address, peer: Address, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._local = local
        self._peer = peer
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    @property
    def local(self) -> Address:
        return self._local

    @property
    def peer(self) -> Address:
        return self._peer

    async def receive_into(self, buffer: memoryview) -> int:
        assert len(buffer) > 0, "an empty buffer would read as the peer's end"
        await trio.lowlevel.checkpoint()
        pipe = self._incoming
        while True:
            self._require_open()
            if pipe.data:
                count = min(len(buffer), len(pipe.data))
                buffer[:count] = pipe.data[:count]
                del pipe.data[:count]
                pipe.wake()
                return count
            if pipe.reset:
                raise self._lost()
            if pipe.ended:
                return 0
            await pipe.wait_change()

    async def receive_while(
        self,
        buffer: Callable[[], memoryview],
        take: Callable[[int], bool | None],
        settle: Callable[[], bool] | None = None,
    ) -> bool:
        return await receive_each(self, buffer, take, settle)

    def send_nowait(self, data: BytesLike) -> int:
        self._require_open()
        pipe = self._outgoing
        if pipe.reset:
            raise self._lost()
        count = min(len(data), pipe.capacity - len(pipe.data))
        if count:
            pipe.data += memoryview(data)[:count]
            pipe.wake()
        return count

    def send_file_nowait(self, file: File, offset: int, count: int) -> int:
        assert count > 0
        room = self._outgoing.capacity - len(self._outgoing.data)
        if not room and not self._closed and not self._outgoing.reset:
            return 0
        data = file.read_at(offset, min(count, max(room, 1)))
        if not data:
            raise ConnectionLost(errno.EIO, f"the file ends before byte {offset}; reply cut off")
        return self.send_nowait(data)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        pipe = self._outgoing
        while True:
            self._require_open()
            if pipe.reset:
                raise self._lost()
            if len(pipe.data) < pipe.capacity:
                return
            await pipe.wait_change()

    async def send_all(self, data: BytesLike) -> None:
        view = memoryview(data)
        sent = self.send_nowait(view)
        while sent < len(view):
            await self.wait_writable()
            sent += self.send_nowait(view[sent:])

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._incoming.data:
            self._outgoing.reset = True
        self._outgoing.ended = True
        self._incoming.reset = True
        self._incoming.data.clear()
        self._incoming.wake()
        self._outgoing.wake()

    def reset(self) -> None:
        """End it as a crashed host would: both ends get ConnectionLost."""
        for pipe in (self._incoming, self._outgoing):
            pipe.data.clear()
            pipe.reset = True
            pipe.wake()

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectionLost(errno.EBADF, f"the connection with {self._peer} was closed here")

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(errno.ECONNRESET, f"{os.strerror(errno.ECONNRESET)} ({self._peer})")

    def __repr__(self) -> str:
        return f"<MemoryStream {self._local} - {self._peer}>"


class MemoryListener:
    def __init__(self, fabric: "_Fabric", address: Address, backlog: int) -> None:
        self._fabric = fabric
        self._address = address
        self._backlog = backlog
        self._waiting: deque[MemoryStream] = deque()
        self._arrived = trio.Event()
        self._closed = False

    @property
    def address(self) -> Address:
        return self._address

    async def accept(self) -> MemoryStream:
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise ConnectionLost(errno.EBADF, f"the listener on {self._address} was closed")
            if self._waiting:
                return self._waiting.popleft()
            await self._arrived.wait()

    def offer(self, stream: MemoryStream) -> bool:
        """Queue a new connection; whether there was room."""
        if len(self._waiting) >= self._backlog:
            return False
        self._waiting.append(stream)
        self._wake()
        return True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        del self._fabric.listeners[self._address]
        for stream in self._waiting:
            stream.reset()
        self._waiting.clear()
        self._wake()

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, trio.Event()
        arrived.set()


class _Fabric:
    """What all hosts of one network share."""

    def __init__(self, buffer_bytes: int) -> None:
        self.buffer_bytes = buffer_bytes
        self.hosts: set[str] = set()
        self.listeners: dict[Address, MemoryListener] = {}
        self._next_port = _EPHEMERAL_FIRST

    def free_port(self, host: str) -> int:
        while True:
            port = self._next_port
            self._next_port = port + 1 if port < 65_535 else _EPHEMERAL_FIRST
            if Address(host, port) not in self.listeners:
                return port


class MemoryNetwork:
    """The network as one host sees it. `localhost` and the wildcard addresses are that host."""

    def __init__(
        self,
        host: str = "localhost",
        *,
        buffer_bytes: int = _BUFFER_BYTES,
        fabric: _Fabric | None = None,
    ) -> None:
        self.host = host
        self._fabric = fabric or _Fabric(buffer_bytes)
        self._fabric.hosts.add(host)

    def at(self, host: str) -> "MemoryNetwork":
        """The same network from `host`, which exists from now on."""
        return MemoryNetwork(host, fabric=self._fabric)

    def host_name(self) -> str:
        return self.host

    async def connect(self, address: Address) -> MemoryStream:
        await trio.lowlevel.checkpoint()
        target = Address(self._resolve(address.host), address.port)
        listener = self._fabric.listeners.get(target)
        if listener is None:
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"{os.strerror(errno.ECONNREFUSED)} ({address})"
            )
        mine = Address(self.host, self._fabric.free_port(self.host))
        there, back = (_Pipe(self._fabric.buffer_bytes) for _ in range(2))
        if not listener.offer(MemoryStream(target, mine, there, back)):
            raise TimeoutError(errno.ETIMEDOUT, f"{os.strerror(errno.ETIMEDOUT)} ({address})")
        return MemoryStream(mine, address, back, there)

    async def listen(
        self,
        address: Address,
        *,
        backlog: int = 1024,
        send_buffer_bytes: int | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> MemoryListener:
        await trio.lowlevel.checkpoint()
        host = self._resolve(address.host)
        if host != self.host:
            raise OSError(errno.EADDRNOTAVAIL, f"{os.strerror(errno.EADDRNOTAVAIL)} ({address})")
        bound = Address(host, address.port or self._fabric.free_port(host))
        if bound in self._fabric.listeners:
            raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)} ({address})")
        listener = MemoryListener(self._fabric, bound, backlog)
        self._fabric.listeners[bound] = listener
        return listener

    def _resolve(self, host: str) -> str:
        if host in _OWN_NAMES:
            return self.host
        if host not in self._fabric.hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"no host is named {host}")
        return host


def _conforms(network: MemoryNetwork) -> Network:
    return network


__all__ = ["MemoryListener", "MemoryNetwork", "MemoryStream"]
