"""Ensemble members in memory: the real tree behind a small client port that can misbehave.

All members share one tree, as if consensus were instant. Faults are asked for by name:
`stop`/`start` a member, `cut` a connection, `expire` a session, `lose_next_reply`,
`lose_next_write` (which then never happens).
"""

import contextlib
import random

import trio

from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.reads import READS, Asker, answer
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import Refused
from ottla.coordinator.tree.watches import Watches
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.framing import FrameReader, frame, reply_frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    ConnectRequest,
    ConnectResponse,
    CreateSessionRequest,
    Id,
    RequestHeader,
    SetWatches,
    SetWatches2,
    SyncResponse,
)
from ottla.protocol.zookeeper.opcodes import XID_NOTIFICATION, XID_PING, XID_SET_WATCHES, OpCode
from ottla.runtime.interfaces import Address, ConnectionLost

AUTH = (Id("ip", "127.0.0.1"),)
NOW_MS = 1_700_000_000_000


class Members:
    """`await start(n)` in a nursery; `connect` is the client's connect string."""

    def __init__(self, network, nursery) -> None:
        self.tree = Tree()
        self.watches = Watches()
        self.decider = Decider(self.tree, member_id=1, rng=random.Random(1))
        self.requests: list[int] = []
        self.lose_next_reply = False
        self.lose_next_write = False
        self.answer_pings = True
        self._network = network
        self._nursery = nursery
        self._streams: dict[int, object] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._heard: dict[int, float] = {}
        self._members: list[Address] = []

    @property
    def connect(self) -> str:
        return ",".join(map(str, self._members))

    async def start(self, count: int = 1) -> None:
        for _ in range(count):
            at = len(self._members)
            self._members.append(Address(f"member-{at}", 2181))
            await self.start_member(at)
        self._nursery.start_soon(self._expire_the_silent)

    async def start_member(self, at: int) -> None:
        listener = await self._network.at(f"member-{at}").listen(self._members[at])
        self._scopes[at] = trio.CancelScope()
        self._nursery.start_soon(self._listen, listener, self._scopes[at])

    def stop_member(self, at: int) -> None:
        self._scopes.pop(at).cancel()

    def cut(self, session_id: int) -> None:
        """Break that session's connection; members go on."""
        self._streams[session_id].close()

    def expire(self, session_id: int) -> None:
        self._heard.pop(session_id, None)
        if session_id in self.tree.sessions:
            self._apply(session_id, OpCode.CLOSE_SESSION, b"")
        stream = self._streams.pop(session_id, None)
        if stream is not None:
            stream.close()

    # --- a member --------------------------------------------------------------------------

    async def _listen(self, listener, scope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                try:
                    while True:
                        nursery.start_soon(self._serve, await listener.accept())
                finally:
                    listener.close()

    async def _serve(self, stream) -> None:
        session_id = 0
        frames = FrameReader()
        try:
            while True:
                count = await stream.receive_into(frames.buffer())
                if not count:
                    return
                for each in frames.received(count):
                    if not session_id:
                        session_id = await self._shake_hands(stream, Reader(each))
                        if not session_id:
                            return
                    else:
                        self._heard[session_id] = trio.current_time()
                        await self._take(stream, session_id, Reader(each))
        except ConnectionLost:
            return
        finally:
            stream.close()
            if self._streams.get(session_id) is stream:
                del self._streams[session_id]
                self.watches.forget(session_id)

    async def _shake_hands(self, stream, reader) -> int:
        request = ConnectRequest.decode(reader)
        session_id = request.session_id
        if session_id == 0:
            body = CreateSessionRequest(request.timeout).encode()
            session_id = self._apply(0, OpCode.CREATE_SESSION, body).session_id
        elif session_id not in self.tree.sessions or request.password != password(session_id):
            await stream.send_all(frame(ConnectResponse(0, 0, 0, bytes(16), False).encode()))
            return 0
        old = self._streams.pop(session_id, None)
        if old is not None:
            old.close()
        self._streams[session_id] = stream
        self._heard[session_id] = trio.current_time()
        timeout = self.tree.sessions[session_id][0]
        response = ConnectResponse(0, timeout, session_id, password(session_id), False)
        await stream.send_all(frame(response.encode()))
        return session_id

    async def _take(self, stream, session_id, reader) -> None:
        xid, opcode = RequestHeader.decode(reader)
        if xid == XID_PING:
            if self.answer_pings:
                await stream.send_all(reply_frame(XID_PING, self.tree.last_zxid, 0))
            return
        self.requests.append(opcode)
        if xid == XID_SET_WATCHES:
            request = SetWatches2(*SetWatches.decode(reader), [], [])
            self._tell(self.watches.rearm(session_id, request, self.tree))
            await stream.send_all(reply_frame(xid, self.tree.last_zxid, 0))
            return
        error, body = ZkError.OK, b""
        if opcode == OpCode.SYNC:
            body = SyncResponse(reader.string()).encode()
        elif opcode in READS:
            try:
                body = answer(self.tree, self.watches, Asker(session_id, AUTH), opcode, reader)
            except Refused as refused:
                error = refused.error
        elif self.lose_next_write:
            self.lose_next_write = False
            stream.close()
            return
        else:
            applied = self._apply(session_id, opcode, bytes(reader.data[reader.at :]))
            error, body = applied.error, applied.reply
            if self.lose_next_reply:
                self.lose_next_reply = False
                stream.close()
                return
        await stream.send_all(reply_frame(xid, self.tree.last_zxid, error, body))

    def _apply(self, session_id, opcode, body):
        payload = self.decider.decide(
            session_id=session_id,
            opcode=opcode,
            body=body,
            origin=(1, 1),
            now_ms=NOW_MS + int(trio.current_time() * 1000),
            auth=AUTH,
        )
        applied = self.tree.apply(self.tree.last_zxid + 1, payload)
        self.decider.applied(self.tree.last_zxid)
        self._tell(self.watches.trigger(applied.events))
        return applied

    def _tell(self, fired) -> None:
        for session_id, event in fired:
            stream = self._streams.get(session_id)
            if stream is not None:
                data = reply_frame(XID_NOTIFICATION, -1, 0, event.encode())
                with contextlib.suppress(ConnectionLost):  # of its own reader's making
                    assert stream.send_nowait(data) == len(data)

    async def _expire_the_silent(self) -> None:
        while True:
            await trio.sleep(0.1)
            for session_id, heard_at in list(self._heard.items()):
                session = self.tree.sessions.get(session_id)
                if session is not None and trio.current_time() - heard_at > session[0] / 1000:
                    self.expire(session_id)


def password(session_id: int) -> bytes:
    return (session_id & 0xFFFFFFFFFFFFFFFF).to_bytes(16, "big")
