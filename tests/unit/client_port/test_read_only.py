"""A member without a leader serves reads to clients that asked for no more."""

import pytest

from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import (
    CreateRequest,
    DeleteRequest,
    ExistsRequest,
    GetDataRequest,
    GetDataResponse,
    SetDataRequest,
    SyncRequest,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.support.zk_client import Closed


@pytest.fixture
async def alone(stand):
    """A member that has a znode and lost its leader."""
    await stand.start()
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/n", b"kept", OPEN_ACL))
    stand.kept = client
    stand.member.stop_serving()
    stand.member.is_read_only = True
    return stand


async def test_who_asked_for_it_reads(alone):
    client = await alone.connect(read_only=True)
    assert client.session.read_only is True
    assert client.session.session_id != 0
    _, found = await client.call(OpCode.GET_DATA, GetDataRequest("/n"), GetDataResponse)
    assert found.data == b"kept"
    assert alone.member.touched == [alone.kept.session.session_id] * len(alone.member.touched)


@pytest.mark.parametrize(
    ("opcode", "request_"),
    [
        (OpCode.CREATE, CreateRequest("/x", b"", OPEN_ACL)),
        (OpCode.DELETE, DeleteRequest("/n")),
        (OpCode.SET_DATA, SetDataRequest("/n", b"")),
        (OpCode.SYNC, SyncRequest("/n")),
    ],
)
async def test_writes_are_refused_and_the_session_goes_on(alone, opcode, request_):
    client = await alone.connect(read_only=True)
    header, _ = await client.call(opcode, request_)
    assert header.error == ZkError.NOTREADONLY
    header, _ = await client.call(OpCode.EXISTS, ExistsRequest("/n"))
    assert header.error == 0
    header, _ = await client.call(OpCode.CLOSE_SESSION)
    assert header.error == 0
    await client.wait_closed()


@pytest.mark.parametrize("read_only", [False, None])
async def test_who_did_not_ask_is_sent_on(alone, read_only):
    with pytest.raises(Closed):
        await alone.connect(read_only=read_only)


async def test_a_session_of_the_ensemble_is_not_taken_in(alone):
    with pytest.raises(Closed):
        await alone.reconnect(alone.kept, read_only=True)


async def test_its_clients_are_let_go_when_there_is_a_leader_again(alone):
    client = await alone.connect(read_only=True)
    alone.member.serve_again()
    await client.wait_closed()
    again = await alone.connect(read_only=True)
    assert again.session.read_only is False
    header, _ = await again.call(OpCode.DELETE, DeleteRequest("/n"))
    assert header.error == 0


async def test_words_tell_the_mode(alone):
    assert await alone.raw(b"isro") == b"isro is not executed because it is not in the whitelist.\n"
    alone.member.role = "read-only"
    assert b"Mode: read-only" in await alone.raw(b"srvr")
