"""What a run has in which topics change under those who use them.

Which of it there is says the plan: `grows` (more partitions), `retained` (old records go),
`unclean` (leaders from outside of the ISR).
"""

from collections.abc import Awaitable, Callable

import trio

from ottla.broker.ids import TopicPartition
from tests.simulation.world.checkers import BrokerChecker
from tests.simulation.world.clients import retained
from tests.simulation.world.clients.admin import Admin
from tests.simulation.world.clients.consumers import Reader
from tests.simulation.world.clients.growth import Grower
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.clients.producers import Producer
from tests.simulation.world.clients.retained import RetainedWork
from tests.simulation.world.clients.unclean import TOPICS, UncleanOperator
from tests.simulation.world.history import History
from tests.simulation.world.nodes import Node
from tests.simulation.world.plan import Plan
from tests.simulation.world.unclean import UncleanWatch

_UNCLEAN_LOOKS = 10  # samples from one look into unclean partitions to the next

Produce = Callable[[Producer, list[TopicPartition]], Awaitable[None]]
Administer = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class TopicWork:
    """`create` before the clients, `start` with them, `finish` when the faults are over."""

    def __init__(
        self,
        plan: Plan,
        port: Callable[[str], KafkaPort],
        history: History,
        brokers: list[Node],
        checker: BrokerChecker,
    ) -> None:
        self._plan = plan
        self._port = port
        self._history = history
        self._brokers = brokers
        self._checker = checker
        self._grower: Grower | None = None
        self._retained: RetainedWork | None = None
        self._risky = [
            TopicPartition(name, at) for name in (TOPICS if plan.unclean else ()) for at in range(2)
        ]
        self._unclean = UncleanWatch(self._risky, history.counts)
        self._readers: list[Reader] = []
        self._looks = 0

    async def create(self, admin: Admin) -> None:
        """Until all topics are there."""
        plan = self._plan
        if plan.retained is not None:
            partitions = RetainedWork.PARTITIONS
            await admin.create_surely(retained.TOPIC, partitions, 3, 2, **plan.retained)
        for name in TOPICS if self._risky else ():
            await admin.create_surely(name, 2, plan.unclean, 1, **TOPICS[name])
        for tp in self._risky:
            self._history.unclean.add(tp)
            self._checker.excuse(tp, "anybody may lead")

    def start(
        self,
        nursery: trio.Nursery,
        administer: Administer,
        produce: Produce,
        tps: list[TopicPartition],
        use: Callable[[TopicPartition], None],
    ) -> None:
        """`administer` runs what ends with the faults, `produce` what ends with the writing.

        `tps` are used by everybody; `use` is to be called for each that joins them.
        """
        plan, history = self._plan, self._history
        if plan.grows:
            self._grower = Grower(self._port("grower"), history, tps, use)
            nursery.start_soon(self._grower.follow)
            nursery.start_soon(administer, self._grower.play)
        if plan.retained is not None:
            self._retained = work = RetainedWork(
                history,
                plan.retained,
                self._brokers,
                self._checker.states,
                self._checker.registered,
                clocks_jump="clock_jump" in plan.faults,
            )
            producer = work.producer(self._port("brief"), plan.records_per_s / 2)
            nursery.start_soon(produce, producer, work.tps)
            for tp in work.tps:
                nursery.start_soon(work.reader(tp, self._port(f"reader-{tp}")).run)
            nursery.start_soon(administer, work.deleter(self._port("deleter")).play)
        if self._risky:
            for at in range(2):
                name = f"u{at}"
                rate = plan.records_per_s / len(self._risky)
                producer = Producer(name, self._port(name), history, acks=1, per_s=rate)
                nursery.start_soon(produce, producer, self._risky)
            for tp in self._risky:
                reader = Reader(self._port(f"reader-{tp}"), history, tp)
                self._readers.append(reader)
                nursery.start_soon(reader.run)
            operator = UncleanOperator(
                self._port("operator"), history, self._checker.states, self._risky
            )
            nursery.start_soon(operator.play)

    async def finish(self) -> None:
        if self._grower is not None:
            await self._grower.finish()

    def sample(self) -> None:
        """To be called every second."""
        if self._retained is not None:
            self._retained.look(1_700_000_000_000 + int(trio.current_time() * 1000))
        self._looks += 1
        if self._risky and not self._looks % _UNCLEAN_LOOKS:
            self._unclean.sample(self._brokers)

    def missing(self, written_at: float, healed_at: float) -> list[str]:
        """`written_at`: when the last producer was done."""
        missing = [] if self._grower is None else self._grower.missing(self._brokers)
        if self._retained is not None:
            missing += self._retained.missing(written_at)
        missing += [
            f"the reader of {reader.tp} does not read"
            for reader in self._readers
            if reader.caught_up_at < healed_at
        ]
        return missing

    def check(self) -> None:
        """To be called when nothing is missing."""
        if self._risky:
            self._unclean.sample(self._brokers)
            self._unclean.compare(self._brokers)


__all__ = ["TopicWork"]
