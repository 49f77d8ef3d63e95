"""Random conversations: what several sessions ask for, one step after the other.

A conversation keeps to a few paths below a directory of its own, so that its steps get in each
other's way. Bodies are bytes, hence the same for every server, and now and then they are broken.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ottla.protocol.zookeeper.data import ACL, ANYONE, OPEN_ACL, Id, put_acls
from ottla.protocol.zookeeper.jute import INT, put_buffer, put_string, put_strings
from ottla.protocol.zookeeper.messages import AuthPacket
from ottla.protocol.zookeeper.multi import MultiHeader
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import (
    AddWatchRequest,
    CheckVersionRequest,
    CheckWatchesRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetACLRequest,
    GetAllChildrenNumberRequest,
    GetChildren2Request,
    GetChildrenRequest,
    GetDataRequest,
    GetEphemeralsRequest,
    RemoveWatchesRequest,
    SetACLRequest,
    SetDataRequest,
    SyncRequest,
)

LETTERS = "ABC"
UNSERVED = frozenset({10, 23, 99, 110, -12})
"""Opcodes that are no client's: one is answered, then ZooKeeper closes the connection."""
_NAMES = ("a", "b", "c")
_ALICE = Id("digest", "alice:ZlPyBY05FEVZ5jqFi+9b0RiEbB0=")
_LISTS = (
    *([OPEN_ACL] * 12),
    (ACL(1, ANYONE),),
    (ACL(3, ANYONE), ACL(31, Id("auth", ""))),
    (ACL(31, Id("auth", "")),),
    (ACL(31, _ALICE), ACL(1, ANYONE)),
    (ACL(16, ANYONE),),
    (ACL(31, Id("ip", "127.0.0.1")),),
    (ACL(31, Id("ip", "10.0.0.0/8")), ACL(1, Id("ip", "127.0.0.0/8"))),
    (ACL(31, Id("digest", "no-colon")),),
    (ACL(31, Id("nonsense", "x")),),
    (ACL(31, Id("ip", "999.1.1.1")),),
    (ACL(31, Id("ip", "127.0.0.1/99")),),
    (ACL(31, Id("world", "someone")),),
    (ACL(0, ANYONE),),
    (ACL(31, ANYONE), ACL(31, ANYONE)),
    (ACL(31, Id("super", "")),),
    (),
)
_BAD_PATHS = ("", "x", "//", "/d//x", "/d/./x", "/d/../x", "/d/\x01", "/d/x/", "/d/\ue000", "/d/\0")
_ODD_PATHS = ("/", "/zookeeper", "/zookeeper/quota", "/none/below", "/d/ä")


@dataclass(frozen=True)
class Send:
    """One request. `since`: the body begins with the newest zxid as of that step."""

    session: str
    opcode: int
    body: bytes
    since: int | None = None


@dataclass(frozen=True)
class Drop:
    """The connection ends; the session stays."""

    session: str


@dataclass(frozen=True)
class Reconnect:
    """The client comes back with its id and password on a new connection."""

    session: str


@dataclass(frozen=True)
class Close:
    """The session is closed, and the next one begun."""

    session: str


Step = Send | Drop | Reconnect | Close


def conversation(seed: int, length: int) -> list[Step]:
    """The steps of a seed; the first one makes its directory `/d<seed>`."""
    return list(_Writer(seed).steps(length))


class _Writer:
    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._top = f"/d{seed}"
        self._number = 0
        self._kinds: list[tuple[int, Callable[[], Step]]] = [
            (22, self._create),
            (10, self._delete),
            (10, self._set_data),
            (8, self._exists),
            (7, self._get_data),
            (7, self._get_children),
            (4, self._acl),
            (9, self._multi),
            (3, self._multi_read),
            (6, self._add_watch),
            (3, self._remove_watches),
            (3, self._check_watches),
            (3, self._set_watches),
            (3, self._small),
            (3, self._auth),
            (4, self._quota),
            (2, self._broken),
            (2, lambda: Reconnect(self._session())),
            (1, lambda: Drop(self._session())),
            (1, lambda: Close(self._session())),
        ]

    def steps(self, length: int) -> Iterator[Step]:
        first = CreateRequest(self._top, b"top", OPEN_ACL, 0)
        yield Send("A", int(OpCode.CREATE), first.encode())
        weights = [weight for weight, _ in self._kinds]
        kinds = [kind for _, kind in self._kinds]
        for self._number in range(1, length):
            (kind,) = self._rng.choices(kinds, weights)
            yield kind()

    # What a step is made of.

    def _session(self) -> str:
        return self._rng.choice("AAABBC")

    def _path(self) -> str:
        draw = self._rng.random()
        if draw < 0.02:
            return self._rng.choice(_BAD_PATHS).replace("/d", self._top)
        if draw < 0.05:
            return self._rng.choice(_ODD_PATHS).replace("/d", self._top)
        if draw < 0.12:
            return self._top
        path = f"{self._top}/{self._rng.choice(_NAMES)}"
        if draw < 0.55:
            return path
        path = f"{path}/{self._rng.choice(_NAMES)}"
        if draw < 0.93:
            return path
        return f"{path}000000000{self._rng.randrange(4)}"

    def _data(self) -> bytes | None:
        return self._rng.choice((b"", b"x", b"yy", b"z" * 300, None))

    def _version(self) -> int:
        return self._rng.choice((-1, -1, -1, 0, 0, 1, 2, 7, -2))

    def _send(self, opcode: OpCode, request: object) -> Send:
        return Send(self._session(), int(opcode), request.encode())

    # Kinds of steps.

    def _create_request(self) -> tuple[OpCode, CreateRequest | CreateTTLRequest]:
        rng = self._rng
        opcode = rng.choice(
            (
                OpCode.CREATE,
                OpCode.CREATE,
                OpCode.CREATE2,
                OpCode.CREATE_CONTAINER,
                OpCode.CREATE_TTL,
            )
        )
        path, data, acl = self._path(), self._data(), rng.choice(_LISTS)
        if opcode is OpCode.CREATE_TTL:
            ttl = rng.choice((100_000, 1, 0, -5, 1 << 40, 1 << 41, (1 << 40) - 1))
            # Another mode with a negative ttl ends the process of ZooKeeper 3.9.
            mode = rng.choice((5, 6)) if ttl < 0 else rng.choice((5, 6, 5, 6, 0, 1, 9))
            return opcode, CreateTTLRequest(path, data, acl, mode, ttl)
        mode = rng.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, -1))
        if opcode is OpCode.CREATE_CONTAINER:
            mode = rng.choice((4, 4, 4, 0, 1, 2, 5))
        return opcode, CreateRequest(path, data, acl, mode)

    def _create(self) -> Step:
        if self._rng.random() < 0.6:
            mode = self._rng.choice((0, 0, 0, 1, 2, 3))
            request = CreateRequest(self._path(), self._data(), OPEN_ACL, mode)
            return self._send(self._rng.choice((OpCode.CREATE, OpCode.CREATE2)), request)
        return self._send(*self._create_request())

    def _delete(self) -> Step:
        return self._send(OpCode.DELETE, DeleteRequest(self._path(), self._version()))

    def _set_data(self) -> Step:
        request = SetDataRequest(self._path(), self._data(), self._version())
        return self._send(OpCode.SET_DATA, request)

    def _exists(self) -> Step:
        return self._send(OpCode.EXISTS, ExistsRequest(self._path(), self._rng.random() < 0.7))

    def _get_data(self) -> Step:
        return self._send(OpCode.GET_DATA, GetDataRequest(self._path(), self._rng.random() < 0.7))

    def _get_children(self) -> Step:
        watch = self._rng.random() < 0.7
        if self._rng.random() < 0.5:
            return self._send(OpCode.GET_CHILDREN, GetChildrenRequest(self._path(), watch))
        return self._send(OpCode.GET_CHILDREN2, GetChildren2Request(self._path(), watch))

    def _acl(self) -> Step:
        if self._rng.random() < 0.5:
            return self._send(OpCode.GET_ACL, GetACLRequest(self._path()))
        request = SetACLRequest(self._path(), self._rng.choice(_LISTS), self._version())
        return self._send(OpCode.SET_ACL, request)

    def _multi(self) -> Step:
        rng = self._rng
        parts = []
        for _ in range(rng.choice((0, 1, 2, 2, 3, 4))):
            match rng.randrange(10):
                case 0 | 1 | 2 | 3:
                    opcode, request = self._create_request()
                    if rng.random() < 0.7:
                        request = CreateRequest(
                            self._path(), b"m", OPEN_ACL, rng.choice((0, 0, 1, 2))
                        )
                        opcode = rng.choice((OpCode.CREATE, OpCode.CREATE2))
                case 4 | 5:
                    opcode, request = OpCode.DELETE, DeleteRequest(self._path(), self._version())
                case 6 | 7:
                    opcode = OpCode.SET_DATA
                    request = SetDataRequest(self._path(), self._data(), self._version())
                case 8:
                    opcode = OpCode.CHECK
                    request = CheckVersionRequest(self._path(), self._version())
                case _:
                    opcode, request = OpCode.DELETE, DeleteRequest(self._path(), -1)
            parts.append((int(opcode), request.encode()))
        return Send(self._session(), int(OpCode.MULTI), _multi(parts))

    def _multi_read(self) -> Step:
        parts = []
        for _ in range(self._rng.choice((0, 1, 2, 3))):
            if self._rng.random() < 0.5:
                parts.append((int(OpCode.GET_DATA), GetDataRequest(self._path(), True).encode()))
            else:
                request = GetChildrenRequest(self._path(), True)
                parts.append((int(OpCode.GET_CHILDREN), request.encode()))
        return Send(self._session(), int(OpCode.MULTI_READ), _multi(parts))

    def _add_watch(self) -> Step:
        mode = self._rng.choice((0, 0, 1, 1, 1, 2))
        return self._send(OpCode.ADD_WATCH, AddWatchRequest(self._path(), mode))

    def _remove_watches(self) -> Step:
        kind = self._rng.choice((1, 2, 3, 3, 4, 5, 6))
        return self._send(OpCode.REMOVE_WATCHES, RemoveWatchesRequest(self._path(), kind))

    def _check_watches(self) -> Step:
        kind = self._rng.choice((1, 2, 3, 3, 4, 5, 0))
        return self._send(OpCode.CHECK_WATCHES, CheckWatchesRequest(self._path(), kind))

    def _set_watches(self) -> Step:
        def some() -> bytes:
            return put_strings([self._path() for _ in range(self._rng.choice((0, 0, 1, 2)))])

        # As clients do: on a new connection, before anything else.
        since = self._rng.randrange(self._number)
        if self._rng.random() < 0.5:
            body = b"".join(some() for _ in range(3))
            return Send(self._session(), int(OpCode.SET_WATCHES), body, since)
        body = b"".join(some() for _ in range(5))
        return Send(self._session(), int(OpCode.SET_WATCHES2), body, since)

    def _small(self) -> Step:
        match self._rng.randrange(4):
            case 0:
                prefix = self._rng.choice(("/", "", self._top, self._path()))
                return self._send(OpCode.GET_EPHEMERALS, GetEphemeralsRequest(prefix))
            case 1:
                request = GetAllChildrenNumberRequest(self._path())
                return self._send(OpCode.GET_ALL_CHILDREN_NUMBER, request)
            case 2:
                return Send(self._session(), int(OpCode.WHO_AM_I), b"")
            case _:
                return self._send(OpCode.SYNC, SyncRequest(self._path()))

    def _quota(self) -> Step:
        """Limits of the conversation's directory, or of a node in it, in any order."""
        rng = self._rng
        below = rng.choice((self._top, self._top, f"{self._top}/a"))
        place = f"/zookeeper/quota{below}"
        limits = rng.choice(
            (
                b"count=3,bytes=100",
                b"count=-1,bytes=-1=;byteHardLimit=50;countHardLimit=2",
                b"count=2,bytes=5=;countHardLimit=6",
                b"count=-1,bytes=-1=;byteHardLimit=300",
            )
        )
        name, data = rng.choice(
            (("zookeeper_limits", limits), ("zookeeper_stats", b"count=-1,bytes=-1"))
        )
        match rng.randrange(8):
            case 0 | 1:
                return self._send(OpCode.CREATE, CreateRequest(place, b"", OPEN_ACL, 0))
            case 2 | 3 | 4:
                request = CreateRequest(f"{place}/{name}", data, OPEN_ACL, 0)
                return self._send(OpCode.CREATE2, request)
            case 5:
                return self._send(OpCode.DELETE, DeleteRequest(f"{place}/{name}", -1))
            case 6:
                request = SetDataRequest(f"{place}/zookeeper_limits", limits, -1)
                return self._send(OpCode.SET_DATA, request)
            case _:
                request = GetDataRequest(f"{place}/zookeeper_stats", True)
                return self._send(OpCode.GET_DATA, request)

    def _auth(self) -> Step:
        scheme, secret = self._rng.choice(
            (
                ("digest", b"alice:secret"),
                ("digest", b"alice:secret"),
                ("digest", b"bob:builder"),
                ("digest", b"super:test"),
                ("digest", b"nocolon"),
                ("digest", b""),
                ("ip", b""),
                ("world", b"anyone"),
                ("nonsense", b"x"),
            )
        )
        return self._send(OpCode.AUTH, AuthPacket(0, scheme, secret))

    def _broken(self) -> Step:
        rng = self._rng
        path = put_string(self._path())
        choices = (
            (int(OpCode.CREATE), b""),
            (int(OpCode.CREATE), path),
            (int(OpCode.CREATE), path + put_buffer(b"x") + INT.pack(-1) + INT.pack(0)),
            (
                int(OpCode.CREATE),
                INT.pack(-1) + put_buffer(b"x") + put_acls(OPEN_ACL) + INT.pack(0),
            ),
            (int(OpCode.CREATE), path + put_buffer(b"x") + put_acls(OPEN_ACL)),
            (int(OpCode.SET_DATA), path),
            (int(OpCode.SET_DATA), INT.pack(-1) + put_buffer(b"x") + INT.pack(-1)),
            (int(OpCode.DELETE), b"\x00\x00\x00\x10abc"),
            (int(OpCode.DELETE), INT.pack(-1) + INT.pack(-1)),
            (int(OpCode.EXISTS), path),
            (int(OpCode.EXISTS), INT.pack(-1) + b"\0"),
            (int(OpCode.GET_DATA), INT.pack(-1) + b"\0"),
            (int(OpCode.GET_DATA), b""),
            (int(OpCode.GET_DATA), path + b"\x02"),
            (int(OpCode.GET_CHILDREN), INT.pack(-1) + b"\0"),
            (int(OpCode.SET_ACL), path + INT.pack(-1) + INT.pack(-1)),
            (int(OpCode.MULTI), MultiHeader(int(OpCode.EXISTS), False, -1).encode() + path + b"\0"),
            (int(OpCode.MULTI), b"\0\0"),
            (int(OpCode.GET_EPHEMERALS), INT.pack(-1)),
            (int(OpCode.SYNC), INT.pack(-1)),
            (int(OpCode.ADD_WATCH), path),
            (int(OpCode.EXISTS), path + b"\1" + b"more than asked for"),
            (10, b""),
            (23, b""),
            (99, b"x"),
            (110, b""),
            (-12, b""),
        )
        opcode, body = rng.choice(choices)
        return Send(self._session(), opcode, body)


def _multi(parts: list[tuple[int, bytes]]) -> bytes:
    heads = [MultiHeader(opcode, False, -1).encode() + body for opcode, body in parts]
    return b"".join(heads) + MultiHeader(-1, True, -1).encode()


__all__ = ["LETTERS", "UNSERVED", "Close", "Drop", "Reconnect", "Send", "Step", "conversation"]
