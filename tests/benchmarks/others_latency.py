"""What a client in good order notices of clients that are not.

    python -m tests.benchmarks.others_latency [--kafka] [--rounds 5] [--seconds 3] [--ahead]

One connection produces one record, then fetches it, and so on; each request is timed. It does so
alone, and beside each of these, in turns within one run:

* slow readers: 20 connections that are owed 200 MB of answers and take 4 kB of them now and then;
* idle: 5000 connections that have asked once;
* never read: 20 connections that ask for 10 kB again and again and read nothing;
* faster than the disk: 8 connections that send batches of 900 kB as fast as they are taken, for
  topics with `flush.messages=1`, on a broker with `queued.max.request.bytes` of 16 MB.

Rows are medians over the rounds, with the ratio to the turn alone of the same round. RSS is the
broker's at the end of the turn. With `--kafka` the same beside Apache Kafka 3.9 (a JDK and its
jars, as for `kafka_compare`). `--ahead` (root) runs the server and the measured client ahead of the
machine's other work. What is not in good order runs in a process of its own, and takes its share of
the machine: on few cores part of a ratio is that. `paced` rows tell: there its requests are so many
per second as not to keep the client's core or the broker busy.
"""

import argparse
import contextlib
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from ottla.protocol.kafka.headers import encode_request_frame
from ottla.protocol.kafka.messages.api_versions import ApiVersionsRequest
from ottla.protocol.kafka.records import build_batch
from tests.benchmarks.kafka_servers import Kafka, Ottla, Server, wait_up
from tests.benchmarks.kafka_sockets import (
    LED_S_MAX,
    Address,
    Connection,
    check_produced,
    fetch_frame,
    fetched,
    produce_frame,
)
from tests.benchmarks.machine import ahead, description, progress
from tests.benchmarks.rdkafka import percentile
from tests.support.jars import KAFKA, NoJars
from tests.support.processes import end_all

SETTINGS = "queued.max.request.bytes=16000000\nsocket.request.max.bytes=8000000\n"
GAP_S = 0.004
_NOW_MS = 1_700_000_000_000
_RECORD = build_batch([(b"key", bytes(100), _NOW_MS, [])])
_SMALL = build_batch([(None, bytes(1_000), _NOW_MS, [])] * 10)
_LARGE = build_batch([(None, bytes(1_000), _NOW_MS, [])] * 900)
_ASK_VERSIONS = encode_request_frame(ApiVersionsRequest(), 3, 1, "idle")


# Who is not in good order; each runs until its process is ended.


def _ready() -> None:
    print("ready", flush=True)


def _narrow(address: Address) -> socket.socket:
    made = socket.socket()
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, buffer, 8_192)
    made.connect(address)
    return made


def slow_readers(address: Address) -> None:
    slow = [_narrow(address) for _ in range(20)]
    for each in slow:
        each.sendall(fetch_frame("filled", {0: 0}) * 10)
    _ready()
    while True:
        for each in slow:
            each.recv(4_096)
        time.sleep(0.1)


def idle(address: Address) -> None:
    connections = []
    for _ in range(5_000):
        each = socket.create_connection(address, timeout=30)
        connections.append(each)
        each.sendall(_ASK_VERSIONS)
    for each in connections:
        assert each.recv(4_096)
    _ready()
    time.sleep(3600)


def never_read(address: Address) -> None:
    _push([_narrow(address) for _ in range(20)], fetch_frame("small", {0: 0}) * 1_000)


def faster_than_the_disk(address: Address) -> None:
    frames = b"".join(produce_frame("synced", [index], _LARGE) for index in range(8))
    _push([Connection(address).socket for _ in range(8)], frames)


def _push(sockets: Sequence[socket.socket], data: bytes) -> None:
    for each in sockets:
        each.setblocking(False)
    sent = dict.fromkeys(sockets, 0)
    view = memoryview(data)
    _ready()
    while True:
        for each in select.select([], sockets, [])[1]:
            with contextlib.suppress(BlockingIOError):
                sent[each] += each.send(view[sent[each] % len(data) :])


TROUBLES: dict[str, Callable[[Address], None]] = {
    "slow readers": slow_readers,
    "idle": idle,
    "never read": never_read,
    "faster than the disk": faster_than_the_disk,
}


@contextlib.contextmanager
def beside(trouble: str, address: Address) -> Iterator[None]:
    words = [sys.executable, "-m", "tests.benchmarks.others_latency", "--be", trouble]
    process = subprocess.Popen([*words, "--port", str(address[1])], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", f"{trouble} failed"
        time.sleep(0.5)
        yield
        assert process.poll() is None, f"{trouble} has ended"
    finally:
        end_all([process])
        assert process.stdout is not None
        process.stdout.close()


# Who is


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds of each request, and the broker's memory after them."""

    produce_ms: list[float]
    fetch_ms: list[float]
    resident_mb: float

    def figures(self) -> list[float]:
        shares = [percentile(ms, p) for ms in (self.produce_ms, self.fetch_ms) for p in (0.5, 0.99)]
        return [*shares, self.resident_mb]


def one_turn(server: Server, seconds: float, gap_s: float) -> Turn:
    connection = Connection(server.address)
    produce = produce_frame("measured", [0], _RECORD)
    found = fetched(connection.ask(fetch_frame("measured", {0: 0}, min_bytes=0)))
    end = found.responses[0].partitions[0].high_watermark
    produce_ms: list[float] = []
    fetch_ms: list[float] = []
    clock = time.perf_counter
    stop = clock() + seconds
    while (began := clock()) < stop:
        check_produced(connection.ask(produce))
        produced = clock()
        produce_ms.append((produced - began) * 1000)
        frame = fetch_frame("measured", {0: end})
        asked = clock()
        answer = connection.ask(frame)
        fetch_ms.append((clock() - asked) * 1000)
        end += 1
        assert fetched(answer).responses[0].partitions[0].high_watermark == end
        time.sleep(gap_s)
    connection.close()
    return Turn(produce_ms, fetch_ms, server.resident_mb)


def fill(server: Server) -> None:
    """Topics with what the others ask for."""
    wait_up(server)
    admin = AdminClient({"bootstrap.servers": server.bootstrap, "log_level": 0})
    kept = {"retention.ms": "-1"}
    synced = {"flush.messages": "1", "retention.bytes": "50000000", "segment.bytes": "20000000"}
    made = [NewTopic(name, 1, 1, config=kept) for name in ("filled", "small", "measured")]
    for future in admin.create_topics([*made, NewTopic("synced", 8, 1, config=synced)]).values():
        future.result(30)
    connection = Connection(server.address)
    frames = [produce_frame("filled", [0], _LARGE)] * 45
    frames += [produce_frame("synced", [index], _LARGE) for index in range(8)]
    frames += [produce_frame("small", [0], _SMALL), produce_frame("measured", [0], _RECORD)]
    for frame in frames:
        until_taken(connection, frame)
    connection.close()


def until_taken(connection: Connection, frame: bytes) -> None:
    """A topic that was just made may not be led yet."""
    deadline = time.monotonic() + LED_S_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError):
            check_produced(connection.ask(frame))
            return
        time.sleep(0.1)
    check_produced(connection.ask(frame))


def measure(server: Server, rounds: int, seconds: float) -> None:
    fill(server)
    names = ["alone", *TROUBLES]
    turns: dict[tuple[str, str], list[list[float]]] = {}
    one_turn(server, seconds if not server.compiles else 20.0, 0.0)  # until it is warm
    for number in range(rounds):
        for name in names:
            progress(f"{server.name}: round {number + 1} of {rounds}, {name}")
            with contextlib.ExitStack() as stack:
                if name != "alone":
                    stack.enter_context(beside(name, server.address))
                for pace, gap_s in (("", 0.0), (", paced", GAP_S)):
                    turn = one_turn(server, seconds, gap_s)
                    turns.setdefault((name, pace), []).append(turn.figures())
            time.sleep(1.0)
            server.check()
    for pace in ("", ", paced"):
        for name in names:
            print(row(server.name, name + pace, turns[name, pace], turns["alone", pace]))


def row(server: str, name: str, turns: list[list[float]], alone: list[list[float]]) -> str:
    middle = [statistics.median(column) for column in zip(*turns, strict=True)]
    ratios = [
        statistics.median(here / there for here, there in zip(*pair, strict=True))
        for pair in zip(zip(*turns, strict=True), zip(*alone, strict=True), strict=True)
    ]
    cells = [f"{ms:.2f} ({ratio:.1f})" for ms, ratio in zip(middle[:4], ratios, strict=False)]
    return f"| {server} | {name} | {' | '.join(cells)} | {middle[4]:.0f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kafka", action="store_true", help="the same beside Apache Kafka")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--ahead", action="store_true", help="ahead of other work; needs root")
    parser.add_argument("--be", choices=list(TROUBLES), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.be:
        TROUBLES[args.be](("127.0.0.1", args.port))
        return 0
    print("".join(f"{name}: {value}. " for name, value in description().items()) + "\n")
    print("| server | beside | produce p50, ms | p99 | fetch p50, ms | p99 | RSS, MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="ottla-others-") as home:
        servers: list[Server] = [Ottla(Path(home) / "ottla", 1)]
        with (Path(home) / "ottla" / "broker-1.properties").open("a", encoding="utf-8") as config:
            config.write(SETTINGS)
        if args.kafka:
            try:
                servers.append(Kafka(Path(home) / "kafka", 1, KAFKA.find(Path(home))))
            except NoJars as error:
                print(error, file=sys.stderr)
                return 2
            with (Path(home) / "kafka" / "broker-1.properties").open("a", encoding="utf-8") as file:
                file.write(SETTINGS)
        for server in servers:
            with contextlib.ExitStack() as stack:
                stack.callback(server.kill)
                server.start()
                wait_up(server)
                if args.ahead:
                    stack.enter_context(ahead([*server.pids, os.getpid()]))
                measure(server, args.rounds, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
