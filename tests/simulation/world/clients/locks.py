"""The lock recipe: ephemeral sequential znodes, each waiting for the one before it.

Whoever holds the lock writes its number into the guarded znode, in one multi with a check that its
own znode is still there. So the ensemble itself says whether the lock was held when the write
happened, and these may not happen while it was:

* somebody else wrote since the holder read: two held the lock at a time;
* the number that is there already is not lower: grants left the order of the numbers;
* the holder's znode is gone although its session lives.
"""

import random

import trio

from ottla.broker.ensemble.client import EnsembleClient, check_op, set_data_op
from ottla.broker.ensemble.errors import (
    BadVersion,
    ConnectionLoss,
    MultiFailed,
    NoNode,
    SessionExpired,
)
from ottla.broker.ensemble.replies import SessionState
from ottla.broker.ensemble.watches import WatchEvent
from ottla.protocol.zookeeper.opcodes import CreateMode
from tests.simulation.world.clients.facts import GUARD, LOCKS, EnsembleHistory
from tests.simulation.world.history import History, Violation


class _Lost(Exception):
    """The session of this attempt is over, and the lock with it."""


class LockUser:
    """Takes the lock, uses it and gives it back, until cancelled."""

    def __init__(
        self,
        name: str,
        client: EnsembleClient,
        facts: EnsembleHistory,
        history: History,
        rng: random.Random,
    ) -> None:
        self.last_held_at = -1.0
        self._name = name
        self._client = client
        self._facts = facts
        self._history = history
        self._rng = rng
        self._attempts = 0
        self._begun = 0  # the session of this attempt

    async def run(self) -> None:
        while True:
            await trio.sleep(self._rng.expovariate(1 / 4))
            await self._client.wait_connected()
            self._begun = self._client.sessions_begun
            try:
                await self._attempt()
            except (_Lost, SessionExpired):
                self._history.counts["locks lost with their session"] += 1

    async def _attempt(self) -> None:
        path = await self._enqueue()
        if path is None:
            return
        try:
            await self._wait_turn(path)
            await self._use(path)
        except ConnectionLoss:
            self._history.counts["locks given up in doubt"] += 1
        await self._give_back(path)

    async def _enqueue(self) -> str | None:
        """Our place in the queue. None: it is certain that there is none."""
        self._attempts += 1
        mark = f"{self._name}-{self._attempts}-"
        client = self._client
        try:
            path, stat = await client.create2(
                f"{LOCKS}/{mark}", b"", CreateMode.EPHEMERAL_SEQUENTIAL
            )
        except ConnectionLoss:
            return await self._find(mark)
        self._facts.numbered(stat.czxid, _number(path))
        return path

    async def _find(self, mark: str) -> str | None:
        """What a create whose answer was lost has made: on a new connection that is decided."""
        while True:
            try:
                await self._client.sync(LOCKS)
                names = await self._client.get_children(LOCKS)
            except ConnectionLoss:
                await self._client.wait_connected()
                continue
            self._require_session()
            found = [name for name in names if name.startswith(mark)]
            return f"{LOCKS}/{found[0]}" if found else None

    def _require_session(self) -> None:
        if self._client.sessions_begun != self._begun:
            raise _Lost

    def _is_gone(self, path: str) -> None:
        """The ensemble says so; it may only be if the session is over."""
        self._require_session()
        if self._client.state is SessionState.CONNECTED:
            raise Violation(f"{self._name}: {path} is gone while its session lives")
        raise _Lost

    async def _wait_turn(self, path: str) -> None:
        own = path.rpartition("/")[2]
        while True:
            names = sorted(await self._client.get_children(LOCKS), key=_number)
            if own not in names:
                self._is_gone(path)
            at = names.index(own)
            if at == 0:
                return
            await self._wait_gone(f"{LOCKS}/{names[at - 1]}")
            self._require_session()

    async def _wait_gone(self, path: str) -> None:
        gone = trio.Event()

        def fired(_event: WatchEvent) -> None:
            gone.set()

        if await self._client.exists(path, watch=fired) is None:
            return
        async with trio.open_nursery() as nursery:

            async def wait_over() -> None:
                await self._client.wait_session_over(self._begun)
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_over)
            await gone.wait()
            nursery.cancel_scope.cancel()

    async def _use(self, path: str) -> None:
        """It is our turn, as far as we know. ConnectionLoss: the write may have happened."""
        number = _number(path)
        data, stat = await self._client.get_data(GUARD)
        before = int(data or b"")
        await trio.sleep(self._rng.choice((0.0, 0.1, 1.0)))
        try:
            await self._client.multi(
                [check_op(path, 0), set_data_op(GUARD, b"%d" % number, stat.version)]
            )
        except MultiFailed as failed:
            if failed.index == 0:
                self._is_gone(path)
            if isinstance(failed.cause, BadVersion):
                raise Violation(
                    f"{self._name}: {path} holds the lock, yet {GUARD} is past {stat.version}"
                ) from None
            raise
        if before >= number:
            raise Violation(f"{self._name}: {path} gets the lock after number {before}")
        self.last_held_at = trio.current_time()
        self._history.counts["locks held"] += 1

    async def _give_back(self, path: str) -> None:
        in_doubt = False
        while True:
            self._require_session()
            try:
                await self._client.delete(path)
                return
            except ConnectionLoss:
                in_doubt = True
                await self._client.wait_connected()
            except NoNode:
                if not in_doubt:
                    self._is_gone(path)
                return


def _number(path: str) -> int:
    return int(path.rpartition("-")[2])


__all__ = ["LockUser"]
