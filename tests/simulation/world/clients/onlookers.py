"""A session that writes once and then only reads: its member's reports are what keeps it."""

import random

import trio

from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.errors import ConnectionLoss, SessionExpired
from ottla.broker.ensemble.replies import SessionState
from ottla.protocol.zookeeper.opcodes import CreateMode
from tests.simulation.world.clients.facts import ONLOOKERS, EnsembleHistory
from tests.simulation.world.history import Violation
from tests.simulation.world.machines import SimEvents
from tests.simulation.world.network import SimNetwork


class Onlooker:
    """Looks at its own ephemeral, as long as the session lasts; then anew."""

    def __init__(
        self,
        name: str,
        network: SimNetwork,
        connect: str,
        *,
        facts: EnsembleHistory,
        events: SimEvents,
        rng: random.Random,
        timeout_ms: int,
    ) -> None:
        self.name = name
        self.last_success_at = -1.0
        self._facts = facts
        self._client = EnsembleClient(
            network, connect, session_timeout_ms=timeout_ms, rng=rng, events=events
        )

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._client.run)
            while True:
                await self._client.wait_connected()
                try:
                    await self._look_on()
                except (ConnectionLoss, SessionExpired):
                    continue

    def missing(self, since: float) -> list[str]:
        """What did not work again after the moment `since`."""
        return [f"{self.name} sees nothing"] if self.last_success_at < since else []

    async def _look_on(self) -> None:
        client, facts = self._client, self._facts
        session, begun = client.session.id, client.sessions_begun
        timeout_s = client.session_timeout_ms / 1000
        path = f"{ONLOOKERS}-{self.name}-{begun}"
        if await client.exists(path) is None:
            await client.create(path, b"", CreateMode.EPHEMERAL)
        facts.timeouts[session] = timeout_s
        while client.sessions_begun == begun:
            sent = trio.current_time()
            stat = await client.exists(path)
            if client.sessions_begun != begun:
                return
            if stat is None and client.state is SessionState.CONNECTED:
                raise Violation(f"{self.name}: {path} is gone while its session lives")
            facts.answered[session] = self.last_success_at = sent
            await trio.sleep(timeout_s / 4)


__all__ = ["Onlooker"]
