"""What librdkafka clients do in the comparison with Kafka; each function runs in a client process.

Each measures the servers' CPU time itself, over just the time in which it works. pids: the
servers' processes.
"""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.benchmarks.machine import cpu_seconds
from tests.benchmarks.rdkafka import TIMEOUT_S, percentile

_CONSUME_BATCH = 10_000
_FILL_BATCH_BYTES = 100_000  # so that what a fetch of 1 MB gets hardly depends on chance
_FILL_RUN = 1000  # for one partition; the client's own choice may leave one with next to nothing
_VALUES = 64
_WORDS = [b"order", b"customer", b"price", b"status", b"created", b"shipped", b"open", b"region"]


@dataclass(frozen=True, slots=True)
class Target:
    """A topic of a server. address: of the broker that leads every `brokers`-th partition, from the
    first on.
    """

    bootstrap: str
    address: tuple[str, int]
    pids: Sequence[int]
    topic: str
    partitions: int
    brokers: int = 1


@dataclass(slots=True)
class Sample:
    """One measurement of one server. work: requests, records or bytes done in `seconds`.

    latencies_ms: where requests were timed, each of them.
    """

    work: float
    seconds: float
    cpu_s: float
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.work / self.seconds

    def cpu_per(self, unit: float) -> float:
        return self.cpu_s / max(self.work, 1) * unit

    def percentile(self, share: float) -> float:
        return percentile(self.latencies_ms, share)


class Meter:
    """Wall clock and the servers' CPU time since it was made."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._cpu = sum(map(cpu_seconds, pids))
        self.began = time.perf_counter()

    def sample(self, work: float, latencies_ms: list[float] | None = None) -> Sample:
        took = time.perf_counter() - self.began
        cpu = sum(map(cpu_seconds, self._pids)) - self._cpu
        return Sample(work, took, cpu, latencies_ms or [])


def values(size: int) -> list[bytes]:
    """Values of `size` bytes that compress to about half, as text with numbers does."""
    rng = random.Random(1)
    made = []
    for _ in range(_VALUES):
        out = b""
        while len(out) < size:
            out += b'"%s":"%s",' % (rng.choice(_WORDS), rng.randbytes(4).hex().encode())
        made.append(out[:size])
    return made


def produce(target: Target, size: int, acks: str, codec: str, seconds: float) -> Sample:
    """Bytes of values that were acknowledged; as fast as one producer goes."""
    failures: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": target.bootstrap,
            "acks": acks,
            "compression.type": codec,
            "linger.ms": 5,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _message: failures.append(error),
            "queue.buffering.max.messages": 200_000,
            "message.timeout.ms": int(TIMEOUT_S * 1000),
        }
    )
    pool = values(size)
    topic = target.topic
    for value in pool:
        producer.produce(topic, value)
    assert producer.flush(TIMEOUT_S) == 0
    meter = Meter(target.pids)
    end = meter.began + seconds
    count = 0
    send = producer.produce
    while time.perf_counter() < end:
        try:
            for value in pool:
                send(topic, value)
                count += 1
        except BufferError:
            producer.poll(0.005)
    assert producer.flush(TIMEOUT_S) == 0
    assert not failures, failures[0]
    return meter.sample(count * size)


def fill(target: Target, size: int, codec: str, records: int) -> None:
    """Give a topic `records` values, as many to each partition, for consumers to read."""
    producer = Producer(
        {
            "bootstrap.servers": target.bootstrap,
            "compression.type": codec,
            "linger.ms": 20,
            "batch.size": _FILL_BATCH_BYTES,
        }
    )
    pool = values(size)
    for index in range(records):
        while True:
            try:
                partition = index // _FILL_RUN % target.partitions
                producer.produce(target.topic, pool[index % _VALUES], partition=partition)
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush(TIMEOUT_S) == 0


def consume(
    target: Target, size: int, records: int, forget: Sequence[Path], seconds: float
) -> Sample:
    """Bytes of values read from the beginning, again and again for `seconds`.

    forget: segments that leave the page cache before each reading.
    """
    total = Sample(0, 0, 0)
    while total.seconds < seconds:
        for path in forget:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        one = _consume_once(target, records)
        total.work += one.work * size
        total.seconds += one.seconds
        total.cpu_s += one.cpu_s
    return total


def _consume_once(target: Target, records: int) -> Sample:
    consumer = Consumer(
        {
            "bootstrap.servers": target.bootstrap,
            "group.id": "compare",
            "enable.auto.commit": False,
            # By default the client pauses for a second once it holds 100 000 records.
            "queued.min.messages": 1_000_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    try:
        consumer.list_topics(target.topic, timeout=TIMEOUT_S)
        meter = Meter(target.pids)
        consumer.assign([TopicPartition(target.topic, n, 0) for n in range(target.partitions)])
        count = 0
        while count < records:
            messages = consumer.consume(_CONSUME_BATCH, 1.0)
            failed = next((error for m in messages if (error := m.error())), None)
            if failed is not None:
                raise KafkaException(failed)
            count += len(messages)
            assert time.perf_counter() - meter.began < TIMEOUT_S, f"{count} of {records} came"
        return meter.sample(count)
    finally:
        consumer.close()


__all__ = ["Meter", "Sample", "Target", "consume", "fill", "produce", "values"]
