"""The traffic of the failover demo: one idempotent producer, one group, and what they saw.

A line's number is its record's key, its text the value; so every record that turns up later can be
held against the text it came from.
"""

import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

POLL_SECONDS = 0.2
RESERVE = 0.1
"""The last part of the text, which trickles until the producer may end."""
TRICKLE_SECONDS = 0.01
MESSAGES_A_POLL = 500


class LineProducer:
    """Sends lines with acks=all and idempotence, at a steady rate, from a thread of its own."""

    def __init__(self, bootstrap: str, topic: str, lines: Sequence[bytes], rate: int) -> None:
        """rate: lines a second, 0 for as fast as it goes."""
        self._topic = topic
        self._lines = lines
        self._rate = rate
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "message.timeout.ms": 120_000,
                "log_level": 0,
            }
        )
        self.acked = 0
        self.failure: str | None = None
        self._may_end = threading.Event()
        self._ack_times: dict[int, array[float]] = {}
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def let_end(self) -> None:
        """Send the rest at the full rate; until then there is always something left to send."""
        self._may_end.set()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        started = time.perf_counter()
        reserve = int(len(self._lines) * (1 - RESERVE))
        for number, line in enumerate(self._lines):
            if self._rate and number % 50 == 0:
                ahead = number / self._rate - (time.perf_counter() - started)
                self._producer.poll(max(ahead, 0))
            if number >= reserve and not self._may_end.is_set():
                self._producer.poll(0)
                time.sleep(TRICKLE_SECONDS)
            while not self._sent(number, line):
                self._producer.poll(POLL_SECONDS)
            if self.failure is not None:
                return
        while self._producer.flush(POLL_SECONDS) and self.failure is None:
            pass

    def _sent(self, number: int, line: bytes) -> bool:
        try:
            self._producer.produce(
                self._topic, key=b"%d" % number, value=line, on_delivery=self._on_delivery
            )
        except BufferError:
            return False
        return True

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failure = f"line {_number(message)}: {error}"
            return
        self.acked += 1
        times = self._ack_times.setdefault(_partition(message), array("d"))
        times.append(time.perf_counter())

    def longest_pauses(self, since: float) -> list[float]:
        """Per partition, the longest time without an acknowledgement after `since`, in seconds."""
        return [
            max((b - a for a, b in _neighbours(times, since)), default=0.0)
            for times in list(self._ack_times.values())
        ]

    def partitions_acked_since(self, moment: float) -> int:
        return sum(1 for times in list(self._ack_times.values()) if times and times[-1] > moment)


def _neighbours(times: "array[float]", since: float) -> Iterator[tuple[float, float]]:
    first = max(bisect_right(times, since) - 1, 0)
    recent = times[first:]
    return pairwise(recent)


class GroupReaders:
    """A consumer group, each member in a thread, noting which lines it read."""

    def __init__(self, bootstrap: str, topic: str, lines: int, members: int) -> None:
        self._seen = bytearray(lines)
        self._stop = threading.Event()
        self.read = 0
        self.failure: str | None = None
        self._threads = [
            threading.Thread(
                target=self._run, args=(bootstrap, topic), name=f"member {index}", daemon=True
            )
            for index in range(members)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def missing(self) -> int:
        """Lines that no member has read yet."""
        return self._seen.count(0)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, bootstrap: str, topic: str) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "failover-demo",
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 10_000,
                "log_level": 0,
            }
        )
        consumer.subscribe([topic])
        try:
            while not self._stop.is_set():
                for message in consumer.consume(MESSAGES_A_POLL, POLL_SECONDS):
                    self._take(message)
        except KafkaException as error:
            self.failure = str(error)
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._seen[_number(message)] = 1
            self.read += 1
        elif error.fatal():
            self.failure = str(error)


def _number(message: Message) -> int:
    key = message.key()
    assert key is not None
    return int(key)


def _partition(message: Message) -> int:
    partition = message.partition()
    assert partition is not None
    return partition


@contextmanager
def _reader(bootstrap: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "failover-demo-check",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def check_log(bootstrap: str, topic: str, partitions: int, lines: Sequence[bytes]) -> list[str]:
    """Read the whole topic; what is wrong with it: lost, repeated, changed, out of order."""
    wrong: list[str] = []
    seen = bytearray(len(lines))
    with _reader(bootstrap) as consumer:
        consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
        last = [-1] * partitions
        open_partitions = set(range(partitions))
        while open_partitions:
            messages = consumer.consume(MESSAGES_A_POLL, 10.0)
            if not messages:
                wrong.append(f"partitions {sorted(open_partitions)} stopped giving records")
                break
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
                        open_partitions.discard(_partition(message))
                    continue
                number, partition = _number(message), _partition(message)
                if seen[number]:
                    wrong.append(f"line {number} is in the log twice")
                if message.value() != lines[number]:
                    wrong.append(f"line {number} was changed")
                if number <= last[partition]:
                    wrong.append(f"partition {partition}: line {number} after {last[partition]}")
                seen[number] = 1
                last[partition] = number
    if lost := seen.count(0):
        wrong.append(f"{lost} lines were lost, the first is line {seen.index(0)}")
    return wrong
