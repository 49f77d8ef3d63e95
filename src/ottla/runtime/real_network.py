"""TCP over the operating system, without a layer between a stream and its socket.

The hot path is one `recv_into` or `send` per call: the socket is tried first, unless the last
receive emptied it, and trio's poller is asked only when the kernel has nothing to give. A task that
never had to wait would starve the others, so every `STREAK_MAX` calls in a row that did not wait
there is one checkpoint.

Every failure of a connected socket is a `ConnectionLost`; the errno stays in its `__cause__`.
"""

import errno
import os
import socket
from collections.abc import Callable

import trio

from ottla.runtime.interfaces import Address, BytesLike, ConnectionLost, Events, File, Network
from ottla.runtime.readiness import SETTLES, WAITS, Readers, Ready
from ottla.runtime.real_disk import RealFile

STREAK_MAX = 16  # receives or accepts without a wait before other tasks get their turn
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_ACCEPT_PAUSE_S = 0.1  # connections end meanwhile and give their descriptors back
_MAPPED_IPV4 = "::ffff:"


class RealStream:
    """One connected TCP socket. The owner closes it; see `Stream` for the contract.

    A send that was cancelled may have sent a part: close the stream then.
    """

    __slots__ = ("_drained", "_fd", "_local", "_peer", "_sock", "_streak")

    def __init__(self, sock: socket.socket, peer: Address) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._local = _address_of(sock.getsockname())
        self._peer = peer
        self._streak = 0
        self._drained = False  # the last receive took all there was
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def local(self) -> Address:
        return self._local

    @property
    def peer(self) -> Address:
        return self._peer

    async def receive_into(self, buffer: memoryview) -> int:
        assert len(buffer) > 0, "an empty buffer would read as the peer's end"
        if not self._drained:
            # Before the receive, so that a cancellation here loses no bytes.
            self._streak += 1
            if self._streak >= STREAK_MAX:
                self._streak = 0
                await trio.lowlevel.checkpoint()
            try:
                count = self._sock.recv_into(buffer)
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._lost(error) from error
            else:
                self._drained = count < len(buffer)
                return count
        self._streak = 0
        while True:
            try:
                await trio.lowlevel.wait_readable(self._fd)
                count = self._sock.recv_into(buffer)
                self._drained = count < len(buffer)
                return count
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError) as error:
                raise self._lost(error) from error

    async def receive_while(
        self,
        buffer: Callable[[], memoryview],
        take: Callable[[int], bool | None],
        settle: Callable[[], bool] | None = None,
    ) -> bool:
        recv_into = self._sock.recv_into

        def ready() -> Ready:
            for _ in range(STREAK_MAX):
                room = buffer()
                try:
                    count = recv_into(room)
                except BlockingIOError:
                    return WAITS
                except OSError as error:
                    raise self._lost(error) from error
                if count == 0:
                    return False
                content = take(count)
                if content is None:
                    if count < len(room):
                        return SETTLES
                    content = settle is None or settle()
                if not content:
                    return True
                if count < len(room) or self._fd < 0:
                    return WAITS
            return WAITS

        if self._fd < 0:
            raise self._lost(trio.ClosedResourceError())
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return await Readers.of_this_run().wait(self._fd, ready, settle)
        except trio.ClosedResourceError as error:
            raise self._lost(error) from error

    def send_nowait(self, data: BytesLike) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(error) from error

    def send_file_nowait(self, file: File, offset: int, count: int) -> int:
        assert count > 0
        if not isinstance(file, RealFile):
            data = file.read_at(offset, count)
            if not data:
                raise _cut_off(offset)
            return self.send_nowait(data)
        try:
            sent = os.sendfile(self._fd, file.fileno(), offset, count)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EIO:  # a socket has no such error: it is the file's
                raise OSError(errno.EIO, error.strerror, file.path) from error
            raise self._lost(error) from error
        if sent == 0:
            # Truncated or deleted below the reader: "full" would make the caller wait for ever.
            raise _cut_off(offset)
        return sent

    async def wait_writable(self) -> None:
        if self._fd < 0:
            raise self._lost(trio.ClosedResourceError())
        try:
            await trio.lowlevel.wait_writable(self._fd)
        except (OSError, trio.ClosedResourceError) as error:
            raise self._lost(error) from error

    async def send_all(self, data: BytesLike) -> None:
        sent = self.send_nowait(data)
        if sent == len(data):
            return
        with memoryview(data) as view:
            while sent < len(view):
                await self.wait_writable()
                sent += self.send_nowait(view[sent:])

    def close(self) -> None:
        if self._fd < 0:
            return
        trio.lowlevel.notify_closing(self._fd)
        Readers.closing(self._fd)
        self._fd = -1
        self._drained = False  # a receive finds the closed socket, not a poller without one
        self._sock.close()

    def _lost(self, error: BaseException) -> ConnectionLost:
        if self._fd < 0:
            return ConnectionLost(errno.EBADF, f"the connection with {self._peer} was closed here")
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else str(error)
        return ConnectionLost(number or errno.ECONNABORTED, f"{reason} ({self._peer})")

    def __repr__(self) -> str:
        return f"<RealStream {self._local} - {self._peer}>"


class RealListener:
    """A listening socket; `close` ends a waiting `accept` with ConnectionLost."""

    __slots__ = ("_address", "_events", "_sock", "_streak")

    def __init__(self, sock: socket.socket, events: Events) -> None:
        self._sock = sock
        self._events = events
        self._address = _address_of(sock.getsockname())
        self._streak = 0

    @property
    def address(self) -> Address:
        return self._address

    async def accept(self) -> RealStream:
        self._streak += 1
        if self._streak >= STREAK_MAX:
            self._streak = 0
            await trio.lowlevel.checkpoint()
        while True:
            if self._sock.fileno() < 0:
                raise ConnectionLost(errno.EBADF, f"the listener on {self._address} was closed")
            try:
                sock, peer = self._sock.accept()
                return _accepted(sock, peer)
            except BlockingIOError:
                await self._wait_for_connection()
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._events.warning(
                        "listener.starved", address=str(self._address), reason=error.strerror
                    )
                    await trio.sleep(_ACCEPT_PAUSE_S)
                # Anything else was about the one connection that died in the backlog.
                await trio.lowlevel.checkpoint()

    async def _wait_for_connection(self) -> None:
        self._streak = 0
        try:
            await trio.lowlevel.wait_readable(self._sock)
        except trio.ClosedResourceError as error:
            raise ConnectionLost(errno.EBADF, f"the listener on {self._address} closed") from error

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class RealNetwork:
    """`Network` over the machine's own TCP stack."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def host_name(self) -> str:
        """The machine's name if it resolves, else `localhost`. Blocks for one look-up."""
        name = socket.gethostname()
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            return "localhost"
        return name

    async def connect(self, address: Address) -> RealStream:
        """Connect to the first of the name's addresses that answers; IPv4 and IPv6 alike."""
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        failure: OSError | None = None
        for family, kind, protocol, _, target in found:
            sock = socket.socket(family, kind, protocol)
            try:
                await _connect(sock, target)
                return RealStream(sock, address)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        assert failure is not None, "a name that resolves has an address"
        reason = failure.strerror or str(failure)
        raise type(failure)(failure.errno, f"{reason} ({address})") from failure

    async def listen(
        self,
        address: Address,
        *,
        backlog: int = 1024,
        send_buffer_bytes: int | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> RealListener:
        sock = await _bound_socket(address)
        try:
            # Accepted sockets inherit both. A receive buffer has to be there before the handshake,
            # which fixes how far the window can be scaled.
            if send_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
            if receive_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"{error.strerror} ({address})") from error
        return RealListener(sock, self._events)


def _cut_off(offset: int) -> ConnectionLost:
    return ConnectionLost(errno.EIO, f"the file ends before byte {offset}; the reply is cut off")


async def _connect(sock: socket.socket, target: tuple[object, ...]) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(target)
    if code == errno.EINPROGRESS:
        await trio.lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code != 0:
        raise OSError(code, os.strerror(code))
    if sock.getsockname() == sock.getpeername():
        # TCP's simultaneous open: a port of the ephemeral range, dialled from itself.
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


async def _bound_socket(address: Address) -> socket.socket:
    if address.host:
        found = await trio.socket.getaddrinfo(
            address.host,
            address.port,
            type=socket.SOCK_STREAM,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_PASSIVE,
        )
        # As Java does: a name that has both is bound on IPv4, which every client tries.
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        family, *_, target = found[0]
        return _bind(family, target, address)
    try:
        return _bind(socket.AF_INET6, ("::", address.port), address)
    except OSError as error:
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise
        return _bind(socket.AF_INET, ("0.0.0.0", address.port), address)


def _bind(family: int, target: tuple[object, ...], address: Address) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({address})") from error
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(target[0] != "::"))
        sock.bind(target)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror} ({address})") from error
    return sock


def _accepted(sock: socket.socket, peer: tuple[object, ...]) -> RealStream:
    sock.setblocking(False)
    try:
        return RealStream(sock, _address_of(peer))
    except OSError:
        sock.close()
        raise


def _address_of(name: tuple[object, ...]) -> Address:
    host, port = name[0], name[1]
    assert isinstance(host, str)
    assert isinstance(port, int)
    return Address(host.removeprefix(_MAPPED_IPV4), port)


def _conforms(network: RealNetwork) -> Network:
    return network


__all__ = ["STREAK_MAX", "RealListener", "RealNetwork", "RealStream"]
