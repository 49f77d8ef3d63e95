"""Peers that speak something else, and words of four letters."""

import re

import pytest

from ottla.coordinator.settings import CoordinatorSettings
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.messages import CreateRequest, GetDataRequest
from ottla.protocol.zookeeper.opcodes import OpCode

KAFKA = b"\0\0\0\x18\0\x12\0\x03\0\0\0\1\0\4test\0\1\1\1\1\1\1\1\1\1\1"


@pytest.mark.parametrize(
    ("data", "guess"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "looks like HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "looks like TLS"),
        (KAFKA, "looks like Kafka"),
        (b"\x7f\xff\xff\xff" + b"x" * 50, "unknown"),
        (b"\xff\xff\xff\xff", "unknown"),
        (b"\0\0\0\4abcd", "unknown"),
        (b"\0\0\0\x32" + bytes(50), "unknown"),
        (b"abcd", "looks like a four-letter word that is not known"),
    ],
)
async def test_who_breaks_the_protocol_is_closed_with_one_event(stand, data, guess):
    await stand.start()
    witness = await stand.connect()
    assert await stand.raw(data) == b""
    (refusal,) = stand.events.named("client_port.peer_refused")
    assert refusal.fields["guess"] == guess
    assert refusal.fields["limit"] == 0xFFFFF
    assert refusal.fields["peer"].startswith("clients:")
    assert (await witness.call(OpCode.PING, xid=-2))[0].error == 0


async def test_a_request_above_the_limit_ends_the_connection(stand):
    await stand.start(jute_max_buffer=1000)
    client = await stand.connect()
    await client.send(OpCode.CREATE, CreateRequest("/a", b"x" * 2000, OPEN_ACL))
    await client.wait_closed()
    (refusal,) = stand.events.named("client_port.peer_refused")
    assert refusal.fields["limit"] == 1000
    assert "/a" not in stand.member.tree.nodes


async def test_a_request_without_a_header_ends_the_connection(stand):
    await stand.start()
    client = await stand.connect()
    await client.stream.send_all(b"\0\0\0\4abcd")
    await client.wait_closed()
    assert len(stand.events.named("client_port.peer_refused")) == 1


async def ask(stand, word):
    return (await stand.raw(word)).decode()


async def test_srvr_is_always_answered_the_others_if_they_are_listed(stand):
    await stand.start()
    assert (await ask(stand, b"srvr")).startswith("Zookeeper version: 3.9.")
    refused = await ask(stand, b"ruok\n")
    assert refused == "ruok is not executed because it is not in the whitelist.\n"


ALL = CoordinatorSettings("/d", four_letter_whitelist=frozenset({"*"})).four_letter_whitelist


async def test_words_tell_what_zookeepers_tell(stand):
    await stand.start(four_letter_whitelist=ALL)
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/e", b"12", OPEN_ACL, 1))
    await client.call(OpCode.GET_DATA, GetDataRequest("/e", watch=True))
    session = f"0x{client.session.session_id:x}"
    assert await ask(stand, b"ruok") == "imok"
    assert await ask(stand, b"isro\r\n") == "rw"
    srvr = await ask(stand, b"srvr")
    assert re.search(r"^Latency min/avg/max: [\d.]+/[\d.]+/[\d.]+$", srvr, re.M)
    for line in ("Received: 2", "Connections: 1", "Outstanding: 0", "Mode: standalone"):
        assert f"{line}\n" in srvr
    assert f"Zxid: 0x{stand.member.tree.last_zxid:x}\nMode: standalone\nNode count: 6\n" in srvr
    stat = await ask(stand, b"stat")
    assert re.search(r"^ /clients:\d+\[1\]\(queued=0,recved=2,sent=3\)$", stat, re.M)
    cons = await ask(stand, b"cons")
    assert f"sid={session},lop=GETD,est=" in cons
    mntr = dict(line.split("\t") for line in (await ask(stand, b"mntr")).splitlines())
    assert mntr["zk_server_state"] == "standalone"
    assert mntr["zk_znode_count"] == "6"
    assert mntr["zk_watch_count"] == mntr["zk_ephemerals_count"] == "1"
    assert mntr["zk_num_alive_connections"] == "1"
    assert mntr["zk_approximate_data_size"] == str(stand.member.tree.data_bytes)
    assert mntr["zk_quorum_size"] == "1"
    conf = dict(line.split("=") for line in (await ask(stand, b"conf")).splitlines())
    assert conf["clientPort"] == "2181"
    assert conf["maxSessionTimeout"] == "40000"
    assert conf["dataDir"] == "/data"
    assert "zookeeper.version=3.9." in await ask(stand, b"envi")
    assert f"{session}:\n\t/e\n" in await ask(stand, b"dump")
    assert await ask(stand, b"wchs") == "1 connections watching 1 paths\nTotal watches:1\n"
    assert await ask(stand, b"wchp") == f"/e\n\t{session}\n"
    assert await ask(stand, b"wchc") == f"{session}\n\t/e\n"
    assert await ask(stand, b"crst") == "Connection stats reset.\n"
    assert await ask(stand, b"srst") == "Server stats reset.\n"
    assert "Received: 0\n" in await ask(stand, b"srvr")


async def test_a_member_that_does_not_serve_says_so(stand):
    await stand.start(four_letter_whitelist=ALL)
    stand.member.stop_serving()
    for word in (b"srvr", b"stat", b"mntr", b"conf", b"cons", b"dump"):
        assert "not currently serving" in await ask(stand, word)
    assert await ask(stand, b"isro") == "null"
    assert await ask(stand, b"ruok") == "imok"
