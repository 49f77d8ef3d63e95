"""One connection of a session, to a member that the test chooses, in plain sight.

`EnsembleClient` decides by itself where it goes; here the session can be taken to another member
while its old connection still lives, requests travel together, and every answer and every watch
event is handed over with its zxid, in the order in which they came.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import trio

from ottla.protocol.zookeeper.errors import ProtocolError, ZkError
from ottla.protocol.zookeeper.framing import FrameReader, frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    ConnectRequest,
    ConnectResponse,
    ReplyHeader,
    RequestHeader,
    WatcherEvent,
)
from ottla.protocol.zookeeper.opcodes import XID_NOTIFICATION, XID_PING, OpCode
from ottla.runtime.interfaces import Address, ConnectionLost, Network, Stream
from tests.simulation.world.history import Violation

_PING = frame(RequestHeader(XID_PING, OpCode.PING).encode())


class Severed(Exception):
    """The connection ended before the answer."""


class SessionOver(Exception):
    """The member says that the session has ended."""


class Answer(NamedTuple):
    """What a request was told: an error code, the member's zxid, and the body's value."""

    error: int
    zxid: int
    value: object


class Pending:
    """A request under way; `get` may be awaited by one task."""

    __slots__ = ("_decode", "_done", "answer", "opcode", "xid")

    def __init__(self, xid: int, opcode: int, decode: Callable[[Reader], object] | None) -> None:
        self.xid = xid
        self.opcode = opcode
        self.answer: Answer | None = None
        self._decode = decode
        self._done = trio.Event()

    async def get(self) -> Answer:
        """Severed."""
        await self._done.wait()
        if self.answer is None:
            raise Severed
        return self.answer

    def arrive(self, header: ReplyHeader, reader: Reader) -> None:
        value = self._decode(reader) if self._decode is not None and not header.error else None
        self.answer = Answer(header.error, header.zxid, value)
        self._done.set()

    def sever(self) -> None:
        self._done.set()


class SessionConnection:
    """Made by `open`; `run` reads until it ends, then everything under way is Severed."""

    def __init__(self, stream: Stream, granted: ConnectResponse, frames: FrameReader) -> None:
        self.session = granted.session_id, granted.password or bytes(16)
        self.timeout_s = granted.timeout / 1000
        self.member = stream.peer
        self.closed = False
        self.heard_at = trio.current_time()
        self.on_event: Callable[[int, WatcherEvent], None] = lambda _zxid, _event: None
        self.on_answer: Callable[[Answer], None] = lambda _answer: None
        self._stream = stream
        self._frames = frames
        self._sent: deque[Pending] = deque()
        self._xid = 0

    @classmethod
    async def open(
        cls,
        network: Network,
        member: Address,
        *,
        session: tuple[int, bytes] = (0, bytes(16)),
        seen: int = 0,
        timeout_ms: int,
    ) -> "SessionConnection":
        """OSError when there is no way, SessionOver."""
        stream = await network.connect(member)
        try:
            await stream.send_all(frame(ConnectRequest(0, seen, timeout_ms, *session).encode()))
            frames = FrameReader()
            arrived: list[bytes] = []
            while not arrived:
                count = await stream.receive_into(frames.buffer())
                if not count:
                    raise ConnectionLost("closed during the handshake")
                arrived = [bytes(each) for each in frames.received(count)]
            granted = ConnectResponse.decode(Reader(arrived[0]))
            if granted.timeout <= 0:
                raise SessionOver
            if len(arrived) > 1 or (session[0] and granted.session_id != session[0]):
                raise Violation(f"{member} grants {granted} to session {session[0]:#x}")
        except BaseException:
            stream.close()
            raise
        return cls(stream, granted, frames)

    async def send(
        self, *requests: tuple[OpCode, bytes, Callable[[Reader], object] | None]
    ) -> list[Pending]:
        """Send requests in one go. They may be severed before they leave."""
        pending, parts = [], []
        for opcode, body, decode in requests:
            self._xid += 1
            pending.append(Pending(self._xid, opcode, decode))
            parts.append(frame(RequestHeader(self._xid, opcode).encode() + body))
        if self.closed:
            for each in pending:
                each.sever()
            return pending
        self._sent.extend(pending)
        try:
            await self._stream.send_all(b"".join(parts))
        except OSError:
            self.close()
        return pending

    async def run(self) -> None:
        """Read answers and events; ping while there is nothing to say."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ping)
            try:
                while not self.closed:
                    count = await self._stream.receive_into(self._frames.buffer())
                    if not count:
                        break
                    self.heard_at = trio.current_time()
                    for each in self._frames.received(count):
                        self._take(Reader(each))
            except (OSError, trio.ClosedResourceError):
                pass
            finally:
                self.close()
            nursery.cancel_scope.cancel()

    async def _ping(self) -> None:
        while not self.closed:
            await trio.sleep(self.timeout_s / 3)
            if trio.current_time() - self.heard_at >= self.timeout_s * 2 / 3:
                self.close()
                return
            try:
                await self._stream.send_all(_PING)
            except OSError:
                self.close()

    def _take(self, reader: Reader) -> None:
        header = ReplyHeader.decode(reader)
        if header.xid == XID_NOTIFICATION:
            self.on_event(header.zxid, WatcherEvent.decode(reader))
            return
        if header.xid < 0:
            return
        if not self._sent or self._sent[0].xid != header.xid:
            raise Violation(f"{self.member} answers request {header.xid} out of turn")
        if header.error == ZkError.SESSIONMOVED:
            self.close()
            return
        pending = self._sent.popleft()
        try:
            pending.arrive(header, reader)
        except ProtocolError as error:
            raise Violation(f"{self.member}: {error}") from None
        assert pending.answer is not None
        self.on_answer(pending.answer)

    def close(self) -> None:
        self.closed = True
        self._stream.close()
        while self._sent:
            self._sent.popleft().sever()


__all__ = ["Answer", "Pending", "SessionConnection", "SessionOver", "Severed"]
