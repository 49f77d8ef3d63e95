"""A session with the ensemble: one connection at a time, kept alive, moved between members.

`SessionKeeper.run` is the owner of everything here. Requests join a queue and leave it in order;
replies come back in that order. When the connection breaks, reads that were under way are sent
again on the next one, writes fail with ConnectionLoss, and what was not sent yet waits, up to a
session timeout. When the ensemble says that the session is over, everything fails with
SessionExpired and a new session begins on the same object.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import trio

from ottla.broker.ensemble.errors import ConnectionLoss, EnsembleError, SessionExpired
from ottla.broker.ensemble.replies import NO_SESSION, Reply, SessionId, SessionState
from ottla.broker.ensemble.watches import WatchEvent, WatchRegistry
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
from ottla.protocol.zookeeper.opcodes import (
    XID_NOTIFICATION,
    XID_PING,
    XID_SET_WATCHES,
    EventType,
    OpCode,
)
from ottla.runtime.interfaces import Address, ConnectionLost, Events, Network, Stream

REPLY_BYTES_MAX = 64 * 1024 * 1024
_PING = frame(RequestHeader(XID_PING, OpCode.PING).encode())
_RETRY_S = (0.02, 0.5)
PINGS_PER_TIMEOUT = 4
"""Of a session that is idle; ZooKeeper's own client sends three."""
T = TypeVar("T")


class SessionKeeper:
    """Owns the connection and the queues. `run` is its only task; the rest is called around it."""

    def __init__(
        self,
        network: Network,
        members: Sequence[Address],
        timeout_ms: int,
        rng: random.Random,
        events: Events,
    ) -> None:
        assert members
        self.state = SessionState.CONNECTING
        self.session = NO_SESSION
        self.sessions_begun = 0
        self.timeout_ms = timeout_ms
        self.watches = WatchRegistry()
        self.listeners: list[Callable[[SessionState], None]] = []
        self.changed = trio.Event()
        self.member: Address | None = None
        self._network = network
        self._members = list(members)
        rng.shuffle(self._members)
        self._rng = rng
        self._events = events
        self._wanted_timeout_ms = timeout_ms
        self._last_zxid = 0
        self._next_xid = 1
        self._waiting: deque[Reply[object]] = deque()
        self._sent: deque[Reply[object]] = deque()
        self._stream: Stream | None = None  # while the writer has nothing to do
        self._rest = b""  # what a full socket would not take
        self._wake_writer = trio.Event()
        self._heard_at = 0.0
        self._sent_at = 0.0
        self._ping_due = False
        self._closing = False

    # --- requests --------------------------------------------------------------------------

    def start(self, opcode: OpCode, body: bytes, accept: Callable[[int, Reader], T]) -> Reply[T]:
        """Queue a request. `accept` turns (error code, reader at the body) into a value."""
        reply = Reply(opcode, body, accept, trio.current_time() + self.timeout_ms / 1000)
        if self.state is SessionState.CLOSED:
            reply.fail(ConnectionLoss())
        else:
            self._waiting.append(cast("Reply[object]", reply))
            if self._sent:
                self._wake_writer.set()  # others may follow: they share one send
            else:
                self._send_now()
        return reply

    def close(self) -> Reply[None]:
        """End the session; `run` returns after the answer."""
        self._closing = True
        return self.start(OpCode.CLOSE_SESSION, b"", lambda _error, _reader: None)

    # --- life ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a session until it is closed. Never raises for what the ensemble or network does."""
        failures = 0
        try:
            while self.state is not SessionState.CLOSED:
                member = self._members[0]
                self._members.append(self._members.pop(0))
                try:
                    await self._serve(member)
                    failures = 0
                except (OSError, ProtocolError) as error:
                    was_connected = self.state is SessionState.CONNECTED
                    self._disconnected(member, error)
                    failures = 0 if was_connected else failures + 1
                self._give_up_overdue()
                if failures >= len(self._members):
                    await trio.sleep(self._rng.uniform(*_RETRY_S))
        finally:
            self._set_state(SessionState.CLOSED)
            self._fail_all(ConnectionLoss())

    async def _serve(self, member: Address) -> None:
        """One connection, from the handshake to its end, which is always an exception."""
        patience_s = self.timeout_ms / 1000 / len(self._members)
        stream: Stream | None = None
        try:
            frames = FrameReader(REPLY_BYTES_MAX)
            with trio.move_on_after(patience_s):
                stream = await self._network.connect(member)
                rest = await self._shake_hands(stream, frames)
            if stream is None or self.state is not SessionState.CONNECTED:
                if self.state is SessionState.EXPIRED:
                    self._begin_anew()
                    return
                raise ConnectionLost(f"no answer within {patience_s:g} s")
            self.member = member
            await self._exchange(stream, frames, rest)
        finally:
            if stream is not None:
                stream.close()

    async def _shake_hands(self, stream: Stream, frames: FrameReader) -> list[bytes]:
        """Returns frames that came after the answer (none in practice). ConnectionLost."""
        request = ConnectRequest(
            last_zxid_seen=self._last_zxid,
            timeout=self._wanted_timeout_ms,
            session_id=self.session.id,
            password=self.session.password,
        )
        await stream.send_all(frame(request.encode()))
        received: list[bytes] = []
        while not received:
            count = await stream.receive_into(frames.buffer())
            if not count:
                raise ConnectionLost("closed during the handshake")
            received = [bytes(each) for each in frames.received(count)]
        answer = ConnectResponse.decode(Reader(received[0]))
        if answer.timeout <= 0:
            self._expired()
            return []
        if answer.session_id != self.session.id:
            self.sessions_begun += 1
        self.session = SessionId(answer.session_id, answer.password or bytes(16))
        self.timeout_ms = answer.timeout
        self._set_state(SessionState.CONNECTED)
        self._events.info(
            "ensemble.connected",
            member=str(stream.peer),
            session=f"{answer.session_id & 0xFFFFFFFFFFFFFFFF:#x}",
            timeout_ms=answer.timeout,
        )
        return received[1:]

    async def _exchange(self, stream: Stream, frames: FrameReader, rest: list[bytes]) -> None:
        self._heard_at = self._sent_at = trio.current_time()
        failure: OSError | ProtocolError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, stream)
            nursery.start_soon(self._watch_over, stream)
            try:
                for each in rest:
                    self._take(memoryview(each))
                await self._read(stream, frames)
            except (OSError, ProtocolError) as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _read(self, stream: Stream, frames: FrameReader) -> None:
        while True:
            count = await stream.receive_into(frames.buffer())
            if not count:
                raise ConnectionLost("closed by the member")
            self._heard_at = trio.current_time()
            for each in frames.received(count):
                self._take(each)
            if self.state is SessionState.CLOSED:
                return

    async def _write(self, stream: Stream) -> None:
        """Send what is queued, all that is there at once; first of all re-arm the watches.

        A request that nobody waits before goes without this task (`_send_now`).
        """
        self._rest = b"".join(
            frame(RequestHeader(XID_SET_WATCHES, OpCode.SET_WATCHES).encode() + each.encode())
            for each in self.watches.rearm(self._last_zxid)
        )
        try:
            while True:
                self._wake_writer = trio.Event()
                data = self._rest + self._take_waiting()
                if data:
                    self._rest = b""
                    await stream.send_all(data)
                else:
                    self._stream = stream
                    await self._wake_writer.wait()
                    self._stream = None
        except ConnectionLost:
            return  # the reader sees it too, and still takes the replies that came
        finally:
            self._stream = None

    def _take_waiting(self) -> bytes:
        """What there is to send; it counts as sent."""
        parts = []
        while self._waiting:
            reply = self._waiting.popleft()
            reply.xid = self._next_xid
            self._next_xid = self._next_xid % 0x7FFFFFFF + 1
            self._sent.append(reply)
            parts.append(frame(RequestHeader(reply.xid, reply.opcode).encode() + reply.body))
        if self._ping_due:
            self._ping_due = False
            parts.append(_PING)
        if parts:
            self._sent_at = trio.current_time()
        return b"".join(parts)

    def _send_now(self) -> None:
        """Send what is queued, without a switch to the writer where that is idle."""
        stream = self._stream
        if stream is None:
            self._wake_writer.set()
            return
        data = self._take_waiting()
        try:
            sent = stream.send_nowait(data)
        except ConnectionLost:
            return  # the reader sees it
        if sent < len(data):
            self._rest = data[sent:]
            self._stream = None
            self._wake_writer.set()

    async def _watch_over(self, stream: Stream) -> None:
        """Ping while nothing is sent; give a silent member up after two thirds of the timeout."""
        timeout_s = self.timeout_ms / 1000
        patience_s, pause_s = timeout_s * 2 / 3, timeout_s / PINGS_PER_TIMEOUT
        pinged_at = self._sent_at  # or would have, if the socket took it
        while True:
            ping_at = max(pinged_at, self._sent_at) + pause_s
            await trio.sleep_until(min(ping_at, self._heard_at + patience_s))
            now = trio.current_time()
            if self._heard_at + patience_s <= now:
                self._events.warning("ensemble.member_silent", member=str(stream.peer))
                stream.close()
                return
            if max(pinged_at, self._sent_at) + pause_s <= now:
                # Also while the member talks: it is what we send that keeps the session.
                pinged_at = now
                self._ping_due = True
                self._send_now()

    # --- what comes in ---------------------------------------------------------------------

    def _take(self, data: memoryview) -> None:
        reader = Reader(data)
        header = ReplyHeader.decode(reader)
        if header.zxid > 0:
            self._last_zxid = max(self._last_zxid, header.zxid)
        if header.xid == XID_NOTIFICATION:
            event = WatcherEvent.decode(reader)
            self._fire(event.type, event.path)
            return
        if header.xid in {XID_PING, XID_SET_WATCHES}:
            return
        if not self._sent or self._sent[0].xid != header.xid:
            raise ProtocolError(f"an answer to request {header.xid}, which is not due")
        if header.error == ZkError.SESSIONMOVED:
            raise ConnectionLost("the session moved to another connection")
        reply = self._sent.popleft()
        try:
            reply.succeed(reply.accept(header.error, reader))
        except EnsembleError as error:
            reply.fail(error)
        except ProtocolError:
            reply.fail(ConnectionLoss())
            raise
        if reply.opcode is OpCode.CLOSE_SESSION:
            self._set_state(SessionState.CLOSED)

    def _fire(self, kind: int, path: str) -> None:
        try:
            event = WatchEvent(EventType(kind), path)
        except ValueError:
            raise ProtocolError(f"a watch event of unknown type {kind}") from None
        for watch in self.watches.take(kind, path):
            watch(event)

    # --- endings ---------------------------------------------------------------------------

    def _disconnected(self, member: Address, error: BaseException) -> None:
        """Sort out what was under way."""
        self.member = None
        again: list[Reply[object]] = []
        while self._sent:
            reply = self._sent.popleft()
            if reply.opcode is OpCode.CLOSE_SESSION:
                reply.succeed(None)
                self._set_state(SessionState.CLOSED)
            elif reply.is_write:
                reply.fail(ConnectionLoss())
            else:
                again.append(reply)
        self._waiting.extendleft(reversed(again))
        if self.state is SessionState.CONNECTED:
            self._events.warning(
                "ensemble.disconnected", member=str(member), reason=str(error) or repr(error)
            )
            self._set_state(SessionState.SUSPENDED)
        else:
            self._events.debug("ensemble.unreachable", member=str(member), reason=str(error))

    def _give_up_overdue(self) -> None:
        now = trio.current_time()
        while self._waiting and (self._waiting[0].deadline <= now or self._closing):
            reply = self._waiting.popleft()
            if reply.opcode is OpCode.CLOSE_SESSION:
                reply.succeed(None)  # the session ends by itself
                self._set_state(SessionState.CLOSED)
            else:
                reply.fail(ConnectionLoss())

    def _expired(self) -> None:
        self._events.warning(
            "ensemble.session_expired", session=f"{self.session.id & 0xFFFFFFFFFFFFFFFF:#x}"
        )
        self.watches.clear()
        self._fail_all(SessionExpired())
        self._set_state(SessionState.EXPIRED)

    def _begin_anew(self) -> None:
        self.session = NO_SESSION
        self.timeout_ms = self._wanted_timeout_ms
        if self._closing:
            self._set_state(SessionState.CLOSED)
        else:
            self._set_state(SessionState.CONNECTING)

    def _fail_all(self, error: EnsembleError) -> None:
        for queue in (self._sent, self._waiting):
            while queue:
                queue.popleft().fail(error)

    def _set_state(self, state: SessionState) -> None:
        if state is self.state:
            return
        self.state = state
        changed, self.changed = self.changed, trio.Event()
        changed.set()
        for listener in list(self.listeners):
            listener(state)


__all__ = ["SessionKeeper"]
