"""Bodies of the requests, one class per `zookeeper.jute` record."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from ottla.protocol.zookeeper.data import ACL, get_acls, put_acls
from ottla.protocol.zookeeper.jute import INT, LONG, Reader, put_buffer, put_string

_FLAG = (b"\x00", b"\x01")


class CreateRequest(NamedTuple):
    """Also the body of create2 and createContainer. `flags` is a `CreateMode`."""

    path: str
    data: bytes | None
    acl: Sequence[ACL]
    flags: int = 0

    def encode(self) -> bytes:
        head = put_string(self.path) + put_buffer(self.data)
        return head + put_acls(self.acl) + INT.pack(self.flags)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        path, data = reader.present_string(), reader.buffer()
        return cls(path, data, get_acls(reader), reader.int32())


class CreateTTLRequest(NamedTuple):
    """`ttl` in milliseconds."""

    path: str
    data: bytes | None
    acl: Sequence[ACL]
    flags: int
    ttl: int

    def encode(self) -> bytes:
        head = put_string(self.path) + put_buffer(self.data)
        return head + put_acls(self.acl) + INT.pack(self.flags) + LONG.pack(self.ttl)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        path, data, acl = reader.present_string(), reader.buffer(), get_acls(reader)
        return cls(path, data, acl, reader.int32(), reader.int64())


class _PathAndVersion(NamedTuple):
    path: str
    version: int = -1

    def encode(self) -> bytes:
        return put_string(self.path) + INT.pack(self.version)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), reader.int32())


class DeleteRequest(_PathAndVersion):
    __slots__ = ()

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.present_string(), reader.int32())


class CheckVersionRequest(_PathAndVersion):
    __slots__ = ()


class SetDataRequest(NamedTuple):
    """`version` -1 is any."""

    path: str
    data: bytes | None
    version: int = -1

    def encode(self) -> bytes:
        return put_string(self.path) + put_buffer(self.data) + INT.pack(self.version)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), reader.buffer(), reader.int32())


class SetACLRequest(NamedTuple):
    path: str
    acl: Sequence[ACL]
    version: int = -1

    def encode(self) -> bytes:
        return put_string(self.path) + put_acls(self.acl) + INT.pack(self.version)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), get_acls(reader), reader.int32())


class _PathAndWatch(NamedTuple):
    path: str
    watch: bool = False

    def encode(self) -> bytes:
        return put_string(self.path) + _FLAG[self.watch]

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), reader.boolean())


class ExistsRequest(_PathAndWatch):
    __slots__ = ()


class GetDataRequest(_PathAndWatch):
    __slots__ = ()


class GetChildrenRequest(_PathAndWatch):
    __slots__ = ()


class GetChildren2Request(_PathAndWatch):
    __slots__ = ()


class _Path(NamedTuple):
    path: str

    def encode(self) -> bytes:
        return put_string(self.path)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string())


class GetACLRequest(_Path):
    __slots__ = ()


class SyncRequest(_Path):
    __slots__ = ()


class GetAllChildrenNumberRequest(_Path):
    __slots__ = ()


class DeleteContainerRequest(_Path):
    __slots__ = ()


class GetEphemeralsRequest(NamedTuple):
    prefix_path: str

    def encode(self) -> bytes:
        return put_string(self.prefix_path)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string())


class _PathAndNumber(NamedTuple):
    path: str
    type: int

    def encode(self) -> bytes:
        return put_string(self.path) + INT.pack(self.type)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), reader.int32())


class CheckWatchesRequest(_PathAndNumber):
    """`type` is a `WatcherType`."""

    __slots__ = ()


class RemoveWatchesRequest(_PathAndNumber):
    """`type` is a `WatcherType`."""

    __slots__ = ()


class AddWatchRequest(NamedTuple):
    """`mode` is an `AddWatchMode`."""

    path: str
    mode: int

    def encode(self) -> bytes:
        return put_string(self.path) + INT.pack(self.mode)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), reader.int32())


class ReconfigRequest(NamedTuple):
    """Null and empty differ: either joining and leaving, or new members are given."""

    joining_servers: str | None
    leaving_servers: str | None
    new_members: str | None
    current_config_id: int = -1

    def encode(self) -> bytes:
        texts = (self.joining_servers, self.leaving_servers, self.new_members)
        return b"".join([put_string(text) for text in texts]) + LONG.pack(self.current_config_id)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(
            reader.string_or_none(),
            reader.string_or_none(),
            reader.string_or_none(),
            reader.int64(),
        )


class CreateSessionRequest(NamedTuple):
    """Body of a createSession between members: the negotiated timeout in milliseconds."""

    timeout: int

    def encode(self) -> bytes:
        return INT.pack(self.timeout)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.int32())


__all__ = [
    "AddWatchRequest",
    "CheckVersionRequest",
    "CheckWatchesRequest",
    "CreateRequest",
    "CreateSessionRequest",
    "CreateTTLRequest",
    "DeleteContainerRequest",
    "DeleteRequest",
    "ExistsRequest",
    "GetACLRequest",
    "GetAllChildrenNumberRequest",
    "GetChildren2Request",
    "GetChildrenRequest",
    "GetDataRequest",
    "GetEphemeralsRequest",
    "ReconfigRequest",
    "RemoveWatchesRequest",
    "SetACLRequest",
    "SetDataRequest",
    "SyncRequest",
]
