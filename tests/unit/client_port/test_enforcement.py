"""Clients that must prove who they are first, as ZooKeeper 3.9's AuthenticationHelper has it."""

import pytest

from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import (
    AuthPacket,
    CreateRequest,
    ExistsRequest,
    SaslRequest,
    SaslResponse,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.unit.client_port.test_digest_md5 import log_in

SASL = {"sasl_users": {"alice": "wonder"}, "required_schemes": frozenset({"sasl"})}
DIGEST = {"required_schemes": frozenset({"digest", "x509"})}
REFUSED = ZkError.SESSIONCLOSEDREQUIRESASLAUTH


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (OpCode.EXISTS, ExistsRequest("/")),
        (OpCode.CREATE, CreateRequest("/n", b"", OPEN_ACL)),
        (OpCode.PING, None),
        (OpCode.CLOSE_SESSION, None),
        (77, None),
    ],
)
async def test_whoever_has_proved_nothing_is_told_so_and_let_go(stand, opcode, body):
    await stand.start(**SASL)
    client = await stand.connect()
    header, _ = await client.call(opcode, body)
    assert header.error == REFUSED
    await client.wait_closed()
    assert "/n" not in stand.member.tree.nodes
    # As in ZooKeeper: the connection ends, the session does not.
    assert client.session.session_id in stand.member.tree.sessions


async def test_who_logged_in_is_served(stand):
    await stand.start(**SASL)
    client = await stand.connect()
    header, _ = await log_in(client, "alice", "wonder")
    assert header.error == ZkError.OK
    header, _ = await client.call(OpCode.CREATE, CreateRequest("/n", b"", OPEN_ACL))
    assert header.error == ZkError.OK


async def test_a_half_login_is_none(stand):
    await stand.start(**SASL)
    client = await stand.connect()
    header, _ = await client.call(OpCode.SASL, SaslRequest(b""), SaslResponse)
    assert header.error == ZkError.OK
    header, _ = await client.call(OpCode.EXISTS, ExistsRequest("/"))
    assert header.error == REFUSED


async def test_a_wrong_password_has_the_error_of_a_missing_login(stand):
    await stand.start(**SASL)
    client = await stand.connect()
    header, _ = await log_in(client, "alice", "wander")
    assert header.error == REFUSED
    await client.wait_closed()


async def test_a_wrong_password_where_another_scheme_is_wanted_is_auth_failed(stand):
    await stand.start(**SASL | DIGEST)
    client = await stand.connect()
    header, _ = await log_in(client, "alice", "wander")
    assert header.error == ZkError.AUTHFAILED


async def test_one_of_several_schemes_is_enough_and_another_is_not(stand):
    await stand.start(**SASL | DIGEST)
    client, other = await stand.connect(), await stand.connect()
    header, _ = await client.call(OpCode.AUTH, AuthPacket(0, "digest", b"bob:builder"))
    assert header.error == ZkError.OK
    header, _ = await client.call(OpCode.EXISTS, ExistsRequest("/"))
    assert header.error == ZkError.OK
    await log_in(other, "alice", "wonder")
    header, _ = await other.call(OpCode.EXISTS, ExistsRequest("/"))
    assert header.error == REFUSED


async def test_the_address_is_known_from_the_start(stand):
    await stand.start(required_schemes=frozenset({"ip"}))
    client = await stand.connect()
    header, _ = await client.call(OpCode.EXISTS, ExistsRequest("/"))
    assert header.error == ZkError.OK
