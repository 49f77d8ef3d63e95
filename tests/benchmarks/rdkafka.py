"""What one librdkafka client does: produce as fast as it can, at a pace, consume.

The client runs in this process; its own CPU time is told with each figure, as on a small machine it
is often what limits.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TIMEOUT_S = 60.0
CONSUME_BATCH = 10_000
_NANOS = 1e9


@dataclass(frozen=True, slots=True)
class Rate:
    """A run of `records` of `size` bytes each. client_cpu: the client's share of one core."""

    records: int
    size: int
    seconds: float
    client_cpu: float

    @property
    def per_s(self) -> float:
        return self.records / self.seconds

    @property
    def mb_s(self) -> float:
        return self.per_s * self.size / 1e6


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds. `produced`: until the acknowledgement; `consumed`: until a consumer has it."""

    produced: list[float]
    consumed: list[float]


def percentile(values: list[float], share: float) -> float:
    """The smallest value that is not below `share` of all."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def create_topic(
    bootstrap: str,
    topic: str,
    *,
    replicas: list[list[int]],
    min_isr: int = 1,
    config: Mapping[str, str] | None = None,
) -> None:
    """A topic with these replicas of each partition, the first of them the leader."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = NewTopic(
        topic,
        num_partitions=len(replicas),
        replica_assignment=replicas,
        config={
            "min.insync.replicas": str(min_isr),
            "file.delete.delay.ms": "1000",
            **(config or {}),
        },
    )
    admin.create_topics([asked])[topic].result(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found = admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if len(found.partitions) == len(replicas) and all(
            len(p.isrs) == len(wanted)
            for p, wanted in zip(found.partitions.values(), replicas, strict=True)
        ):
            return
        assert time.monotonic() < deadline, f"{topic} has not all its replicas"
        time.sleep(0.05)


def delete_topic(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)


class _Failures:
    """Deliveries that failed; a benchmark with any has no result."""

    def __init__(self) -> None:
        self.first: KafkaError | None = None

    def __call__(self, error: KafkaError | None, _message: Message) -> None:
        self.first = self.first or error

    def check(self) -> None:
        if self.first is not None:
            raise KafkaException(self.first)


def produce(
    bootstrap: str, topic: str, *, records: int, size: int, acks: str, partition: int = -1
) -> Rate:
    """Send `records` as fast as they go, after a few that open the connections.

    partition: -1 lets the client spread them.
    """
    failures = _Failures()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": acks,
            "delivery.report.only.error": True,
            "on_delivery": failures,
            "queue.buffering.max.messages": 500_000,
            "message.timeout.ms": int(TIMEOUT_S * 1000),
        }
    )
    value = bytes(range(256)) * (size // 256 + 1)
    value = value[:size]
    for _ in range(100):
        producer.produce(topic, value, partition=partition)
    assert producer.flush(TIMEOUT_S) == 0
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(records):
        while True:
            try:
                producer.produce(topic, value, partition=partition)
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush(TIMEOUT_S) == 0
    took = time.perf_counter() - began
    failures.check()
    return Rate(records, size, took, (time.process_time() - cpu) / took)


def consume(bootstrap: str, topic: str, partitions: int, *, size: int, records: int) -> Rate:
    """Read `records` from the partitions' beginnings; the first ones are not measured."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "figures",
            "enable.auto.commit": False,
            # By default the client pauses for a second once it holds 100 000 records.
            "queued.min.messages": 1_000_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    try:
        first = consumer.consume(1, TIMEOUT_S)
        assert first, "nothing to consume"
        began, cpu = time.perf_counter(), time.process_time()
        count = 0
        while count < records - 1:
            messages = consumer.consume(CONSUME_BATCH, 1.0)
            failed = next((error for m in messages if (error := m.error())), None)
            if failed is not None:
                raise KafkaException(failed)
            count += len(messages)
            assert time.perf_counter() - began < TIMEOUT_S, f"{count} of {records} came"
        took = time.perf_counter() - began
        return Rate(count, size, took, (time.process_time() - cpu) / took)
    finally:
        consumer.close()


def latency(
    bootstrap: str, topic: str, partitions: int, *, per_s: int, seconds: float, size: int
) -> Latency:
    """acks=all at a steady pace; a consumer in a process of its own reads along.

    The first half second opens connections and does not count.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    warm = per_s // 2
    count = int(per_s * seconds) + warm
    child = context.Process(
        target=_read_along, args=(theirs, bootstrap, topic, partitions, count), daemon=True
    )
    child.start()
    try:
        assert ours.poll(TIMEOUT_S)
        ours.recv()  # it reads
        produced = _produce_paced(bootstrap, topic, per_s=per_s, count=count, size=size)
        assert ours.poll(TIMEOUT_S), "the consumer has not seen every record"
        consumed: list[float] = ours.recv()
        return Latency(produced[warm:], consumed[warm:])
    finally:
        child.join(5)
        child.kill()


def _produce_paced(bootstrap: str, topic: str, *, per_s: int, count: int, size: int) -> list[float]:
    """Milliseconds from each record's due time to its acknowledgement."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0})
    taken: list[float] = []
    failures = _Failures()

    def delivered(error: KafkaError | None, message: Message) -> None:
        failures(error, message)
        value = message.value()
        assert value is not None
        taken.append((time.monotonic_ns() - int.from_bytes(value[:8], "big")) / 1e6)

    padding = bytes(size - 8)
    producer.list_topics(topic, timeout=TIMEOUT_S)
    began = time.monotonic_ns()
    for index in range(count):
        due = began + int(index * _NANOS / per_s)
        while (now := time.monotonic_ns()) < due:
            producer.poll((due - now) / _NANOS)
        # The due time, so that a client that falls behind does not hide it.
        producer.produce(topic, due.to_bytes(8, "big") + padding, on_delivery=delivered)
    assert producer.flush(TIMEOUT_S) == 0
    failures.check()
    return taken


def _read_along(pipe: Pipe, bootstrap: str, topic: str, partitions: int, count: int) -> None:
    """The child: milliseconds from each record's due time to here."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "figures", "enable.auto.commit": False}
    )
    ends = []
    for index in range(partitions):
        where = TopicPartition(topic, index)
        where.offset = consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)[1]
        ends.append(where)
    consumer.assign(ends)
    consumer.poll(1.0)  # nothing comes yet; by then it fetches
    pipe.send("reading")
    taken: list[float] = []
    deadline = time.monotonic() + 2 * TIMEOUT_S
    while len(taken) < count and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is not None and not message.error():
            value = message.value()
            assert value is not None
            taken.append((time.monotonic_ns() - int.from_bytes(value[:8], "big")) / 1e6)
    if len(taken) == count:
        pipe.send(taken)
    consumer.close()


def spread(values: list[float], digits: int = 0) -> str:
    """`median (least to most)`."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


__all__ = [
    "Latency",
    "Rate",
    "consume",
    "create_topic",
    "delete_topic",
    "latency",
    "percentile",
    "produce",
    "spread",
]
