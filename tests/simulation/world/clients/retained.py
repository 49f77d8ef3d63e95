"""Clients of a topic whose old records go: by its retention, and because somebody says so.

Readers begin at the start, where they were, or at offset 0, which may be gone. Being told that a
position is out of range is right only while the log of whoever says so begins behind it, and being
given records only while it does not.
"""

import math
from collections.abc import Callable, Mapping

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.broker.partitions.partition import Partition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from ottla.protocol.kafka.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from tests.simulation.world.clients.consumers import GO_ELSEWHERE, fetch
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.clients.producers import Batch, Producer, Row
from tests.simulation.world.history import History, Violation
from tests.simulation.world.nodes import Node
from tests.simulation.world.retained import RetainedHistory

TOPIC = "brief"
TIMEOUT_S = 8.0
METADATA_S = 5.0  # until a leader knows that a broker is back
_EARLIEST = -2
_UNCLEAR = {
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.OFFSET_OUT_OF_RANGE,  # a leader that has only begun knows less as committed
}

Copies = Callable[[TopicPartition], dict[int, Partition]]
States = Mapping[TopicPartition, dict]


class BriefProducer(Producer):
    """Tells how large its batches are."""

    def __init__(
        self, name: str, port: KafkaPort, history: History, facts: RetainedHistory, per_s: float
    ) -> None:
        super().__init__(name, port, history, acks=-1, per_s=per_s)
        self._facts = facts
        self._sizes: dict[tuple[TopicPartition, bytes], tuple[int, int]] = {}  # size, timestamp

    def _batch(self, tp: TopicPartition, number: int, count: int) -> Batch:
        batch = super()._batch(tp, number, count)
        self._sizes[tp, batch.rows[0].key] = len(batch.data), self.port.now_ms()
        self._facts.sending(tp, len(batch.data))
        return batch

    def acknowledged(self, tp: TopicPartition, rows: list[Row], offset: int) -> None:
        size, timestamp_ms = self._sizes.pop((tp, rows[0].key))
        self._facts.acknowledged(tp, [row.key for row in rows], offset, size, timestamp_ms)
        super().acknowledged(tp, rows, offset)


class BriefReader:
    """Reads from where its log begins to what was acknowledged, again and again."""

    def __init__(
        self,
        tp: TopicPartition,
        port: KafkaPort,
        history: History,
        facts: RetainedHistory,
        copies: Copies,
    ) -> None:
        self.tp = tp
        self.passed_at = -1.0  # when the last pass that held began
        self._port = port
        self._history = history
        self._facts = facts
        self._copies = copies

    async def run(self) -> None:
        rng, position = self._port.rng, 0
        while True:
            await trio.sleep(rng.choice((0.5, 3.0, 10.0, 25.0)))
            began, end = trio.current_time(), self._facts.end(self.tp)
            if rng.random() < 0.5:
                position = rng.choice((0, await self._earliest()))
            start, seen, position = await self._read(position, end)
            if self.tp not in self._history.excused:
                found = self._facts.check_pass(self.tp, start, end, seen)
                self._history.counts["retained records found"] += found
            self.passed_at = began

    async def _read(self, position: int, end: int) -> tuple[int, set[bytes], int]:
        """To `end`: (where it began after it was last told that its position is gone, what it saw
        since, where it is).
        """
        port, tp, history = self._port, self.tp, self._history
        start, seen = position, set()
        while position < end and tp not in history.excused:
            leader = await port.leader(tp)
            before = self._copies(tp).get(leader)
            try:
                found = await fetch(port, history, tp, position)
            except LinkLost:
                port.leader_unknown(tp)
                continue
            if found.code is ErrorCode.OFFSET_OUT_OF_RANGE:
                self._judge_out_of_range(leader, before, position)
                position = start = await self._earliest()
                seen = set()
            elif found.code in GO_ELSEWHERE:
                port.leader_unknown(tp)
                await trio.sleep(0.1)
            elif found.log_start > position:
                raise Violation(
                    f"{tp}: {leader} answers a fetch at {position}, its log begins at"
                    f" {found.log_start}"
                )
            else:
                assert found.code is ErrorCode.NONE, found.code
            for offset, _, value in found.records:
                assert value is not None
                history.read(tp, offset, value)
                seen.add(value)
            position = max(position, found.end)
        return start, seen, position

    def _judge_out_of_range(self, leader: int, before: Partition | None, position: int) -> None:
        self._history.counts["positions that retention has passed"] += 1
        copy = self._copies(self.tp).get(leader)
        if copy is None or copy is not before or self.tp in self._history.excused:
            return  # it is not there any more to be asked
        if copy.log.log_start <= position:
            raise Violation(
                f"{self.tp}: {position} is out of range, says {leader}, whose log begins at"
                f" {copy.log.log_start}"
            )

    async def _earliest(self) -> int:
        """Where the log begins, as the leader says."""
        port, tp = self._port, self.tp
        while True:
            leader = await port.leader(tp)
            row = ListOffsetsPartition(
                partition_index=tp.partition,
                current_leader_epoch=port.leaders[tp][1],
                timestamp=_EARLIEST,
            )
            request = ListOffsetsRequest(
                replica_id=-1, topics=[ListOffsetsTopic(name=tp.topic, partitions=[row])]
            )
            try:
                answer = await port.ask(leader, request, 4, TIMEOUT_S)
            except LinkLost:
                port.leader_unknown(tp)
                continue
            [told] = answer.topics[0].partitions
            if told.error_code == ErrorCode.NONE:
                return told.offset
            port.leader_unknown(tp)
            await trio.sleep(0.2)


class RecordDeleter:
    """Has records deleted. Once that is answered, every replica in sync has done it (KIP-107)."""

    def __init__(
        self,
        port: KafkaPort,
        history: History,
        *,
        tps: list[TopicPartition],
        facts: RetainedHistory,
        copies: Copies,
        states: States,
        registered: Mapping[int, float],
    ) -> None:
        self._tps = tps
        self._port = port
        self._history = history
        self._facts = facts
        self._copies = copies
        self._states = states
        self._registered = registered

    async def play(self) -> None:
        rng = self._port.rng
        while True:
            await trio.sleep(rng.uniform(2.0, 15.0))
            tp = rng.choice(self._tps)
            end = self._facts.end(tp)
            low = max(self._facts.of(tp).asked, end - 40)
            if end > low:
                await self._delete(tp, -1 if rng.random() < 0.1 else rng.randint(low, end))

    async def _delete(self, tp: TopicPartition, offset: int) -> None:
        """-1: all that is committed."""
        port, facts = self._port, self._facts.of(tp)
        anything = facts.anything
        facts.anything |= offset < 0
        self._facts.asking(tp, offset)
        before = self._in_sync(tp)
        rows = [DeleteRecordsPartition(partition_index=tp.partition, offset=offset)]
        request = DeleteRecordsRequest(
            topics=[DeleteRecordsTopic(name=tp.topic, partitions=rows)], timeout_ms=6000
        )
        try:
            answer = await port.ask(await port.leader(tp), request, 2, TIMEOUT_S)
        except LinkLost:
            port.leader_unknown(tp)
            return
        [row] = answer.topics[0].partitions
        code = ErrorCode(row.error_code)
        self._history.counts[f"records to delete: {code.name.lower()}"] += 1
        if code is ErrorCode.NONE:
            self._check(tp, max(offset, 0), row.low_watermark, before)
            facts.anything = anything
        else:
            port.leader_unknown(tp)
            if code not in _UNCLEAR:
                raise Violation(f"{tp}: records below {offset} are not deleted: {code.name}")

    def _in_sync(self, tp: TopicPartition) -> dict[int, tuple[Partition, float]]:
        """Those that the leader has to wait for, since they are alive: copy, registered since.

        As in Kafka it goes by its metadata, which need not know yet of who has just come.
        """
        isr = self._states[tp]["isr"]
        alive = self._registered
        return {
            broker: (copy, alive[broker])
            for broker, copy in self._copies(tp).items()
            if broker in isr and alive.get(broker, math.inf) < trio.current_time() - METADATA_S
        }

    def _check(
        self,
        tp: TopicPartition,
        offset: int,
        low: int,
        before: dict[int, tuple[Partition, float]],
    ) -> None:
        """`before`: who was in sync when it was asked."""
        self._facts.asking(tp, low)
        if low < offset:
            raise Violation(f"{tp}: everything below {offset} was to go, told is {low}")
        for broker, found in self._in_sync(tp).items():
            copy, _ = found
            if before.get(broker) == found and copy.log.log_start < offset:
                raise Violation(
                    f"{tp}: everything below {offset} is deleted, but the log of {broker}, which"
                    f" is in sync, begins at {copy.log.log_start}"
                )


class RetainedWork:
    """All clients of the topic, and a look at its logs. `settings` are those of the topic."""

    PARTITIONS = 1

    def __init__(
        self,
        history: History,
        settings: dict[str, str],
        brokers: list[Node],
        states: States,
        registered: Mapping[int, float],
        *,
        clocks_jump: bool,
    ) -> None:
        self.tps = [TopicPartition(TOPIC, at) for at in range(self.PARTITIONS)]
        self._history = history
        self._facts = RetainedHistory(
            int(settings["retention_bytes"]), int(settings["retention_ms"]), clocks_jump=clocks_jump
        )
        self._brokers = brokers
        self._states = states
        self._registered = registered
        self._readers: list[BriefReader] = []
        self._starts: dict[tuple[int, TopicPartition], tuple[Partition, int]] = {}

    def producer(self, port: KafkaPort, per_s: float) -> BriefProducer:
        return BriefProducer(port.name, port, self._history, self._facts, per_s)

    def reader(self, tp: TopicPartition, port: KafkaPort) -> BriefReader:
        reader = BriefReader(tp, port, self._history, self._facts, self._copies)
        self._readers.append(reader)
        return reader

    def deleter(self, port: KafkaPort) -> RecordDeleter:
        return RecordDeleter(
            port,
            self._history,
            tps=self.tps,
            facts=self._facts,
            copies=self._copies,
            states=self._states,
            registered=self._registered,
        )

    def _copies(self, tp: TopicPartition) -> dict[int, Partition]:
        """By broker, of those that run."""
        copies = {}
        for at, node in enumerate(self._brokers, 1):
            copy = node.handle and node.handle.services.partitions.get(tp)
            if copy is not None:
                copies[at] = copy
        return copies

    def look(self, now_ms: int) -> None:
        """At where the logs begin: never earlier than before, and for a reason."""
        for tp in self.tps:
            if tp in self._history.excused:
                continue
            for broker, copy in self._copies(tp).items():
                start = copy.log.log_start
                known = self._starts.get((broker, tp))
                if known is not None and known[0] is copy and start < known[1]:
                    raise Violation(
                        f"{tp}: the log of {broker} began at {known[1]}, and begins at {start}"
                    )
                self._starts[broker, tp] = copy, start
                self._facts.check_start(tp, start, now_ms, f"broker {broker}")

    def missing(self, since: float) -> list[str]:
        """Partitions that nobody has read to their ends, beginning after `since`."""
        return [
            f"no pass over {reader.tp}"
            for reader in self._readers
            if reader.passed_at < since and reader.tp not in self._history.excused
        ]


__all__ = ["TOPIC", "RetainedWork"]
