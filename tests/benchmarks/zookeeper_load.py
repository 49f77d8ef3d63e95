"""Load for a ZooKeeper-protocol server, made to cost less than either server does.

Each connection walks round a ring of requests that were encoded beforehand and whose replies have
sizes known beforehand: a receive is turned into a number of answered requests by one bisection, and
so many new ones leave with one send. The length, xid and error of the first reply of each receive
that begins with a whole one are looked at, so an error or a reply too many cannot pass. Latency is
taken per request, from the send that carried it to the receive that completed its reply.
"""

import gc
import select
import socket
import struct
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tests.benchmarks.zookeeper_wire import (
    HEADER,
    HOST,
    STAT_BYTES,
    Unexpected,
    close_frame,
    connect_frame,
    create_frame,
    get_data_frame,
    set_data_frame,
)

RING = 2048  # requests per ring; more than may be in flight on a connection
RECEIVE_BYTES = 1 << 18
_SILENCE_S = 20.0
_HEADER_BYTES = HEADER.size
_LENGTH = struct.Struct(">i")


@dataclass(slots=True)
class Sample:
    """What one run, or several together, came to. Latencies: seconds and how many had it."""

    operations: int = 0
    seconds: float = 0.0
    generator_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    latencies: list[tuple[float, int]] = field(default_factory=list)

    def add(self, other: "Sample") -> None:
        self.operations += other.operations
        self.seconds += other.seconds
        self.generator_cpu_s += other.generator_cpu_s
        self.server_cpu_s += other.server_cpu_s
        self.latencies += other.latencies

    @property
    def per_s(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_per_100k(self) -> float:
        """Server CPU seconds per 100 000 operations."""
        return self.server_cpu_s * 100_000 / self.operations

    @property
    def generator_share(self) -> float:
        """Of one core."""
        return self.generator_cpu_s / self.seconds

    def percentiles_ms(self, *shares: float) -> list[float]:
        ordered = sorted(self.latencies)
        ends = list(accumulate(count for _, count in ordered))
        return [
            ordered[min(bisect_right(ends, share * ends[-1]), len(ends) - 1)][0] * 1000
            for share in shares
        ]


@dataclass(frozen=True, slots=True)
class Ring:
    """Requests as bytes, twice round, and where each request and each reply ends."""

    requests: memoryview
    request_ends: Sequence[int]  # 0 first
    reply_ends: Sequence[int]
    count: int


def ring(made: Sequence[tuple[bytes, int]]) -> Ring:
    """From (request, size of its whole reply) pairs."""
    twice = [*made, *made]
    return Ring(
        memoryview(b"".join(request for request, _ in twice)),
        [0, *accumulate(len(request) for request, _ in twice)],
        list(accumulate(size for _, size in twice)),
        len(made),
    )


def mixed_ring(paths: Sequence[str], read_share: float, value_bytes: int, offset: int) -> Ring:
    """getData and setData of `paths` in turn, reads spread evenly among the writes."""
    value = bytes(index & 0xFF for index in range(value_bytes))
    made = []
    reads = 0
    for index in range(RING):
        path = paths[(index + offset) % len(paths)]
        if reads < round((index + 1) * read_share):
            reads += 1
            made.append((get_data_frame(index, path), _HEADER_BYTES + 4 + value_bytes + STAT_BYTES))
        else:
            made.append((set_data_frame(index, path, value), _HEADER_BYTES + STAT_BYTES))
    return ring(made)


def create_ring(paths: Sequence[str], value: bytes) -> Ring:
    """Creations; to be walked once."""
    return ring(
        [
            (create_frame(index, path, value), _HEADER_BYTES + 4 + len(path.encode()))
            for index, path in enumerate(paths)
        ]
    )


class _Connection:
    __slots__ = ("answered", "batches", "got", "left", "ring", "sent", "socket")

    def __init__(self, port: int, requests: Ring, limit: int | None) -> None:
        self.socket = socket.create_connection((HOST, port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.socket.sendall(connect_frame())
        head = self.socket.recv(4096)
        while len(head) < 4 or len(head) < 4 + _LENGTH.unpack_from(head)[0]:
            part = self.socket.recv(4096)
            if not part:
                raise ConnectionResetError("no session")
            head += part
        self.socket.setblocking(False)
        self.ring = requests
        self.left = limit  # requests that may still be sent; None: no limit
        self.sent = 0  # these three are positions in the ring
        self.answered = 0
        self.got = 0  # bytes of replies
        self.batches: deque[list[float]] = deque()  # [requests not answered yet, when they left]

    def send(self, count: int, now: float) -> None:
        if self.left is not None:
            count = min(count, self.left)
            self.left -= count
        if count <= 0:
            return
        around, start = self.ring, self.sent
        end = start + count
        data = around.requests[around.request_ends[start] : around.request_ends[end]]
        if self.socket.send(data) != len(data):
            raise Unexpected("a send buffer of 1 MiB is full")
        self.sent = end - around.count if end >= around.count else end
        self.batches.append([count, now])

    def received(self, data: memoryview, count: int) -> int:
        """How many requests are answered by these bytes."""
        around, at, answered = self.ring, self.got, self.answered
        ends = around.reply_ends
        before = ends[answered - 1] if answered else 0
        if at == before and count >= _HEADER_BYTES:
            length, xid, _, error = HEADER.unpack_from(data)
            if error or length + 4 != ends[answered] - before or xid != answered % around.count:
                raise Unexpected(f"reply of {length} bytes, xid {xid}, error {error}")
        at += count
        done = bisect_right(ends, at, answered) - answered
        answered += done
        if answered >= around.count:
            answered -= around.count
            at -= ends[around.count - 1]
        self.got, self.answered = at, answered
        return done

    def account(self, done: int, now: float, latencies: list[tuple[float, int]]) -> None:
        batches = self.batches
        while done:
            batch = batches[0]
            count = int(batch[0])
            if count <= done:
                batches.popleft()
                latencies.append((now - batch[1], count))
                done -= count
            else:
                batch[0] = count - done
                latencies.append((now - batch[1], done))
                return


def run(
    ports: Sequence[int],
    rings: Sequence[Ring],
    *,
    in_flight: int,
    seconds: float | None,
    cpu: Callable[[], float],
) -> Sample:
    """One connection per ring, spread over the ports; `in_flight` requests on each of them.

    seconds: None walks each ring once. cpu: the servers' CPU seconds so far.
    """
    limit = None if seconds is not None else 0
    connections: list[_Connection] = []
    try:
        for index, requests in enumerate(rings):
            connection = _Connection(ports[index % len(ports)], requests, limit)
            connections.append(connection)
            if seconds is None:
                connection.left = requests.count
        sample = _drive(connections, in_flight, seconds, cpu)
        for connection in connections:
            connection.socket.setblocking(True)
            connection.socket.settimeout(30)
            connection.socket.sendall(close_frame(0))
        for connection in connections:
            connection.socket.recv(4096)
        return sample
    finally:
        for connection in connections:
            connection.socket.close()


def _drive(
    connections: Sequence[_Connection],
    in_flight: int,
    seconds: float | None,
    cpu: Callable[[], float],
) -> Sample:
    poller = select.epoll()
    by_fd = {connection.socket.fileno(): connection for connection in connections}
    for fd in by_fd:
        poller.register(fd, select.EPOLLIN)
    buffer = memoryview(bytearray(RECEIVE_BYTES))
    clock = time.perf_counter
    latencies: list[tuple[float, int]] = []
    operations = 0
    gc.collect()
    gc.disable()
    server_before, own_before = cpu(), time.process_time()
    began = now = clock()
    until = float("inf") if seconds is None else began + seconds
    waiting = 0
    try:
        for connection in connections:
            connection.send(in_flight, now)
            waiting += sum(int(batch[0]) for batch in connection.batches)
        while waiting:
            ready = poller.poll(_SILENCE_S)
            if not ready:
                raise Unexpected(f"{waiting} requests have had no answer for {_SILENCE_S:g} s")
            for fd, _ in ready:
                connection = by_fd[fd]
                count = connection.socket.recv_into(buffer)
                if not count:
                    raise Unexpected("the server closed a connection")
                done = connection.received(buffer, count)
                if not done:
                    continue
                now = clock()
                connection.account(done, now, latencies)
                operations += done
                waiting -= done
                if now < until:
                    if connection.left is None:
                        waiting += done
                    else:
                        waiting += min(done, connection.left)
                    connection.send(done, now)
        took = clock() - began
        return Sample(
            operations,
            took,
            time.process_time() - own_before,
            cpu() - server_before,
            latencies,
        )
    finally:
        gc.enable()
        poller.close()


__all__ = ["Ring", "Sample", "create_ring", "mixed_ring", "ring", "run"]
