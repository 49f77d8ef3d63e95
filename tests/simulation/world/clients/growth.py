"""An operator who gives topics more partitions while everybody writes to them and reads them.

An answered wish counts: in the end every broker knows as many partitions. One whose answer never
came may have been granted, or be granted later. Clients hear of new partitions from metadata, as
Kafka's do, and use them from then on like the others.
"""

from collections.abc import Callable

import trio

from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.clients.admin import Admin
from tests.simulation.world.clients.moves import SETTLED_S
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History, Violation
from tests.simulation.world.nodes import Node

_LOOK_S = 3.0  # between two looks at metadata
_MORE_MAX = 1  # partitions that a topic may get: each costs all that others do
_REFUSED = {
    ErrorCode.INVALID_PARTITIONS,  # a wish whose answer was lost came true
    ErrorCode.INVALID_REPLICATION_FACTOR,  # too few brokers live
    ErrorCode.NOT_CONTROLLER,
    ErrorCode.REASSIGNMENT_IN_PROGRESS,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,  # a controller that has only begun
}


class Grower:
    """`play` until the end of the faults, then `finish`; `follow` as long as there are clients.

    `use` starts clients of a partition that metadata shows; those in `tps` have them.
    """

    def __init__(
        self,
        port: KafkaPort,
        history: History,
        tps: list[TopicPartition],
        use: Callable[[TopicPartition], None],
    ) -> None:
        self._port = port
        self._history = history
        self._admin = Admin(port, history)
        self._tps = tps
        self._use = use
        self._acked = {tp.topic: 0 for tp in tps}
        self._most = {topic: self._known(topic) + _MORE_MAX for topic in self._acked}
        self._is_settled = False

    def _known(self, topic: str) -> int:
        return sum(tp.topic == topic for tp in self._tps)

    async def play(self) -> None:
        rng = self._port.rng
        while True:
            await trio.sleep(rng.uniform(2.0, 15.0))
            topic = rng.choice(list(self._acked))
            count = self._known(topic) + 1
            if count > self._most[topic]:
                continue
            code = await self._admin.grow(topic, count)
            if code is None:
                continue
            self._history.counts[f"topics to grow: {code.name.lower()}"] += 1
            if code is ErrorCode.NONE:
                self._acked[topic] = max(self._acked[topic], count)
            elif code not in _REFUSED:
                raise Violation(f"{topic} is not given {count} partitions: {code.name}")

    async def follow(self) -> None:
        while True:
            await trio.sleep(_LOOK_S)
            if not await self._port.refresh(*self._acked):
                continue
            for tp in sorted(self._port.leaders.keys() - set(self._tps)):
                if tp.topic in self._acked:
                    self._history.counts["partitions added while in use"] += 1
                    self._use(tp)

    async def finish(self) -> None:
        await trio.sleep(SETTLED_S)
        self._is_settled = True

    def missing(self, brokers: list[Node]) -> list[str]:
        """Brokers that do not know all partitions, or partitions that nobody uses yet."""
        missing = [] if self._is_settled else ["a topic may still grow"]
        for topic, acked in self._acked.items():
            used = self._known(topic)
            for node in brokers:
                knows = node.handle.services.metadata.partition_count(topic)
                if knows != used or knows < acked:
                    missing.append(
                        f"{node.name} knows {knows} partitions of {topic}, used are {used},"
                        f" granted {acked}"
                    )
        return missing


__all__ = ["Grower"]
