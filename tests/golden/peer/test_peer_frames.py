"""Frames of format version 2, spelled out from msgpack's specification by hand."""

import pytest

from ottla.protocol.peer import messages as m
from ottla.protocol.peer.codec import decode, encode
from ottla.protocol.peer.entries import Block, Entry
from ottla.protocol.peer.errors import ProtocolError
from ottla.protocol.peer.framing import FrameReader

ENTRY = Entry(9, 2, (2 << 32) + 1, b"\xff")
# array(1) of array(4): 9, 2, uint64 0x2_0000_0001, bin8(1) ff
BLOCK = "9194 09 02 cf0000000200000001 c401ff"

GOLDEN = [
    (
        m.Hello(3, "1,2,3", 1, 2, "c1", 9, "f0"),
        "00000012 98 00 03 a5 312c322c33 01 02 a26331 09 a26630",
    ),
    (m.PreVoteRequest(3, 9, 2), "00000005 94 01 03 09 02"),
    (m.PreVoteReply(3, True), "00000004 93 02 03 c3"),
    (m.VoteRequest(3, 9, 2, False), "00000006 95 03 03 09 02 c2"),
    (m.VoteReply(3, False), "00000004 93 04 03 c2"),
    (m.AppendRequest(2, 8, 2, 7, 1.5, None), "00000011 97 05 02 08 02 07 cb3ff8000000000000 c400"),
    (
        m.AppendRequest(2, 8, 2, 7, 1.5, Block([ENTRY])),
        f"00000021 97 05 02 08 02 07 cb3ff8000000000000 c410 {BLOCK}",
    ),
    (m.AppendReply(2, True, 9, 0, 1.5), "0000000f 96 06 02 c3 09 00 cb3ff8000000000000"),
    (
        m.SnapshotChunk(2, 9, 2, 5, 0, True, 1.5, b"ab", b"c"),
        "00000018 9a 07 02 09 02 05 00 c3 cb3ff8000000000000 c4026162 c40163",
    ),
    (m.SnapshotReply(2, 9, 1, 1.5), "0000000e 95 08 02 09 01 cb3ff8000000000000"),
    (m.TimeoutNow(2), "00000003 92 09 02"),
    (
        m.Forward(2, (m.ForwardedRequest(7, -1, 5, b"x", (("ip", "::1"),)),)),
        "00000014 93 0a 02 91 95 07 ff 05 c40178 91 92 a26970 a33a3a31",
    ),
    (m.SessionTouches((1, -1)), "00000005 92 0c 92 01 ff"),
    (m.ReadIndexRequest(7), "00000003 92 0d 07"),
    (m.ReadIndexReply(7, -1), "00000004 93 0e 07 ff"),
    (m.RollCallRequest(7), "00000003 92 0f 07"),
    (m.RollCallReply(7, 2, 9, True, (1, 2)), "00000009 96 10 07 02 09 c3 92 01 02"),
]
IDS = [type(message).__name__ for message, _ in GOLDEN]


@pytest.mark.parametrize(("message", "frame"), GOLDEN, ids=IDS)
def test_frame_is_what_the_table_of_kinds_says(message, frame):
    raw = bytes.fromhex(frame)
    assert encode(message).hex(" ") == raw.hex(" ")
    assert decode(raw[4:]) == message


@pytest.mark.parametrize(("message", "frame"), GOLDEN, ids=IDS)
def test_frame_cut_anywhere_is_refused(message, frame):
    body = bytes.fromhex(frame)[4:]
    for length in range(len(body)):
        with pytest.raises(ProtocolError):
            decode(body[:length])


def test_frames_arrive_whole_byte_by_byte_and_in_one_piece():
    wire = b"".join(encode(message) for message, _ in GOLDEN)
    for step in (1, 3, len(wire)):
        reader = FrameReader()
        seen = []
        for start in range(0, len(wire), step):
            piece = wire[start : start + step]
            reader.buffer()[: len(piece)] = piece
            seen += reader.received(len(piece))
        assert [decode(body) for body in seen] == [message for message, _ in GOLDEN]


def test_claimed_length_over_the_limit_is_refused_before_it_is_allocated():
    reader = FrameReader(limit=1000)
    reader.buffer()[:4] = (1001).to_bytes(4, "big")
    with pytest.raises(ProtocolError, match="1001 bytes"):
        reader.received(4)


def test_frame_larger_than_the_buffer_grows_with_what_arrived():
    message = m.SnapshotChunk(1, 1, 1, 1, 0, True, 0.0, bytes(300_000), b"")
    wire = encode(message)
    reader = FrameReader()
    seen = []
    position = 0
    while position < len(wire):
        room = reader.buffer()
        assert len(room) <= 2 * position + 200_000
        piece = wire[position : position + len(room)]
        room[: len(piece)] = piece
        position += len(piece)
        seen += reader.received(len(piece))
    assert [decode(body) for body in seen] == [message]


@pytest.mark.parametrize(
    "block",
    [
        [],
        [[1, 1, 1 << 32]],
        [[1, 1, 2 << 32, b""]],
        [[0, 1, 1 << 32, b""]],
        [[1, 1, 1 << 32, "text"]],
        [[1, 1, 1 << 32, b""], [3, 1, 1 << 32, b""]],
        [[1, 2, 2 << 32, b""], [2, 1, 1 << 32, b""]],
        [[2, 1, 1 << 32, b""]],
        {"a": 1},
    ],
)
def test_entries_that_no_log_could_hold_are_refused(block):
    import msgpack

    body = msgpack.packb([5, 2, 0, 0, 0, 1.5, msgpack.packb(block)])
    with pytest.raises(ProtocolError):
        decode(body)
