"""Links to the other members of the ensemble: one outgoing connection to each of them.

Messages to a member go out on our connection to it, its messages come in on its own, so that two
members never argue about which of two crossed connections to keep. A connection begins with
`Hello`, behind what `peer_security` asks for; nothing is answered to it. A link that breaks is made
again with a growing pause, and so is one to a name that does not resolve yet.

Who the others are changes while this runs (`follow`). A member may be called by one that it does
not know yet, since it lags behind the change that took that one in: where members can change at
all, such a guest is let in and called back where it says it is, as long as its connection lives.

Task tree: `run` > {acceptor > one reader per incoming connection, one connector per member}.
"""

from collections.abc import Callable, Mapping, Sequence

import trio

from ottla.coordinator.beginning import Beginning
from ottla.coordinator.calling import PAUSE_MAX_S, Calling
from ottla.coordinator.entrance import HELLO_TIMEOUT_S, Entrance
from ottla.coordinator.peer_security import PeerSecurity
from ottla.protocol.peer.codec import FORMAT_VERSION, decode, encode
from ottla.protocol.peer.errors import ProtocolError
from ottla.protocol.peer.messages import Hello, PeerMessage
from ottla.runtime.interfaces import (
    Address,
    ConnectionLost,
    Events,
    Listener,
    Network,
    Stream,
)
from ottla.runtime.tls import TlsStream

QUEUE_BYTES_MAX = 48 * 1024 * 1024
GUESTS_MAX = 16

OnMessage = Callable[[int, PeerMessage], None]
OnLink = Callable[[int, bool], None]
OnEnded = Callable[[int], None]
OnReceived = Callable[[], None]


class _Link:
    """What waits to go to one member. `stream` None: not connected, everything is dropped."""

    __slots__ = (
        "address",
        "calling",
        "former",
        "is_guest",
        "is_told",
        "member",
        "parts",
        "queued",
        "scope",
        "sending",
        "stream",
        "wake",
    )

    def __init__(self, member: int, address: Address, *, is_guest: bool = False) -> None:
        self.member = member
        self.address = address
        self.former: Address | None = None
        self.calling = Calling()
        self.is_guest = is_guest
        self.is_told = False  # of the connection: that it is there
        self.scope = trio.CancelScope()  # of its connector
        self.stream: Stream | None = None
        self.parts: list[bytes] = []
        self.queued = 0
        self.sending = False  # the connector's task waits for the socket; leave the queue to it
        self.wake = trio.Event()


class Peers:
    """All links of one member; owned by its node."""

    def __init__(
        self,
        network: Network,
        events: Events,
        me: int,
        own: Address,
        *,
        listen_on: Callable[[Address], Address],
        on_message: OnMessage,
        on_received: OnReceived,
        on_link: OnLink,
        on_ended: OnEnded,
        security: PeerSecurity,
        beginning: Beginning,
        ensemble: str = "",
        takes_guests: bool = False,
    ) -> None:
        """`on_message(sender, message)` and `on_link(member, is_up)` are called on the loop.

        `own` is where the others call this member, `listen_on` the interface for such an address.
        Two members that both name an `ensemble` must name the same. Nobody is called before
        `follow`.

        `on_received()` is called behind all messages that were received together.
        `on_ended(member)`: its host says that nobody listens at its port, and its own connection
        here is closed, so its process is gone. Said at every attempt to connect.
        """
        self._network = network
        self._events = events
        self._me = me
        self._own = own
        self._listen_on = listen_on
        self._on_message = on_message
        self._on_received = on_received
        self._on_link = on_link
        self._on_ended = on_ended
        self._security = security
        self._beginning = beginning
        self._entrance = Entrance(security, events)
        self.ensemble = ensemble
        self._takes_guests = takes_guests
        self._links: dict[int, _Link] = {}
        self._incoming: dict[int, Stream] = {}
        self._nursery: trio.Nursery | None = None
        self._moved = trio.Event()

    def follow(self, addresses: Mapping[int, Address], own: Address) -> None:
        """Be connected to these members, at these addresses, and be called at `own`.

        A member that moves may not know of it yet: its connection stays as long as it lasts, and
        it is looked for at both places until it is found at the new one.
        """
        for member, link in list(self._links.items()):
            if member not in addresses and not link.is_guest:
                self._drop(link)
        for member, address in addresses.items():
            known = self._links.get(member)
            if known is not None:
                known.is_guest = False
                if known.address != address:
                    known.former, known.address = known.address, address
            elif member != self._me:
                self._add(_Link(member, address))
        if own != self._own:
            self._own = own
            self._moved.set()

    def _add(self, link: _Link) -> None:
        self._links[link.member] = link
        if self._nursery is not None:
            self._nursery.start_soon(self._connect, link)

    def _drop(self, link: _Link) -> None:
        del self._links[link.member]
        self._lose(link)
        link.scope.cancel()
        incoming = self._incoming.get(link.member)
        if incoming is not None:
            incoming.close()

    def is_connected(self, member: int) -> bool:
        link = self._links.get(member)
        return link is not None and link.stream is not None

    def send(self, member: int, message: PeerMessage) -> None:
        """Queue a message; `flush` sends it. Without a connection it is dropped."""
        link = self._links.get(member)
        if link is None or link.stream is None:
            return
        data = encode(message)
        link.parts.append(data)
        link.queued += len(data)
        if link.queued > QUEUE_BYTES_MAX:
            self._events.warning("peer.queue_overflowed", peer=member, bytes=link.queued)
            self._lose(link)

    def flush(self) -> None:
        """Send what was queued in this turn, in as few system calls as it takes."""
        for link in list(self._links.values()):
            if link.parts and not link.sending and link.stream is not None:
                data = link.parts[0] if len(link.parts) == 1 else b"".join(link.parts)
                try:
                    sent = link.stream.send_nowait(data)
                except ConnectionLost:
                    self._lose(link)
                    continue
                rest = data[sent:]
                link.parts = [rest] if rest else []
                link.queued = len(rest)
                if rest or _has_pending(link.stream):
                    link.sending = True
                    link.wake.set()

    def begin_anew(self, member: int) -> None:
        """Give up both connections with a member; new ones are made."""
        incoming = self._incoming.get(member)
        if incoming is not None:
            incoming.close()
        link = self._links.get(member)
        if link is not None:
            self._lose(link)

    async def run(
        self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the links until cancelled; reports the bound address. OSError: it is taken."""
        listener = await self._network.listen(self._listen_on(self._own))
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for link in self._links.values():
                    nursery.start_soon(self._connect, link)
                task_status.started(listener.address)
                while True:
                    bound = self._own
                    async with trio.open_nursery() as accepting:
                        accepting.start_soon(self._accept, listener, nursery)
                        while self._own == bound:
                            await self._moved.wait()
                            self._moved = trio.Event()
                        accepting.cancel_scope.cancel()
                    listener.close()
                    listener = await self._listen_anew()
        finally:
            self._nursery = None
            listener.close()

    async def _accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        while True:
            stream = await listener.accept()
            nursery.start_soon(self._receive, stream)

    async def _listen_anew(self) -> Listener:
        """At an address that came with a change of members. Whatever holds it may let it go."""
        failure = ""
        while True:
            try:
                listener = await self._network.listen(self._listen_on(self._own))
            except OSError as error:
                if str(error) != failure:
                    failure = str(error)
                    self._events.error("peer.listening_failed", on=str(self._own), reason=failure)
                await trio.sleep(PAUSE_MAX_S)
            else:
                self._events.info("peer.listening_moved", on=str(listener.address))
                return listener

    # --- outgoing

    async def _connect(self, link: _Link) -> None:
        with link.scope:
            await self._keep_connected(link)

    async def _keep_connected(self, link: _Link) -> None:
        calling = link.calling
        while True:
            for address in filter(None, (link.address, link.former)):
                try:
                    with trio.fail_after(HELLO_TIMEOUT_S):
                        stream = await self._open(address, link.member)
                        await stream.send_all(encode(self._hello(link.member)))
                except (OSError, trio.TooSlowError) as error:
                    if address == link.address and calling.failed(error):
                        self._events.info("peer.unreachable", peer=link.member, reason=str(error))
                    is_closed = isinstance(error, ConnectionRefusedError)
                    if is_closed and link.former is None and link.member not in self._incoming:
                        self._on_ended(link.member)
                else:
                    if address == link.address:
                        link.former = None
                    began = trio.current_time()
                    await self._use(link, stream)
                    if calling.ended(trio.current_time() - began):
                        self._events.warning(
                            "peer.not_wanted",
                            peer=link.member,
                            remedy="its log says why it ends every connection at once",
                        )
                    break
            await calling.pause()

    def _hello(self, member: int) -> Hello:
        own = self._own
        return Hello(
            FORMAT_VERSION,
            self.ensemble,
            self._me,
            member,
            own.host,
            own.port,
            self._beginning.name,
        )

    async def _open(self, address: Address, member: int) -> Stream:
        stream = await self._network.connect(address)
        return await self._security.secure_call(stream, member, address.host)

    async def _use(self, link: _Link, stream: Stream) -> None:
        """Send on a connection until it breaks or is refused."""
        link.stream = stream
        link.sending = False
        link.is_told = False
        if not link.calling.is_doubtful:
            self._tell_connected(link)
        self._on_link(link.member, True)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_rest, link, stream, nursery.cancel_scope)
                if not link.is_told:
                    nursery.start_soon(self._tell_if_it_lasts, link)
                await _wait_end(stream)
                nursery.cancel_scope.cancel()
        finally:
            stream.close()
            if link.stream is stream:
                self._lose(link)
        if link.is_told:
            self._events.info("peer.disconnected", peer=link.member)

    def _tell_connected(self, link: _Link) -> None:
        link.is_told = True
        self._events.info("peer.connected", peer=link.member)

    async def _tell_if_it_lasts(self, link: _Link) -> None:
        await trio.sleep(PAUSE_MAX_S)
        self._tell_connected(link)

    async def _send_rest(self, link: _Link, stream: Stream, scope: trio.CancelScope) -> None:
        """Wait for the socket with what `flush` could not get rid of at once."""
        while True:
            await link.wake.wait()
            link.wake = trio.Event()
            while (link.parts or _has_pending(stream)) and link.stream is stream:
                data = b"".join(link.parts)
                link.parts = []
                try:
                    await stream.send_all(data)
                except ConnectionLost:
                    scope.cancel()
                    return
                link.queued -= len(data)
            link.sending = False

    def _lose(self, link: _Link) -> None:
        stream, link.stream = link.stream, None
        if stream is not None:
            stream.close()
            link.parts = []
            link.queued = 0
            link.sending = False
            self._on_link(link.member, False)

    # --- incoming

    async def _receive(self, plain: Stream) -> None:
        member, stream = 0, plain
        try:
            caller = await self._entrance.meet(plain)
            stream, frames = caller.stream, caller.frames
            member = self._admit(caller.hello, stream)
            self._deliver(member, frames)
            reader = caller.reader

            def take(count: int) -> bool:
                received = reader.received(count)
                if received:
                    self._deliver(member, received)
                return True

            # No switch to this task for what comes: many messages make one write.
            await stream.receive_while(reader.buffer, take)
        except ProtocolError as problem:
            self._entrance.tell_refused(stream, problem)
        except ConnectionLost:
            pass
        finally:
            stream.close()
            if self._incoming.get(member) is stream:
                del self._incoming[member]
                link = self._links.get(member)
                if link is not None and link.is_guest:
                    self._drop(link)

    def _deliver(self, member: int, frames: Sequence[bytes]) -> None:
        try:
            for frame in frames:
                self._on_message(member, decode(frame))
        except ProtocolError:
            self._on_received()  # what came before the fault was good
            raise
        self._on_received()

    def _admit(self, hello: Hello, stream: Stream) -> int:
        problem = self._problem_with(hello)
        if problem:
            raise ProtocolError(problem)
        if hello.sender not in self._links:
            self._add(_Link(hello.sender, Address(hello.host, hello.port), is_guest=True))
        older = self._incoming.get(hello.sender)
        if older is not None:
            older.close()  # what it still holds was sent on a connection that is lost
        self._incoming[hello.sender] = stream
        self._links[hello.sender].calling.was_called()
        return hello.sender

    def _problem_with(self, hello: Hello) -> str:
        """Why whoever calls is sent away; empty: it is not."""
        if hello.ensemble and self.ensemble and hello.ensemble != self.ensemble:
            return f"ensemble {hello.ensemble}, this member is in {self.ensemble}"
        is_known = hello.sender in self._links
        guests = sum(link.is_guest for link in self._links.values())
        may_come = is_known or (
            self._takes_guests and guests < GUESTS_MAX and hello.host and 0 < hello.port < 65_536
        )
        if hello.receiver != self._me or hello.sender == self._me or not may_come:
            return f"member {hello.sender} calls member {hello.receiver} here"
        return self._beginning.problem_with(hello.founding)


def _has_pending(stream: Stream) -> bool:
    return isinstance(stream, TlsStream) and stream.has_pending


async def _wait_end(stream: Stream) -> None:
    """Wait until the peer ends a connection on which it never sends."""
    buffer = memoryview(bytearray(64))
    try:
        await stream.receive_into(buffer)
    except ConnectionLost:
        return


__all__ = ["Peers"]
