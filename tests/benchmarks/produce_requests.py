"""How many one-record produce requests a second one broker process carries.

    python -m tests.benchmarks.produce_requests [--connections 50] [--pipeline 5] [--seconds 5]
    python -m tests.benchmarks.produce_requests --bootstrap localhost:9092 --topic t --pid 4711

Without `--bootstrap` a process of its own serves partitions with real logs in a temporary directory
and without followers; with `--memory` the partitions keep nothing, and the figure is that of the
network server, the dispatch and the Produce handler alone. `--flush-messages 1` makes each
acknowledgement mean "on disk"; give `--directory` on a disk then, as the temporary directory may be
in memory. The load comes from this process over
plain sockets with requests encoded beforehand, so that the server is what is measured. Printed:
requests per second, and the server's CPU time per request. `PROFILE=file` profiles the server.
"""

import argparse
import multiprocessing
import os
import random
import selectors
import socket
import struct
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from typing import TYPE_CHECKING, NamedTuple

from ottla.protocol.kafka.headers import encode_request_frame
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.benchmarks.machine import cpu_seconds

if TYPE_CHECKING:
    import trio

    from ottla.broker.server.listener import Server

PRODUCE_VERSION = 9
WARM_UP_S = 1.0
RECEIVE_BYTES = 1 << 16


def serve(pipe: Pipe, partitions: int, directory: str | None, flush_messages: int | None) -> None:
    """The child: a server over the real network. Ends with its parent.

    directory: where the logs are; None for partitions in memory that forget what they get.
    """
    import trio

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server = await make_server(
                partitions, directory, flush_messages=flush_messages, nursery=nursery
            )
            addresses = await server.open()
            pipe.send(addresses["PLAINTEXT"].port)
            nursery.start_soon(server.serve)
            await trio.to_thread.run_sync(pipe.poll, None, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()

    profile = os.environ.get("PROFILE")
    if profile:
        import cProfile

        profiler = cProfile.Profile()
        profiler.runcall(trio.run, main)
        profiler.dump_stats(profile)
    else:
        trio.run(main)


async def make_server(
    partitions: int,
    directory: str | None,
    *,
    flush_messages: int | None = None,
    nursery: "trio.Nursery | None" = None,
) -> "Server":
    """nursery: where flushes are made off the loop; without one they block it."""
    from ottla.broker.api.dispatch import Dispatcher
    from ottla.broker.api.produce import API
    from ottla.broker.ids import TopicPartition
    from ottla.broker.server.connection import ConnectionLimits
    from ottla.broker.server.listener import Server, ServerSettings
    from ottla.broker.storage.log_config import LogConfig
    from ottla.runtime.interfaces import Address
    from ottla.runtime.memory import RecordingEvents
    from ottla.runtime.real import RealDisk, RealNetwork, SystemWallClock
    from tests.support.led_partitions import led_partitions
    from tests.support.partitions import MemoryPartition, MemoryPartitions
    from tests.support.served import services

    class Forgetful(MemoryPartition):
        """Keeps no batches, so that a long run stays small."""

        def commit(self) -> None:
            self.high_watermark = self.log_end
            self.batches.clear()

    events = RecordingEvents()
    if directory is None:
        registry: object = MemoryPartitions(
            *(Forgetful(TopicPartition("bench", index)) for index in range(partitions))
        )
    else:
        config = LogConfig() if flush_messages is None else LogConfig(flush_messages=flush_messages)
        registry, logs = await led_partitions(
            RealDisk(),
            directory,
            "bench",
            partitions,
            wall_clock=SystemWallClock(),
            events=events,
            config=config,
        )
        if nursery is not None:
            await nursery.start(logs.commits.run)
    provided = services([API], events=events, partitions=registry)
    settings = ServerSettings(
        {"PLAINTEXT": Address("127.0.0.1", 0)}, ConnectionLimits(1 << 20, 500), 600, 9999, 9999
    )
    dispatcher = Dispatcher(provided.registry, provided)
    return Server(settings, RealNetwork(events), dispatcher, provided, events)


def request_frame(topic: str, partition: int, acks: int) -> bytes:
    batch = build_batch([(b"key", b"v" * 100, 1_700_000_000_000, [])])
    request = ProduceRequest(
        acks=acks,
        timeout_ms=30_000,
        topic_data=[
            TopicProduceData(
                name=topic,
                partition_data=[PartitionProduceData(index=partition, records=batch)],
            )
        ],
    )
    return encode_request_frame(request, PRODUCE_VERSION, 1, "benchmark")


def responses_in(data: bytes) -> int:
    """Where the last whole response ends, and how many there are, as bytes << 32 | count."""
    position = count = 0
    while position + 4 <= len(data):
        end = position + 4 + struct.unpack_from(">i", data, position)[0]
        if end > len(data):
            break
        position, count = end, count + 1
    return position << 32 | count


class Load:
    """One connection that keeps `pipeline` requests in flight."""

    def __init__(self, address: tuple[str, int], frame: bytes, pipeline: int) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frame = frame
        self._rest = b""
        self.socket.sendall(frame * pipeline)

    def turn(self) -> int:
        """Receive what is there and send as many requests; how many were answered."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._rest += data
        found = responses_in(self._rest)
        self._rest = self._rest[found >> 32 :]
        count = found & 0xFFFFFFFF
        if count:
            self.socket.sendall(self._frame * count)
        return count


class RequestRate(NamedTuple):
    """server_cpu_us: the server's CPU time per request; server_cpu: its share of one core."""

    per_s: float
    server_cpu_us: float
    server_cpu: float


def measure(
    address: tuple[str, int],
    pid: int,
    frames: Sequence[bytes],
    *,
    pipeline: int,
    seconds: float,
) -> RequestRate:
    """One connection for each frame, which it sends again and again, `pipeline` of them at once."""
    selector = selectors.DefaultSelector()
    for frame in frames:
        load = Load(address, frame, pipeline)
        selector.register(load.socket, selectors.EVENT_READ, load)
    warm = time.monotonic() + min(WARM_UP_S, seconds)
    end = warm + seconds
    answered = 0
    cpu_before: float | None = None
    while (now := time.monotonic()) < end:
        if cpu_before is None and now >= warm:
            answered, warm = 0, now
            cpu_before = cpu_seconds(pid)
        for key, _ in selector.select(timeout=1):
            answered += key.data.turn()
    elapsed = time.monotonic() - warm
    spent = cpu_seconds(pid) - (cpu_before or 0.0)
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    return RequestRate(answered / elapsed, spent / max(answered, 1) * 1e6, spent / elapsed)


def spread_frames(topic: str, partitions: int, connections: int, acks: int) -> list[bytes]:
    """A request for each connection, to a random partition; the same ones in every run."""
    rng = random.Random(1)
    return [request_frame(topic, rng.randrange(partitions), acks) for _ in range(connections)]


def run(address: tuple[str, int], pid: int, options: argparse.Namespace) -> None:
    frames = spread_frames(options.topic, options.partitions, options.connections, options.acks)
    rate = measure(address, pid, frames, pipeline=options.pipeline, seconds=options.seconds)
    print(f"{rate.per_s:10.0f} requests/s over {options.connections} connections")
    print(f"{rate.server_cpu_us:10.1f} µs of the server's CPU time per request")
    print(f"{rate.server_cpu * 100:10.0f} % of one core used by the server")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--pipeline", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--acks", type=int, default=1, choices=[1, -1])
    parser.add_argument("--topic", default="bench")
    parser.add_argument("--memory", action="store_true", help="partitions that keep nothing")
    parser.add_argument("--flush-messages", type=int, help="flush.messages of the topic")
    parser.add_argument("--directory", help="where the logs' temporary directory is made")
    parser.add_argument("--bootstrap", help="host:port of a running broker that leads the topic")
    parser.add_argument("--pid", type=int, help="that broker's process id")
    options = parser.parse_args()
    if options.bootstrap and not options.pid:
        parser.error("--bootstrap needs --pid")
    if options.bootstrap:
        host, _, port = options.bootstrap.rpartition(":")
        run((host, int(port)), options.pid, options)
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        directory = None if options.memory else temporary
        child = context.Process(
            target=serve,
            args=(theirs, options.partitions, directory, options.flush_messages),
            daemon=True,
        )
        child.start()
        try:
            assert child.pid is not None
            run(("127.0.0.1", ours.recv()), child.pid, options)
        finally:
            ours.send("end")
            child.join(10)
            child.kill()


if __name__ == "__main__":
    main()
