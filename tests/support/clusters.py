"""Real clusters that are harmed on purpose, and a client beside them that must not notice.

`HarmedCluster` adds to `LocalCluster`: property lines of one's own, members that are stopped and
continued, questions about leaders, and `heal`, which brings everything back. `Witness` writes and
reads all the time and tells what it felt.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.scripts import local_members, run_files
from ottla.scripts.cluster_layout import HOST, members, prepare
from tests.support.processes import LocalCluster, free_layout

BOUND_S = 40.0
SOCKET_TIMEOUT_MS = 3000


def wait_until(
    done: Callable[[], bool], what: str | Callable[[], object], bound_s: float = BOUND_S
) -> None:
    """Wait for something that has to come true; `what` is for the message if it does not."""
    deadline = time.monotonic() + bound_s
    while not done():
        if time.monotonic() >= deadline:
            text = what if isinstance(what, str) else str(what())
            raise AssertionError(f"not in {bound_s:g} s: {text}")
        time.sleep(0.02)


def call(port: int, message: object, key: int, version: int, *, timeout_s: float = 10.0) -> Any:
    """One request on a connection of its own, through our codec: nothing is retried."""
    with socket.create_connection((HOST, port), timeout=timeout_s) as sock:
        sock.sendall(encode_request_frame(message, version, 7, "test"))
        size = int.from_bytes(receive(sock, 4), "big")
        correlation_id, answer = decode_response(key, version, receive(sock, size))
    assert correlation_id == 7
    return answer


def receive(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise EOFError(f"closed after {len(parts)} of {count} bytes")
        parts += part
    return bytes(parts)


class HarmedCluster(LocalCluster):
    """A cluster whose members are killed and stopped; `heal` makes it whole."""

    def __init__(self, home: Path, *, brokers: int = 3, coordinators: int = 3) -> None:
        super().__init__(home, free_layout(brokers, coordinators))
        self._admin: AdminClient | None = None
        self._paused: set[tuple[str, int]] = set()

    def configure(self, kind: str, settings: Mapping[str, str]) -> None:
        """Change the property files before the start."""
        prepare(self.home, self.layout)
        for member in members(self.home, self.layout):
            if member.kind == kind:
                kept = [
                    line
                    for line in member.config.read_text().splitlines()
                    if line.partition("=")[0] not in settings
                ]
                lines = kept + [f"{key}={value}" for key, value in settings.items()]
                member.config.write_text("\n".join(lines) + "\n")

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            # A member that is stopped keeps its connections; sixty seconds are too long for it.
            self._admin = AdminClient(
                {
                    "bootstrap.servers": self.bootstrap,
                    "log_level": 0,
                    "socket.timeout.ms": SOCKET_TIMEOUT_MS,
                }
            )
        return self._admin

    # Harm and repair

    def pause(self, kind: str, id_: int) -> None:
        """SIGSTOP: alive for the kernel, silent for everybody else."""
        os.kill(self.pid(kind, id_), signal.SIGSTOP)
        self._paused.add((kind, id_))

    def resume(self, kind: str, id_: int) -> None:
        os.kill(self.pid(kind, id_), signal.SIGCONT)
        self._paused.discard((kind, id_))

    def kill(self, kind: str, id_: int) -> None:
        super().kill(kind, id_)
        self._paused.discard((kind, id_))

    def is_running(self, kind: str, id_: int) -> bool:
        return bool(run_files.find([self.home / "run"], kind, id_))

    def heal(self) -> None:
        """Every member runs, every replica is in sync."""
        for kind, id_ in sorted(self._paused):
            self.resume(kind, id_)
        for member in members(self.home, self.layout):
            if not self.is_running(member.kind, member.id):
                self.start_member(member.kind, member.id)
        wait_until(lambda: not self.missing(), self.missing)

    def missing(self) -> list[str]:
        """What keeps the cluster from being whole; empty when nothing does."""
        try:
            found = self.admin.list_topics(timeout=5)
        except Exception as error:  # librdkafka's time-outs while nobody leads
            return [str(error)]
        wrong = [] if len(found.brokers) == self.layout.brokers else ["a broker is missing"]
        if found.controller_id < 0:
            wrong.append("no controller")
        for topic in found.topics.values():
            for id_, partition in topic.partitions.items():
                if partition.leader < 0 or len(partition.isrs) != len(partition.replicas):
                    wrong.append(f"{topic.topic}-{id_}: {partition.leader} {partition.isrs}")
        return wrong

    # Questions

    def create_topic(self, name: str, assignment: list[list[int]] | int = 1, **config: str) -> str:
        """With replicas as given (the first leads), or a number of partitions."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        topic = (
            NewTopic(name, assignment, config=settings)
            if isinstance(assignment, int)
            else NewTopic(name, len(assignment), replica_assignment=assignment, config=settings)
        )
        self.admin.list_topics()  # it may know a controller that is gone
        self.admin.create_topics([topic], request_timeout=30)[name].result(30)
        wait_until(
            lambda: all(
                each.leader > 0
                for each in self.admin.list_topics(name).topics[name].partitions.values()
            ),
            f"{name} has its leaders",
        )
        return name

    def controller(self) -> int:
        return int(self.admin.list_topics(timeout=10).controller_id)

    def leader(self, topic: str, partition: int = 0) -> int:
        return int(self._partition(topic, partition).leader)

    def isr(self, topic: str, partition: int = 0) -> set[int]:
        return set(self._partition(topic, partition).isrs)

    def _partition(self, topic: str, partition: int) -> Any:
        return self.admin.list_topics(topic, timeout=10).topics[topic].partitions[partition]

    def port(self, broker: int) -> int:
        return self.layout.base_port + broker - 1

    def coordinator_port(self, member: int) -> int:
        return self.layout.coordinator_base_port + member - 1

    def ensemble_leader(self) -> int:
        """The member that leads the others; waits for one."""
        found: list[int | None] = [None]

        def has_leader() -> bool:
            found[0] = local_members.ensemble_leader(self.layout)
            return found[0] is not None

        wait_until(has_leader, "the ensemble has a leader")
        assert found[0] is not None
        return found[0]

    def four_letter_word(self, member: int, word: bytes) -> bytes:
        return local_members.four_letter_word(self.coordinator_port(member), word)

    def log(self, kind: str, id_: int) -> Path:
        return self.home / "logs" / f"{kind}-{id_}.log"

    def log_size(self, kind: str, id_: int) -> int:
        return self.log(kind, id_).stat().st_size

    def logged(self, kind: str, id_: int, since: int = 0) -> list[str]:
        """The lines of a daemon's event log from a byte on."""
        return self.log(kind, id_).read_bytes()[since:].decode(errors="replace").splitlines()

    def wait_event(self, kind: str, id_: int, *words: str, since: int = 0) -> str:
        """Wait for a line that has all words; the line."""
        found: list[str] = []

        def is_there() -> bool:
            found[:] = [
                line
                for line in self.logged(kind, id_, since)
                if all(word in line for word in words)
            ]
            return bool(found)

        wait_until(is_there, f"{words} in the log of {kind} {id_}\n{self.log(kind, id_)}")
        return found[0]

    def partition_dir(self, broker: int, topic: str, partition: int = 0) -> Path:
        return self.home / f"broker-{broker}" / f"{topic}-{partition}"

    def log_bytes(self, broker: int, topic: str, partition: int = 0) -> bytes:
        segments = sorted(self.partition_dir(broker, topic, partition).glob("*.log"))
        return b"".join(segment.read_bytes() for segment in segments)


@contextlib.contextmanager
def harmed_cluster(
    home: Path,
    *,
    broker: Mapping[str, str] | None = None,
    coordinator: Mapping[str, str] | None = None,
) -> Iterator[HarmedCluster]:
    """Three and three, with property lines of the test's own; ended by force."""
    cluster = HarmedCluster(home)
    cluster.configure("broker", broker or {})
    cluster.configure("coordinator", coordinator or {})
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()


class Witness:
    """Writes a record every few milliseconds (acks=all) and reads them back, until it is closed.

    gap: the longest time, in seconds, without an acknowledgement. problems: every error that
    either client was told of, a lost connection included.
    """

    INTERVAL_S = 0.01

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.problems: list[str] = []
        self._topic = topic
        self._acked: list[int] = []
        self._ack_times: list[float] = []
        self._read: list[int] = []
        self._stopping = threading.Event()
        common = {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "error_cb": self._on_error,
            "socket.timeout.ms": SOCKET_TIMEOUT_MS,
        }
        self._producer = Producer(
            {**common, "acks": "all", "linger.ms": 0, "enable.idempotence": True}
        )
        self._consumer = Consumer(
            {**common, "group.id": "witness-" + topic, "enable.auto.commit": False}
        )
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self._threads = [
            threading.Thread(target=body, daemon=True) for body in (self._write, self._follow)
        ]

    def start(self) -> "Witness":
        for thread in self._threads:
            thread.start()
        self.wait_more(5)
        self.problems.clear()
        return self

    def wait_more(self, count: int = 20, bound_s: float = BOUND_S) -> None:
        """Wait until that many more records were acknowledged and read."""
        acked, read = len(self._acked) + count, len(self._read) + count
        wait_until(
            lambda: len(self._acked) >= acked and len(self._read) >= read,
            "the witness goes on",
            bound_s,
        )

    def stop(self) -> None:
        """End both clients. AssertionError unless all that was acknowledged was read, in order."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(BOUND_S)
        assert set(self._acked) <= set(self._read), "acknowledged records were lost"
        assert self._read == sorted(set(self._read)), "records came twice, or out of order"

    def gap(self, since: float = 0.0) -> float:
        times = [moment for moment in self._ack_times if moment >= since]
        return max((after - before for before, after in pairwise(times)), default=float("inf"))

    def _on_error(self, error: KafkaError) -> None:
        self.problems.append(str(error))

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self.problems.append(f"not delivered: {error}")
            return
        self._acked.append(int(message.value()))
        self._ack_times.append(time.monotonic())

    def _write(self) -> None:
        number = 0
        while not self._stopping.is_set():
            self._producer.produce(
                self._topic, value=b"%d" % number, partition=0, on_delivery=self._on_delivery
            )
            number += 1
            self._producer.poll(self.INTERVAL_S)
        self._producer.flush(BOUND_S)

    def _follow(self) -> None:
        deadline = float("inf")
        while time.monotonic() < deadline:
            for message in self._consumer.consume(100, 0.05):
                if message.error() is not None:
                    self.problems.append(f"not read: {message.error()}")
                else:
                    self._read.append(int(message.value()))
            if self._stopping.is_set() and not self._threads[0].is_alive():
                if len(self._read) >= len(self._acked):
                    break
                deadline = min(deadline, time.monotonic() + 10)
        self._consumer.close()


@contextlib.contextmanager
def witness(bootstrap: str, topic: str) -> Iterator[Witness]:
    """A running witness; at the end it must have lost nothing."""
    running = Witness(bootstrap, topic).start()
    try:
        yield running
    finally:
        running.stop()


__all__ = [
    "BOUND_S",
    "HarmedCluster",
    "Witness",
    "call",
    "harmed_cluster",
    "receive",
    "wait_until",
    "witness",
]
