"""One client's connection: the order of its requests, and the bytes on their way out.

Requests take effect and are answered in the order they came. A write goes to the leader at once
and takes its place in the queue; a read behind it waits there until it has been applied here, so
that the client sees its own writes. With an empty queue a read is answered where it stands.

Nothing here waits but for room: `port` moves the bytes. What is to be sent gathers in `_out`; it
leaves with one send for all that was received together, or was applied together, or came of
anything else in one turn of the loop. All of it runs on the loop's one thread.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import trio

from ottla.coordinator.client_port.digest_md5 import AuthenticationFailed, DigestMd5Server
from ottla.coordinator.client_port.enforcement import Enforcement
from ottla.coordinator.client_port.statistics import Counters
from ottla.coordinator.ports import Member
from ottla.coordinator.tree.access import authenticate
from ottla.coordinator.tree.reads import Asker, answer
from ottla.coordinator.tree.values import Applied, Refused
from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.errors import DecodeError, ProtocolError, ZkError
from ottla.protocol.zookeeper.framing import reply_frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    AuthPacket,
    SaslRequest,
    SaslResponse,
    SetWatches,
    SetWatches2,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.session import event_frame
from ottla.runtime.interfaces import Stream

QUEUE_MAX = 1000
"""Requests of one client that may wait for writes before no more are read from it."""
OUT_BYTES_MAX = 1 << 20
"""Bytes that a client may leave unread before no more requests are read from it."""
OUT_BYTES_LIMIT = 64 << 20
"""Watch events come unasked; a client that leaves so much unread is let go."""
NO_ZXID = -1

WRITES = frozenset(
    int(opcode)
    for opcode in (
        OpCode.CREATE,
        OpCode.CREATE2,
        OpCode.CREATE_CONTAINER,
        OpCode.CREATE_TTL,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.SET_ACL,
        OpCode.CHECK,
        OpCode.MULTI,
        OpCode.RECONFIG,
        # Through the log, so that its answer comes after all that was written before it anywhere.
        OpCode.SYNC,
        OpCode.CLOSE_SESSION,
    )
)
_HEADER = struct.Struct(">ii")
_PING = int(OpCode.PING)
_AUTH = int(OpCode.AUTH)
_SASL = int(OpCode.SASL)
_SET_WATCHES = int(OpCode.SET_WATCHES)
_SET_WATCHES2 = int(OpCode.SET_WATCHES2)
_CLOSE_SESSION = int(OpCode.CLOSE_SESSION)
_SESSION_MOVED = ZkError.SESSIONMOVED


class _Waiting:
    """A request in the queue. A read keeps its body, a write waits for `outcome`."""

    __slots__ = ("arrived", "body", "connection", "opcode", "outcome", "xid")

    def __init__(self, connection: "Connection", xid: int, opcode: int, body: bytes | None) -> None:
        self.connection = connection
        self.xid = xid
        self.opcode = opcode
        self.body = body  # None: a write, or what is answered already
        self.outcome: bytes | None = None  # the whole reply
        self.arrived = connection.turn_began

    @property
    def is_waiting(self) -> bool:
        """Whether it cannot be answered yet, even at the head of the queue."""
        return self.outcome is None and self.body is None

    def on_applied(self, applied: Applied) -> None:
        error, connection = applied.error, self.connection
        outcome = reply_frame(self.xid, applied.zxid, error, applied.reply)
        if error is _SESSION_MOVED:
            # The client is elsewhere by now; an answer from here would only mislead it.
            connection.close("session moved")
        else:
            connection.write_done(self, outcome)


@dataclass(frozen=True, slots=True)
class Proofs:
    """How clients prove who they are. `begin_sasl` starts an exchange; None: SASL is not there.

    `enforcement` is what each must have proved before anything else; None: nothing.
    """

    super_digest: str | None = None
    begin_sasl: Callable[[], DigestMd5Server] | None = None
    sasl_super_user: str | None = None
    enforcement: Enforcement | None = None


class Connection:
    """From the accepted stream to its close. Before `session_id` is set it has no session.

    `mark_dirty(self)` asks for a `flush` at the end of the turn.
    """

    __slots__ = (
        "_answered",
        "_mark_dirty",
        "_member",
        "_oldest",
        "_out",
        "_proofs",
        "_queue",
        "_room",
        "_sasl",
        "_total",
        "asker",
        "auth",
        "close_reason",
        "closed",
        "counters",
        "established_ms",
        "finishing",
        "last_opcode",
        "last_xid",
        "last_zxid",
        "leaving",
        "out_bytes",
        "read_only",
        "receiving",
        "sending",
        "session_id",
        "stream",
        "timeout_ms",
        "turn_began",
        "unsent",
    )

    def __init__(
        self,
        stream: Stream,
        member: Member,
        mark_dirty: Callable[["Connection"], None],
        total: Counters,
        proofs: Proofs,
    ) -> None:
        self.stream = stream
        self._member = member
        self._mark_dirty = mark_dirty
        self._total = total
        self._proofs = proofs
        self._sasl: DigestMd5Server | None = None  # the exchange that is under way
        self._queue: deque[_Waiting] = deque()
        self._out: list[bytes] = []
        self._answered = 0  # requests answered since the last take_out
        self._oldest = 0.0  # when the first of them arrived
        self.out_bytes = 0  # in _out and unsent
        self.unsent = b""  # what a full socket would not take; goes before _out
        self.session_id = 0
        self.timeout_ms = 0
        self.established_ms = 0
        self.auth: list[Id] = [Id("ip", stream.peer.host)]
        self.asker = Asker(0, self.auth)
        self.closed = False
        self.close_reason = ""
        self.leaving = False  # it asked to close its session
        self.receiving = False  # its reader sends what it answers by itself
        self.sending = False  # a task of its own waits for the full socket
        self._room: trio.Event | None = None  # the reader waits for it
        self.read_only = False  # the session is this member's alone, and changes nothing
        self.finishing = False  # no more requests; close once everything is sent
        self.counters = Counters()
        self.turn_began = 0.0
        self.last_xid = self.last_opcode = self.last_zxid = 0

    @property
    def outstanding(self) -> int:
        return len(self._queue)

    @property
    def has_answers(self) -> bool:
        """Whether there is something to be sent, and no task waits to send it already."""
        return bool(self._out) and not self.sending

    @property
    def is_full(self) -> bool:
        """Whether to read nothing more from the client for now."""
        return len(self._queue) >= QUEUE_MAX or self.out_bytes >= OUT_BYTES_MAX

    async def wait_room(self) -> None:
        """Until `is_full` is over, or the connection closed."""
        while self.is_full and not self.closed:
            self._room = trio.Event()
            await self._room.wait()

    def wake_reader(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def bind(self, session_id: int, timeout_ms: int, now_ms: int) -> None:
        self.session_id = session_id
        self.timeout_ms = timeout_ms
        self.established_ms = now_ms
        self.asker = Asker(session_id, self.auth)

    def receive(self, frames: Iterable[memoryview], now: float) -> None:
        """Requests that arrived together. Raises ProtocolError, NotServing."""
        self.turn_began = now
        if self._proofs.enforcement is not None:
            frames = self._screen(frames, self._proofs.enforcement)
        count = 0
        submit = self._member.submit_nowait
        for frame in frames:
            if self.finishing:
                return
            if len(frame) < 8:
                raise ProtocolError(f"a request of {len(frame)} bytes")
            count += 1
            xid, opcode = _HEADER.unpack_from(frame)
            self.last_xid = xid
            self.last_opcode = opcode
            if opcode in WRITES:
                if self.read_only:
                    self._refuse_write(xid, opcode)
                    continue
                waiting = _Waiting(self, xid, opcode, None)
                self._queue.append(waiting)
                if opcode == _CLOSE_SESSION:
                    self.leaving = True
                submit(self.session_id, opcode, bytes(frame[8:]), self.auth, waiting.on_applied)
            elif opcode == _AUTH:
                self._authenticate(xid, frame)
            elif opcode == _SASL and self._proofs.begin_sasl is not None:
                self._step_sasl(xid, frame)
            elif self._queue:
                self._queue.append(_Waiting(self, xid, opcode, bytes(frame[8:])))
            else:
                self._read(xid, opcode, Reader(frame, 8))
        self.counters.received += count
        self._total.received += count

    def send(self, frame: bytes) -> None:
        """What is not the answer to a request: the handshake's response."""
        self._send(frame)

    def send_event(self, encoded: bytes) -> None:
        self._send(encoded)

    def write_done(self, write: _Waiting, outcome: bytes) -> None:
        """A write was applied, and this answers it. Mostly it is the first in the queue."""
        queue = self._queue
        if queue and queue[0] is write and write.opcode != _CLOSE_SESSION and not self.closed:
            queue.popleft()
            self._reply(outcome, write.arrived)
            if (not queue or queue[0].is_waiting) and self._room is None:
                return
        else:
            write.outcome = outcome
        self.drain()

    def drain(self) -> None:
        """Answer from the head of the queue all that can be answered now."""
        queue = self._queue
        while queue and not self.closed:
            head = queue[0]
            outcome = head.outcome
            if outcome is not None:
                queue.popleft()
                self._reply(outcome, head.arrived)
                if head.opcode == _CLOSE_SESSION:
                    self.finish("session closed by its client")
            elif head.body is not None:
                queue.popleft()
                self._read(head.xid, head.opcode, Reader(head.body))
            else:
                break
        if self._room is not None:
            self.wake_reader()

    def take_out(self, now: float) -> bytes:
        """Everything that waits to be sent; the caller sends it or puts it back as `unsent`."""
        out = self._out
        count = self._answered
        if count:
            elapsed_ms = (now - self._oldest) * 1000.0
            self.counters.latency.add(elapsed_ms, count)
            self._total.latency.add(elapsed_ms, count)
            self._answered = 0
            self.last_zxid = self._member.tree.last_zxid
        count = len(out)
        self.counters.sent += count
        self._total.sent += count
        if self.unsent:
            out.insert(0, self.unsent)
            self.unsent = b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def finish(self, reason: str) -> None:
        """Close after everything that is queued for sending has left."""
        if not self.finishing:
            self.finishing = True
            self.close_reason = reason
            self._mark_dirty(self)

    def close(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self.close_reason = self.close_reason or reason
            self._queue.clear()
            self.stream.close()
            self.wake_reader()

    def _refuse_write(self, xid: int, opcode: int) -> None:
        """The member has no leader; only the end of a session needs none."""
        is_end = opcode == _CLOSE_SESSION
        error = ZkError.OK if is_end else ZkError.NOTREADONLY
        self._reply(reply_frame(xid, self._member.tree.last_zxid, error), self.turn_began)
        if is_end:
            self.finish("session closed by its client")

    def _read(self, xid: int, opcode: int, body: Reader) -> None:
        tree = self._member.tree
        try:
            if opcode == _PING:
                reply = b""
            elif opcode in (_SET_WATCHES, _SET_WATCHES2):
                reply = self._set_watches(opcode, body)
            else:
                reply = answer(tree, self._member.watches, self.asker, opcode, body)
            self._reply(reply_frame(xid, tree.last_zxid, 0, reply), self.turn_began)
        except Refused as refused:
            self._reply(reply_frame(xid, tree.last_zxid, refused.error), self.turn_began)

    def _set_watches(self, opcode: int, body: Reader) -> bytes:
        try:
            if opcode == _SET_WATCHES2:
                request = SetWatches2.decode(body)
            else:
                request = SetWatches2(*SetWatches.decode(body), [], [])
        except DecodeError:
            raise Refused(ZkError.MARSHALLINGERROR) from None
        member = self._member
        for _, event in member.watches.rearm(self.session_id, request, member.tree):
            self.send_event(event_frame(event.type, event.path, NO_ZXID))
        return b""

    def _authenticate(self, xid: int, frame: memoryview) -> None:
        """Holds for the requests behind it, even where an earlier write is still on its way."""
        packet = AuthPacket.decode(Reader(frame, 8))
        address = self.stream.peer.host
        super_digest = self._proofs.super_digest
        proved = authenticate(packet.scheme, packet.auth or b"", address, super_digest)
        if proved is None:
            self._refuse_proof(xid, _AUTH, ZkError.AUTHFAILED, b"")
            return
        self.be_known_as(proved)
        self._answer_in_turn(xid, _AUTH, reply_frame(xid, 0, ZkError.OK))

    def _step_sasl(self, xid: int, frame: memoryview) -> None:
        """One token of the client's, one of ours. Holds, as `auth` does, for what comes behind."""
        assert self._proofs.begin_sasl is not None
        token = SaslRequest.decode(Reader(frame, 8)).token or b""
        if self._sasl is None or self._sasl.user is not None:
            self._sasl = self._proofs.begin_sasl()
        try:
            answer_token = self._sasl.step(token)
        except AuthenticationFailed as failure:
            enforcement = self._proofs.enforcement
            error = ZkError.AUTHFAILED if enforcement is None else enforcement.failed_sasl
            self._refuse_proof(xid, _SASL, error, SaslResponse(None).encode(), f": {failure}")
            return
        user = self._sasl.user
        if user is not None:
            is_super = user == self._proofs.sasl_super_user
            self.be_known_as([Id("sasl", user), *([Id("super", "")] if is_super else ())])
        reply = reply_frame(xid, 0, ZkError.OK, SaslResponse(answer_token).encode())
        self._answer_in_turn(xid, _SASL, reply)

    def be_known_as(self, proved: Iterable[Id]) -> None:
        """Identities beside those that the client has already."""
        # A new list: requests that were submitted hold the old one.
        self.auth = self.auth + [who for who in proved if who not in self.auth]
        self.asker = Asker(self.session_id, self.auth)

    def _screen(
        self, frames: Iterable[memoryview], enforcement: Enforcement
    ) -> Iterator[memoryview]:
        """Requests up to the first that comes before a proof; what is yielded may hold one."""
        for frame in frames:
            if enforcement.refuses(frame, self.auth):
                xid, opcode = _HEADER.unpack_from(frame)
                error = ZkError.SESSIONCLOSEDREQUIRESASLAUTH
                self._answer_in_turn(xid, opcode, reply_frame(xid, 0, error))
                self.finish("has not shown who it is")
                return
            yield frame

    def _refuse_proof(
        self, xid: int, opcode: int, error: ZkError, body: bytes, why: str = ""
    ) -> None:
        self._total.auth_failed += 1
        self._answer_in_turn(xid, opcode, reply_frame(xid, 0, error, body))
        self.finish(f"authentication failed{why}")

    def _answer_in_turn(self, xid: int, opcode: int, reply: bytes) -> None:
        waiting = _Waiting(self, xid, opcode, None)
        waiting.outcome = reply
        self._queue.append(waiting)
        self.drain()

    def _reply(self, frame: bytes, arrived: float) -> None:
        if not self._answered or arrived < self._oldest:
            self._oldest = arrived
        self._answered += 1
        out = self._out
        if out and not self.closed:  # as `_send`, for all replies of a run but the first
            out.append(frame)
            self.out_bytes += len(frame)
            if self.out_bytes > OUT_BYTES_LIMIT:
                self.close("does not read what it is sent")
        else:
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        if self.closed:
            return
        if not self._out and not self.receiving:
            self._mark_dirty(self)
        self._out.append(frame)
        self.out_bytes += len(frame)
        if self.out_bytes > OUT_BYTES_LIMIT:
            self.close("does not read what it is sent")


__all__ = ["OUT_BYTES_LIMIT", "OUT_BYTES_MAX", "QUEUE_MAX", "WRITES", "Connection", "Proofs"]
