"""Rows of the comparison with Kafka: what is done with a server, which figures come of it."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from tests.benchmarks import kafka_clients, kafka_sockets, rdkafka
from tests.benchmarks.kafka_clients import Meter, Sample, Target
from tests.benchmarks.kafka_servers import Server
from tests.benchmarks.machine import ahead

T = TypeVar("T")
PARTITIONS = 6
MANY_PARTITIONS = 1000
CONSUMERS = 100
PACE_PER_S = 1000
MIXED_PER_S = 1000
_CLIENT_S_MAX = 300.0
_WARMUP_MORE_S = 2.0
_GB = 1e9
_REQUESTS = 1e5


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one server. is_rate: more is better. cpu: server seconds per `cpu_unit`."""

    name: str
    value: float
    unit: str
    is_rate: bool
    cpu: float | None = None
    cpu_unit: str = ""
    note: str = ""


class Bench:
    """What rows share: client processes, how long to measure, topics that were made."""

    def __init__(
        self, seconds: float, warmup: float, clients: ProcessPoolExecutor, *, is_ahead: bool = False
    ) -> None:
        self.seconds = seconds
        self.is_ahead = is_ahead
        self._warmup = warmup
        self._warm: set[tuple[Server, str]] = set()
        self._clients = clients
        self._names = itertools.count()
        self._targets: dict[Server, Target] = {}

    def warmup(self, server: Server, row: "Row") -> float:
        """For how many seconds a server gets a row's load before it counts.

        A JVM compiles what runs often, so the first row of a kind takes long; a process of Python
        is as fast at first, and gets what opens its connections and files.
        """
        if not row.is_load:
            return 0.0
        is_first = (server, row.kind) not in self._warm
        self._warm.add((server, row.kind))
        return self._warmup if is_first and server.compiles else min(self._warmup, _WARMUP_MORE_S)

    @contextlib.contextmanager
    def measuring(self, server: Server) -> Iterator[None]:
        """Ahead of the machine's other work, if that was asked for, for as long as it lasts."""
        if not self.is_ahead:
            yield
            return
        began = time.monotonic()
        with ahead([os.getpid(), self.client(os.getpid), *server.pids]):
            yield
        time.sleep((time.monotonic() - began) / 2)  # the others' turn

    def client(self, function: Callable[..., T], *arguments: object) -> T:
        """Run `function` in a client process; TimeoutError when it does not end."""
        return self._clients.submit(function, *arguments).result(_CLIENT_S_MAX)

    @contextlib.contextmanager
    def topics(self, servers: list[Server], row: "Row") -> Iterator[None]:
        """A topic on each server, on all its brokers, for as long as the block lasts."""
        name = f"compare-{next(self._names)}"
        for server in servers:
            brokers = range(server.brokers)
            replicas = [
                [(n + i) % server.brokers + 1 for i in brokers] for n in range(row.partitions)
            ]
            rdkafka.create_topic(server.bootstrap, name, replicas=replicas, config=row.config)
            self._targets[server] = server.target(name, row.partitions)
        yield
        for server in servers:
            rdkafka.delete_topic(server.bootstrap, self._targets.pop(server).topic)

    def target(self, server: Server) -> Target:
        return self._targets[server]


Measure = Callable[[Bench, Server, float], list[Figure]]
"""Bench, server, seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """prepare: what is done once on each server before anything is measured.

    is_load: there is something to warm up.
    """

    name: str
    brokers: int
    measure: Measure
    prepare: Callable[[Bench, Server], None] = lambda _bench, _server: None
    partitions: int = PARTITIONS
    is_quick: bool = False
    is_load: bool = True
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What warms up together."""
        return self.name.partition("-")[0]


@contextlib.contextmanager
def client_processes() -> Iterator[ProcessPoolExecutor]:
    """Where the clients run; ended with the block."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as clients:
        yield clients


def _megabytes(sample: Sample, name: str = "") -> list[Figure]:
    rate, cpu = sample.rate / 1e6, sample.cpu_per(_GB)
    return [Figure(name, rate, "MB/s", is_rate=True, cpu=cpu, cpu_unit="s/GB")]


def _requests(sample: Sample, name: str = "", unit: float = _REQUESTS) -> list[Figure]:
    cpu_unit = "s/100 000" if unit == _REQUESTS else "s/1 000"
    cpu = sample.cpu_per(unit)
    figures = [Figure(name, sample.rate, "/s", is_rate=True, cpu=cpu, cpu_unit=cpu_unit)]
    return figures + _latencies(sample.latencies_ms)


def _latencies(taken: list[float], name: str = "") -> list[Figure]:
    shares = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)) if taken else ()
    return [
        Figure(f"{name}{label}", rdkafka.percentile(taken, share), "ms", is_rate=False)
        for label, share in shares
    ]


def _client_row(
    function: Callable[..., Sample], *arguments: object, figures: Callable[[Sample], list[Figure]]
) -> Measure:
    """A row whose client gets the target, `arguments` and the seconds."""

    def measure(bench: Bench, server: Server, seconds: float) -> list[Figure]:
        return figures(bench.client(function, bench.target(server), *arguments, seconds))

    return measure


def _produce(size: int, acks: str, codec: str) -> Measure:
    return _client_row(kafka_clients.produce, size, acks, codec, figures=_megabytes)


def _one_record(connections: int, acks: int = 1) -> Measure:
    return _client_row(kafka_sockets.one_record_requests, connections, acks, figures=_requests)


def _records(size: int) -> int:
    return 300_000 if size >= 1000 else 1_000_000


def _fill(size: int, codec: str) -> Callable[[Bench, Server], None]:
    def prepare(bench: Bench, server: Server) -> None:
        bench.client(kafka_clients.fill, bench.target(server), size, codec, _records(size))

    return prepare


def _consume(size: int, *, cold: bool) -> Measure:
    def measure(bench: Bench, server: Server, seconds: float) -> list[Figure]:
        target = bench.target(server)
        forget = list(server.home.glob(f"data-*/{target.topic}-*/*.log")) if cold else []
        sample = bench.client(kafka_clients.consume, target, size, _records(size), forget, seconds)
        return _megabytes(sample)

    return measure


def _latency(bench: Bench, server: Server, seconds: float) -> list[Figure]:
    meter = Meter(server.pids)
    taken = rdkafka.latency(
        server.bootstrap, bench.target(server).topic, PARTITIONS,
        per_s=PACE_PER_S, seconds=seconds, size=1000,
    )  # fmt: skip
    sample = meter.sample(len(taken.consumed))
    figures = _latencies(taken.consumed)
    cpu = sample.cpu_per(_REQUESTS)
    first = figures[0]
    figures[0] = Figure(first.name, first.value, "ms", False, cpu, "s/100 000")
    return figures + _latencies(taken.produced, "acknowledged ")


def _idle_memory(bench: Bench, server: Server, seconds: float) -> list[Figure]:
    """Only sensible as the first row on a pair of servers."""
    meter = Meter(server.pids)
    time.sleep(seconds)
    cpu = meter.sample(1).cpu_s / seconds
    value = server.resident_mb
    return [Figure("", value, "MB", is_rate=False, cpu=cpu, cpu_unit="of a core")]


def _loaded_memory(bench: Bench, server: Server, seconds: float) -> list[Figure]:
    _produce(1000, "1", "none")(bench, server, seconds)
    _one_record(100)(bench, server, seconds)
    return [Figure("", server.resident_mb, "MB", is_rate=False)]


def rows() -> list[Row]:
    """Rows that need servers that are up, those of one broker first."""
    found = [Row("memory-idle-1b", 1, _idle_memory, is_quick=True, is_load=False)]
    for brokers in (1, 3):
        if brokers == 3:
            found.append(Row("memory-idle-3b", 3, _idle_memory, is_load=False))
        for size, acks, codec in itertools.product((1000, 100), ("1", "all"), ("none", "lz4")):
            name = f"produce-{_size(size)}-acks{acks}-{codec}-{brokers}b"
            is_quick = codec == "none" and acks == ("1" if brokers == 1 else "all")
            measure = _produce(size, acks, codec)
            found.append(Row(name, brokers, measure, is_quick=is_quick))
        found += _consume_rows(brokers)
        if brokers == 1:
            found += _rows_of_one()
        found.append(Row(f"latency-{brokers}b", brokers, _latency, is_quick=True))
        found.append(
            Row(
                f"memory-loaded-{brokers}b",
                brokers,
                _loaded_memory,
                is_quick=brokers == 1,
                is_load=False,
            )
        )
    return found


def _consume_rows(brokers: int) -> list[Row]:
    return [
        Row(
            f"consume-{_size(size)}-{codec}-{'cold' if cold else 'cached'}-{brokers}b",
            brokers,
            _consume(size, cold=cold),
            _fill(size, codec),
            is_quick=codec == "none" and brokers == 1,
        )
        for size, codec in itertools.product((1000, 100), ("none", "lz4"))
        for cold in (False, True)
    ]


def _rows_of_one() -> list[Row]:
    found = [
        Row(
            f"batches-{size // 1000}kB-1b",
            1,
            _client_row(kafka_sockets.batches, size, figures=_megabytes),
            is_quick=True,
        )
        for size in (16_000, 500_000)
    ]
    fetches = _client_row(kafka_sockets.fetches, figures=_megabytes)
    found.append(Row("fetches-1MB-1b", 1, fetches, _fill(1000, "none"), is_quick=True))
    found += [
        Row(f"requests-{n}-connections-1b", 1, _one_record(n), is_quick=True) for n in (1, 10, 100)
    ]
    found += [
        Row(
            f"flushed-requests-{n}-connections-1b",
            1,
            _one_record(n),
            is_quick=n == 100,
            config={"flush.messages": "1"},
        )
        for n in (1, 100)
    ]
    flushed = _client_row(kafka_clients.produce, 1000, "1", "none", figures=_megabytes)
    found.append(Row("flushed-produce-1kB-1b", 1, flushed, config={"flush.messages": "1"}))
    mixed = _client_row(kafka_sockets.mixed, CONSUMERS, MIXED_PER_S, figures=_requests)
    found.append(Row("mixed-100-consumers-1b", 1, mixed, is_quick=True))
    for kind in ("produce", "fetch", "session"):
        measure = _client_row(
            kafka_sockets.many_partitions, kind, figures=partial(_requests, unit=1000)
        )
        name = f"{kind}-1000-partitions-1b"
        found.append(Row(name, 1, measure, partitions=MANY_PARTITIONS, is_quick=True))
    return found


def _size(size: int) -> str:
    return "1kB" if size == 1000 else f"{size}B"


__all__ = ["Bench", "Figure", "Row", "client_processes", "rows"]
