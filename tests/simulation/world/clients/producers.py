"""Producers: idempotent ones that never give a record up, and a plain one with acks=1."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

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
from tests.simulation.world.determinism import Signal
from tests.simulation.world.history import History, Violation

_GO_ELSEWHERE = {
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.KAFKA_STORAGE_ERROR,
}
_IN_FLIGHT_MAX = 5  # of which a broker remembers what a retry repeats
_TRY_AGAIN = {
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
}


class Row(NamedTuple):
    """What a record says; `value` None deletes the key. `version` is for compacted topics."""

    key: bytes
    value: bytes | None
    version: int = 0


@dataclass(eq=False)
class Batch:
    rows: list[Row]
    data: bytes
    is_taken: bool = False
    attempts: int = 0


class Producer:
    """One task per partition, which sends each batch until it is taken.

    Records are `name:number`, numbers ascend per partition. acks: -1 (idempotent) or 1. With
    `pipelined` up to five batches of a partition are under way at once, see `_Pipeline`.
    """

    def __init__(
        self,
        name: str,
        port: KafkaPort,
        history: History,
        *,
        acks: int,
        per_s: float,
        pipelined: bool = False,
    ) -> None:
        self.name = name
        self.acks = acks
        self.port = port
        self.history = history
        self._per_s = per_s
        self._id, self._epoch = -1, -1
        self._pipelined = pipelined
        self._start: Callable[[TopicPartition, Signal], None] | None = None
        self._end = Signal()
        self._produce_version = port.rng.choice((3, 7, 9, 11))
        self._codec = port.rng.choice((Codec.NONE, Codec.NONE, Codec.GZIP, Codec.ZSTD))
        if self._codec is Codec.ZSTD:
            self._produce_version = max(self._produce_version, 7)
        if acks == -1:
            history.idempotent.add(name)

    # What is written, and what is known of it

    def make(self, tp: TopicPartition, number: int, count: int) -> list[Row]:
        """The rows with these numbers of `tp`."""
        values = [f"{self.name}:{number + at}".encode() for at in range(count)]
        for value in values:
            self.history.sending(tp, value)
        return [Row(value, value) for value in values]

    def acknowledged(self, tp: TopicPartition, rows: list[Row], offset: int) -> None:
        """`offset` -1: they are there, and it was not told where."""
        self.history.acknowledged(tp, [row.key for row in rows], offset)

    # Life

    async def run(self, tps: list[TopicPartition], end: Signal) -> None:
        """Write until `end`, then finish what is under way."""
        if self.acks == -1:
            await self._take_id()
        async with trio.open_nursery() as nursery:
            self._start = partial(nursery.start_soon, self._feed)
            self._end = end
            for tp in tps:
                self._start(tp, end)
            await end.wait()

    def add(self, tp: TopicPartition) -> None:
        """Write to this partition too from now on."""
        if self._start is not None and not self._end.is_set():
            self._start(tp, self._end)

    async def _take_id(self) -> None:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        while True:
            try:
                answer = await self.port.ask(self.port.any_broker(), request, 2)
            except LinkLost:
                await trio.sleep(0.1)
                continue
            if answer.error_code == ErrorCode.NONE:
                self._id, self._epoch = answer.producer_id, answer.producer_epoch
                return
            await trio.sleep(0.2)

    async def _feed(self, tp: TopicPartition, end: Signal) -> None:
        if self._pipelined:
            async with trio.open_nursery() as nursery:
                pipeline = Pipeline(self, tp)
                nursery.start_soon(self._fill, pipeline, tp, end)
                await pipeline.run()
            return
        rng, number, sequence = self.port.rng, 0, 0
        while not end.is_set():
            if await end.wait(rng.expovariate(self._per_s)):
                return
            count = 1 if rng.random() < 0.8 else rng.randint(2, 8)
            batch = self._batch(tp, number, count)
            number += count
            sequence += count
            await self._send(tp, batch)

    async def _fill(self, pipeline: "Pipeline", tp: TopicPartition, end: Signal) -> None:
        """Bursts of batches, so that several are under way."""
        rng, number = self.port.rng, 0
        while not end.is_set():
            await end.wait(rng.expovariate(self._per_s / 3))
            for _ in range(0 if end.is_set() else rng.randint(1, 6)):
                count = 1 if rng.random() < 0.8 else rng.randint(2, 8)
                pipeline.put(self._batch(tp, number, count))
                number += count
        pipeline.finish()

    def _batch(self, tp: TopicPartition, number: int, count: int) -> Batch:
        rows = self.make(tp, number, count)
        data = build_batch(
            [(row.key, row.value, self.port.now_ms(), ()) for row in rows],
            producer_id=self._id,
            producer_epoch=self._epoch,
            base_sequence=number if self.acks == -1 else -1,
            codec=self._codec,
        )
        return Batch(rows, data)

    async def ask(self, tp: TopicPartition, batch: Batch, leader: int):
        """The row of the answer. LinkLost."""
        request = ProduceRequest(
            acks=self.acks,
            timeout_ms=self.port.rng.choice((1500, 5000)),
            topic_data=[
                TopicProduceData(
                    name=tp.topic,
                    partition_data=[PartitionProduceData(index=tp.partition, records=batch.data)],
                )
            ],
        )
        answer = await self.port.ask(leader, request, self._produce_version, 8.0)
        return answer.responses[0].partition_responses[0]

    def take(self, tp: TopicPartition, batch: Batch, row, leader: int) -> float | None:
        """What an answer of `leader` means: None when the batch is taken, else seconds to wait for
        a retry.
        """
        history, code = self.history, ErrorCode(row.error_code)
        if code is ErrorCode.NONE or code is ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
            if self.acks == -1:
                known = code is ErrorCode.NONE
                self.acknowledged(tp, batch.rows, row.base_offset if known else -1)
            else:
                history.counts["records taken by leaders"] += len(batch.rows)
            return None
        history.counts[f"produce {code.name.lower()}"] += 1
        if code in _GO_ELSEWHERE:
            self.port.leader_unknown(tp)
            return 0.1
        if code in _TRY_AGAIN:
            return 0.3
        if code is ErrorCode.MESSAGE_TOO_LARGE and history.sizes_change:
            return 1.0
        if tp in history.excused:
            return None
        is_behind = code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        if is_behind and history.leaders.get(tp, leader) != leader:
            # Its successor has taken more; nobody has told it yet. So it is in Kafka.
            history.counts["batches refused by who leads no more"] += 1
            self.port.leader_unknown(tp)
            return 0.1
        raise Violation(f"{tp}: {self.name} sent {batch.rows} again and again and got {code.name}")

    async def _send(self, tp: TopicPartition, batch: Batch) -> None:
        while True:
            leader = await self.port.leader(tp)
            try:
                row = await self.ask(tp, batch, leader)
            except LinkLost:
                self.port.leader_unknown(tp)
                if self.acks == 1:
                    return  # it may be there or not
                continue
            pause_s = self.take(tp, batch, row, leader)
            if pause_s is None:
                return
            await trio.sleep(pause_s)


class Pipeline:
    """Batches of one partition on their way, as librdkafka has them.

    Up to five requests are in flight, in order, on one connection. When one fails, nothing new is
    sent; once all are answered or lost, the batches that are not taken go out again in their order.
    A broker may then say of a batch behind a failed one that it is out of order, but never of the
    first that is not taken. Nothing goes out beyond what brokers remember of a producer, counted
    from that one; nor beside the very first batch, as a broker that knows nothing of a producer
    takes any sequence number, in Kafka too.
    """

    def __init__(self, producer: Producer, tp: TopicPartition) -> None:
        self._producer = producer
        self._tp = tp
        self._waiting: deque[Batch] = deque()
        self._window: deque[Batch] = deque()  # sent, from the first that is not taken on
        self._is_known = False  # the leaders have something of this producer
        self._in_flight = 0
        self._pause_s: float | None = None  # a request failed: wait so long before the retry
        self._is_finished = False
        self._news = trio.Event()

    def put(self, batch: Batch) -> None:
        self._waiting.append(batch)
        self._news.set()

    def finish(self) -> None:
        """Nothing is put any more."""
        self._is_finished = True
        self._news.set()

    async def run(self) -> None:
        """Until all that was put before `finish` is taken."""
        async with trio.open_nursery() as nursery:
            while self._waiting or not self._is_done():
                await self._retry(nursery)
                leader = await self._producer.port.leader(self._tp)
                while self._waiting and self._can_send():
                    batch = self._waiting.popleft()
                    self._window.append(batch)
                    await self._launch(nursery, batch, leader)
                self._news = trio.Event()
                if self._can_send() and (self._waiting or self._is_done()):
                    continue
                if self._pause_s is None or self._in_flight:
                    await self._news.wait()

    def _is_forgotten(self, batch: Batch) -> bool:
        """A leader that had to load its state knows the last batch of each producer only (that is
        what Kafka's snapshots hold). When it refuses an older one again, that has to be there.
        """
        later = [each for each in self._window if each is not batch and each.attempts]
        return batch.attempts > 1 and len(later) > 0

    def _is_done(self) -> bool:
        return self._is_finished and not self._window

    def _can_send(self) -> bool:
        most = _IN_FLIGHT_MAX if self._is_known else 1
        return self._pause_s is None and len(self._window) < most

    async def _retry(self, nursery: trio.Nursery) -> None:
        while self._pause_s is not None and not self._in_flight:
            await trio.sleep(self._pause_s)
            self._pause_s = None
            leader = await self._producer.port.leader(self._tp)
            again = [batch for batch in self._window if not batch.is_taken]
            self._producer.history.counts["batches sent again in a pipeline"] += len(again)
            for batch in again:
                await self._launch(nursery, batch, leader)

    async def _launch(self, nursery: trio.Nursery, batch: Batch, leader: int) -> None:
        """Returns when the request is sent, or has its place in the queue of its connection."""
        self._in_flight += 1
        batch.attempts += 1
        nursery.start_soon(self._exchange, batch, leader)
        await trio.lowlevel.checkpoint()  # what is started from now on comes after its first step

    async def _exchange(self, batch: Batch, leader: int) -> None:
        producer, tp = self._producer, self._tp
        pause_s: float | None = 0.0
        try:
            row = await producer.ask(tp, batch, leader)
        except LinkLost:
            producer.port.leader_unknown(tp)
        else:
            code = ErrorCode(row.error_code)
            if code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER and batch is not self._window[0]:
                producer.history.counts["batches behind a failed one"] += 1
            elif code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER and self._is_forgotten(batch):
                producer.history.counts["batches that a restart forgot"] += 1
                producer.acknowledged(tp, batch.rows, -1)
                pause_s = None
            else:
                pause_s = producer.take(tp, batch, row, leader)
        self._in_flight -= 1
        if pause_s is None:
            batch.is_taken = self._is_known = True
            while self._window and self._window[0].is_taken:
                self._window.popleft()
        else:
            self._pause_s = max(pause_s, self._pause_s or 0.0)
        self._news.set()
