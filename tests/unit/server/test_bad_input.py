"""Bytes that no Kafka client sends: their connection closes with one event, nobody else notices."""

import struct

import pytest
import trio

from ottla.broker.api.api import Api, RequestContext
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.headers import encode_request_frame
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tests.support.served import Served, serving

REQUEST = HeartbeatRequest(group_id="g", generation_id=1, member_id="m")
GOOD = encode_request_frame(REQUEST, 4, 1, "tester")
LIMIT = 1024 * 1024


def handle(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
    return HeartbeatResponse()


HEARTBEAT = Api(ApiKey.HEARTBEAT, versions=(0, 4), request_type=HeartbeatRequest, handle=handle)

TLS_HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(range(150))
ZOOKEEPER_CONNECT = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def header(key: int, version: int) -> bytes:
    return struct.pack(">hhih", key, version, 1, 2) + b"ab"


CASES = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "looks like HTTP"),
    "TLS": (TLS_HELLO, "looks like TLS"),
    "ZooKeeper": (ZOOKEEPER_CONNECT, "looks like ZooKeeper"),
    "frame of 2 GB": (b"\x7f\xff\xff\xff" + bytes(100), "above the limit"),
    "one byte above the limit": (struct.pack(">i", LIMIT + 1), "above the limit"),
    "negative length": (struct.pack(">i", -5) + bytes(20), "length of -5"),
    "garbage": (bytes(range(255, 200, -1)), "length of -"),
    "unknown API key": (framed(header(999, 0)), "unknown API key 999"),
    "negative API key": (framed(header(-1, 0)), "unknown API key -1"),
    "unknown version": (framed(header(ApiKey.HEARTBEAT, 77)), "HEARTBEAT version 77"),
    "negative version": (framed(header(ApiKey.HEARTBEAT, -1)), "HEARTBEAT version -1"),
    "known API that nobody serves": (framed(header(ApiKey.ENVELOPE, 0)), "ENVELOPE version 0"),
    "empty frame": (framed(b""), "0 bytes"),
    "header cut short": (framed(b"\0\x0c\0"), "3 bytes"),
    "client id longer than the frame": (
        framed(struct.pack(">hhih", ApiKey.HEARTBEAT, 0, 1, 500) + b"ab"),
        "500",
    ),
    "client id that is no text": (
        framed(struct.pack(">hhih", ApiKey.HEARTBEAT, 0, 1, 2) + b"\xff\xfe"),
        "UTF-8",
    ),
    "body cut short": (framed(GOOD[4:-3]), "HeartbeatRequest"),
    "string longer than the frame": (
        framed(header(ApiKey.HEARTBEAT, 0) + b"\x7f\xff"),
        "Heartbeat",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_bad_input_closes_its_connection_with_one_event(autojump_clock, name):
    data, words = CASES[name]
    async with serving(HEARTBEAT, max_frame=LIMIT) as served:
        other = await served.connect()
        assert await other.ask(REQUEST, 4) == HeartbeatResponse()
        bad = await served.connect()
        await bad.stream.send_all(data)
        assert await bad.is_closed()
        await _expect_one_refusal(served, words)
        assert await other.ask(REQUEST, 4) == HeartbeatResponse(), "another client noticed"


async def test_a_request_cut_in_the_middle_is_one_event(autojump_clock):
    async with serving(HEARTBEAT) as served:
        other = await served.connect()
        bad = await served.connect()
        await bad.stream.send_all(GOOD[: len(GOOD) // 2])
        bad.stream.close()
        await trio.sleep(1)
        await _expect_one_refusal(served, "in the middle")
        assert await other.ask(REQUEST, 4) == HeartbeatResponse()


async def test_good_requests_before_the_bad_one_are_answered(autojump_clock):
    async with serving(HEARTBEAT) as served:
        peer = await served.connect()
        await peer.send_all([(REQUEST, 4), (REQUEST, 4)])
        await peer.stream.send_all(b"\x7f\xff\xff\xff")
        assert (await peer.answer())[0] == 1
        assert (await peer.answer())[0] == 2
        assert await peer.is_closed()
        assert served.refusals()[0].fields["limit"] == LIMIT


async def test_bytes_behind_a_request_are_ignored(autojump_clock):
    """As Kafka does: librdkafka writes some in Metadata v12."""
    async with serving(HEARTBEAT) as served:
        peer = await served.connect()
        await peer.stream.send_all(framed(GOOD[4:] + b"\0\0"))
        assert (await peer.frame())[:4] == b"\0\0\0\1"


async def test_a_frame_at_the_limit_is_served(autojump_clock):
    group = "g" * 30_000
    request = HeartbeatRequest(group_id=group, generation_id=1, member_id="m")
    size = len(encode_request_frame(request, 4, 1, "tester")) - 4
    async with serving(HEARTBEAT, max_frame=size) as served:
        peer = await served.connect()
        assert await peer.ask(request, 4) == HeartbeatResponse()


async def _expect_one_refusal(served: Served, words: str) -> None:
    await trio.sleep(0.1)
    (event,) = served.refusals()
    assert words in f"{event.fields['reason']} {event.fields['guess']}"
    assert event.fields["limit"] == LIMIT
    assert "peer" in event.fields
