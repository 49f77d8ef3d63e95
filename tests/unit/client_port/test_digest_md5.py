"""SASL DIGEST-MD5: the exchange of RFC 2831, and what a client's connection makes of it."""

import hashlib

import pytest

from ottla.coordinator.client_port.digest_md5 import AuthenticationFailed, DigestMd5Server
from ottla.protocol.zookeeper.data import ACL, Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import (
    CreateRequest,
    GetDataRequest,
    SaslRequest,
    SaslResponse,
    WhoAmIResponse,
)
from ottla.protocol.zookeeper.opcodes import OpCode

# RFC 2831, section 4.
NONCE = "OA6MG9tEQGm2hh"
RESPONSE = (
    b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",'
    b'nc=00000001,cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",'
    b"response=d388dad90d4bbd760a152321f2143af7,qop=auth"
)


def challenged(users, nonce=NONCE):
    server = DigestMd5Server(users, nonce)
    assert f'nonce="{nonce}"'.encode() in server.step(b"")
    return server


def test_the_example_of_the_rfc():
    server = challenged({"chris": "secret"})
    assert server.step(RESPONSE) == b"rspauth=ea40f60335c427b5527b84dbabcdfffd"
    assert server.user == "chris"


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"\xff",
        b"username",
        RESPONSE.replace(b"chris", b"charly"),
        RESPONSE.replace(b"d388", b"d389"),
        RESPONSE.replace(b"00000001", b"00000002"),
        RESPONSE.replace(b"OA6MG9tEQGm2hh", b"OA6MG9tEQGm2hi"),
        RESPONSE.replace(b"qop=auth", b"qop=auth-conf"),
        RESPONSE + b',authzid="root"',
        RESPONSE + b',username="chris"',
        RESPONSE.replace(b'cnonce="OA6MHXh6VqTrRk",', b""),
    ],
)
def test_what_proves_nothing_is_refused(token):
    server = challenged({"chris": "secret"})
    with pytest.raises(AuthenticationFailed):
        server.step(token)
    assert server.user is None


def test_an_exchange_is_good_for_once():
    server = DigestMd5Server({"chris": "secret"}, NONCE)
    with pytest.raises(AuthenticationFailed):
        server.step(RESPONSE)
    server.step(b"")
    server.step(RESPONSE)
    with pytest.raises(AuthenticationFailed):
        server.step(RESPONSE)


def answer_to(challenge, user, password):
    """A client of its own making, from the RFC's formulas."""
    nonce = challenge.decode().split('nonce="')[1].split('"')[0]

    def md5(data):
        return hashlib.md5(data).digest()

    first = md5(f"{user}:zk-sasl-md5:{password}".encode()) + f":{nonce}:here".encode()
    second = md5(b"AUTHENTICATE:zookeeper/zk-sasl-md5").hex()
    response = md5(f"{md5(first).hex()}:{nonce}:00000001:here:auth:{second}".encode()).hex()
    return (
        f'username="{user}",realm="zk-sasl-md5",nonce="{nonce}",nc=00000001,cnonce="here",'
        f'digest-uri="zookeeper/zk-sasl-md5",qop=auth,response={response}'
    ).encode()


async def log_in(client, user, password):
    header, reply = await client.call(OpCode.SASL, SaslRequest(b""), SaslResponse)
    assert header.error == 0
    answer = answer_to(reply.token, user, password)
    return await client.call(OpCode.SASL, SaslRequest(answer), SaslResponse)


async def test_what_a_user_made_is_open_to_the_user_alone(stand):
    await stand.start(sasl_users={"alice": "wonder", "boss": "all"}, sasl_super_user="boss")
    alice, anybody, boss = [await stand.connect() for _ in range(3)]
    header, reply = await log_in(alice, "alice", "wonder")
    assert header.error == 0
    assert reply.token.startswith(b"rspauth=")
    _, who = await alice.call(OpCode.WHO_AM_I, None, WhoAmIResponse)
    assert [info.auth_scheme for info in who.client_info] == ["ip", "sasl"]
    acl = (ACL(31, Id("sasl", "alice")),)
    header, _ = await alice.call(OpCode.CREATE, CreateRequest("/a", b"", acl))
    assert header.error == 0
    header, _ = await anybody.call(OpCode.GET_DATA, GetDataRequest("/a"))
    assert header.error == ZkError.NOAUTH
    await log_in(boss, "boss", "all")
    for client in (alice, boss):
        header, _ = await client.call(OpCode.GET_DATA, GetDataRequest("/a"))
        assert header.error == 0


async def test_a_wrong_password_ends_the_connection_with_auth_failed(stand):
    await stand.start(sasl_users={"alice": "wonder"})
    client = await stand.connect()
    header, _ = await log_in(client, "alice", "wander")
    assert header.error == ZkError.AUTHFAILED
    await client.wait_closed()
