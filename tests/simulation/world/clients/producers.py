"""Producers: an idempotent one that never gives a record up, and a plain one with acks=1."""

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.init_producer_id import InitProducerIdRequest
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History, Violation

_GO_ELSEWHERE = {
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.KAFKA_STORAGE_ERROR,
}
_TRY_AGAIN = {
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
}


class Producer:
    """One task per partition; each has one batch under way and sends it until it is taken.

    Records are `name:number`, numbers ascend per partition. acks: -1 (idempotent) or 1.
    """

    def __init__(
        self, name: str, port: KafkaPort, history: History, *, acks: int, per_s: float
    ) -> None:
        self.name = name
        self.acks = acks
        self._port = port
        self._history = history
        self._per_s = per_s
        self._id, self._epoch = -1, -1
        self.idle = True
        self.stopping = False
        self._produce_version = port.rng.choice((3, 7, 9, 11))
        self._codec = port.rng.choice((Codec.NONE, Codec.NONE, Codec.GZIP, Codec.ZSTD))
        if self._codec is Codec.ZSTD:
            self._produce_version = max(self._produce_version, 7)
        if acks == -1:
            history.idempotent.add(name)

    async def run(self, tps: list[TopicPartition], end: trio.Event) -> None:
        """Write until `end`, then finish what is under way."""
        if self.acks == -1:
            await self._take_id()
        async with trio.open_nursery() as nursery:
            for tp in tps:
                nursery.start_soon(self._feed, tp, end)

    async def _take_id(self) -> None:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        while True:
            try:
                answer = await self._port.ask(self._port.any_broker(), request, 2)
            except LinkLost:
                continue
            if answer.error_code == ErrorCode.NONE:
                self._id, self._epoch = answer.producer_id, answer.producer_epoch
                return
            await trio.sleep(0.2)

    async def _feed(self, tp: TopicPartition, end: trio.Event) -> None:
        rng, number, sequence = self._port.rng, 0, 0
        while not end.is_set():
            with trio.move_on_after(rng.expovariate(self._per_s)):
                await end.wait()
                return
            count = 1 if rng.random() < 0.8 else rng.randint(2, 8)
            values = [f"{self.name}:{number + at}".encode() for at in range(count)]
            number += count
            for value in values:
                self._history.sending(tp, value)
            batch = build_batch(
                [(value, value * rng.choice((1, 1, 1)), 1_700_000_000_000, ()) for value in values],
                producer_id=self._id,
                producer_epoch=self._epoch,
                base_sequence=sequence if self.acks == -1 else -1,
                codec=self._codec,
            )
            sequence += count
            await self._send(tp, values, batch)

    async def _send(self, tp: TopicPartition, values: list[bytes], batch: bytes) -> None:
        history, port = self._history, self._port
        while True:
            leader = await port.leader(tp)
            request = ProduceRequest(
                acks=self.acks,
                timeout_ms=port.rng.choice((1500, 5000)),
                topic_data=[
                    TopicProduceData(
                        name=tp.topic,
                        partition_data=[PartitionProduceData(index=tp.partition, records=batch)],
                    )
                ],
            )
            try:
                answer = await port.ask(leader, request, self._produce_version, 8.0)
            except LinkLost:
                port.leader_unknown(tp)
                if self.acks == 1:
                    return  # it may be there or not
                continue
            [row] = answer.responses[0].partition_responses
            code = ErrorCode(row.error_code)
            if code is ErrorCode.NONE:
                if self.acks == -1:
                    history.acknowledged(tp, values, row.base_offset)
                else:
                    history.counts["records taken by leaders"] += len(values)
                return
            history.counts[f"produce {code.name.lower()}"] += 1
            if code is ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
                history.acknowledged(tp, values, -1)
                return
            if code in _GO_ELSEWHERE:
                port.leader_unknown(tp)
                await trio.sleep(0.1)
            elif code in _TRY_AGAIN:
                await trio.sleep(0.3)
            elif tp in history.excused:
                return
            else:
                raise Violation(
                    f"{tp}: {self.name} sent {values} again and again and got {code.name}"
                )
