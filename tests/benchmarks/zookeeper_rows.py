"""What is compared: a group of rows starts what it needs and measures the two servers in turns."""

import contextlib
import os
import select
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.machine import ahead, progress
from tests.benchmarks.zookeeper_load import Ring, Sample, create_ring, mixed_ring, run
from tests.benchmarks.zookeeper_servers import OTTLA, ZOOKEEPER, Ensemble
from tests.benchmarks.zookeeper_wire import (
    HEADER,
    HOST,
    Client,
    Unexpected,
    close_frame,
    connect_frame,
    get_data_frame,
)

NODES = 128
SHAPES = ((32, 16), (16, 1), (1, 1))
READ_SHARES = (0.0, 0.5, 0.9, 1.0)
VALUE_BYTES = (100, 1000)
WRITES_TARGET = 2.0
READS_TARGET = 4.0
_LENGTH = struct.Struct(">i")
_NOTIFICATION_XID = -1


@dataclass(slots=True)
class Row:
    """One figure of both. `ratio` is above 1 where Ottla is better, whatever `unit` is."""

    group: str
    name: str
    unit: str
    ottla: float
    zookeeper: float
    more_is_better: bool = True
    target: float | None = None
    ottla_cpu: float | None = None  # server CPU seconds per 100 000 operations
    zookeeper_cpu: float | None = None
    ottla_ms: Sequence[float] = ()  # p50, p99, p99.9
    zookeeper_ms: Sequence[float] = ()
    generator: float | None = None  # CPU of the load generator, of a core, with Ottla as server
    ratio: float = field(init=False)

    def __post_init__(self) -> None:
        best, other = self.ottla, self.zookeeper
        if not self.more_is_better:
            best, other = other, best
        self.ratio = best / other if other else float("inf")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure. Seconds are per server and row."""

    home: Path
    libs: Path
    sizes: Sequence[int] = (1, 3, 5)
    seconds: float = 3.0
    warmup: float = 25.0
    slices: int = 2
    quick: bool = False
    read_shares: Sequence[float] = READ_SHARES
    values: Sequence[int] = VALUE_BYTES
    shapes: Sequence[tuple[int, int]] = SHAPES
    znodes: int = 1_000_000
    watchers: int = 1000
    tick_ms: int = 2000
    ahead: bool = False
    """Servers and generator run ahead of the machine's other work while they are measured."""


Pair = dict[str, Ensemble]


@contextlib.contextmanager
def pair(plan: Plan, size: int, name: str, *, tick_ms: int | None = None) -> Iterator[Pair]:
    """Both servers' ensembles, not started yet; ended at the end."""
    both = {
        kind: Ensemble(
            kind, size, plan.home / f"{name}-{size}-{kind}", plan.libs,
            tick_ms=tick_ms or plan.tick_ms,
        )
        for kind in (OTTLA, ZOOKEEPER)
    }  # fmt: skip
    try:
        yield both
    finally:
        for ensemble in both.values():
            ensemble.stop()


def paths_of(value_bytes: int) -> list[str]:
    return [f"/of-{value_bytes}-bytes/node-{index:03}" for index in range(NODES)]


def fill(ensemble: Ensemble, values: Sequence[int]) -> None:
    """The znodes that the load reads and writes, on every member."""
    client = Client(ensemble.ports[0])
    for value_bytes in values:
        client.create(f"/of-{value_bytes}-bytes")
        for path in paths_of(value_bytes):
            client.create(path, bytes(value_bytes))
            client.set_data(path, bytes(value_bytes))
    client.close()
    deadline = time.monotonic() + 20
    for port in ensemble.ports:
        client = Client(port)
        last = paths_of(values[-1])[-1]
        while not client.exists(last):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{last} does not come to every member")
            time.sleep(0.01)
        client.close()


def rings(count: int, read_share: float, value_bytes: int) -> list[Ring]:
    """One per connection, each beginning at another znode."""
    paths = paths_of(value_bytes)
    return [mixed_ring(paths, read_share, value_bytes, index * 37) for index in range(count)]


def load(
    ensemble: Ensemble, shape: tuple[int, int], read_share: float, value_bytes: int, seconds: float
) -> Sample:
    return run(
        ensemble.ports,
        rings(shape[0], read_share, value_bytes),
        in_flight=shape[1],
        seconds=seconds,
        cpu=ensemble.cpu_s,
    )


def started(both: Pair, plan: Plan) -> None:
    """Start, fill and warm up both; the JVM compiles meanwhile, and Ottla gets the same."""
    for kind, ensemble in both.items():
        progress(f"  {ensemble.size} of {kind}: start, {plan.warmup:g} s of warm-up")
        ensemble.start()
        fill(ensemble, plan.values)
        for share in plan.read_shares:
            for shape in plan.shapes:
                each = plan.warmup / len(plan.read_shares) / len(plan.shapes)
                load(ensemble, shape, share, plan.values[0], each)


def compared(
    both: Pair, plan: Plan, measure: Callable[[Ensemble], Sample]
) -> tuple[Sample, Sample]:
    """The two in turns, so that what else the machine does meets both."""
    sums = {kind: Sample() for kind in both}
    for _ in range(plan.slices):
        for kind, ensemble in both.items():
            if not plan.ahead:
                sums[kind].add(measure(ensemble))
                continue
            with ahead([os.getpid(), *ensemble.pids]):
                sample = measure(ensemble)
            sums[kind].add(sample)
            time.sleep(sample.seconds / 2)  # the others' turn
    return sums[OTTLA], sums[ZOOKEEPER]


def row_of(group: str, name: str, ours: Sample, theirs: Sample, target: float) -> Row:
    return Row(
        group, name, "ops/s", ours.per_s, theirs.per_s, target=target,
        ottla_cpu=ours.cpu_per_100k, zookeeper_cpu=theirs.cpu_per_100k,
        ottla_ms=ours.percentiles_ms(0.5, 0.99, 0.999),
        zookeeper_ms=theirs.percentiles_ms(0.5, 0.99, 0.999),
        generator=ours.generator_share,
    )  # fmt: skip


def combinations(plan: Plan) -> Iterator[tuple[int, float, tuple[int, int]]]:
    """Size of values, share of reads, shape of the load. Larger values in the first shape alone."""
    for number, value_bytes in enumerate(plan.values):
        for share in plan.read_shares:
            for shape in plan.shapes[: 1 if number else None]:
                yield value_bytes, share, shape


def requests(plan: Plan, both: Pair) -> Iterator[Row]:
    """Reads and writes by share of reads, size of values, connections and requests in flight."""
    each = plan.seconds / plan.slices
    who = members(both[OTTLA].size)
    for value_bytes, share, shape in combinations(plan):
        what = (shape, share, value_bytes, each)
        ours, theirs = compared(both, plan, lambda ensemble, what=what: load(ensemble, *what))
        name = f"{who}, {share:.0%} reads, {value_bytes} B, {shape[0]} x {shape[1]}"
        target = READS_TARGET if share == 1 else WRITES_TARGET
        yield row_of("requests", name, ours, theirs, target)


def members(size: int) -> str:
    return f"{size} members" if size > 1 else "1 member"


def million(plan: Plan) -> Iterator[Row]:
    """One member with a million znodes: making them, memory, writes and reads, a restart."""
    count = plan.znodes
    with pair(plan, 1, "million") as both:
        started(both, plan)
        before = {kind: ensemble.resident_mb()[0] for kind, ensemble in both.items()}
        made = {kind: grow(ensemble, count) for kind, ensemble in both.items()}
        yield row_of(
            "million", f"create {count} znodes of 100 B, 32 x 16", made[OTTLA], made[ZOOKEEPER], 2
        )
        grown = {k: (e.resident_mb()[0] - before[k]) * 1e6 / count for k, e in both.items()}
        yield Row(
            "million", "memory for a million znodes of 100 B", "MB",
            grown[OTTLA], grown[ZOOKEEPER], more_is_better=False,
        )  # fmt: skip
        for share, what, target in ((0.0, "writes", 2.0), (1.0, "reads", 4.0)):
            for shape in ((32, 16), (1, 1)):
                ours, theirs = compared(
                    both,
                    plan,
                    lambda ensemble, s=share, sh=shape: load(
                        ensemble, sh, s, plan.values[0], plan.seconds / plan.slices
                    ),
                )
                name = f"{what} beside {count} znodes, {shape[0]} x {shape[1]}"
                yield row_of("million", name, ours, theirs, target)
        again = {}
        for kind, ensemble in both.items():
            ensemble.stop()
            again[kind] = ensemble.start()
        yield Row(
            "million", f"restart with {count} znodes to the first session", "s",
            again[OTTLA], again[ZOOKEEPER], more_is_better=False, target=2,
        )  # fmt: skip


def grow(ensemble: Ensemble, count: int) -> Sample:
    """Create so many znodes, a thousand below each parent."""
    client = Client(ensemble.ports[0])
    client.create("/many")
    total = Sample()
    parents = count // 1000
    for first in range(0, parents, 32):
        group = range(first, min(first + 32, parents))
        for parent in group:
            client.create(f"/many/{parent}")
        total.add(
            run(
                ensemble.ports,
                [
                    create_ring([f"/many/{parent}/child-{n:04}" for n in range(1000)], bytes(100))
                    for parent in group
                ],
                in_flight=16,
                seconds=None,
                cpu=ensemble.cpu_s,
            )
        )
    client.close()
    return total


def watches(plan: Plan, both: Pair) -> Iterator[Row]:
    """One change told to many clients: from the write's send to the last client's event."""
    taken: dict[str, list[float]] = {kind: [] for kind in both}
    cpu = dict.fromkeys(both, 0.0)
    rounds = 5 if plan.quick else 20
    for kind, ensemble in both.items():
        fans = _Fans(ensemble, plan.watchers)
        try:
            fans.round()  # the first is a warm-up
            before = ensemble.cpu_s()
            taken[kind] = [fans.round() for _ in range(rounds)]
            cpu[kind] = ensemble.cpu_s() - before
        finally:
            fans.close()
    scale = 100_000 / (rounds * plan.watchers)
    yield Row(
        "watches",
        f"{members(both[OTTLA].size)}, {plan.watchers} clients watch a znode: write to last event",
        "ms",
        statistics.median(taken[OTTLA]) * 1000,
        statistics.median(taken[ZOOKEEPER]) * 1000,
        more_is_better=False,
        target=2,
        ottla_cpu=cpu[OTTLA] * scale,
        zookeeper_cpu=cpu[ZOOKEEPER] * scale,
    )


class _Fans:
    """Clients that watch one znode, spread over the members."""

    def __init__(self, ensemble: Ensemble, count: int) -> None:
        self._path = paths_of(100)[0]
        self._writer = Client(ensemble.ports[0])
        self._sockets: list[socket.socket] = []
        self._poller = select.epoll()
        for index in range(count):
            sock = socket.create_connection((HOST, ensemble.ports[index % ensemble.size]), 30)
            self._sockets.append(sock)
            sock.sendall(connect_frame())
            _frame(sock)
            self._poller.register(sock.fileno(), select.EPOLLIN)

    def round(self) -> float:
        """Set all watches, write once; seconds until everybody knows."""
        request = get_data_frame(1, self._path, watch=True)
        for sock in self._sockets:
            sock.sendall(request)
        for sock in self._sockets:
            _frame(sock)
        by_fd = {sock.fileno(): sock for sock in self._sockets}
        waiting = set(by_fd)
        began = time.perf_counter()
        self._writer.set_data(self._path, bytes(100))
        while waiting:
            ready = self._poller.poll(20)
            if not ready:
                raise Unexpected(f"{len(waiting)} watches have not fired")
            for fd, _ in ready:
                event = _frame(by_fd[fd])
                if _LENGTH.unpack_from(event)[0] != _NOTIFICATION_XID:
                    raise Unexpected("no event where one was expected")
                waiting.discard(fd)
        return time.perf_counter() - began

    def close(self) -> None:
        self._writer.close()
        self._poller.close()
        for sock in self._sockets:
            sock.close()


def _frame(sock: socket.socket) -> bytes:
    data = sock.recv(4096)
    while len(data) < 4 or len(data) < 4 + _LENGTH.unpack_from(data)[0]:
        part = sock.recv(4096)
        if not part:
            raise Unexpected("the server closed a connection")
        data += part
    return data[4:]


def sessions(plan: Plan, both: Pair) -> Iterator[Row]:
    """Connections that open a session and end it, 32 at a time."""
    for ensemble in both.values():
        _open_and_close(ensemble, plan.seconds)  # warm-up
    ours, theirs = compared(both, plan, lambda e: _open_and_close(e, plan.seconds / plan.slices))
    yield row_of(
        "sessions", f"{members(both[OTTLA].size)}, sessions opened and closed", ours, theirs, 2
    )


def _open_and_close(ensemble: Ensemble, seconds: float, at_once: int = 32) -> Sample:
    poller = select.epoll()
    stages: dict[int, tuple[socket.socket, int, float]] = {}
    hello, bye = connect_frame(), close_frame(1)
    latencies: list[tuple[float, int]] = []
    opened = 0

    def open_one() -> None:
        nonlocal opened
        now = time.perf_counter()
        sock = socket.create_connection((HOST, ensemble.ports[opened % ensemble.size]), 30)
        opened += 1
        sock.sendall(hello)
        stages[sock.fileno()] = (sock, 0, now)
        poller.register(sock.fileno(), select.EPOLLIN)

    before, own = ensemble.cpu_s(), time.process_time()
    began = time.perf_counter()
    try:
        for _ in range(at_once):
            open_one()
        while stages:
            ready = poller.poll(20)
            if not ready:
                raise Unexpected("sessions are not opened")
            for fd, _ in ready:
                sock, stage, since = stages[fd]
                answer = _frame(sock)
                if stage == 0:
                    stages[fd] = (sock, 1, since)
                    sock.sendall(bye)
                    continue
                error = HEADER.unpack_from(_LENGTH.pack(len(answer)) + answer)[3]
                if error:
                    raise Unexpected(f"closeSession: {error}")
                poller.unregister(fd)
                del stages[fd]
                sock.close()
                now = time.perf_counter()
                latencies.append((now - since, 1))
                if now - began < seconds:
                    open_one()
        took = time.perf_counter() - began
        return Sample(
            len(latencies), took, time.process_time() - own, ensemble.cpu_s() - before, latencies
        )
    finally:
        for sock, _, _ in stages.values():
            sock.close()
        poller.close()


SERVED: Mapping[str, Callable[[Plan, Pair], Iterator[Row]]] = {
    "requests": requests,
    "watches": watches,
    "sessions": sessions,
}
"""Groups that need two ensembles of each size, filled and warm."""


def served(plan: Plan, names: Sequence[str]) -> Iterator[Row]:
    """The rows of these groups for each size, of ensembles that are started once."""
    for size in plan.sizes:
        with pair(plan, size, "served") as both:
            started(both, plan)
            for name in names:
                yield from SERVED[name](plan, both)


__all__ = [
    "SERVED",
    "WRITES_TARGET",
    "Pair",
    "Plan",
    "Row",
    "combinations",
    "fill",
    "grow",
    "load",
    "members",
    "million",
    "pair",
    "paths_of",
    "served",
]
