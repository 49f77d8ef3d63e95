"""The broker's client for the ensemble, on trio.

Speaks ZooKeeper's client protocol, so that the ensemble may be Ottla's coordinators or Apache
ZooKeeper. Paths are relative to the connect string's chroot. Every `start_*` method queues a
request and returns a `Reply` at once, which is how many requests travel together; the method
without `start_` awaits it. All raise EnsembleError subclasses.
"""

import contextlib
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import trio

from ottla.broker.ensemble import paths
from ottla.broker.ensemble.errors import MultiFailed, NodeExists, NoNode, SessionExpired, error_for
from ottla.broker.ensemble.replies import Reply, SessionId, SessionState, raise_for
from ottla.broker.ensemble.session import SessionKeeper
from ottla.broker.ensemble.stale_session import close_session
from ottla.broker.ensemble.watches import Watch, WatchEvent
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    OPEN_ACL,
    CheckVersionRequest,
    Create2Response,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    ErrorResponse,
    ExistsRequest,
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    MultiRequest,
    MultiResponse,
    OpRequest,
    SetDataRequest,
    SetDataResponse,
    Stat,
    SyncRequest,
)
from ottla.protocol.zookeeper.opcodes import CreateMode, OpCode
from ottla.runtime.interfaces import Address, Events, Network

DEFAULT_PORT = 2181
ANY_VERSION = -1

T = TypeVar("T")


class Operation(NamedTuple):
    """One step of a multi. Made by `create_op`, `set_data_op`, `delete_op` and `check_op`."""

    opcode: OpCode
    path: str
    data: bytes | None = None
    number: int = 0  # a CreateMode for create, the expected version for the others


def create_op(path: str, data: bytes | None, mode: CreateMode = CreateMode.PERSISTENT) -> Operation:
    return Operation(OpCode.CREATE, path, data, mode)


def set_data_op(path: str, data: bytes | None, version: int = ANY_VERSION) -> Operation:
    return Operation(OpCode.SET_DATA, path, data, version)


def delete_op(path: str, version: int = ANY_VERSION) -> Operation:
    return Operation(OpCode.DELETE, path, None, version)


def check_op(path: str, version: int) -> Operation:
    return Operation(OpCode.CHECK, path, None, version)


def parse_connect_string(text: str) -> tuple[list[Address], str]:
    """`h1:p1,h2:p2/chroot` as addresses and chroot ("" or "/..."). ValueError says what is bad."""
    hosts, slash, rest = text.strip().partition("/")
    chroot = f"/{rest.strip('/')}" if slash and rest.strip("/") else ""
    if "//" in chroot:
        raise ValueError(f"{text!r}: the chroot has an empty part")
    members = []
    for item in filter(None, (each.strip() for each in hosts.split(","))):
        host, colon, port = item.rpartition(":")
        if not colon or (item.startswith("[") and item.endswith("]")):
            host, port = item, str(DEFAULT_PORT)
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r}: {item!r} has no valid port")
        members.append(Address(host.strip("[]"), int(port)))
    if not members:
        raise ValueError(f"{text!r} names no host")
    return members, chroot


class EnsembleClient:
    """One session at a time, from `run` to `close`; see `session.SessionKeeper` for its rules."""

    def __init__(
        self,
        network: Network,
        connect: str,
        *,
        session_timeout_ms: int,
        rng: random.Random,
        events: Events,
    ) -> None:
        self._network = network
        self._members, self._chroot = parse_connect_string(connect)
        self._keeper = SessionKeeper(network, self._members, session_timeout_ms, rng, events)

    # --- the session -----------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the session until `close`; cancelling leaves it to its timeout, as a crash does."""
        task_status.started()
        await self._keeper.run()

    @property
    def state(self) -> SessionState:
        return self._keeper.state

    @property
    def session(self) -> SessionId:
        return self._keeper.session

    @property
    def sessions_begun(self) -> int:
        """Grows by one with every new session; tells whether an expiry was missed."""
        return self._keeper.sessions_begun

    @property
    def session_timeout_ms(self) -> int:
        """The negotiated one, once connected."""
        return self._keeper.timeout_ms

    @property
    def member(self) -> Address | None:
        """The ensemble member this client is connected to."""
        return self._keeper.member

    def on_state(self, listener: Callable[[SessionState], None]) -> Callable[[], None]:
        """Call `listener` with every new state; returns what ends that."""
        self._keeper.listeners.append(listener)
        return lambda: self._keeper.listeners.remove(listener)

    async def wait_connected(self) -> None:
        """Return once there is a live connection. Waits as long as it takes."""
        while self._keeper.state is not SessionState.CONNECTED:
            await self._keeper.changed.wait()

    async def wait_session_over(self, sessions_begun: int) -> None:
        """Return when the session that was number `sessions_begun` has ended."""
        keeper = self._keeper
        while keeper.sessions_begun == sessions_begun and keeper.state not in {
            SessionState.EXPIRED,
            SessionState.CLOSED,
        }:
            await keeper.changed.wait()

    async def close(self) -> None:
        """End the session; its ephemerals are gone when this returns (if a member is in reach)."""
        if self._keeper.state is not SessionState.CLOSED:
            with contextlib.suppress(SessionExpired):  # it ended by itself meanwhile
                await self._keeper.close().get()

    async def close_session(self, session: SessionId, *, timeout_s: float) -> bool:
        """End the session of an earlier process; see `stale_session.close_session`."""
        return await close_session(self._network, self._members, session, timeout_s=timeout_s)

    async def create_chroot(self) -> None:
        """Create the connect string's chroot, if there is one and it is missing."""
        if not self._chroot:
            return
        for path in [*paths.parents(self._chroot), self._chroot]:
            request = CreateRequest(path, b"", OPEN_ACL, CreateMode.PERSISTENT)
            reply = self._start(OpCode.CREATE, path, request.encode(), CreateResponse.decode)
            try:
                await reply.get()
            except NodeExists:
                continue

    # --- writes ----------------------------------------------------------------------------

    def start_create(
        self, path: str, data: bytes | None, mode: CreateMode = CreateMode.PERSISTENT
    ) -> Reply[str]:
        request = CreateRequest(self._whole(path), data, OPEN_ACL, mode)
        return self._start(
            OpCode.CREATE, path, request.encode(), lambda reader: self._local(reader.string())
        )

    async def create(
        self, path: str, data: bytes | None, mode: CreateMode = CreateMode.PERSISTENT
    ) -> str:
        """The path created, with its number for the sequential modes."""
        return await self.start_create(path, data, mode).get()

    async def create2(
        self, path: str, data: bytes | None, mode: CreateMode = CreateMode.PERSISTENT
    ) -> tuple[str, Stat]:
        """As `create`, with the new znode's stat."""
        request = CreateRequest(self._whole(path), data, OPEN_ACL, mode)
        answer = await self._start(
            OpCode.CREATE2, path, request.encode(), Create2Response.decode
        ).get()
        return self._local(answer.path), answer.stat

    async def ensure_path(self, path: str) -> None:
        """Create a persistent, empty znode and its parents where they are missing."""
        try:
            await self.create(path, None)
        except NodeExists:
            return
        except NoNode:
            for parent in paths.parents(path):
                try:
                    await self.create(parent, None)
                except NodeExists:
                    continue
            try:
                await self.create(path, None)
            except NodeExists:
                return

    def start_set_data(
        self, path: str, data: bytes | None, version: int = ANY_VERSION
    ) -> Reply[Stat]:
        request = SetDataRequest(self._whole(path), data, version)
        return self._start(OpCode.SET_DATA, path, request.encode(), Stat.decode)

    async def set_data(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> Stat:
        return await self.start_set_data(path, data, version).get()

    def start_delete(self, path: str, version: int = ANY_VERSION) -> Reply[None]:
        request = DeleteRequest(self._whole(path), version)
        return self._start(OpCode.DELETE, path, request.encode(), lambda _reader: None)

    async def delete(self, path: str, version: int = ANY_VERSION) -> None:
        await self.start_delete(path, version).get()

    def start_multi(self, operations: Sequence[Operation]) -> Reply[list[Stat | str | None]]:
        body = MultiRequest([(op.opcode, self._request(op)) for op in operations]).encode()

        def accept(error: int, reader: Reader) -> list[Stat | str | None]:
            if error and not reader.remaining:
                raise error_for(error, "multi")
            return self._multi_results(operations, MultiResponse.decode(reader))

        return self._keeper.start(OpCode.MULTI, body, accept)

    async def multi(self, operations: Sequence[Operation]) -> list[Stat | str | None]:
        """All or nothing, in one transaction. MultiFailed names the operation that failed.

        One result each: the path created, the Stat after set_data, None for delete and check.
        """
        return await self.start_multi(operations).get()

    def _request(self, op: Operation) -> OpRequest:
        path = self._whole(op.path)
        match op.opcode:
            case OpCode.CREATE:
                return CreateRequest(path, op.data, OPEN_ACL, op.number)
            case OpCode.SET_DATA:
                return SetDataRequest(path, op.data, op.number)
            case OpCode.DELETE:
                return DeleteRequest(path, op.number)
        assert op.opcode is OpCode.CHECK
        return CheckVersionRequest(path, op.number)

    def _multi_results(
        self, operations: Sequence[Operation], response: MultiResponse
    ) -> list[Stat | str | None]:
        results: list[Stat | str | None] = []
        for at, (_, answer) in enumerate(response.results):
            match answer:
                # The others of a failed multi read OK before the culprit, RUNTIMEINCONSISTENCY
                # after it.
                case ErrorResponse(error) if error not in {
                    ZkError.OK,
                    ZkError.RUNTIMEINCONSISTENCY,
                }:
                    raise MultiFailed(at, error_for(error, operations[at].path))
                case CreateResponse(path):
                    results.append(self._local(path))
                case SetDataResponse(stat):
                    results.append(stat)
                case _:
                    results.append(None)
        return results

    # --- reads -----------------------------------------------------------------------------

    def start_get_data(
        self, path: str, *, watch: Watch | None = None
    ) -> Reply[tuple[bytes | None, Stat]]:
        whole = self._whole(path)

        def decode(reader: Reader) -> tuple[bytes | None, Stat]:
            answer = GetDataResponse.decode(reader)
            if watch is not None:
                self._keeper.watches.data.setdefault(whole, {})[watch] = None
            return answer.data, answer.stat

        request = GetDataRequest(whole, watch is not None)
        return self._start(OpCode.GET_DATA, path, request.encode(), decode)

    async def get_data(self, path: str, *, watch: Watch | None = None) -> tuple[bytes | None, Stat]:
        """NoNode sets no watch; use `exists` for what may not be there yet."""
        return await self.start_get_data(path, watch=watch).get()

    def start_exists(self, path: str, *, watch: Watch | None = None) -> Reply[Stat | None]:
        whole = self._whole(path)
        watches = self._keeper.watches

        def accept(error: int, reader: Reader) -> Stat | None:
            if error == ZkError.NONODE:
                if watch is not None:
                    watches.exist.setdefault(whole, {})[watch] = None
                return None
            raise_for(error, path)
            if watch is not None:
                watches.data.setdefault(whole, {})[watch] = None
            return Stat.decode(reader)

        request = ExistsRequest(whole, watch is not None)
        return self._keeper.start(OpCode.EXISTS, request.encode(), accept)

    async def exists(self, path: str, *, watch: Watch | None = None) -> Stat | None:
        """The znode's stat, or None; the watch is set either way."""
        return await self.start_exists(path, watch=watch).get()

    def start_get_children(self, path: str, *, watch: Watch | None = None) -> Reply[list[str]]:
        whole = self._whole(path)

        def decode(reader: Reader) -> list[str]:
            children = GetChildrenResponse.decode(reader).children
            if watch is not None:
                self._keeper.watches.child.setdefault(whole, {})[watch] = None
            return children

        request = GetChildrenRequest(whole, watch is not None)
        return self._start(OpCode.GET_CHILDREN, path, request.encode(), decode)

    async def get_children(self, path: str, *, watch: Watch | None = None) -> list[str]:
        """Names of the children, in no order."""
        return await self.start_get_children(path, watch=watch).get()

    async def sync(self, path: str = "/") -> None:
        """Wait until this member has everything that was committed before the call."""
        request = SyncRequest(self._whole(path))
        await self._start(OpCode.SYNC, path, request.encode(), lambda _reader: None).get()

    # --- plumbing --------------------------------------------------------------------------

    def _start(
        self, opcode: OpCode, path: str, body: bytes, decode: Callable[[Reader], T]
    ) -> Reply[T]:
        def accept(error: int, reader: Reader) -> T:
            raise_for(error, path)
            return decode(reader)

        return self._keeper.start(opcode, body, accept)

    def _whole(self, path: str) -> str:
        assert path.startswith("/"), path
        return (self._chroot + path if path != "/" else self._chroot) or "/"

    def _local(self, whole: str) -> str:
        return whole[len(self._chroot) :] or "/"


__all__ = [
    "ANY_VERSION",
    "EnsembleClient",
    "Operation",
    "WatchEvent",
    "check_op",
    "create_op",
    "delete_op",
    "parse_connect_string",
    "set_data_op",
]
