"""The session of this broker's previous life: remembered on disk, ended by its successor.

After a `kill -9` the ensemble would keep the broker's ephemerals for a session timeout. A session
belongs to whoever knows its id and password, so the next process ends it and starts at once.

The file is one JSON object: `{"version":1,"session_id":"0x...","password":"<32 hex digits>"}`.
"""

import json
from collections.abc import Sequence
from contextlib import suppress

import trio

from ottla.broker.ensemble.replies import SessionId
from ottla.protocol.zookeeper.errors import ProtocolError
from ottla.protocol.zookeeper.framing import FrameReader, frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import ConnectRequest, ConnectResponse, RequestHeader
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.runtime.interfaces import Address, ConnectionLost, Disk, Network, Stream


class UnreadableSession(Exception):
    """What is in a session file is no session, or cannot be read."""


class SessionFile:
    """Where the session is remembered. Writes replace the file and sync it."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path

    def load(self) -> SessionId | None:
        """The session written last; None where there is none. UnreadableSession."""
        try:
            node = json.loads(self._disk.read(self._path))
            session = int(node["session_id"], 16)
            return SessionId(
                session - (1 << 64) if session >> 63 else session, bytes.fromhex(node["password"])
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UnreadableSession(f"{self._path} names no session ({reason})") from error

    def save(self, session: SessionId) -> None:
        node = {
            "version": 1,
            "session_id": f"{session.id & 0xFFFFFFFFFFFFFFFF:#x}",
            "password": session.password.hex(),
        }
        self._disk.replace(self._path, json.dumps(node).encode())

    def clear(self) -> None:
        """Forget it, as it is over. What a broken disk keeps of it does no harm."""
        with suppress(OSError):
            if self._disk.exists(self._path):
                self._disk.remove(self._path)


async def close_session(
    network: Network, members: Sequence[Address], session: SessionId, *, timeout_s: float
) -> bool:
    """End a session of an earlier process, whichever member answers first.

    True: it is certainly over (ended now, or it was already). False: nobody answered in time; then
    it ends by its own timeout. A member is asked with the session's id and password, as its owner.
    """
    with trio.move_on_after(timeout_s):
        while True:
            for member in members:
                try:
                    with trio.move_on_after(max(timeout_s / len(members) / 2, 0.1)):
                        await _end_at(network, member, session)
                        return True
                except (OSError, ProtocolError):
                    continue
            await trio.sleep(0.1)
    return False


async def _end_at(network: Network, member: Address, session: SessionId) -> None:
    """OSError or ProtocolError when this member cannot tell."""
    stream = await network.connect(member)
    try:
        request = ConnectRequest(timeout=10_000, session_id=session.id, password=session.password)
        await stream.send_all(frame(request.encode()))
        frames = FrameReader()
        answer = ConnectResponse.decode(Reader(await _next_frame(stream, frames)))
        if answer.timeout <= 0:
            return
        await stream.send_all(frame(RequestHeader(1, OpCode.CLOSE_SESSION).encode()))
        await _next_frame(stream, frames)
    finally:
        stream.close()


async def _next_frame(stream: Stream, frames: FrameReader) -> bytes:
    while True:
        count = await stream.receive_into(frames.buffer())
        if not count:
            raise ConnectionLost("closed by the member")
        if received := frames.received(count):
            return bytes(received[0])


__all__ = ["SessionFile", "UnreadableSession", "close_session"]
