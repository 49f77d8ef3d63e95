"""FIFO per session, reads after the session's writes, watches before what they tell of."""

import pytest
import trio.testing

from ottla.coordinator.client_port import connection as module
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.framing import frame
from ottla.protocol.zookeeper.messages import (
    ConnectRequest,
    CreateRequest,
    CreateResponse,
    ExistsRequest,
    GetChildrenRequest,
    GetDataRequest,
    GetDataResponse,
    SetDataRequest,
    SetDataResponse,
    SetWatches,
    SyncRequest,
    SyncResponse,
)
from ottla.protocol.zookeeper.opcodes import EventType, OpCode
from tests.support.zk_client import ZkClient


async def settle():
    """Until every other task has done what it can without news."""
    await trio.testing.wait_all_tasks_blocked()


async def test_pipelined_reads_wait_for_the_writes_before_them(stand):
    await stand.start()
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/a", b"0", OPEN_ACL))
    stand.ensemble.held = True
    batch = b""
    for number in range(3):
        batch += client.encode(OpCode.SET_DATA, SetDataRequest("/a", b"%d" % number))
        batch += client.encode(OpCode.GET_DATA, GetDataRequest("/a"))
    await client.stream.send_all(batch)
    await settle()
    stand.ensemble.release(1)
    header, _ = await client.reply(SetDataResponse)
    assert header.xid == 2
    header, read = await client.reply(GetDataResponse)
    assert (header.xid, read.data) == (3, b"0")
    assert header.zxid == read.stat.mzxid == stand.member.tree.last_zxid
    stand.ensemble.release()
    answers = [await client.reply(response) for response in (SetDataResponse, GetDataResponse) * 2]
    assert [header.xid for header, _ in answers] == [4, 5, 6, 7]
    assert [answers[1][1].data, answers[3][1].data] == [b"1", b"2"]


async def test_other_sessions_do_not_wait(stand):
    await stand.start()
    writer, reader = await stand.connect(), await stand.connect()
    stand.ensemble.held = True
    await writer.send(OpCode.CREATE, CreateRequest("/a", b"", OPEN_ACL))
    await settle()
    header, _ = await reader.call(OpCode.EXISTS, ExistsRequest("/a"))
    assert header.error == ZkError.NONODE


async def test_replies_of_one_turn_leave_in_one_send(stand):
    await stand.start()
    client = await stand.connect()
    batch = b"".join(client.encode(OpCode.EXISTS, ExistsRequest("/")) for _ in range(20))
    await client.stream.send_all(batch)
    await settle()
    room = memoryview(bytearray(65536))
    assert await client.stream.receive_into(room) == 20 * (4 + 16 + 68)


async def test_a_watch_is_told_before_the_reply_that_shows_the_change(stand):
    await stand.start()
    watcher, writer = await stand.connect(), await stand.connect()
    await writer.call(OpCode.CREATE, CreateRequest("/a", b"0", OPEN_ACL))
    await watcher.call(OpCode.GET_DATA, GetDataRequest("/a", watch=True))
    await watcher.call(OpCode.GET_CHILDREN, GetChildrenRequest("/", watch=True))
    stand.ensemble.held = True
    await writer.send(OpCode.SET_DATA, SetDataRequest("/a", b"1"))
    await writer.send(OpCode.CREATE, CreateRequest("/b", b"", OPEN_ACL))
    await settle()
    await watcher.send(OpCode.SYNC, SyncRequest("/"))
    await watcher.send(OpCode.GET_DATA, GetDataRequest("/a"))
    await settle()
    stand.ensemble.release()
    header, synced = await watcher.reply(SyncResponse)
    assert (header.xid, synced.path) == (3, "/")
    _, read = await watcher.reply(GetDataResponse)
    assert read.data == b"1"
    assert watcher.order == [1, 2, "event", "event", 3, 4]
    assert [(event.type, event.path) for event in watcher.events] == [
        (EventType.NODE_DATA_CHANGED, "/a"), (EventType.NODE_CHILDREN_CHANGED, "/"),
    ]  # fmt: skip


async def test_watches_are_rearmed_where_the_session_goes(stand):
    await stand.start(size=2)
    client, writer = await stand.connect(), await stand.connect()
    await writer.call(OpCode.CREATE, CreateRequest("/a", b"0", OPEN_ACL))
    await writer.call(OpCode.CREATE, CreateRequest("/b", b"0", OPEN_ACL))
    await client.call(OpCode.GET_DATA, GetDataRequest("/a", watch=True))
    seen = client.last_zxid
    client.stream.close()
    await writer.call(OpCode.SET_DATA, SetDataRequest("/a", b"1"))
    again = await stand.reconnect(client, member_id=2, last_zxid_seen=seen)
    request = SetWatches(seen, ["/a", "/b"], ["/new"], [])
    header, _ = await again.call(OpCode.SET_WATCHES, request, xid=-8)
    assert header.error == 0
    assert again.order == ["event", -8]
    assert again.events[0][::2] == (EventType.NODE_DATA_CHANGED, "/a")
    await writer.call(OpCode.CREATE, CreateRequest("/new", b"", OPEN_ACL))
    assert (await again.wait_event())[::2] == (EventType.NODE_CREATED, "/new")
    assert stand.member.watches.count == 0


async def test_a_connection_that_ends_takes_its_watches_along(stand):
    await stand.start()
    client = await stand.connect()
    await client.call(OpCode.GET_CHILDREN, GetChildrenRequest("/", watch=True))
    assert stand.member.watches.count == 1
    client.stream.close()
    await stand.events.wait_for("client_port.connection_closed")
    assert stand.member.watches.count == 0


@pytest.mark.parametrize("opcode", [10, 55, 102, -10])
async def test_unknown_opcodes_are_unimplemented_in_their_turn(stand, opcode):
    await stand.start()
    client = await stand.connect()
    header, _ = await client.call(opcode, SyncRequest("/"))
    assert header[::2] == (1, ZkError.UNIMPLEMENTED)
    header, created = await client.call(
        OpCode.CREATE, CreateRequest("/a", b"", OPEN_ACL), CreateResponse
    )
    assert created.path == "/a"


@pytest.mark.parametrize("opcode", [OpCode.GET_DATA, OpCode.CREATE, OpCode.SET_WATCHES])
async def test_a_body_that_can_not_be_read_is_a_marshalling_error(stand, opcode):
    await stand.start()
    client = await stand.connect()
    header, _ = await client.call(opcode)
    assert header.error == ZkError.MARSHALLINGERROR
    header, _ = await client.call(OpCode.EXISTS, ExistsRequest("/"))
    assert header.error == 0


async def test_requests_that_come_with_the_handshake_are_answered(stand):
    await stand.start()
    client = ZkClient(await stand.network.connect(stand.address()))
    hello = frame(ConnectRequest(timeout=5000).encode())
    await client.stream.send_all(hello + client.encode(OpCode.EXISTS, ExistsRequest("/")))
    await client.next_frame()
    header, _ = await client.reply()
    assert header[::2] == (1, 0)


async def test_who_does_not_read_is_not_read_from(stand, monkeypatch):
    monkeypatch.setattr(module, "OUT_BYTES_MAX", 100_000)
    await stand.start()
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/a", b"x" * 50_000, OPEN_ACL))
    sent = 0
    one = client.encode(OpCode.GET_DATA, GetDataRequest("/a"), xid=9)
    while count := client.stream.send_nowait(one * 20):
        sent += count
        await settle()
    served = stand.ports[0].connections[0]
    assert served.is_full
    assert served.out_bytes < 50_000 * (40_000 // len(one))
    for _ in range(sent // len(one)):
        header, _ = await client.reply()
        assert header.xid == 9
    assert not served.is_full


async def test_who_leaves_events_unread_without_end_is_let_go(stand, monkeypatch):
    monkeypatch.setattr(module, "OUT_BYTES_LIMIT", 20_000)
    await stand.start()
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/a", b"x" * 9_000, OPEN_ACL))
    for _ in range(4):
        await client.send(OpCode.GET_DATA, GetDataRequest("/a"))
        await settle()
    await client.wait_closed()


async def test_many_writes_in_flight_are_bounded(stand, monkeypatch):
    monkeypatch.setattr(module, "QUEUE_MAX", 10)
    await stand.start()
    client = await stand.connect()
    stand.ensemble.held = True
    for number in range(15):
        await client.send(OpCode.CREATE, CreateRequest(f"/{number}", b"", OPEN_ACL))
        await settle()
    served = stand.ports[0].connections[0]
    assert served.outstanding == 10
    stand.ensemble.held = False
    stand.ensemble.release()
    assert [(await client.reply())[0].xid for _ in range(15)] == list(range(1, 16))
