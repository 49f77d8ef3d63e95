"""Sessions that move from member to member while their old connections live.

Each carries a recursive watch over all that the other clients do, and writes a znode of its own
with many requests in flight. What is checked:

* Requests of one connection take effect in their order: a read sees all writes before it and none
  behind it, which on a znode that nobody else writes leaves one possible answer.
* The recursive watch tells every change once, in order, without a gap, and before any answer of
  the same connection that shows a state with that change in it.
* What was sent on an old connection happens before the new one is granted, or never (through the
  ledger, see `linearizability`).
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence

import trio

from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import (
    OPEN_ACL,
    AddWatchRequest,
    CreateRequest,
    GetDataRequest,
    GetDataResponse,
    SetDataRequest,
    SetWatches2,
    Stat,
    SyncRequest,
    WatcherEvent,
)
from ottla.protocol.zookeeper.opcodes import AddWatchMode, OpCode
from ottla.runtime.interfaces import Address
from tests.simulation.world.clients.facts import (
    REGISTERS,
    ROOT,
    Change,
    EnsembleHistory,
    register,
)
from tests.simulation.world.clients.sessions import (
    Answer,
    Pending,
    SessionConnection,
    SessionOver,
    Severed,
)
from tests.simulation.world.history import History, Violation
from tests.simulation.world.linearizability import Call, Kind, Operation, Outcome
from tests.simulation.world.network import SimNetwork

_PATIENCE_S = 4.0


class Wanderer:
    """One session after the other, each on several members in turn."""

    def __init__(
        self,
        name: str,
        network: SimNetwork,
        members: Sequence[Address],
        *,
        facts: EnsembleHistory,
        history: History,
        rng: random.Random,
        timeout_ms: int,
    ) -> None:
        self.name = name
        self.last_success_at = -1.0
        self._network = network
        self._members = list(members)
        self._facts = facts
        self._history = history
        self._rng = rng
        self._timeout_ms = timeout_ms
        self._path = f"{ROOT}/own-{name}"
        self._session = (0, bytes(16))
        self._seen = 0
        self._values = 0
        self._writes: dict[Call, Pending] = {}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            old: SessionConnection | None = None
            while True:
                connection = await self._connect()
                if connection is None:
                    await trio.sleep(self._rng.uniform(0.05, 0.5))
                    continue
                nursery.start_soon(connection.run)
                nursery.start_soon(self._close_later, old)
                old = connection
                try:
                    await self._stay(connection, nursery)
                except Severed:
                    self._history.counts["connections of wanderers lost"] += 1

    def missing(self, since: float) -> list[str]:
        """What did not work again after the moment `since`."""
        return [f"{self.name} does nothing"] if self.last_success_at < since else []

    async def _close_later(self, old: SessionConnection | None) -> None:
        """The old connection hears nothing of the move; the ensemble is what ends it."""
        if old is not None:
            await trio.sleep(self._rng.choice((0.0, 0.5, 5.0)))
            old.close()

    async def _connect(self) -> SessionConnection | None:
        connection = None
        try:
            with trio.move_on_after(_PATIENCE_S):
                connection = await SessionConnection.open(
                    self._network,
                    self._rng.choice(self._members),
                    session=self._session,
                    seen=self._seen,
                    timeout_ms=self._timeout_ms,
                )
        except OSError:
            return None
        except SessionOver:
            self._session = (0, bytes(16))
            return None
        if connection is not None:
            if self._session[0]:
                self._history.counts["sessions moved"] += 1
            self._session = connection.session
            self._facts.ledger.settle(self.name, self._writes)
        return connection

    # On one member

    async def _stay(self, connection: SessionConnection, nursery: trio.Nursery) -> None:
        """Work until it is time to go. Severed."""
        follower = Follower(self.name, self._facts, self._note)
        connection.on_event, connection.on_answer = follower.on_event, follower.on_answer
        await self._watch(connection)
        for path in REGISTERS:  # what comes late from the old connection shows against this
            await self._read_synced(connection, path)
        leaves_at = trio.current_time() + self._rng.expovariate(1 / 7)
        await self._prepare(connection)
        while trio.current_time() < leaves_at:
            await self._burst(connection)
            self.last_success_at = trio.current_time()
            await trio.sleep(self._rng.expovariate(0.5))
        requests, calls = self._writing(self._rng.randint(1, 4))
        for call, pending in zip(calls, await connection.send(*requests), strict=True):
            self._writes[call] = pending
            nursery.start_soon(self._await_write, call, pending)

    def _note(self, zxid: int) -> None:
        self._seen = max(self._seen, zxid)

    async def _watch(self, connection: SessionConnection) -> None:
        """Set the watch anew, by one way or the other."""
        if self._rng.random() < 0.5:
            body = AddWatchRequest(ROOT, AddWatchMode.PERSISTENT_RECURSIVE).encode()
            request = OpCode.ADD_WATCH, body, None
        else:
            body = SetWatches2(self._seen, [], [], [], [], [ROOT]).encode()
            request = OpCode.SET_WATCHES2, body, None
        (pending,) = await connection.send(request)
        answer = await pending.get()
        if answer.error:
            raise Violation(f"{self.name}: a watch is refused with {answer.error}")

    async def _prepare(self, connection: SessionConnection) -> None:
        for path in (ROOT, self._path):
            body = CreateRequest(path, b"", OPEN_ACL).encode()
            (pending,) = await connection.send((OpCode.CREATE, body, None))
            answer = await pending.get()
            if answer.error not in {ZkError.OK, ZkError.NODEEXISTS}:
                raise Violation(f"{self.name}: creating {path} fails with {answer.error}")

    async def _burst(self, connection: SessionConnection) -> None:
        """Writes and reads of a znode of one's own, all in flight at once, each with one answer."""
        get = OpCode.GET_DATA, GetDataRequest(self._path).encode(), GetDataResponse.decode
        requests, written = [get], []
        for _ in range(self._rng.randint(1, 4)):
            self._values += 1
            written.append(b"%d" % self._values)
            body = SetDataRequest(self._path, written[-1]).encode()
            requests += [(OpCode.SET_DATA, body, Stat.decode), get]
        first, *rest = [await each.get() for each in await connection.send(*requests)]
        before = _shown(first)
        for at, data in enumerate(written):
            wrote, read = rest[2 * at : 2 * at + 2]
            version = before[0] + at + 1
            if wrote.error or wrote.value.version != version:
                raise Violation(f"{self.name}: write {at} after {before} answers {wrote}")
            if _shown(read) != (version, data):
                raise Violation(f"{self.name}: read {at} after {before} shows {_shown(read)}")
        self._history.counts["ensemble operations"] += len(requests)
        if self._rng.random() < 0.5:
            await self._read_synced(connection, register(self._rng))

    # For the ledger

    def _writing(self, count: int) -> tuple[list, list[Call]]:
        requests, calls = [], []
        for _ in range(count):
            path = register(self._rng)
            self._values += 1
            data = f"{self.name}-{self._values}".encode()
            requests.append((OpCode.SET_DATA, SetDataRequest(path, data).encode(), Stat.decode))
            calls.append(self._facts.ledger.begin(self.name, path, Operation(Kind.SET, data)))
        return requests, calls

    async def _await_write(self, call: Call, pending: Pending) -> None:
        ledger = self._facts.ledger
        try:
            answer = await pending.get()
        except Severed:
            ledger.lose(call)
        else:
            if answer.error == ZkError.OK:
                ledger.end(call, answer.value.version)
            elif answer.error == ZkError.NONODE:
                ledger.end(call, Outcome.NO_NODE)
            else:
                raise Violation(f"{call} is answered with {answer.error}")
        del self._writes[call]

    async def _read_synced(self, connection: SessionConnection, path: str) -> None:
        call = self._facts.ledger.begin(self.name, path, Operation(Kind.READ))
        sync, read = await connection.send(
            (OpCode.SYNC, SyncRequest(path).encode(), None),
            (OpCode.GET_DATA, GetDataRequest(path).encode(), GetDataResponse.decode),
        )
        try:
            await sync.get()
            answer = await read.get()
        except Severed:
            self._facts.ledger.lose(call)
            raise
        self._facts.ledger.end(call, None if answer.error == ZkError.NONODE else _shown(answer))


def _shown(answer: Answer) -> tuple[int, bytes]:
    if answer.error:
        raise Violation(f"a read is answered with {answer.error}")
    return answer.value.stat.version, answer.value.data or b""


class Follower:
    """What a recursive watch on ROOT has to tell on one connection, and what it tells.

    The first answer of the connection is that of the watch: it was set in the state after it.
    """

    def __init__(self, name: str, facts: EnsembleHistory, note: Callable[[int], None]) -> None:
        self._name = name
        self._changes = facts.changes
        self._note = note
        self._next = -1  # the change that has to come next; -1: the watch is not set yet

    def on_event(self, zxid: int, event: WatcherEvent) -> None:
        self._note(zxid)
        told = Change(zxid, event.type, event.path)
        expected = None
        if 0 <= self._next < len(self._changes):
            expected = self._changes[self._next]
        if told != expected:
            raise Violation(f"{self._name}: its watch tells {told}, what happened is {expected}")
        self._next += 1

    def on_answer(self, answer: Answer) -> None:
        self._note(answer.zxid)
        changes = self._changes
        if self._next < 0:
            self._next = bisect_right(changes, answer.zxid, key=lambda change: change.zxid)
        elif self._next < len(changes) and changes[self._next].zxid <= answer.zxid:
            raise Violation(
                f"{self._name}: an answer shows the state after {answer.zxid:#x}, its watch has not"
                f" told of {changes[self._next]}"
            )


__all__ = ["Follower", "Wanderer"]
