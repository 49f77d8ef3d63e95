"""Frames come out whole whatever way their bytes arrive, and a claimed length costs nothing."""

import random
import tracemalloc

import pytest

from ottla.protocol.kafka.errors import FrameTooLarge, ProtocolError
from ottla.protocol.kafka.framing import (
    BUSY_SIZE,
    FIRST_SIZE,
    KEPT_SIZE,
    SPARE_BYTES,
    ForeignProtocol,
    FrameReader,
    SpareBuffers,
)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def feed(reader: FrameReader, data: bytes, step: int = 1 << 30) -> list[bytes]:
    """Receive `data` in pieces of at most `step` bytes; copies of the frames."""
    frames, position = [], 0
    while position < len(data):
        buffer = reader.buffer()
        assert len(buffer) > 0
        piece = data[position : position + min(step, len(buffer))]
        buffer[: len(piece)] = piece
        position += len(piece)
        frames += [bytes(frame) for frame in reader.received(len(piece))]
    return frames


@pytest.mark.parametrize("step", [1, 3, 4, 5, 1000, 1 << 30])
def test_frames_come_out_whole_however_they_arrive(step: int):
    rng = random.Random(step)
    bodies = [rng.randbytes(rng.choice([0, 1, 30, 300])) for _ in range(40)]
    assert feed(FrameReader(1000), b"".join(map(framed, bodies)), step) == bodies


@pytest.mark.parametrize("seed", range(5))
def test_frames_of_all_sizes_in_random_pieces(seed: int):
    rng = random.Random(seed)
    sizes = [10, 1000, FIRST_SIZE - 4, FIRST_SIZE - 3, 70_000, 400_000]
    bodies = [rng.randbytes(rng.choice(sizes)) for _ in range(30)]
    data, frames = b"".join(map(framed, bodies)), []
    reader = FrameReader(1 << 20)
    while data:
        piece = data[: rng.choice([1, 500, 40_000, 300_000])]
        data = data[len(piece) :]
        frames += feed(reader, piece)
    assert frames == bodies
    assert reader.pending == 0


def test_a_receive_of_many_small_frames_gives_them_all_at_once():
    reader = FrameReader(1000)
    data = framed(b"request") * 100
    reader.buffer()[: len(data)] = data
    frames = reader.received(len(data))
    assert len(frames) == 100
    assert len({id(frame.obj) for frame in frames}) == 1


def test_a_claimed_length_allocates_nothing():
    reader = FrameReader(100_000_000)
    feed(reader, (99_999_999).to_bytes(4, "big") + bytes(10))
    assert len(reader.buffer()) <= FIRST_SIZE
    feed(reader, bytes(FIRST_SIZE))
    assert len(reader.buffer()) <= 4 * FIRST_SIZE, "in proportion to what came"


def test_the_buffer_grows_with_a_busy_peer_and_shrinks_after_a_huge_frame():
    reader = FrameReader(100_000_000)
    for _ in range(8):
        size = len(reader.buffer())
        feed(reader, framed(bytes(size - 4)))
    assert len(reader.buffer()) == BUSY_SIZE
    body = bytes(3 * KEPT_SIZE)
    assert feed(reader, framed(body)) == [body]
    assert len(reader.buffer()) == BUSY_SIZE
    body = bytes(KEPT_SIZE // 2)
    assert feed(reader, framed(body)) == [body]
    assert BUSY_SIZE < len(reader.buffer()) <= KEPT_SIZE, "kept for the next such frame"


def test_frames_hold_until_the_next_buffer():
    reader = FrameReader(1000)
    data = framed(b"first") + framed(b"second") + b"\0\0"
    reader.buffer()[: len(data)] = data
    first, second = reader.received(len(data))
    assert (first, second) == (b"first", b"second")
    assert reader.pending == 2


def test_a_frame_above_the_limit_is_refused_before_it_arrives():
    reader = FrameReader(1000)
    assert feed(reader, framed(bytes(1000))) == [bytes(1000)]
    with pytest.raises(FrameTooLarge, match="frame of 1001 bytes is above the limit of 1000") as e:
        feed(reader, (1001).to_bytes(4, "big"))
    assert (e.value.limit, e.value.claimed, e.value.guess) == (1000, 1001, "")


def test_a_negative_length_is_refused():
    with pytest.raises(ProtocolError, match="a frame claims a length of -2"):
        feed(FrameReader(1000), b"\xff\xff\xff\xfe")


def test_good_frames_in_front_of_a_bad_one_are_delivered_first():
    reader = FrameReader(1000)
    data = framed(b"good") + b"\xff\xff\xff\xff"
    reader.buffer()[: len(data)] = data
    assert reader.received(len(data)) == [b"good"]
    with pytest.raises(ProtocolError, match="length of -1"):
        reader.buffer()


ZOOKEEPER_CONNECT = (
    (45).to_bytes(4, "big") + bytes(12) + (6000).to_bytes(4, "big") + bytes(8)
    + (16).to_bytes(4, "big") + bytes(17)
)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "guess"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "looks like TLS"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "looks like HTTP"),
        (b"POST /topics HTTP/1.1\r\n", "looks like HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "looks like HTTP"),
        (ZOOKEEPER_CONNECT, "looks like ZooKeeper"),
    ],
)
@pytest.mark.parametrize("limit", [1000, 2**31 - 1])
def test_foreign_protocols_are_recognised(first: bytes, guess: str, limit: int):
    with pytest.raises(ProtocolError, match=guess) as caught:
        feed(FrameReader(limit), first)
    assert caught.value.guess == guess
    too_large = int.from_bytes(first[:4], "big") > limit
    assert isinstance(caught.value, FrameTooLarge if too_large else ForeignProtocol)


def test_only_the_first_bytes_are_looked_at():
    reader = FrameReader(2**31 - 1)
    feed(reader, framed(b"x"))
    assert feed(reader, b"GET ") == []


def test_a_kafka_request_of_the_same_length_is_not_taken_for_zookeeper():
    body = b"\0\x12\0\0" + bytes(8) + b"x" * 33
    assert feed(FrameReader(1000), framed(body)) == [body]


def received_whole(reader: FrameReader, body: bytes) -> None:
    assert feed(reader, framed(body), 100_000) == [body]


def test_resting_readers_share_the_memory_that_large_frames_take():
    """5 000 connections that each sent 1 MB once would keep 10 GB otherwise."""
    spare = SpareBuffers()
    readers = [FrameReader(1 << 22, spare) for _ in range(100)]
    body = bytes(1_000_000)
    tracemalloc.start()
    try:
        for reader in readers:
            received_whole(reader, body)
            reader.rest()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * SPARE_BYTES
    assert 0 < spare.size <= SPARE_BYTES


def test_what_rests_goes_on_where_it_was():
    spare = SpareBuffers()
    first, second = FrameReader(1 << 22, spare), FrameReader(1 << 22, spare)
    large, small = bytes(range(256)) * 2000, b"small"
    for reader in (first, second, first):
        received_whole(reader, large)
        reader.rest()
        assert reader.pending == 0
    assert len(first.buffer()) >= len(large), "the size is remembered"
    received_whole(second, small)
    second.rest()
    assert len(second.buffer()) == FIRST_SIZE, "until its peer sends small ones again"
    received_whole(first, large)


def test_readers_that_are_busy_do_not_share():
    spare = SpareBuffers()
    first, second = FrameReader(1 << 22, spare), FrameReader(1 << 22, spare)
    received_whole(first, bytes(500_000))
    first.rest()
    body, other = b"1" * 400_000, b"2" * 400_000
    data = framed(body)
    half = len(data) // 2
    assert feed(first, data[:half]) == []
    received_whole(second, other)
    assert feed(first, data[half:]) == [body]
