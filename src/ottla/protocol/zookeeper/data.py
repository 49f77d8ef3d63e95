"""Values that several messages hold: Id, ACL, Stat, ClientInfo (`zookeeper.jute`, module data)."""

import struct
from collections.abc import Sequence
from typing import NamedTuple, Self

from ottla.protocol.zookeeper.jute import INT, Reader, put_string
from ottla.protocol.zookeeper.opcodes import Perms

STAT = struct.Struct(">qqqqiiiqiiq")
STAT_SIZE = STAT.size


class Id(NamedTuple):
    """Who: `world:anyone`, `ip:10.0.0.0/8`, `digest:user:hash`, `auth:` ..."""

    scheme: str
    id: str

    def encode(self) -> bytes:
        return put_string(self.scheme) + put_string(self.id)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), reader.string())


class ACL(NamedTuple):
    """What one Id may do: `perms` is a sum of `Perms`."""

    perms: int
    id: Id

    def encode(self) -> bytes:
        return INT.pack(self.perms) + self.id.encode()

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.int32(), Id(reader.string(), reader.string()))


ANYONE = Id("world", "anyone")
OPEN_ACL = (ACL(int(Perms.ALL), ANYONE),)
READ_ACL = (ACL(int(Perms.READ), ANYONE),)


class Stat(NamedTuple):
    """A znode's figures as clients see them. Times are milliseconds since 1970."""

    czxid: int = 0
    mzxid: int = 0
    ctime: int = 0
    mtime: int = 0
    version: int = 0
    cversion: int = 0  # counts creations and deletions of children
    aversion: int = 0
    ephemeral_owner: int = 0
    data_length: int = 0
    num_children: int = 0
    pzxid: int = 0

    def encode(self) -> bytes:
        return STAT.pack(*self)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls._make(reader.unpack(STAT))


class ClientInfo(NamedTuple):
    auth_scheme: str
    user: str

    def encode(self) -> bytes:
        return put_string(self.auth_scheme) + put_string(self.user)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        return cls(reader.string(), reader.string())


def put_acls(acls: Sequence[ACL]) -> bytes:
    return INT.pack(len(acls)) + b"".join([acl.encode() for acl in acls])


def get_acls(reader: Reader) -> tuple[ACL, ...]:
    return tuple([ACL.decode(reader) for _ in range(reader.count(12))])


__all__ = [
    "ACL",
    "ANYONE",
    "OPEN_ACL",
    "READ_ACL",
    "STAT",
    "STAT_SIZE",
    "ClientInfo",
    "Id",
    "Stat",
    "get_acls",
    "put_acls",
]
