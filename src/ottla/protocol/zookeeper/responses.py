"""Bodies of the responses, one class per `zookeeper.jute` record.

Delete, check, setWatches, ping and closeSession are answered by a reply header alone.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

from ottla.protocol.zookeeper.data import ACL, STAT, ClientInfo, Stat, get_acls, put_acls
from ottla.protocol.zookeeper.jute import INT, Reader, put_buffer, put_string, put_strings


class _PathOnly(NamedTuple):
    path: str

    def encode(self) -> bytes:
        return put_string(self.path)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string())


class CreateResponse(_PathOnly):
    __slots__ = ()


class SyncResponse(_PathOnly):
    __slots__ = ()


class Create2Response(NamedTuple):
    """Also the answer to createTTL and createContainer."""

    path: str
    stat: Stat

    def encode(self) -> bytes:
        return put_string(self.path) + STAT.pack(*self.stat)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), Stat.decode(reader))


class _StatOnly(NamedTuple):
    stat: Stat

    def encode(self) -> bytes:
        return STAT.pack(*self.stat)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(Stat.decode(reader))


class ExistsResponse(_StatOnly):
    __slots__ = ()


class SetDataResponse(_StatOnly):
    __slots__ = ()


class SetACLResponse(_StatOnly):
    __slots__ = ()


class GetDataResponse(NamedTuple):
    data: bytes | None
    stat: Stat

    def encode(self) -> bytes:
        return put_buffer(self.data) + STAT.pack(*self.stat)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.buffer(), Stat.decode(reader))


class GetACLResponse(NamedTuple):
    acl: Sequence[ACL]
    stat: Stat

    def encode(self) -> bytes:
        return put_acls(self.acl) + STAT.pack(*self.stat)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(get_acls(reader), Stat.decode(reader))


class GetChildrenResponse(NamedTuple):
    """Names, not paths."""

    children: list[str]

    def encode(self) -> bytes:
        return put_strings(self.children)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.strings())


class GetChildren2Response(NamedTuple):
    children: list[str]
    stat: Stat

    def encode(self) -> bytes:
        return put_strings(self.children) + STAT.pack(*self.stat)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.strings(), Stat.decode(reader))


class GetAllChildrenNumberResponse(NamedTuple):
    total_number: int

    def encode(self) -> bytes:
        return INT.pack(self.total_number)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.int32())


class GetEphemeralsResponse(NamedTuple):
    ephemerals: list[str]

    def encode(self) -> bytes:
        return put_strings(self.ephemerals)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.strings())


class WhoAmIResponse(NamedTuple):
    client_info: list[ClientInfo]

    def encode(self) -> bytes:
        infos = self.client_info
        return INT.pack(len(infos)) + b"".join([info.encode() for info in infos])

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls([ClientInfo.decode(reader) for _ in range(reader.count(8))])


class ErrorResponse(NamedTuple):
    """One failed operation's place in a multi; also the answer to addWatch."""

    error: int

    def encode(self) -> bytes:
        return INT.pack(self.error)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.int32())


class ReconfigResponse(GetDataResponse):
    __slots__ = ()


__all__ = [
    "Create2Response",
    "CreateResponse",
    "ErrorResponse",
    "ExistsResponse",
    "GetACLResponse",
    "GetAllChildrenNumberResponse",
    "GetChildren2Response",
    "GetChildrenResponse",
    "GetDataResponse",
    "GetEphemeralsResponse",
    "ReconfigResponse",
    "SetACLResponse",
    "SetDataResponse",
    "SyncResponse",
    "WhoAmIResponse",
]
