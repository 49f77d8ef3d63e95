"""What bare sockets do in the comparison with Kafka; each function runs in a client process.

The requests are encoded beforehand and the answers hardly looked at, so that a client costs as
little as it can and the server is what is measured.
"""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Sequence

from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
)
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.benchmarks.kafka_clients import Meter, Sample, Target, values

PRODUCE_VERSION = 9
FETCH_VERSION = 11  # the last one with topic names and without compact encodings
TIMEOUT_S = 60.0
LED_S_MAX = 120.0
_RECEIVE_BYTES = 1 << 20
_LENGTH = struct.Struct(">i")
_IN_FLIGHT = 5
_MARK = b"\xc3\x96sent at"
Address = tuple[str, int]


def produce_frame(topic: str, partitions: Sequence[int], batch: bytes, acks: int = 1) -> bytes:
    """One batch for each of `partitions`."""
    request = ProduceRequest(
        acks=acks,
        timeout_ms=30_000,
        topic_data=[
            TopicProduceData(
                name=topic,
                partition_data=[
                    PartitionProduceData(index=index, records=batch) for index in partitions
                ],
            )
        ],
    )
    return encode_request_frame(request, PRODUCE_VERSION, 1, "benchmark")


def fetch_frame(
    topic: str,
    offsets: dict[int, int],
    *,
    partition_bytes: int = 1 << 20,
    min_bytes: int = 1,
    session: tuple[int, int] = (0, -1),
) -> bytes:
    """From these offsets by partition. session: id and epoch, (0, -1) for none."""
    request = FetchRequest(
        max_wait_ms=500,
        min_bytes=min_bytes,
        max_bytes=50 << 20,
        session_id=session[0],
        session_epoch=session[1],
        topics=[
            FetchTopic(
                topic=topic,
                partitions=[
                    FetchPartition(
                        partition=index, fetch_offset=offset, partition_max_bytes=partition_bytes
                    )
                    for index, offset in offsets.items()
                ],
            )
        ]
        if offsets
        else [],
    )
    return encode_request_frame(request, FETCH_VERSION, 1, "benchmark")


class Connection:
    """A blocking connection that counts whole answers."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.sent_at = 0.0

    def ask(self, frame: bytes) -> bytes:
        """The body of the answer, behind its length."""
        self.socket.sendall(frame)
        return self.answer()

    def answer(self) -> bytes:
        """The next answer; waits for it."""
        while (found := self.next_answer()) is None:
            self.receive()
        return found

    def receive(self) -> None:
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def next_answer(self) -> bytes | None:
        """An answer that is there as a whole."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        end = 4 + _LENGTH.unpack_from(buffer)[0]
        if len(buffer) < end:
            return None
        found = bytes(buffer[4:end])
        del buffer[:end]
        return found

    def skip_answer(self, scratch: memoryview) -> int:
        """Receive an answer and forget it; how long it was. Nothing else may be in flight."""
        assert not self._buffer
        got = self.socket.recv_into(scratch)
        size: int = _LENGTH.unpack_from(scratch)[0] + 4
        left = size - got
        while left:
            received = self.socket.recv_into(scratch[: min(left, len(scratch))])
            if not received:
                raise ConnectionError("the server closed the connection")
            left -= received
        return size

    def close(self) -> None:
        self.socket.close()


def check_produced(answer: bytes) -> None:
    """AssertionError unless every partition took its batch."""
    _, response = decode_response(0, PRODUCE_VERSION, answer)
    assert isinstance(response, ProduceResponse)
    codes = {p.error_code for t in response.responses for p in t.partition_responses}
    assert codes == {0}, f"produce failed: {codes}"


def _produce_when_led(connection: Connection, frame: bytes) -> None:
    """Repeat a first request until all its partitions are led; metadata may know it sooner."""
    deadline = time.monotonic() + LED_S_MAX
    while True:
        answer = connection.ask(frame)
        if time.monotonic() > deadline:
            check_produced(answer)
        with contextlib.suppress(AssertionError):
            check_produced(answer)
            return
        time.sleep(0.1)


def fetched(answer: bytes) -> FetchResponse:
    _, response = decode_response(1, FETCH_VERSION, answer)
    assert isinstance(response, FetchResponse)
    codes = {p.error_code for t in response.responses for p in t.partitions}
    assert codes | {response.error_code} == {0}, f"fetch failed: {codes}"
    return response


def one_record_requests(target: Target, connections: int, acks: int, seconds: float) -> Sample:
    """One-record produce requests to one broker, one in flight on each connection, each timed."""
    batch = build_batch([(b"key", values(100)[0], 1_700_000_000_000, [])])
    frames = [
        produce_frame(target.topic, [index], batch, acks)
        for index in range(0, target.partitions, target.brokers)
    ]
    clients: dict[int, tuple[socket.socket, bytes]] = {}
    poll = select.epoll()
    opened = [Connection(target.address) for _ in range(connections)]
    for index, connection in enumerate(opened):
        frame = frames[index % len(frames)]
        _produce_when_led(connection, frame)
        clients[connection.socket.fileno()] = connection.socket, frame
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    clock = time.perf_counter
    sent = dict.fromkeys(clients, 0.0)
    taken: list[float] = []
    meter = Meter(target.pids)
    end = meter.began + seconds
    for number, (sock, frame) in clients.items():
        sent[number] = clock()
        sock.sendall(frame)
    now = 0.0
    while now < end:
        for number, _ in poll.poll(TIMEOUT_S):
            sock, frame = clients[number]
            data = sock.recv(4096)  # an answer of one partition comes as a whole
            now = clock()
            assert len(data) == 4 + _LENGTH.unpack_from(data)[0], "not one whole answer"
            taken.append((now - sent[number]) * 1000)
            sent[number] = now
            sock.send(frame)
    sample = meter.sample(len(taken), taken)
    for connection in opened:
        connection.close()
    poll.close()
    return sample


def batches(
    target: Target, batch_bytes: int, seconds: float, total_bytes: float = float("inf")
) -> Sample:
    """Bytes of batches of 1 kB records, five requests in flight on one connection."""
    pool = values(1000)
    count = max(batch_bytes // 1000, 1)
    records: list[tuple[bytes | None, bytes, int, list[tuple[str, bytes | None]]]] = [
        (None, pool[index % len(pool)], 1_700_000_000_000, []) for index in range(count)
    ]
    batch = build_batch(records)
    frames = [produce_frame(target.topic, [index], batch) for index in range(target.partitions)]
    connection = Connection(target.address)
    for frame in frames:
        _produce_when_led(connection, frame)
    meter = Meter(target.pids)
    end = meter.began + seconds
    sent = done = 0
    while time.perf_counter() < end and sent * len(batch) < total_bytes:
        connection.socket.sendall(frames[sent % target.partitions])
        sent += 1
        if sent - done >= _IN_FLIGHT:
            connection.answer()
            done += 1
    while done < sent:
        last = connection.answer()
        done += 1
        if done == sent:
            check_produced(last)
    sample = meter.sample(sent * count * 1000)
    connection.close()
    return sample


def fetches(target: Target, seconds: float) -> Sample:
    """Bytes of answers to fetches of 1 MB from the beginning of each partition in turn."""
    connection = Connection(target.address)
    frames = [fetch_frame(target.topic, {index: 0}) for index in range(target.partitions)]
    for frame in frames:
        answer = connection.ask(frame)
        assert len(answer) > 500_000, "there is too little to fetch"
    scratch = memoryview(bytearray(_RECEIVE_BYTES))
    meter = Meter(target.pids)
    end = meter.began + seconds
    total = turn = 0
    while time.perf_counter() < end:
        connection.socket.sendall(frames[turn % target.partitions])
        total += connection.skip_answer(scratch)
        turn += 1
    sample = meter.sample(total)
    connection.close()
    return sample


def many_partitions(target: Target, kind: str, seconds: float) -> Sample:
    """Requests for all of `partitions` on one connection.

    kind: "produce", one record for each; "fetch", one record of each, without a session; "session",
    an incremental fetch after one partition of the session got a record: one of each pair counts.
    """
    batch = build_batch([(b"key", values(100)[0], 1_700_000_000_000, [])])
    connection = Connection(target.address)
    everything = range(target.partitions)
    produce_all = produce_frame(target.topic, everything, batch)
    _produce_when_led(connection, produce_all)
    done = 0
    if kind == "session":
        response = fetched(
            connection.ask(fetch_frame(target.topic, dict.fromkeys(everything, 0), session=(0, 0)))
        )
        ends = {
            p.partition_index: p.high_watermark for t in response.responses for p in t.partitions
        }
        fetched(connection.ask(fetch_frame(target.topic, ends, session=(response.session_id, 1))))
        epoch = 2
        meter = Meter(target.pids)
        end = meter.began + seconds
        changed: dict[int, int] = {}
        while time.perf_counter() < end:
            index = (done * 7) % target.partitions
            check_produced(connection.ask(produce_frame(target.topic, [index], batch)))
            answer = connection.ask(
                fetch_frame(target.topic, changed, session=(response.session_id, epoch))
            )
            found = [p for t in fetched(answer).responses for p in t.partitions]
            assert [p.partition_index for p in found if p.records] == [index]
            ends[index] += 1
            changed = {index: ends[index]}
            epoch += 1
            done += 1
        sample = meter.sample(done)
    else:
        frame = produce_all
        if kind == "fetch":
            frame = fetch_frame(target.topic, dict.fromkeys(everything, 0), partition_bytes=100)
        scratch = memoryview(bytearray(_RECEIVE_BYTES))
        meter = Meter(target.pids)
        end = meter.began + seconds
        while time.perf_counter() < end:
            connection.socket.sendall(frame)
            connection.skip_answer(scratch)
            done += 1
        sample = meter.sample(done)
    connection.close()
    return sample


class _Follower:
    """A consumer of one partition that always waits for what comes next."""

    def __init__(self, target: Target, partition: int, offset: int) -> None:
        self.connection = Connection(target.address)
        self._topic = target.topic
        self._partition = partition
        self._offset = offset

    def ask(self) -> None:
        frame = fetch_frame(self._topic, {self._partition: self._offset})
        self.connection.socket.sendall(frame)

    def turn(self, taken: list[float]) -> int:
        """Take what came; how many records there were."""
        self.connection.receive()
        answer = self.connection.next_answer()
        if answer is None:
            return 0
        now = time.monotonic_ns()
        (topic,) = fetched(answer).responses
        (data,) = topic.partitions
        count = 0
        at = answer.find(_MARK)
        while at >= 0:
            count += 1
            sent = int.from_bytes(answer[at + len(_MARK) : at + len(_MARK) + 8], "big")
            taken.append((now - sent) / 1e6)
            at = answer.find(_MARK, at + 16)
        self._offset += count
        assert self._offset <= data.high_watermark
        self.ask()
        return count


def mixed(target: Target, consumers: int, per_s: int, seconds: float) -> Sample:
    """Records that reached a consumer: `consumers` long polls beside a producer at a pace.

    Each request has ten records of 1 kB for one partition. Times are from a request's due time to
    a consumer.
    """
    producer = Connection(target.address)
    padding = values(1000)[0][16:]
    ends = {}
    for index in range(target.partitions):
        answer = fetched(producer.ask(fetch_frame(target.topic, {index: 0}, min_bytes=0)))
        ends[index] = answer.responses[0].partitions[0].high_watermark
    followers = [
        _Follower(target, index % target.partitions, ends[index % target.partitions])
        for index in range(consumers)
    ]
    poll = select.epoll()
    by_number = {}
    for follower in followers:
        follower.ask()
        number = follower.connection.socket.fileno()
        by_number[number] = follower
        poll.register(number, select.EPOLLIN)
    own = producer.socket.fileno()
    poll.register(own, select.EPOLLIN)
    time.sleep(0.3)
    gap_ns = int(10 * 1e9 / per_s)
    delivered = turn = 0
    taken: list[float] = []
    meter = Meter(target.pids)
    began = time.monotonic_ns()
    stop = began + int(seconds * 1e9)
    while (now := time.monotonic_ns()) < stop:
        due = began + turn * gap_ns
        if now >= due:
            value = _MARK + due.to_bytes(8, "big") + padding
            batch = build_batch([(None, value, 1_700_000_000_000, [])] * 10)
            producer.socket.sendall(produce_frame(target.topic, [turn % target.partitions], batch))
            turn += 1
            continue
        for number, _ in poll.poll((due - now) / 1e9):
            if number == own:
                producer.receive()
                while answer_bytes := producer.next_answer():
                    check_produced(answer_bytes)
            else:
                delivered += by_number[number].turn(taken)
    sample = meter.sample(delivered, taken)
    poll.close()
    producer.close()
    for follower in followers:
        follower.connection.close()
    return sample


__all__ = [
    "Connection",
    "batches",
    "check_produced",
    "fetches",
    "many_partitions",
    "mixed",
    "one_record_requests",
    "produce_frame",
]
