"""What 10 000 sessions cost a member that has nothing else to do, and when they expire.

    python -m tests.benchmarks.many_sessions [--sessions 10000] [--members 1,3] [--zookeeper]

Raw connections spread over the members, each with one ephemeral znode and a ping every third of its
timeout, as clients send them. Prints Markdown: CPU of all members without and with the sessions,
latency of a lone writer without them, with them and while they expire; and when znodes of sessions
that fell silent went, counted from the last ping of the first and of the last session. The sockets
stay open meanwhile, as those of a suspended machine do. Two minutes for each number of members;
--zookeeper does the same with Apache's (jars as for zookeeper_compare). Needs as many file
descriptors as sessions, and some; progress goes to stderr.
"""

import argparse
import multiprocessing
import resource
import select
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.machine import progress
from tests.benchmarks.zookeeper_servers import OTTLA, ZOOKEEPER, Ensemble
from tests.benchmarks.zookeeper_wire import (
    HOST,
    Client,
    Unexpected,
    connect_frame,
    create_frame,
    ping_frame,
)
from tests.support.jars import ZOOKEEPER as ZOOKEEPER_JARS
from tests.support.jars import NoJars

PARENT = "/sessions"
EPHEMERAL = 1
AT_ONCE = 64
TICK_S = 2.0
LOOK_S = 0.02
HEAD = (
    "| Members | CPU of a second: empty | with sessions | per ping | writes p50 / p99 / slowest:"
    " empty | with sessions | while they expire | first gone after | last gone after |\n"
    + "|---" * 9
    + "|"
)


@dataclass(frozen=True, slots=True)
class Pings:
    """When the sessions were last heard from, and how often: seconds of `time.monotonic`."""

    first: float
    last: float


def hold(ports: list[int], count: int, timeout_s: float, pipe: Connection) -> None:
    """Open the sessions, say so, ping until something comes through the pipe, and fall silent."""
    sockets: list[socket.socket] = []
    poller = select.epoll()
    for start in range(0, count, AT_ONCE):
        fresh = []
        for index in range(start, min(start + AT_ONCE, count)):
            sock = socket.create_connection((HOST, ports[index % len(ports)]), 30)
            create = create_frame(1, f"{PARENT}/{index}", b"", flags=EPHEMERAL)
            sock.sendall(connect_frame(int(timeout_s * 1000)) + create)
            fresh.append(sock)
        for sock in fresh:
            _two_frames(sock)
            poller.register(sock.fileno(), select.EPOLLIN)
        sockets += fresh
    ping = ping_frame()
    every = timeout_s / 3
    last = [0.0] * count
    began = time.monotonic()
    pipe.send("open")
    turn = 0
    by_fd = {sock.fileno(): sock for sock in sockets}
    while not pipe.poll():
        due = int((time.monotonic() - began) / every * count)
        for number in range(turn, due):
            index = number % count
            last[index] = time.monotonic()
            sockets[index].send(ping)
        turn = max(turn, due)
        for fd, _ in poller.poll(0.005):
            if not by_fd[fd].recv(4096):
                raise Unexpected("the server closed a connection")
    pipe.send(Pings(min(last), max(last)))
    pipe.recv()
    pipe.recv()


def _two_frames(sock: socket.socket) -> None:
    data = b""
    for _ in range(2):
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            part = sock.recv(4096)
            if not part:
                raise Unexpected("the server closed a connection")
            data += part
        data = data[4 + int.from_bytes(data[:4], "big") :]


def writes(client: Client, seconds: float) -> list[float]:
    """Milliseconds of lone writes, one every 10 ms."""
    taken = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        client.set_data(PARENT, b"x")
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(0.01)
    return taken


def line(taken: list[float]) -> str:
    ordered = sorted(taken)
    middle, high = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"{middle:.1f} / {high:.1f} / {ordered[-1]:.1f} ms"


def measure(ensemble: Ensemble, count: int, timeout_s: float, seconds: float) -> str:
    """A row of the table."""
    ensemble.start()
    client = Client(ensemble.ports[0])
    client.create(PARENT)
    warm = ensemble.kind == ZOOKEEPER
    writes(client, 20.0 if warm else 2.0)
    before = ensemble.cpu_s()
    time.sleep(seconds)
    empty = (ensemble.cpu_s() - before) / seconds
    empty_writes = writes(client, seconds / 2)
    here, there = multiprocessing.Pipe()
    holder = multiprocessing.get_context("fork").Process(
        target=hold, args=(list(ensemble.ports), count, timeout_s, there), daemon=True
    )
    holder.start()
    try:
        if not here.poll(120):
            raise TimeoutError("the sessions are not open")
        here.recv()
        progress(f"{ensemble.size} of {ensemble.kind}: {client.children(PARENT)} sessions")
        time.sleep(timeout_s / 3 + 1)
        before = ensemble.cpu_s()
        time.sleep(seconds)
        used = (ensemble.cpu_s() - before) / seconds
        full_writes = writes(client, seconds / 2)
        here.send("fall silent")
        pings: Pings = here.recv()
        expiring = []
        first = None
        while left := client.children(PARENT):
            if left < count and first is None:
                first = time.monotonic() - pings.first
            if time.monotonic() > pings.last + 3 * timeout_s:
                raise TimeoutError(f"{left} sessions do not expire")
            began = time.perf_counter()
            client.set_data(PARENT, b"x")
            if time.monotonic() > pings.first + timeout_s:
                expiring.append((time.perf_counter() - began) * 1000)
            time.sleep(LOOK_S)
        gone = time.monotonic() - pings.last
    finally:
        holder.terminate()
        holder.join(10)
    per_ping = (used - empty) / (count / (timeout_s / 3))
    return (
        f"| {ensemble.size} of {ensemble.kind} | {empty * 1000:.0f} ms | {used * 1000:.0f} ms |"
        f" {per_ping * 1e6:.0f} us | {line(empty_writes)} | {line(full_writes)} |"
        f" {line(expiring)} | {first or 0:.2f} s | {gone:.2f} s |"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.many_sessions")
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--members", default="1,3")
    parser.add_argument("--timeout", type=float, default=30.0, help="of the sessions, s")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    parser.add_argument("--zookeeper", action="store_true")
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < options.sessions + 500:
        progress(f"{hard} file descriptors are too few")
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    described = machine.description()
    print(", ".join(f"{name} {value}" for name, value in described.items()))
    print(f"\n{options.sessions} sessions, timeout {options.timeout:g} s, tickTime {TICK_S:g} s\n")
    with tempfile.TemporaryDirectory(prefix="ottla-sessions-") as home:
        libs = Path(home)
        if options.zookeeper:
            try:
                libs = ZOOKEEPER_JARS.find(Path(home))
            except NoJars as reason:
                progress(str(reason))
                return 2
        print(HEAD, flush=True)
        for size in map(int, options.members.split(",")):
            for kind in (OTTLA, ZOOKEEPER) if options.zookeeper else (OTTLA,):
                ensemble = Ensemble(
                    kind, size, Path(home) / f"{kind}-{size}", libs, tick_ms=int(TICK_S * 1000)
                )
                try:
                    print(measure(ensemble, options.sessions, options.timeout, options.seconds))
                finally:
                    ensemble.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
