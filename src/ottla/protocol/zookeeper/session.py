"""Messages around the requests: handshake, headers, authentication, watch events.

The handshake has no header: a client's first frame is a ConnectRequest, the answer a
ConnectResponse. Clients older than 3.4 leave out the last byte (`read_only`) of both.
"""

import struct
from typing import NamedTuple, Self

from ottla.protocol.zookeeper.framing import reply_frame
from ottla.protocol.zookeeper.jute import INT, LONG, Reader, put_buffer, put_string, put_strings
from ottla.protocol.zookeeper.opcodes import XID_NOTIFICATION, KeeperState

_CONNECT_REQUEST = struct.Struct(">iqiq")
_CONNECT_RESPONSE = struct.Struct(">iiq")
_REQUEST_HEADER = struct.Struct(">ii")
_REPLY_HEADER = struct.Struct(">iqi")
_EVENT = struct.Struct(">ii")


class ConnectRequest(NamedTuple):
    """`timeout` in ms; `session_id` 0 and 16 zero bytes ask for a new session."""

    protocol_version: int = 0
    last_zxid_seen: int = 0
    timeout: int = 0
    session_id: int = 0
    password: bytes | None = bytes(16)
    read_only: bool | None = False  # None: the byte is absent

    def encode(self) -> bytes:
        head = _CONNECT_REQUEST.pack(*self[:4]) + put_buffer(self.password)
        return head if self.read_only is None else head + bytes([self.read_only])

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        version, zxid, timeout, session_id = reader.unpack(_CONNECT_REQUEST)
        password = reader.buffer()
        read_only = reader.boolean() if reader.remaining else None
        reader.finish()
        return cls(version, zxid, timeout, session_id, password, read_only)


class ConnectResponse(NamedTuple):
    """`timeout` 0: the session is unknown or expired and the server closes the connection."""

    protocol_version: int = 0
    timeout: int = 0
    session_id: int = 0
    password: bytes | None = bytes(16)
    read_only: bool | None = False  # None: the byte is absent

    def encode(self) -> bytes:
        head = _CONNECT_RESPONSE.pack(*self[:3]) + put_buffer(self.password)
        return head if self.read_only is None else head + bytes([self.read_only])

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        version, timeout, session_id = reader.unpack(_CONNECT_RESPONSE)
        password = reader.buffer()
        read_only = reader.boolean() if reader.remaining else None
        return cls(version, timeout, session_id, password, read_only)


class RequestHeader(NamedTuple):
    xid: int
    opcode: int

    def encode(self) -> bytes:
        return _REQUEST_HEADER.pack(self.xid, self.opcode)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls._make(reader.unpack(_REQUEST_HEADER))


class ReplyHeader(NamedTuple):
    """`zxid` is the last transaction that the answering member had applied."""

    xid: int
    zxid: int
    error: int

    def encode(self) -> bytes:
        return _REPLY_HEADER.pack(self.xid, self.zxid, self.error)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls._make(reader.unpack(_REPLY_HEADER))


class AuthPacket(NamedTuple):
    type: int
    scheme: str
    auth: bytes | None

    def encode(self) -> bytes:
        return INT.pack(self.type) + put_string(self.scheme) + put_buffer(self.auth)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.int32(), reader.string(), reader.buffer())


class SaslRequest(NamedTuple):
    token: bytes | None

    def encode(self) -> bytes:
        return put_buffer(self.token)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.buffer())


class SaslResponse(SaslRequest):
    __slots__ = ()


class WatcherEvent(NamedTuple):
    """`type` is an `EventType`, `state` a `KeeperState`."""

    type: int
    state: int
    path: str

    def encode(self) -> bytes:
        return _EVENT.pack(self.type, self.state) + put_string(self.path)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        kind, state = reader.unpack(_EVENT)
        return cls(kind, state, reader.string())


def event_frame(kind: int, path: str, zxid: int) -> bytes:
    """A whole notification frame."""
    body = _EVENT.pack(kind, KeeperState.SYNC_CONNECTED) + put_string(path)
    return reply_frame(XID_NOTIFICATION, zxid, 0, body)


class SetWatches(NamedTuple):
    """`relative_zxid` is the newest zxid that the client has seen."""

    relative_zxid: int
    data_watches: list[str]
    exist_watches: list[str]
    child_watches: list[str]

    def encode(self) -> bytes:
        return (
            LONG.pack(self.relative_zxid)
            + put_strings(self.data_watches)
            + put_strings(self.exist_watches)
            + put_strings(self.child_watches)
        )

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.int64(), reader.strings(), reader.strings(), reader.strings())


class SetWatches2(NamedTuple):
    relative_zxid: int
    data_watches: list[str]
    exist_watches: list[str]
    child_watches: list[str]
    persistent_watches: list[str]
    persistent_recursive_watches: list[str]

    def encode(self) -> bytes:
        vectors = (
            self.data_watches,
            self.exist_watches,
            self.child_watches,
            self.persistent_watches,
            self.persistent_recursive_watches,
        )
        return LONG.pack(self.relative_zxid) + b"".join([put_strings(paths) for paths in vectors])

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(
            reader.int64(),
            reader.strings(),
            reader.strings(),
            reader.strings(),
            reader.strings(),
            reader.strings(),
        )


__all__ = [
    "AuthPacket",
    "ConnectRequest",
    "ConnectResponse",
    "ReplyHeader",
    "RequestHeader",
    "SaslRequest",
    "SaslResponse",
    "SetWatches",
    "SetWatches2",
    "WatcherEvent",
    "event_frame",
]
