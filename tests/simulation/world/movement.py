"""What a run has in which partitions move: who moves them, who reads nearby, what is checked.

Which of it there is says the plan: `moves` between brokers, `moves_logs` between the directories of
a broker, `racks` that consumers read in.
"""

from collections.abc import Awaitable, Callable

import trio

from ottla.broker.ids import TopicPartition
from tests.simulation.world import liveness
from tests.simulation.world.assignments import AssignmentWatch
from tests.simulation.world.clients.log_dirs import LogDirMover
from tests.simulation.world.clients.moves import Mover
from tests.simulation.world.clients.near_readers import NearReader
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History
from tests.simulation.world.machines import Timeline
from tests.simulation.world.nodes import Node
from tests.simulation.world.plan import LOG_DIRS, Plan


class Movement:
    """`start` with the clients, `finish` when the faults are over."""

    def __init__(
        self, plan: Plan, port: Callable[[str], KafkaPort], history: History, timeline: Timeline
    ) -> None:
        self.watch = AssignmentWatch()
        self._plan = plan
        self._port = port
        self._history = history
        self._timeline = timeline
        self._mover: Mover | None = None
        self._log_mover: LogDirMover | None = None
        self._readers: list[NearReader] = []

    def start(
        self,
        nursery: trio.Nursery,
        administer: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
        tps: list[TopicPartition],
        topics: list[str],
    ) -> None:
        """`administer` runs what ends with the faults. `tps` are read, `topics` moved."""
        plan, history = self._plan, self._history
        for tp in tps if plan.racks else ():
            port = self._port(f"near-{tp}")
            reader = NearReader(port, history, tp, plan.rack(port.rng.choice(port.brokers)))
            self._readers.append(reader)
            nursery.start_soon(reader.run)
        if plan.moves:
            self._mover = Mover(self._port("mover"), history, self.watch, topics)
            nursery.start_soon(administer, self._mover.play)
        if plan.moves_logs:
            port = self._port("log-mover")
            self._log_mover = LogDirMover(port, history, self.watch, topics, LOG_DIRS)
            self._timeline.listeners.append(self._log_mover.heed)
            nursery.start_soon(administer, self._log_mover.play)

    async def finish(self) -> None:
        async with trio.open_nursery() as nursery:
            if self._mover is not None:
                nursery.start_soon(self._mover.finish)
            if self._log_mover is not None:
                nursery.start_soon(self._log_mover.finish)

    def missing(self, brokers: list[Node], healed_at: float) -> list[str]:
        missing = liveness.readers(self._history, self._readers, healed_at)
        if self._mover is not None:
            missing += self._mover.missing(brokers)
        if self._log_mover is not None:
            missing += self._log_mover.missing(brokers)
        return missing

    def check(self, brokers: list[Node]) -> None:
        """To be called when nothing is missing."""
        self._history.check_logs({reader.tp: reader.log for reader in self._readers})
        if self._mover is not None:
            self._mover.check()
        if self._log_mover is not None:
            self._log_mover.check(brokers)


__all__ = ["Movement"]
