"""Calls whose history is checked for linearizability: every kind of write, and reads behind a sync.

Several are under way at once, so that their order is the ensemble's to choose.
"""

import random

import trio

from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.errors import (
    BadVersion,
    ConnectionLoss,
    NodeExists,
    NoNode,
    SessionExpired,
)
from tests.simulation.world.clients.facts import register
from tests.simulation.world.linearizability import (
    ANY_VERSION,
    Call,
    Kind,
    Ledger,
    Operation,
    Outcome,
    State,
)

_KINDS = (Kind.CREATE,) * 2 + (Kind.DELETE,) + (Kind.SET,) * 4 + (Kind.READ,) * 3
_REFUSALS = {
    NoNode: Outcome.NO_NODE,
    NodeExists: Outcome.NODE_EXISTS,
    BadVersion: Outcome.BAD_VERSION,
}


class RegisterUser:
    """Uses the shared znodes through one client until cancelled."""

    def __init__(
        self, name: str, client: EnsembleClient, ledger: Ledger, rng: random.Random
    ) -> None:
        self._name = name
        self._client = client
        self._ledger = ledger
        self._rng = rng
        self._values = 0
        self._known: dict[str, State] = {}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(self._rng.expovariate(0.5))
                for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
                    nursery.start_soon(self._call)

    async def _call(self) -> None:
        path = register(self._rng)
        call = self._ledger.begin(self._name, path, self._choose(path))
        try:
            self._ledger.end(call, await self._do(path, call))
        except tuple(_REFUSALS) as refusal:
            self._ledger.end(call, _REFUSALS[type(refusal)])
        except (ConnectionLoss, SessionExpired):
            self._ledger.lose(call)

    def _choose(self, path: str) -> Operation:
        kind = self._rng.choice(_KINDS)
        if kind in {Kind.READ, Kind.DELETE}:
            return Operation(kind)
        self._values += 1
        data = f"{self._name}+{self._values}".encode()
        known = self._known.get(path)
        if kind is Kind.SET and known is not None and self._rng.random() < 0.6:
            return Operation(kind, data, known[0])
        return Operation(kind, data)

    async def _do(self, path: str, call: Call) -> object:
        client, (kind, data, version) = self._client, call.operation
        match kind:
            case Kind.CREATE:
                await client.create(path, data)
                self._known[path] = 0, data
                return Outcome.DONE
            case Kind.DELETE:
                await client.delete(path, ANY_VERSION)
                return Outcome.DONE
            case Kind.SET:
                stat = await client.set_data(path, data, version)
                self._known[path] = stat.version, data
                return stat.version
        await client.sync(path)
        try:
            shown, stat = await client.get_data(path)
        except NoNode:
            self._known[path] = None
            return None
        self._known[path] = stat.version, shown or b""
        return self._known[path]


__all__ = ["RegisterUser"]
