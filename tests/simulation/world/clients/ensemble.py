"""Clients of the ensemble, as the broker's client library serves them.

Each has one session after the other and does several things at once on it: it bumps a counter by
compare-and-set, owns ephemerals, watches, takes a lock (`locks`) and calls what is checked for
linearizability (`registers`). `wanderers` are clients of their own making.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.errors import (
    BadVersion,
    ConnectionLoss,
    EnsembleError,
    NodeExists,
    NoNode,
    SessionExpired,
)
from ottla.broker.ensemble.replies import SessionState
from ottla.broker.ensemble.watches import WatchEvent
from ottla.protocol.zookeeper.opcodes import CreateMode
from tests.simulation.world.clients.facts import (
    COUNTER,
    LOCKS,
    SHARED,
    EnsembleHistory,
    register,
)
from tests.simulation.world.clients.locks import LockUser
from tests.simulation.world.clients.registers import RegisterUser
from tests.simulation.world.history import History, Violation
from tests.simulation.world.machines import SimEvents
from tests.simulation.world.network import SimNetwork

T = TypeVar("T")


class EnsembleActor:
    """One session after the other, doing a bit of everything."""

    def __init__(
        self,
        name: str,
        network: SimNetwork,
        connect: str,
        *,
        facts: EnsembleHistory,
        history: History,
        events: SimEvents,
        rng: random.Random,
        timeout_ms: int,
    ) -> None:
        self.name = name
        self._rng = rng
        self._facts = facts
        self._history = history
        self._seen = 0  # newest version of the counter that this session saw
        self._life = 0
        self.last_success_at = -1.0
        self._client = EnsembleClient(
            network, connect, session_timeout_ms=timeout_ms, rng=rng, events=events
        )
        self._lock = LockUser(name, self._client, facts, history, rng)
        self._registers = RegisterUser(name, self._client, facts.ledger, rng)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._client.run)
            self._client.on_state(self._on_state)
            await self._ensure()
            nursery.start_soon(self._lock.run)
            nursery.start_soon(self._registers.run)
            while True:
                await trio.sleep(self._rng.expovariate(1.0))
                action = self._rng.choice((self._count, self._count, self._own, self._watch))
                try:
                    await action()
                    self.last_success_at = trio.current_time()
                    self._history.counts["ensemble operations"] += 1
                except (ConnectionLoss, SessionExpired):
                    self._history.counts["ensemble operations of unknown end"] += 1

    def missing(self, since: float) -> list[str]:
        """What did not work again after the moment `since`."""
        idle = [self.name] if self.last_success_at < since else []
        waiting = self._lock.last_held_at < since
        return [f"{name} does nothing" for name in idle] + (
            [f"{self.name} does not get the lock"] if waiting else []
        )

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.CONNECTED:
            self._facts.timeouts[self._client.session.id] = self._client.session_timeout_ms / 1000
            self._facts.ledger.settle(self.name)
        if state is SessionState.EXPIRED:
            self._seen = 0

    async def _write(self, operation: Awaitable[T]) -> T:
        sent, session = trio.current_time(), self._client.session.id
        result = await operation
        if session and session == self._client.session.id:
            self._facts.heard[session] = sent
        return result

    async def _count(self) -> None:
        """Read, perhaps after a sync, and set what was read plus one."""
        facts, client = self._facts, self._client
        floor = 0
        if self._rng.random() < 0.3:
            floor = facts.newest
            await client.sync(COUNTER)
        try:
            data, stat = await client.get_data(COUNTER)
        except NoNode:
            raise Violation(f"{self.name}: the counter is not there") from None
        self._saw(stat.version, floor)
        if data != b"%d" % stat.version:
            raise Violation(f"{self.name}: version {stat.version} of the counter holds {data!r}")
        try:
            new = await self._write(
                client.set_data(COUNTER, b"%d" % (stat.version + 1), stat.version)
            )
        except BadVersion:
            return
        if new.version in facts.versions:
            raise Violation(
                f"version {new.version} of the counter was made by {self.name}"
                f" and by {facts.versions[new.version]}"
            )
        facts.versions[new.version] = self.name
        facts.newest = max(facts.newest, new.version)
        self._saw(new.version, 0)
        _, stat = await client.get_data(COUNTER)
        self._saw(stat.version, new.version)

    def _saw(self, version: int, floor: int) -> None:
        if version < floor:
            raise Violation(f"{self.name}: a synced read shows version {version} after {floor}")
        if version < self._seen:
            raise Violation(f"{self.name}: the counter went from {self._seen} back to {version}")
        self._seen = version

    async def _ensure(self) -> None:
        for path, data in SHARED:
            while True:
                try:
                    await self._client.create(path, data)
                    break
                except NodeExists:
                    break
                except (ConnectionLoss, SessionExpired):
                    await self._client.wait_connected()

    async def _own(self) -> None:
        """An ephemeral: it is there as long as its session is, and can be seen after a write."""
        self._life += 1
        path = f"/sim-{self.name}-{self._life}"
        session = self._client.session.id
        await self._write(self._client.create(path, b"", CreateMode.EPHEMERAL))
        await trio.sleep(self._rng.uniform(0, 5))
        stat = await self._client.exists(path)
        if self._client.session.id != session:
            return
        if stat is None and self._client.state is SessionState.CONNECTED:
            raise Violation(f"{self.name}: {path} is gone while its session lives")
        try:
            await self._write(self._client.delete(path))
        except EnsembleError as error:
            if isinstance(error, ConnectionLoss | SessionExpired):
                raise
            if self._client.session.id == session:
                raise Violation(f"{self.name}: {error}") from None

    async def _watch(self) -> None:
        """A read that shows a change comes after the watch that announces it."""
        client, fired, arrived = self._client, [], trio.Event()

        def on_event(event: WatchEvent) -> None:
            fired.append(event)
            arrived.set()

        began = client.sessions_begun
        look, path = self._rng.choice(
            ((self._data, COUNTER), (self._existence, register(self._rng)), (self._names, LOCKS))
        )
        before = await look(path, on_event)
        with trio.move_on_after(self._rng.uniform(0.5, 10)):
            await arrived.wait()
        told = bool(fired)
        after = await look(path, None)
        if client.sessions_begun != began:
            return
        if after != before and not fired:
            raise Violation(
                f"{self.name}: {path} is {after}, the watch set when it was {before} is silent"
            )
        # What came may be gone again by the time of the read.
        if told and after == before and before and look != self._names:
            raise Violation(f"{self.name}: the watch on {path} fired, yet it is {after} still")

    async def _data(self, path: str, watch: Callable[[WatchEvent], None] | None) -> object:
        _, stat = await self._client.get_data(path, watch=watch)
        return stat.version + 1

    async def _existence(self, path: str, watch: Callable[[WatchEvent], None] | None) -> object:
        stat = await self._client.exists(path, watch=watch)
        return None if stat is None else (stat.czxid, stat.mzxid)

    async def _names(self, path: str, watch: Callable[[WatchEvent], None] | None) -> object:
        return sorted(await self._client.get_children(path, watch=watch))


__all__ = ["EnsembleActor"]
