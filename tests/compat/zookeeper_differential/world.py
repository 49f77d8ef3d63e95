"""One server as a differential run sees it: several sessions, one operation at a time.

What a step shows is put into words that mean the same on every server: a zxid is called after the
step that made it, a session id after the session's letter, times are dropped, and names whose order
nobody promises are sorted. After each step every session syncs and pings: the answer comes behind
all events of the transactions before it, on whichever member the session is.
"""

import re
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from ottla.protocol.zookeeper.data import STAT
from ottla.protocol.zookeeper.errors import DecodeError
from ottla.protocol.zookeeper.framing import frame
from ottla.protocol.zookeeper.jute import Reader, put_string
from ottla.protocol.zookeeper.messages import (
    ConnectRequest,
    ConnectResponse,
    GetACLResponse,
    ReplyHeader,
    RequestHeader,
    WatcherEvent,
    WhoAmIResponse,
)
from ottla.protocol.zookeeper.multi import MultiResponse
from ottla.protocol.zookeeper.opcodes import XID_NOTIFICATION, XID_PING, OpCode
from tests.compat.zookeeper_differential.steps import UNSERVED, Close, Drop, Reconnect, Send

TIMEOUT_MS = 30_000
_SORTED = {OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2, OpCode.GET_EPHEMERALS}
_STAT_LAST = {
    OpCode.EXISTS,
    OpCode.GET_DATA,
    OpCode.SET_DATA,
    OpCode.CREATE2,
    OpCode.CREATE_CONTAINER,
    OpCode.CREATE_TTL,
    OpCode.SET_ACL,
    OpCode.GET_ACL,
    OpCode.GET_CHILDREN2,
    OpCode.CHECK,
}
_XID_SYNC = 1 << 21  # above all of a conversation's own, as is the next
_XID_CLOSE = 1 << 20
_ZXID_FIELDS = {0: "czxid", 1: "mzxid", 10: "pzxid"}


class Gone(Exception):
    """The server closed the connection."""


class Session:
    """One session and its connection of the moment."""

    def __init__(self, ports: Sequence[int], first: int) -> None:
        self._ports = ports
        self._turn = first
        self.id, self.password = 0, bytes(16)
        self._xid = 0
        self.sock = None

    def connect(self) -> ConnectResponse:
        # Each new connection goes to the next member.
        self._turn = (self._turn + 1) % len(self._ports)
        self.sock = socket.create_connection(("127.0.0.1", self._ports[self._turn]), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        request = ConnectRequest(0, 0, TIMEOUT_MS, self.id, self.password)
        self.sock.sendall(frame(request.encode()))
        response = ConnectResponse.decode(Reader(self.next_frame()))
        self.id, self.password = response.session_id, response.password
        return response

    def drop(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def end(self) -> None:
        """Close the session itself, on a new connection where the old one is gone."""
        if self.sock is None or not self._close_here():
            self.drop()
            self.connect()
            if self.id:
                self._close_here()
        self.drop()
        self.id, self.password = 0, bytes(16)

    def _close_here(self) -> bool:
        with suppress(Gone):
            self.send(int(OpCode.CLOSE_SESSION), b"", _XID_CLOSE)
            while ReplyHeader.decode(Reader(self.next_frame())).xid != _XID_CLOSE:
                pass
            return True
        return False

    def send(self, opcode: int, body: bytes, xid: int | None = None) -> None:
        if xid is None:
            self._xid += 1
            xid = self._xid
        try:
            self.sock.sendall(frame(RequestHeader(xid, opcode).encode() + body))
        except OSError:
            raise Gone from None

    def next_frame(self) -> bytes:
        while True:
            if len(self._buffer) >= 4:
                end = 4 + struct.unpack_from(">i", self._buffer)[0]
                if len(self._buffer) >= end:
                    found, self._buffer = self._buffer[4:end], self._buffer[end:]
                    return found
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                raise Gone from None
            if not data:
                raise Gone
            self._buffer += data


class World:
    """All sessions of a run on one server."""

    def __init__(self, ports: Sequence[int], letters: Sequence[str]) -> None:
        """`ports` are those of the members of one ensemble."""
        self._sessions = {letter: Session(ports, i) for i, letter in enumerate(letters)}
        self._names: dict[int, str] = {}  # zxid -> the step that made it
        self._owners: dict[int, str] = {}  # session id -> letter
        self._born = dict.fromkeys(letters, 0)
        self.zxids: dict[int, int] = {0: 0}  # step -> newest zxid seen by then
        self._newest = 0
        for letter in letters:
            self._connect(letter)

    def close(self) -> None:
        """End every session, so that nothing of a conversation is left to expire later."""
        for session in self._sessions.values():
            session.end()

    def play(self, number: int, step) -> list[str]:
        """Do a step; all that it showed, in words."""
        seen: list[str] = []
        letter = step.session
        session = self._sessions[letter]
        match step:
            case Drop():
                session.drop()
            case Reconnect():
                session.drop()
                seen += self._connect(letter)
            case Close():
                seen += self._request(number, letter, int(OpCode.CLOSE_SESSION), b"")
                session.drop()
                session.id, session.password = 0, bytes(16)
                self._connect(letter)
            case Send(opcode=opcode, body=body, since=since):
                if since is not None:
                    body = struct.pack(">q", self._zxid_of(since)) + body
                seen += self._request(number, letter, opcode, body)
                if opcode in UNSERVED:
                    self._renew(letter)
                    seen.append(f"{letter} closed")
        for other in self._sessions:
            seen += self._ping(other)
        self.zxids[number] = self._newest
        if isinstance(step, Close) or any(line.endswith("closed") for line in seen):
            seen.sort()  # its ephemerals go in no promised order
        return seen

    def _renew(self, letter: str) -> None:
        session = self._sessions[letter]
        session.drop()
        session.end()
        self._connect(letter)

    def _zxid_of(self, step: int) -> int:
        known = max((number for number in self.zxids if number <= step), default=0)
        return self.zxids[known]

    def _connect(self, letter: str) -> list[str]:
        session = self._sessions[letter]
        known = session.id
        response = session.connect()
        if not response.session_id:
            session.drop()
            session.id, session.password = 0, bytes(16)
            session.connect()
        if session.id != known:
            self._born[letter] += 1
            self._owners[session.id] = f"{letter}{self._born[letter]}"
        return [f"{letter} connected, same session: {session.id == known}"]

    def _request(self, number: int, letter: str, opcode: int, body: bytes) -> list[str]:
        session = self._sessions[letter]
        if session.sock is None:
            self._connect(letter)
        seen: list[str] = []
        xid = -4 if opcode == OpCode.AUTH else -8 if opcode in {101, 105} else None
        try:
            session.send(opcode, body, xid)
            while True:
                reader = Reader(session.next_frame())
                header = ReplyHeader.decode(reader)
                if header.xid == XID_NOTIFICATION:
                    seen.append((letter, header, reader))
                    continue
                break
        except Gone:
            seen = [self._event(*each) for each in seen]
            self._renew(letter)
            return [*seen, f"{letter} closed"]
        if header.zxid > self._newest:
            self._newest = header.zxid
            self._names[header.zxid] = f"#{number}"
        seen = [self._event(*each) for each in seen]
        text = self._body(opcode, header.error, reader)
        return [*seen, f"{letter} xid={self._xid(header, xid)} error={header.error} {text}"]

    @staticmethod
    def _xid(header: ReplyHeader, special: int | None) -> str:
        if special is not None:
            return str(header.xid)
        return "own" if header.xid > 0 else str(header.xid)

    def _ping(self, letter: str) -> list[str]:
        session = self._sessions[letter]
        if session.sock is None:
            return []
        seen: list[str] = []
        try:
            session.send(int(OpCode.SYNC), put_string("/"), _XID_SYNC)
            session.send(int(OpCode.PING), b"", XID_PING)
            while True:
                reader = Reader(session.next_frame())
                header = ReplyHeader.decode(reader)
                if header.xid == XID_NOTIFICATION:
                    seen.append(self._event(letter, header, reader))
                elif header.xid == XID_PING:
                    return seen
                elif header.xid == _XID_SYNC:
                    continue
                else:
                    seen.append(f"{letter} late answer {header}")
        except Gone:
            self._renew(letter)
            return [*seen, f"{letter} closed"]

    def _event(self, letter: str, header: ReplyHeader, reader: Reader) -> str:
        event = WatcherEvent.decode(reader)
        at = "-1" if header.zxid == -1 else self._name(header.zxid)
        return f"{letter} event type={event.type} state={event.state} {event.path} zxid={at}"

    def _name(self, zxid: int) -> str:
        return self._names.get(zxid, "unnamed")

    def _body(self, opcode: int, error: int, reader: Reader) -> str:
        if not reader.remaining:
            return "no body"
        raw = bytes(reader.data[reader.at :])
        try:
            return self._decoded(opcode, raw)
        except DecodeError as problem:
            return f"undecodable {problem} {raw.hex()}"

    def _decoded(self, opcode: int, raw: bytes) -> str:
        if opcode in {OpCode.MULTI, OpCode.MULTI_READ}:
            return self._multi(raw)
        if opcode == OpCode.WHO_AM_I:
            return f"{sorted(WhoAmIResponse.decode(Reader(raw)).client_info)}"
        stat = ""
        if opcode in _STAT_LAST:
            stat = self._stat(raw[-STAT.size :])
            raw = raw[: -STAT.size]
        if opcode in _SORTED:
            reader = Reader(raw)
            names = sorted(reader.strings())
            reader.finish()
            return f"{names} {stat}"
        if opcode == OpCode.GET_ACL:
            acl = GetACLResponse.decode(Reader(raw + bytes(STAT.size))).acl
            return f"{list(acl)} {stat}"
        return f"{raw!r} {stat}"

    def _multi(self, raw: bytes) -> str:
        # Stats in a multi are found by what they are: the fields of the decoded results.
        parts = []
        for opcode, result in MultiResponse.decode(Reader(raw)).results:
            text = repr(result)
            stat = getattr(result, "stat", None)
            if stat is not None:
                text = re.sub(r"stat=Stat\([^)]*\)", self._stat(STAT.pack(*stat)), text)
            children = getattr(result, "children", None)
            if children is not None:
                text = f"{sorted(children)}"
            parts.append(f"{opcode}:{text}")
        return " ".join(parts)

    def _stat(self, raw: bytes) -> str:
        values = list(STAT.unpack(raw))
        shown = []
        for place, value in enumerate(values):
            if place in _ZXID_FIELDS:
                shown.append(self._name(value) if value else "0")
            elif place in (2, 3):
                shown.append("t" if value else "0")
            elif place == 7:
                shown.append(self._owners.get(value, str(value)) if value else "0")
            else:
                shown.append(str(value))
        return f"stat({','.join(shown)})"


__all__ = ["World"]
