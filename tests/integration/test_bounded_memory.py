"""Clients that would cost a broker memory without bound, and what they cost the others.

Each test keeps such clients stuck while another one has a number of requests answered, and holds
the growth of the broker's resident memory against a bound.
"""

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from ottla.protocol.kafka.headers import encode_request_frame
from ottla.protocol.kafka.messages.api_versions import ApiVersionsRequest
from ottla.protocol.kafka.records import build_batch
from tests.benchmarks.kafka_sockets import (
    Connection,
    check_produced,
    fetch_frame,
    fetched,
    produce_frame,
)
from tests.benchmarks.machine import resident_mb
from tests.integration.test_lone_server import LoneServer
from tests.support.processes import end_all

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BATCH = build_batch([(None, bytes(1_000), 1_700_000_000_000, [])] * 900)
SMALL_BATCH = build_batch([(None, bytes(1_000), 1_700_000_000_000, [])] * 10)
FILLED_MB = 40
STUCK_S = 1.5
REQUESTS_OF_OTHERS = 300
QUEUED_MB = 16
ASK_VERSIONS = encode_request_frame(ApiVersionsRequest(), 3, 1, "stuck")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    """One broker with a topic of 40 MB, and one that syncs each batch."""
    home: Path = tmp_path_factory.mktemp("bounded")
    made = LoneServer(
        home,
        f"queued.max.request.bytes={QUEUED_MB * 1_000_000}",
        "socket.request.max.bytes=8000000",
    )
    try:
        made.start()
        admin = AdminClient({"bootstrap.servers": made.bootstrap, "log_level": 0})
        synced = {"flush.messages": "1"}
        topics = [
            NewTopic("filled", 1, 1),
            NewTopic("small", 1, 1),
            NewTopic("synced", 8, 1, config=synced),
        ]
        for future in admin.create_topics(topics).values():
            future.result(20)
        with contextlib.closing(connect(made)) as connection:
            frames = [produce_frame("filled", [0], BATCH)] * (FILLED_MB * 10 // 9)
            frames += [produce_frame("synced", [index], BATCH) for index in range(8)]
            frames.append(produce_frame("small", [0], SMALL_BATCH))
            for frame in frames:
                check_produced(connection.ask(frame))
        yield made
    finally:
        end_all(made.processes)


def connect(server: LoneServer) -> Connection:
    return Connection(("127.0.0.1", server.port))


def connect_narrowly(server: LoneServer) -> socket.socket:
    """With small buffers, where else the system would hold megabytes on the client's side."""
    made = socket.socket()
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, buffer, 8_192)
    made.connect(("127.0.0.1", server.port))
    return made


def memory_mb(server: LoneServer) -> float:
    return resident_mb(server.processes[-1].pid)


def others_are_served(server: LoneServer) -> None:
    """One client in good order: a produce and a fetch in turns."""
    small = produce_frame("filled", [0], SMALL_BATCH)
    read = fetch_frame("small", {0: 0})
    with contextlib.closing(connect(server)) as connection:
        for _ in range(REQUESTS_OF_OTHERS // 2):
            check_produced(connection.ask(small))
            fetched(connection.ask(read))


def push(
    sockets: Sequence[socket.socket], data: bytes, seconds: float, seconds_max: float = 15.0
) -> list[int]:
    """Send `data` again and again, never reading, until nothing goes for `seconds` or it was long.

    The bytes sent on each.
    """
    sent = [0] * len(sockets)
    for each in sockets:
        each.setblocking(False)
    at = {each: index for index, each in enumerate(sockets)}
    view = memoryview(data)
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        _, writable, _ = select.select([], sockets, [], seconds)
        if not writable:
            break
        for each in writable:
            with contextlib.suppress(BlockingIOError):
                sent[at[each]] += each.send(view[sent[at[each]] % len(data) :])
    return sent


def test_slow_readers_cost_no_more_than_their_buffers(server: LoneServer) -> None:
    """Each is owed ten answers of 1 MB and takes 4 kB of them every now and then."""
    slow = [connect_narrowly(server) for _ in range(20)]
    before = memory_mb(server)
    for each in slow:
        each.sendall(fetch_frame("filled", {0: 0}) * 10)
    end = time.monotonic() + STUCK_S
    taken = 0
    while time.monotonic() < end:
        others_are_served(server)
        for each in slow:
            taken += len(each.recv(4_096))
    grown = memory_mb(server) - before
    for each in slow:
        each.close()
    assert taken >= 20 * 4_096
    assert grown < 10, "200 MB are owed"


def test_who_never_reads_is_read_no_more(server: LoneServer) -> None:
    """Answers of 10 kB are held in memory: 1 MB of them, and what one turn brings."""
    stuck = [connect_narrowly(server) for _ in range(20)]
    before = memory_mb(server)
    asked = fetch_frame("small", {0: 0}) * 1_000
    sent = push(stuck, asked, 0.5)
    others_are_served(server)
    more = push(stuck, asked, 0.1)
    grown = memory_mb(server) - before
    for each in stuck:
        each.close()
    assert min(sent) > 20_000
    assert sum(more) == 0, "they are not read on"
    assert grown < 20 * 2.5


def test_producers_faster_than_the_disk(server: LoneServer) -> None:
    """Each batch has to be on the disk before it is answered; eight send as fast as they can."""
    fast = [connect(server) for _ in range(8)]
    before = memory_mb(server)
    asked = b"".join(produce_frame("synced", [index], BATCH) for index in range(8))
    sent = push([each.socket for each in fast], asked, STUCK_S, 3 * STUCK_S)
    others_are_served(server)
    grown = memory_mb(server) - before
    for connection in fast:
        connection.close()
    assert sum(sent) > 2 * QUEUED_MB * 1_000_000, "more came than may wait"
    assert grown < 2 * QUEUED_MB + 8 * 2


def test_5000_idle_connections(server: LoneServer) -> None:
    """Each has asked once, as clients do when they connect."""
    before = memory_mb(server)
    idle: list[socket.socket] = []
    try:
        for _ in range(5_000):
            each = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            idle.append(each)
            each.sendall(ASK_VERSIONS)
        for each in idle:
            assert each.recv(4_096)
        others_are_served(server)
        grown = memory_mb(server) - before
    finally:
        for each in idle:
            each.close()
    assert grown < 5_000 * 0.04
