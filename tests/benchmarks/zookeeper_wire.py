"""The ZooKeeper protocol as the comparison's clients speak it: whole frames, nothing decoded twice.

`Client` is for what is not measured: making znodes, asking who leads. The load itself is in
`zookeeper_load`.
"""

import contextlib
import socket
import struct
import time

from ottla.protocol.zookeeper.framing import frame
from ottla.protocol.zookeeper.messages import OPEN_ACL, CreateRequest, GetDataRequest
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import SetDataRequest

HOST = "127.0.0.1"
SESSION_TIMEOUT_MS = 30_000
STAT_BYTES = 68
HEADER = struct.Struct(">iiqi")  # length, xid, zxid, error
_LENGTH = struct.Struct(">i")
_CONNECT = struct.Struct(">iqiqi16s?")
_CONNECTED = struct.Struct(">iiq")  # protocol version, timeout, session id
_REQUEST = struct.Struct(">ii")
_CHILDREN_AND_PZXID = struct.Struct(">iq")  # the end of a Stat
_TIMEOUT_S = 30.0
_PING_XID = -2


def connect_frame(timeout_ms: int = SESSION_TIMEOUT_MS) -> bytes:
    """A ConnectRequest for a new session."""
    return frame(_CONNECT.pack(0, 0, timeout_ms, 0, 16, bytes(16), False))


def request_frame(xid: int, opcode: int, body: bytes = b"") -> bytes:
    return frame(_REQUEST.pack(xid, opcode) + body)


def set_data_frame(xid: int, path: str, data: bytes) -> bytes:
    return request_frame(xid, OpCode.SET_DATA, SetDataRequest(path, data, -1).encode())


def get_data_frame(xid: int, path: str, *, watch: bool = False) -> bytes:
    return request_frame(xid, OpCode.GET_DATA, GetDataRequest(path, watch).encode())


def create_frame(xid: int, path: str, data: bytes, *, flags: int = 0) -> bytes:
    return request_frame(xid, OpCode.CREATE, CreateRequest(path, data, OPEN_ACL, flags).encode())


def ping_frame() -> bytes:
    return request_frame(_PING_XID, OpCode.PING)


def close_frame(xid: int) -> bytes:
    return request_frame(xid, OpCode.CLOSE_SESSION)


def ask(port: int, word: str) -> str:
    """A four-letter word's answer; "" when nobody answers."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 5) as sock:
        sock.sendall(word.encode())
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts).decode()
    return ""


class Unexpected(Exception):
    """A server answered what the comparison does not expect."""


class Client:
    """One session, one request at a time. Raises OSError, Unexpected."""

    def __init__(self, port: int, timeout_s: float = _TIMEOUT_S) -> None:
        self.socket = socket.create_connection((HOST, port), timeout_s)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(connect_frame())
            if not _CONNECTED.unpack_from(self.receive())[2]:
                raise Unexpected("no session")
        except BaseException:
            self.socket.close()
            raise
        self._xid = 0

    def create(self, path: str, data: bytes = b"") -> None:
        self._xid += 1
        error = self.call(create_frame(self._xid, path, data))
        if error not in (0, -110):  # NODEEXISTS
            raise Unexpected(f"create {path}: {error}")

    def set_data(self, path: str, data: bytes) -> None:
        self._xid += 1
        error = self.call(set_data_frame(self._xid, path, data))
        if error:
            raise Unexpected(f"setData {path}: {error}")

    def exists(self, path: str) -> bool:
        self._xid += 1
        return self.call(get_data_frame(self._xid, path)) == 0

    def children(self, path: str) -> int:
        """How many children a znode has, by its Stat."""
        self._xid += 1
        self.socket.sendall(get_data_frame(self._xid, path))
        return int(_CHILDREN_AND_PZXID.unpack(self.receive()[-_CHILDREN_AND_PZXID.size :])[0])

    def call(self, request: bytes) -> int:
        """The error of its reply."""
        self.socket.sendall(request)
        reply = self.receive()
        return int(HEADER.unpack_from(_LENGTH.pack(len(reply)) + reply)[3])

    def close(self) -> None:
        """End the session, as far as the server is still there."""
        with contextlib.suppress(OSError):
            self._xid += 1
            self.call(close_frame(self._xid))
        self.socket.close()

    def receive(self) -> bytes:
        """The next frame, without its length."""
        (length,) = _LENGTH.unpack(self._exactly(4))
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionResetError("the server closed the connection")
            data += part
        return data


def wait_for_client(port: int, deadline: float) -> Client:
    """A session, as soon as there is one to be had.

    Apache ZooKeeper leaves a client that connects in the moment it binds without an answer for
    good, so an attempt gives up soon.
    """
    while True:
        with contextlib.suppress(OSError, Unexpected):
            client = Client(port, 0.5)
            client.socket.settimeout(_TIMEOUT_S)
            return client
        if time.monotonic() > deadline:
            raise TimeoutError(f"no session at port {port}")
        time.sleep(0.005)


__all__ = [
    "HEADER",
    "HOST",
    "STAT_BYTES",
    "Client",
    "Unexpected",
    "ask",
    "close_frame",
    "connect_frame",
    "create_frame",
    "get_data_frame",
    "ping_frame",
    "request_frame",
    "set_data_frame",
    "wait_for_client",
]
