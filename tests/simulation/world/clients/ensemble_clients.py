"""All clients of the ensemble that a run has."""

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from ottla.runtime.interfaces import Address
from tests.simulation.world.clients.ensemble import EnsembleActor
from tests.simulation.world.clients.facts import EnsembleHistory
from tests.simulation.world.clients.onlookers import Onlooker
from tests.simulation.world.clients.wanderers import Wanderer
from tests.simulation.world.history import History
from tests.simulation.world.machines import SimEvents, Timeline
from tests.simulation.world.network import SimNetwork


class EnsembleClientActor(Protocol):
    """Runs until cancelled; `missing` tells what did not work again after a moment."""

    async def run(self) -> None: ...

    def missing(self, since: float) -> list[str]: ...


def ensemble_clients(
    count: int,
    network_at: Callable[[str], SimNetwork],
    members: Sequence[Address],
    *,
    facts: EnsembleHistory,
    history: History,
    timeline: Timeline,
    draw: Callable[[], random.Random],
    timeout_ms: int,
) -> list[EnsembleClientActor]:
    """`count` actors, and where there is one, a wanderer and an onlooker."""
    connect = ",".join(map(str, members))
    clients: list[EnsembleClientActor] = [
        EnsembleActor(
            name,
            network_at(name),
            connect,
            facts=facts,
            history=history,
            events=SimEvents(timeline, name),
            rng=draw(),
            timeout_ms=timeout_ms,
        )
        for name in (f"zk-{at}" for at in range(count))
    ]
    if not clients:
        return []
    wanderer = Wanderer(
        "zk-wanderer",
        network_at("zk-wanderer"),
        members,
        facts=facts,
        history=history,
        rng=draw(),
        timeout_ms=timeout_ms,
    )
    onlooker = Onlooker(
        "zk-onlooker",
        network_at("zk-onlooker"),
        connect,
        facts=facts,
        events=SimEvents(timeline, "zk-onlooker"),
        rng=draw(),
        timeout_ms=timeout_ms,
    )
    return [*clients, wanderer, onlooker]


__all__ = ["EnsembleClientActor", "ensemble_clients"]
