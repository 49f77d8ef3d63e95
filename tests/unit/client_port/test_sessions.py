"""The handshake, and what becomes of connections whose session ends or moves."""

import contextlib

import pytest
import trio
import trio.testing

from ottla.coordinator.client_port.port import HANDSHAKE_TIMEOUT_S
from ottla.coordinator.tree.values import REOPEN_SESSION
from ottla.protocol.zookeeper.data import ACL, OPEN_ACL, Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import (
    AuthPacket,
    CreateRequest,
    CreateSessionRequest,
    SetDataRequest,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.support.zk_client import Closed


@pytest.mark.parametrize(("asked", "granted"), [(1, 4000), (10_000, 10_000), (10**6, 40_000)])
async def test_timeouts_are_negotiated_within_ticks(stand, asked, granted):
    await stand.start()
    client = await stand.connect(timeout=asked)
    assert client.session.timeout == granted
    assert client.session.session_id >> 56 == 1
    assert client.session.read_only is False
    assert stand.member.tree.sessions[client.session.session_id] == (granted, 1)


async def test_an_old_client_gets_no_byte_that_it_does_not_know(stand):
    await stand.start()
    client = await stand.connect(read_only=None)
    assert client.session.read_only is None
    assert client.session.timeout == 10_000


@pytest.mark.parametrize("session_id", [7, None])
async def test_an_unknown_session_or_a_wrong_password_gets_timeout_0(stand, session_id):
    await stand.start()
    known = await stand.connect()
    wanted = session_id or known.session.session_id
    client = await stand.connect(session_id=wanted, password=b"x" * 16)
    assert (client.session.timeout, client.session.session_id) == (0, 0)
    await client.wait_closed()
    header, _ = await known.call(OpCode.PING, xid=-2)
    assert header == (-2, stand.member.tree.last_zxid, 0)


async def test_a_client_that_has_seen_more_is_sent_elsewhere(stand):
    await stand.start()
    with pytest.raises(Closed):
        await stand.connect(last_zxid_seen=stand.member.tree.last_zxid + 100)
    assert stand.events.named("client_port.client_ahead")


async def test_a_session_survives_its_connection(stand):
    await stand.start()
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/e", b"", OPEN_ACL, 1))
    client.stream.close()
    again = await stand.reconnect(client, timeout=20_000)
    assert again.session == client.session._replace(timeout=20_000)
    assert "/e" in stand.member.tree.nodes
    assert stand.member.tree.sessions[client.session.session_id] == (20_000, 1)


async def test_a_session_that_connects_anew_closes_its_earlier_connection(stand):
    await stand.start()
    first = await stand.connect()
    second = await stand.reconnect(first)
    await first.wait_closed()
    header, _ = await second.call(OpCode.CREATE, CreateRequest("/a", b"", OPEN_ACL))
    assert header.error == 0
    assert len(stand.ports[0].connections) == 1


async def test_what_comes_late_on_the_old_connection_is_not_done_behind_the_new_one(stand):
    """Else others would see a write happen after its client was told that it is elsewhere."""
    await stand.start()
    old = await stand.connect()
    await old.call(OpCode.CREATE, CreateRequest("/n", b"", OPEN_ACL))
    validate = stand.member.validate_session

    async def validate_slowly(*session):
        known = await validate(*session)
        stand.ensemble.held = True
        with contextlib.suppress(OSError):
            await old.send(OpCode.SET_DATA, SetDataRequest("/n", b"late"))
        await trio.testing.wait_all_tasks_blocked()
        return known

    stand.member.validate_session = validate_slowly
    await stand.reconnect(old)
    stand.ensemble.release()
    await old.wait_closed()
    assert stand.member.tree.nodes["/n"].data == b""


async def test_a_wrong_password_does_not_end_the_connection_of_the_session(stand):
    await stand.start()
    known = await stand.connect()
    refused = await stand.connect(session_id=known.session.session_id, password=b"x" * 16)
    assert refused.session.timeout == 0
    header, _ = await known.call(OpCode.PING, xid=-2)
    assert header.error == 0


async def test_a_session_that_moves_to_another_member_leaves_the_first(stand):
    await stand.start(size=2)
    first = await stand.connect(member_id=1)
    second = await stand.reconnect(first, member_id=2)
    await first.wait_closed()
    header, _ = await second.call(OpCode.CREATE, CreateRequest("/e", b"", OPEN_ACL, 1))
    assert header.error == 0
    assert stand.ensemble.members[0].tree.nodes["/e"].owner == first.session.session_id


async def test_a_request_that_was_overtaken_by_the_move_is_not_answered(stand):
    await stand.start(size=2)
    first = await stand.connect(member_id=1)
    stand.ensemble.held = True
    outcomes = []
    move = CreateSessionRequest(10_000).encode()
    session_id = first.session.session_id
    there = stand.ensemble.members[1]
    there.submit_nowait(session_id, REOPEN_SESSION, move, [], outcomes.append)
    await first.send(OpCode.CREATE, CreateRequest("/late", b"", OPEN_ACL))
    await trio.testing.wait_all_tasks_blocked()
    stand.ensemble.release()
    assert outcomes[0].error is ZkError.OK
    with pytest.raises(Closed):
        await first.reply()
    assert "/late" not in stand.member.tree.nodes


async def test_closing_a_session_is_answered_and_then_the_connection_ends(stand):
    await stand.start()
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/e", b"", OPEN_ACL, 1))
    header, _ = await client.call(OpCode.CLOSE_SESSION)
    assert header.error == 0
    await client.wait_closed()
    assert "/e" not in stand.member.tree.nodes
    gone = await stand.reconnect(client)
    assert gone.session.timeout == 0


async def test_an_expired_session_loses_its_connection(stand):
    await stand.start()
    client = await stand.connect()
    stand.ensemble.expire(client.session.session_id)
    await client.wait_closed()


async def test_a_member_that_stops_serving_lets_everybody_go(stand):
    await stand.start()
    clients = [await stand.connect() for _ in range(3)]
    stand.member.stop_serving()
    for client in clients:
        await client.wait_closed()
    with pytest.raises(Closed):
        await stand.connect()
    assert not stand.ports[0].connections


async def test_every_packet_touches_its_session(stand):
    await stand.start()
    client = await stand.connect()
    before = len(stand.member.touched)
    await client.call(OpCode.PING, xid=-2)
    assert stand.member.touched[before:] == [client.session.session_id]


async def test_connections_of_one_address_are_limited(stand):
    await stand.start(max_client_cnxns=2)
    first = await stand.connect()
    await stand.connect()
    with pytest.raises(Closed):
        await stand.connect()
    first.stream.close()
    await stand.events.wait_for("client_port.connection_closed")
    await stand.connect()
    assert stand.events.named("client_port.peer_refused")[0].fields["limit"] == 2


async def test_auth_holds_for_the_requests_behind_it(stand):
    await stand.start()
    client = await stand.connect()
    mine = [ACL(31, Id("auth", ""))]
    stand.ensemble.held = True
    batch = client.encode(OpCode.CREATE, CreateRequest("/before", b"", OPEN_ACL))
    batch += client.encode(OpCode.AUTH, AuthPacket(0, "digest", b"u:p"), xid=-4)
    batch += client.encode(OpCode.CREATE, CreateRequest("/mine", b"", mine))
    await client.stream.send_all(batch)
    await trio.testing.wait_all_tasks_blocked()
    stand.ensemble.held = False
    other = await stand.connect()  # applies what was held
    assert [(await client.reply())[0][::2] for _ in range(3)] == [(1, 0), (-4, 0), (2, 0)]
    header, _ = await other.call(OpCode.SET_DATA, SetDataRequest("/mine", b""))
    assert header.error == ZkError.NOAUTH
    header, _ = await other.call(OpCode.AUTH, AuthPacket(0, "nosuch", b""), xid=-4)
    assert header.error == ZkError.AUTHFAILED
    await other.wait_closed()


async def test_who_does_not_shake_hands_is_let_go(stand, autojump_clock):
    await stand.start()
    began = trio.current_time()
    assert await stand.raw(b"\0\0") == b""
    assert trio.current_time() - began == HANDSHAKE_TIMEOUT_S


async def test_a_stop_closes_everything(stand):
    async with trio.open_nursery() as nursery:
        stand.nursery = nursery
        await stand.start()
        client = await stand.connect()
        nursery.cancel_scope.cancel()
    await client.wait_closed()
    with pytest.raises(OSError, match="refused"):
        await stand.network.connect(stand.address())
