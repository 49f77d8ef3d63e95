"""Our codec against kazoo's own serializers: requests byte for byte, responses value for value."""

import pytest
from kazoo.exceptions import BadVersionError, RuntimeInconsistency
from kazoo.protocol import serialization as kazoo
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL as KAZOO_ACL
from kazoo.security import Id as KazooId

from ottla.protocol.zookeeper.framing import FrameReader, reply_frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    ACL,
    AuthPacket,
    CheckVersionRequest,
    ConnectRequest,
    ConnectResponse,
    Create2Response,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    ErrorResponse,
    ExistsRequest,
    ExistsResponse,
    GetACLRequest,
    GetACLResponse,
    GetChildren2Request,
    GetChildren2Response,
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    Id,
    MultiRequest,
    MultiResponse,
    ReconfigRequest,
    SaslRequest,
    SetACLRequest,
    SetDataRequest,
    SetDataResponse,
    Stat,
    SyncRequest,
    SyncResponse,
    WatcherEvent,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.session import event_frame

STAT = Stat(1, -2, 3, 4, 5, -6, 7, 0x1234567890ABCDEF, 9, 10, 11)
KAZOO_STAT = ZnodeStat(*STAT)
ACLS = [ACL(31, Id("world", "anyone")), ACL(5, Id("digest", "ü:x="))]
KAZOO_ACLS = [KAZOO_ACL(31, KazooId("world", "anyone")), KAZOO_ACL(5, KazooId("digest", "ü:x="))]

REQUESTS = [
    (CreateRequest("/ä", b"x", ACLS, 3), kazoo.Create("/ä", b"x", KAZOO_ACLS, 3)),
    (CreateRequest("/a", None, [], 0), kazoo.Create("/a", None, [], 0)),
    (CreateRequest("/a", b"", ACLS, 0), kazoo.Create2("/a", b"", KAZOO_ACLS, 0)),
    (DeleteRequest("/a", 7), kazoo.Delete("/a", 7)),
    (ExistsRequest("/a", True), kazoo.Exists("/a", True)),
    (GetDataRequest("/a", False), kazoo.GetData("/a", False)),
    (SetDataRequest("/a", b"data", -1), kazoo.SetData("/a", b"data", -1)),
    (GetACLRequest("/a"), kazoo.GetACL("/a")),
    (SetACLRequest("/a", ACLS, 3), kazoo.SetACL("/a", KAZOO_ACLS, 3)),
    (GetChildrenRequest("/a", True), kazoo.GetChildren("/a", True)),
    (GetChildren2Request("/a", False), kazoo.GetChildren2("/a", False)),
    (SyncRequest("/a"), kazoo.Sync("/a")),
    (CheckVersionRequest("/a", 2), kazoo.CheckVersion("/a", 2)),
    (AuthPacket(0, "digest", b"u:p"), kazoo.Auth(0, "digest", "u:p")),
    (SaslRequest(b"token"), kazoo.SASL(b"token")),
    (ReconfigRequest("a", None, "b", 17), kazoo.Reconfig("a", None, "b", 17)),
    (
        ConnectRequest(0, 99, 10_000, 5, b"p" * 16, True),
        kazoo.Connect(0, 99, 10_000, 5, b"p" * 16, True),
    ),
    (
        MultiRequest(
            [
                (OpCode.CREATE, CreateRequest("/a", b"x", ACLS, 1)),
                (OpCode.DELETE, DeleteRequest("/b", 1)),
                (OpCode.SET_DATA, SetDataRequest("/c", b"", -1)),
                (OpCode.CHECK, CheckVersionRequest("/d", 4)),
            ]
        ),
        kazoo.Transaction(
            [
                kazoo.Create("/a", b"x", KAZOO_ACLS, 1),
                kazoo.Delete("/b", 1),
                kazoo.SetData("/c", b"", -1),
                kazoo.CheckVersion("/d", 4),
            ]
        ),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), REQUESTS, ids=lambda v: type(v).__name__)
def test_requests_are_the_bytes_that_kazoo_sends(ours, theirs):
    raw = bytes(theirs.serialize())
    assert ours.encode() == raw
    reader = Reader(memoryview(raw))
    decoded = type(ours).decode(reader)
    assert reader.remaining == 0
    assert _plain(decoded) == _plain(ours)


def _plain(value):
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


RESPONSES = [
    (CreateResponse("/ä0000000001"), kazoo.Create, "/ä0000000001"),
    (Create2Response("/a", STAT), kazoo.Create2, ("/a", KAZOO_STAT)),
    (ExistsResponse(STAT), kazoo.Exists, KAZOO_STAT),
    (GetDataResponse(b"x", STAT), kazoo.GetData, (b"x", KAZOO_STAT)),
    (GetDataResponse(None, STAT), kazoo.GetData, (None, KAZOO_STAT)),
    (SetDataResponse(STAT), kazoo.SetData, KAZOO_STAT),
    (GetACLResponse(ACLS, STAT), kazoo.GetACL, (KAZOO_ACLS, KAZOO_STAT)),
    (GetChildrenResponse(["a", "ü"]), kazoo.GetChildren, ["a", "ü"]),
    (GetChildrenResponse([]), kazoo.GetChildren, []),
    (GetChildren2Response(["a"], STAT), kazoo.GetChildren2, (["a"], KAZOO_STAT)),
    (SyncResponse("/a"), kazoo.Sync, "/a"),
]


@pytest.mark.parametrize(("ours", "kazoo_type", "value"), RESPONSES)
def test_kazoo_reads_our_responses(ours, kazoo_type, value):
    raw = ours.encode()
    assert kazoo_type.deserialize(raw, 0) == value
    assert _plain(type(ours).decode(Reader(raw))) == _plain(ours)


def test_kazoo_reads_our_multi_results():
    results = [
        (OpCode.CREATE, CreateResponse("/a")),
        (OpCode.DELETE, None),
        (OpCode.SET_DATA, SetDataResponse(STAT)),
        (OpCode.CHECK, None),
    ]
    raw = MultiResponse(results).encode()
    assert kazoo.Transaction.deserialize(raw, 0) == ["/a", True, KAZOO_STAT, True]
    assert MultiResponse.decode(Reader(raw)).results == results


def test_kazoo_reads_our_failed_multi():
    raw = MultiResponse([(-1, ErrorResponse(-103)), (-1, ErrorResponse(-2))]).encode()
    first, second = kazoo.Transaction.deserialize(raw, 0)
    assert isinstance(first, BadVersionError)
    assert isinstance(second, RuntimeInconsistency)


@pytest.mark.parametrize("read_only", [True, False, None])
def test_kazoo_reads_our_handshake_with_or_without_the_last_byte(read_only):
    raw = ConnectResponse(0, 4000, -5, b"p" * 16, read_only).encode()
    answer, _ = kazoo.Connect.deserialize(raw, 0)
    assert answer == kazoo.Connect(0, 0, 4000, -5, b"p" * 16, bool(read_only))
    assert ConnectResponse.decode(Reader(raw)).read_only is read_only


def test_kazoo_reads_our_events_and_reply_headers():
    reader = FrameReader()
    raw = event_frame(3, "/ä", 77) + reply_frame(5, 78, -101)
    reader.buffer()[: len(raw)] = raw
    event, reply = (bytes(frame) for frame in reader.received(len(raw)))
    header, at = kazoo.ReplyHeader.deserialize(event, 0)
    assert header == (-1, 77, 0)
    assert kazoo.Watch.deserialize(event, at)[0] == (3, 3, "/ä")
    assert WatcherEvent.decode(Reader(event, at)) == (3, 3, "/ä")
    assert kazoo.ReplyHeader.deserialize(reply, 0) == ((5, 78, -101), len(reply))
