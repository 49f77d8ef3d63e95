"""Rows of the comparison with Kafka that start and kill servers: first write, and kill -9."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer

from ottla.protocol.kafka.records import build_batch
from tests.benchmarks import kafka_sockets, rdkafka
from tests.benchmarks.kafka_clients import Meter
from tests.benchmarks.kafka_rows import PARTITIONS, Bench, Figure
from tests.benchmarks.kafka_servers import Kafka, Ottla, Server, wait_up

_FIRST_WRITE_S_MAX = 60.0
_RESTART_S_MAX = 600.0
_RETRY_S = 0.01
_BATCH_BYTES = 500_000


def start(_bench: Bench, make: Callable[[], Server]) -> list[Figure]:
    """From the start of the process in empty directories to the first acknowledged write."""
    server = make()
    try:
        began = time.perf_counter()
        server.start()
        meter = Meter(server.pids)
        producer = Producer(
            {
                "bootstrap.servers": server.bootstrap,
                "log_level": 0,
                "linger.ms": 0,
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 20,
                "retry.backoff.ms": 10,
                "topic.metadata.refresh.fast.interval.ms": 10,
                "allow.auto.create.topics": True,
            }
        )
        producer.produce("first", b"write")
        assert producer.flush(_FIRST_WRITE_S_MAX) == 0, f"{server.name} took no write"
        took = time.perf_counter() - began
        server.check()
        cpu = meter.sample(1).cpu_s
        return [Figure("", took, "s", is_rate=False, cpu=cpu, cpu_unit="s")]
    finally:
        server.kill()
        shutil.rmtree(server.home)


def restart(bench: Bench, make: Callable[[], Server], gigabytes: float) -> list[Figure]:
    """From the start after a kill -9 to a write that every partition of the log acknowledged."""
    server = make()
    try:
        server.start()
        wait_up(server)
        rdkafka.create_topic(server.bootstrap, "log", replicas=[[1]] * PARTITIONS)
        bench.client(
            kafka_sockets.batches,
            server.target("log", PARTITIONS), _BATCH_BYTES, _RESTART_S_MAX / 2, gigabytes * 1e9,
        )  # fmt: skip
        size = sum(path.stat().st_size for path in server.home.glob("data-*/log-*/*.log"))
        server.kill()
        began = time.perf_counter()
        server.start()
        meter = Meter(server.pids)
        _wait_written(server)
        took = time.perf_counter() - began
        cpu = meter.sample(1).cpu_s
        note = f"{size / 1e9:.1f} GB"
        return [Figure("", took, "s", is_rate=False, cpu=cpu, cpu_unit="s", note=note)]
    finally:
        server.kill()
        shutil.rmtree(server.home)


def _wait_written(server: Server) -> None:
    """Until one request with a record for each partition was taken; tries every 10 ms."""
    batch = build_batch([(None, b"again", 1_700_000_000_000, [])])
    frame = kafka_sockets.produce_frame("log", range(PARTITIONS), batch)
    deadline = time.monotonic() + _RESTART_S_MAX
    while time.monotonic() < deadline:
        server.check()
        try:
            connection = kafka_sockets.Connection(server.address)
            try:
                kafka_sockets.check_produced(connection.ask(frame))
            finally:
                connection.close()
            return
        except (OSError, AssertionError):
            time.sleep(_RETRY_S)
    raise AssertionError(f"{server.name} took no write in {_RESTART_S_MAX:.0f} s")


def makers(home: Path, libs: Path) -> list[Callable[[], Server]]:
    """How each server is made with one broker, in an empty directory."""
    return [
        lambda: Ottla(home / "ottla", 1),
        lambda: Kafka(home / "kafka", 1, libs),
    ]


__all__ = ["makers", "restart", "start"]
