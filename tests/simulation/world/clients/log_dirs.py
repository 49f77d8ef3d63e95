"""An operator who moves logs between the directories of a broker (AlterReplicaLogDirs, KIP-113).

Where an answered wish said, the log is in the end, once: in no other directory, and with no copy
left. That holds until the broker gives the replica away; if it comes back, it may be anywhere.
"""

from collections import Counter
from dataclasses import dataclass

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)
from tests.simulation.world.assignments import AssignmentWatch
from tests.simulation.world.clients.moves import SETTLED_S, directories_of
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History, Violation
from tests.simulation.world.nodes import Node

TIMEOUT_S = 8.0

_REFUSED = {
    ErrorCode.KAFKA_STORAGE_ERROR,  # its disk is full, or a directory failed
    ErrorCode.LOG_DIR_NOT_FOUND,
    ErrorCode.REPLICA_NOT_AVAILABLE,
}


@dataclass
class Wish:
    """The last answered one about a broker's log, which had been deleted `life` times before."""

    path: str
    life: int


class LogDirMover:
    """`play` until the end of the faults, then `finish`; `check` where the logs are."""

    def __init__(
        self,
        port: KafkaPort,
        history: History,
        watch: AssignmentWatch,
        topics: list[str],
        paths: list[str],
    ) -> None:
        self.is_finished = False
        self._port = port
        self._history = history
        self._watch = watch
        self._topics = topics
        self._paths = paths
        self._wishes: dict[tuple[int, TopicPartition], Wish] = {}
        self._unsure: dict[tuple[int, TopicPartition], None] = {}
        self._deletions: Counter[tuple[str, str]] = Counter()  # (broker's name, partition)

    def heed(self, source: str, _level: str, name: str, fields: dict) -> None:
        """An event of a broker.

        A log whose bits read wrong cannot be copied, and stays.
        """
        damaged = name == "log.move_failed" and fields["partition"] in map(
            str, self._history.flipped
        )
        if name == "log.deleted" or damaged:
            self._deletions[source, fields["partition"]] += 1

    def _life(self, broker: int, tp: TopicPartition) -> int:
        return self._deletions[f"broker-{broker}", str(tp)]

    async def play(self) -> None:
        rng = self._port.rng
        while True:
            await trio.sleep(rng.choice((0.2, 1.0, 5.0)))
            watched = sorted(tp for tp in self._watch.now if tp.topic in self._topics)
            broker = rng.choice(self._port.brokers)
            tps = rng.sample(watched, min(len(watched), rng.choice((1, 1, 3))))
            await self._ask(broker, tps, rng.choice(self._paths))

    async def _ask(self, broker: int, tps: list[TopicPartition], path: str) -> None:
        lives = {tp: self._life(broker, tp) for tp in tps}
        sure = {tp for tp in tps if (broker, tp) not in self._unsure}
        self._unsure.update({(broker, tp): None for tp in tps})
        request = AlterReplicaLogDirsRequest(
            dirs=[
                AlterReplicaLogDir(
                    path=path,
                    topics=[
                        AlterReplicaLogDirTopic(name=tp.topic, partitions=[tp.partition])
                        for tp in tps
                    ],
                )
            ]
        )
        try:
            answer = await self._port.ask(broker, request, 2, TIMEOUT_S)
        except LinkLost:
            return
        for topic in answer.results:
            for row in topic.partitions:
                tp = TopicPartition(topic.topic_name, row.partition_index)
                code = ErrorCode(row.error_code)
                self._history.counts[f"logs told to move: {code.name.lower()}"] += 1
                # A copy on its way elsewhere may be dropped before an error.
                if tp in sure and code is not ErrorCode.KAFKA_STORAGE_ERROR:
                    del self._unsure[broker, tp]
                if code is ErrorCode.NONE:
                    self._wishes[broker, tp] = Wish(path, lives[tp])
                elif code not in _REFUSED:
                    raise Violation(f"broker {broker}: {tp} to {path}: {code.name}")

    async def finish(self) -> None:
        """Ask again for what is not certain."""
        await trio.sleep(SETTLED_S)
        rng = self._port.rng
        while self._unsure:
            for broker, tp in list(self._unsure):
                del self._unsure[broker, tp]
                if broker in self._watch.now[tp].replicas:
                    await self._ask(broker, [tp], rng.choice(self._paths))
            await trio.sleep(0.2)
        self.is_finished = True

    def missing(self, brokers: list[Node]) -> list[str]:
        """Logs that are not where they belong yet, or twice."""
        missing = [] if self.is_finished else ["the last moves of logs are not asked for"]
        for node in brokers:
            broker = int(node.name.rpartition("-")[2])
            for tp, placed in self._watch.now.items():
                found = directories_of(node, tp)
                if broker in placed.replicas and len(found) != 1:
                    missing.append(f"{node.name} has {tp} as {found}")
        return missing

    def check(self, brokers: list[Node]) -> None:
        """To be called when nothing is missing."""
        for node in brokers:
            broker = int(node.name.rpartition("-")[2])
            for tp, placed in self._watch.now.items():
                wish = self._wishes.get((broker, tp))
                if (
                    wish is None
                    or broker not in placed.replicas
                    or wish.life != self._life(broker, tp)
                ):
                    continue
                if directories_of(node, tp) != [f"{wish.path}/{tp}"]:
                    raise Violation(
                        f"{node.name}: {tp} was to go to {wish.path}, it is"
                        f" {directories_of(node, tp)}"
                    )
                self._history.counts["logs where they were told to go"] += 1


__all__ = ["LogDirMover"]
