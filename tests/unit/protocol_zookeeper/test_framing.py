import pytest

from ottla.protocol.zookeeper.errors import FrameTooLarge
from ottla.protocol.zookeeper.framing import FrameReader, frame


def feed(reader, data, step):
    frames = []
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        while piece:
            room = reader.buffer()
            count = min(len(room), len(piece))
            room[:count] = piece[:count]
            room.release()
            frames += [bytes(view) for view in reader.received(count)]
            piece = piece[count:]
    return frames


BODIES = [b"", b"a", b"x" * 40_000, b"y" * 200_000, b"b" * 17, b"z" * 32_764]


@pytest.mark.parametrize("step", [7, 4096, 32_768, 1_000_000])
def test_frames_come_out_whole_however_the_bytes_arrive(step):
    stream = b"".join(map(frame, BODIES))
    assert feed(FrameReader(), stream, step) == BODIES


def test_a_claimed_length_allocates_nothing():
    reader = FrameReader(max_bytes=1 << 30)
    before = len(reader.buffer())
    raw = (1 << 30).to_bytes(4, "big") + b"tail"
    reader.buffer()[: len(raw)] = raw
    assert reader.received(len(raw)) == []
    assert len(reader.buffer()) == before - len(raw)


def test_the_buffer_starts_small_and_shrinks_after_a_large_frame():
    reader = FrameReader()
    assert len(reader.buffer()) == 4096
    feed(reader, frame(b"x" * 900_000), 50_000)
    assert len(reader.buffer()) == 32_768


@pytest.mark.parametrize(
    ("head", "guess"),
    [
        (b"GET / HTTP/1.1\r\n", "looks like HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", "looks like TLS"),
        (b"abcd", "looks like a four-letter word that is not known"),
        (b"\x7f\xff\xff\xff", "unknown"),
        (b"\xff\xff\xff\xff", "unknown"),
    ],
)
def test_lengths_beyond_the_limit_are_refused_with_a_guess(head, guess):
    reader = FrameReader()
    reader.buffer()[: len(head)] = head
    with pytest.raises(FrameTooLarge) as caught:
        reader.received(len(head))
    assert caught.value.guess == guess
    assert caught.value.head == head
    assert caught.value.limit == 0xFFFFF


def test_frames_before_a_bad_length_are_still_given_out():
    reader = FrameReader()
    raw = frame(b"good") + b"\xff\xff\xff\xff"
    reader.buffer()[: len(raw)] = raw
    assert [bytes(view) for view in reader.received(len(raw))] == [b"good"]
    with pytest.raises(FrameTooLarge):
        reader.received(0)
