"""One broker as shipped: config/server.properties with its own coordinator, and what survives."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.create_topics import CreatableTopic, CreateTopicsRequest
from ottla.protocol.kafka.messages.init_producer_id import InitProducerIdRequest
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.clusters import call, wait_until
from tests.support.processes import ROOT, end_all, free_ports, wait_for_output

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class LoneServer:
    """`scripts/server-start.sh config/server.properties` with its own ports and directory."""

    def __init__(self, home: Path, *overrides: str) -> None:
        self.home = home
        self.port = free_ports(2)
        self.bootstrap = f"localhost:{self.port}"
        self.overrides = overrides
        self.starts = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> Path:
        return self.home / f"output-{self.starts}.log"

    def start(self) -> None:
        self.starts += 1
        words = [
            f"listeners=PLAINTEXT://:{self.port}",
            f"advertised.listeners=PLAINTEXT://localhost:{self.port}",
            f"embedded.coordinator.client.port={self.port + 1}",
            f"log.dirs={self.home / 'data'}",
            *self.overrides,
        ]
        command = [str(ROOT / "scripts/server-start.sh"), str(ROOT / "config/server.properties")]
        for word in words:
            command += ["--override", word]
        with self.log.open("wb") as output:
            self.processes.append(
                subprocess.Popen(
                    [*command, "--run-dir", str(self.home / "run")],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        wait_for_output(self.log, "broker.started", 30)

    def end(self, number: signal.Signals) -> int:
        process = self.processes[-1]
        os.kill(process.pid, number)
        return process.wait(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoneServer]:
    made = LoneServer(tmp_path)
    try:
        made.start()
        yield made
    finally:
        end_all(made.processes)


def produce(server: LoneServer, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": server.bootstrap})
    errors: list[KafkaError | None] = []
    for value in values:
        producer.produce("t", value, on_delivery=lambda error, _message: errors.append(error))
    assert producer.flush(20) == 0
    assert errors == [None] * len(values)


def read_group(server: LoneServer, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": server.bootstrap,
            "group.id": "g",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["t"])
    found: list[bytes] = []
    try:
        wait_until(
            lambda: (
                found.extend(m.value() for m in consumer.consume(100, 0.1)) or len(found) >= count
            ),
            f"{count} records",
        )
    finally:
        consumer.close()
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_records_and_offsets_survive_a_restart(server: LoneServer, number: signal.Signals) -> None:
    first, second = ([b"%d" % n for n in range(at, at + 100)] for at in (0, 100))
    produce(server, first)
    assert read_group(server, 100) == first
    code = server.end(number)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL), server.log.read_text()
    server.start()
    produce(server, second)
    assert read_group(server, 100) == second


def test_data_of_a_clean_stop_is_not_scanned(server: LoneServer) -> None:
    produce(server, [b"x" * 1000] * 1000)
    assert server.end(signal.SIGTERM) == 0
    server.start()
    text = server.log.read_text()
    assert "clean=True" in _event(text, "logs.loaded")
    assert "log.recovered" not in text
    server.end(signal.SIGKILL)
    server.start()
    assert "clean=False" in _event(server.log.read_text(), "logs.loaded")
    assert sorted(read_group(server, 1000)) == [b"x" * 1000] * 1000


def _event(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if f" {name} " in line]
    return line


def test_restart_after_a_kill_waits_for_no_session(server: LoneServer) -> None:
    """Eighteen seconds, by default."""
    produce(server, [b"x"])
    server.end(signal.SIGKILL)
    began = time.monotonic()
    server.start()
    produce(server, [b"y"])
    assert time.monotonic() - began < 9.0
    assert "ensemble.previous_session_ended" in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_idempotent_producer_is_known_after_a_restart(
    server: LoneServer, number: signal.Signals
) -> None:
    """KIP-98: a batch that is sent again is acknowledged again and not written again."""
    _create_topic(server)
    request = InitProducerIdRequest(transactional_id=None)
    answer = call(server.port, request, ApiKey.INIT_PRODUCER_ID, 4)
    assert answer.error_code == ErrorCode.NONE
    producer = (answer.producer_id, answer.producer_epoch)
    assert _produce_numbered(server, producer, 0, 3).base_offset == 0
    assert _produce_numbered(server, producer, 3, 2).base_offset == 3
    server.end(number)
    server.start()
    again = _produce_numbered(server, producer, 3, 2)
    assert (again.error_code, again.base_offset) == (ErrorCode.NONE, 3)
    gap = _produce_numbered(server, producer, 7, 1)
    assert gap.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert _produce_numbered(server, producer, 5, 1).base_offset == 5
    assert len(read_group(server, 6)) == 6


def _create_topic(server: LoneServer) -> None:
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=10_000)
    codes: list[int] = []

    def is_created() -> bool:
        answer = call(server.port, request, ApiKey.CREATE_TOPICS, 5)
        codes.append(answer.topics[0].error_code)
        return codes[-1] != ErrorCode.NOT_CONTROLLER  # right after a start there is none yet

    wait_until(is_created, "a controller")
    assert codes[-1] == ErrorCode.NONE


def _produce_numbered(
    server: LoneServer, producer: tuple[int, int], sequence: int, number: int
) -> PartitionProduceResponse:
    now_ms = int(time.time() * 1000)  # a producer whose records are old is forgotten
    records = [(None, b"%d" % (sequence + n), now_ms, []) for n in range(number)]
    batch = build_batch(
        records,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=sequence,
    )
    data = [PartitionProduceData(index=0, records=batch)]
    topics = [TopicProduceData(name="t", partition_data=data)]
    request = ProduceRequest(acks=-1, timeout_ms=5000, topic_data=topics)

    def attempt() -> PartitionProduceResponse:
        answer = call(server.port, request, ApiKey.PRODUCE, 9)
        found = answer.responses[0].partition_responses[0]
        assert isinstance(found, PartitionProduceResponse)
        return found

    result = attempt()
    deadline = time.monotonic() + 20
    while ErrorCode(result.error_code).retriable and time.monotonic() < deadline:
        time.sleep(0.05)  # right after a start it leads nothing yet
        result = attempt()
    return result


def test_unknown_topic_without_auto_creation(tmp_path: Path) -> None:
    server = LoneServer(tmp_path, "auto.create.topics.enable=false")
    try:
        server.start()
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        assert admin.list_topics("nobody", timeout=10).topics["nobody"].error.code() == (
            KafkaError.UNKNOWN_TOPIC_OR_PART
        )
        producer = Producer(
            {"bootstrap.servers": server.bootstrap, "topic.metadata.propagation.max.ms": 200}
        )
        errors: list[KafkaError] = []
        producer.produce("nobody", b"x", on_delivery=lambda error, _message: errors.append(error))
        assert producer.flush(20) == 0
        assert errors[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "g"})
        consumer.subscribe(["nobody"])
        found: list[object] = []
        try:
            wait_until(lambda: found.extend(consumer.consume(1, 0.1)) or bool(found), "the error")
        except KafkaException as error:
            found.append(error)
        finally:
            consumer.close()
        assert "nobody" not in admin.list_topics(timeout=10).topics
    finally:
        end_all(server.processes)
