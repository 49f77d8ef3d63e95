"""Clients of a compacted topic: writers that own their keys, readers that begin again and again."""

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.clients.consumers import GO_ELSEWHERE, fetch
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.clients.producers import Producer, Row
from tests.simulation.world.history import History
from tests.simulation.world.keyed import Content, KeyedHistory

TOPIC = "keyed"


class KeyedProducer(Producer):
    """Writes versions of its own few keys, and now and then deletes one."""

    def __init__(
        self, name: str, port: KafkaPort, history: History, facts: KeyedHistory, **rest
    ) -> None:
        super().__init__(name, port, history, acks=-1, **rest)
        self._facts = facts
        self._keys = [f"{name}-{at}".encode() for at in range(port.rng.choice((2, 5, 12)))]

    def make(self, tp: TopicPartition, number: int, count: int) -> list[Row]:
        rng, rows = self.port.rng, []
        for _ in range(count):
            key = rng.choice(self._keys)
            version, value = self._facts.sending(tp, key, delete=rng.random() < 0.15)
            rows.append(Row(key, value, version))
        return rows

    def acknowledged(self, tp: TopicPartition, rows: list[Row], offset: int) -> None:
        self._facts.acknowledged(tp, [(row.key, row.version) for row in rows], offset)


class KeyedReader:
    """Reads a compacted partition from its start to what was acknowledged, again and again."""

    def __init__(
        self, port: KafkaPort, history: History, facts: KeyedHistory, tp: TopicPartition
    ) -> None:
        self.tp = tp
        self.passed_at = -1.0  # when the last pass that held began
        self._port = port
        self._history = history
        self._facts = facts

    async def run(self) -> None:
        while True:
            began_at = trio.current_time()
            began = self._facts.begin(self.tp)
            seen = await self._read_to(began.end)
            if seen is not None:
                self._facts.check_pass(self.tp, began, seen)
                self.passed_at = began_at
            await trio.sleep(self._port.rng.uniform(0.5, 6.0))

    async def _read_to(self, end: int) -> list[tuple[int, Content]] | None:
        """All up to `end`, and to what was committed on the way; None: there is no getting there.

        What compaction took out before the reader came by has a younger version below the high
        watermark of that moment.
        """
        position = 0
        seen: list[tuple[int, Content]] = []
        port, tp = self._port, self.tp
        while position < end:
            try:
                found = await fetch(port, self._history, tp, position)
            except LinkLost:
                port.leader_unknown(tp)
                continue
            if found.code is ErrorCode.OFFSET_OUT_OF_RANGE:
                self._history.lost_position(tp, position)
                return None
            if found.code in GO_ELSEWHERE:
                port.leader_unknown(tp)
                await trio.sleep(0.1)
                continue
            assert found.code is ErrorCode.NONE, found.code
            for offset, key, value in found.records:
                self._facts.read(tp, offset, (key, value))
                seen.append((offset, (key, value)))
            position = found.end
            end = max(end, found.high_watermark)
            if not found.records and tp in self._history.excused:
                return None
        return seen


class KeyedWork:
    """All clients of the compacted topic. `settings` are those of the topic."""

    PARTITIONS = 2

    def __init__(self, history: History, settings: dict[str, str]) -> None:
        lasting = int(settings["delete_retention_ms"]) > 86_400_000
        self._history = history
        self._facts = KeyedHistory(history.excused, history.counts, keeps_tombstones=lasting)
        self._readers: list[KeyedReader] = []
        self.tps = [TopicPartition(TOPIC, at) for at in range(self.PARTITIONS)]

    def producer(self, name: str, port: KafkaPort, **rest) -> KeyedProducer:
        return KeyedProducer(name, port, self._history, self._facts, **rest)

    def reader(self, tp: TopicPartition, port: KafkaPort) -> KeyedReader:
        reader = KeyedReader(port, self._history, self._facts, tp)
        self._readers.append(reader)
        return reader

    def missing(self, since: float) -> list[str]:
        """Partitions that nobody has read from start to end, beginning after `since`."""
        return [
            f"no pass over {reader.tp}"
            for reader in self._readers
            if reader.passed_at < since and reader.tp not in self._history.excused
        ]
