"""Stat figures, events and snapshots."""

import pytest

from ottla.coordinator.tree.access import digest_id
from ottla.coordinator.tree.snapshot import CorruptSnapshot
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import Refused
from ottla.protocol.zookeeper.data import ACL, READ_ACL, Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import (
    ClientInfo,
    ExistsRequest,
    GetACLRequest,
    GetACLResponse,
    GetAllChildrenNumberRequest,
    GetAllChildrenNumberResponse,
    GetChildren2Request,
    GetChildren2Response,
    GetDataRequest,
    GetDataResponse,
    GetEphemeralsRequest,
    GetEphemeralsResponse,
    MultiRequest,
    MultiResponse,
    Stat,
    SyncRequest,
    WhoAmIResponse,
)
from ottla.protocol.zookeeper.opcodes import CreateMode, EventType, OpCode
from tests.support.solo_tree import ANYBODY, NOW_MS, SoloTree


def test_a_new_tree_shows_what_a_new_ensemble_shows():
    tree = Tree()
    tree.check()
    assert list(tree.nodes) == ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"]
    assert tree.nodes["/"].stat().cversion == -1
    assert tree.nodes["/zookeeper"].stat().cversion == -2
    assert tree.nodes["/zookeeper/config"].acl.entries == READ_ACL
    assert tree.nodes["/zookeeper/config"].stat().aversion == -1


def test_stat_to_the_last_field():
    solo = SoloTree()  # opening its session was zxid 1
    solo.create("/a", b"abc")
    assert solo.stat("/a") == Stat(2, 2, NOW_MS, NOW_MS, 0, 0, 0, 0, 3, 0, 2)
    solo.now_ms += 5
    solo.set("/a", b"abcd")
    assert solo.stat("/a") == Stat(2, 3, NOW_MS, NOW_MS + 5, 1, 0, 0, 0, 4, 0, 2)
    solo.create("/a/b")
    solo.create("/a/e", None, flags=CreateMode.EPHEMERAL)
    assert solo.stat("/a") == Stat(2, 3, NOW_MS, NOW_MS + 5, 1, 2, 0, 0, 4, 2, 5)
    assert solo.stat("/a/e").ephemeral_owner == solo.session
    assert solo.stat("/a/e").data_length == 0
    solo.delete("/a/b")
    assert solo.stat("/a") == Stat(2, 3, NOW_MS, NOW_MS + 5, 1, 3, 0, 0, 4, 1, 6)
    solo.set("/a/e", b"x")  # a child's data does not touch its parent
    assert solo.stat("/a").pzxid == 6


def kinds(applied):
    return [(event.kind, event.path) for event in applied.events]


def test_changes_name_what_watches_wait_for():
    solo = SoloTree()
    assert kinds(solo.create("/a")) == [
        (EventType.NODE_CREATED, "/a"), (EventType.NODE_CHILDREN_CHANGED, "/"),
    ]  # fmt: skip
    assert kinds(solo.set("/a")) == [(EventType.NODE_DATA_CHANGED, "/a")]
    assert kinds(solo.delete("/a")) == [
        (EventType.NODE_DELETED, "/a"), (EventType.NODE_CHILDREN_CHANGED, "/"),
    ]  # fmt: skip
    assert kinds(solo.delete("/a")) == []


def test_reads():
    solo = SoloTree()
    solo.create("/a", None)
    solo.create("/a/x", flags=CreateMode.EPHEMERAL)
    solo.create("/a/y", b"1")
    children = solo.read(
        OpCode.GET_CHILDREN2, GetChildren2Request("/a", watch=False), GetChildren2Response
    )
    assert children == (["x", "y"], solo.stat("/a"))
    read = GetDataRequest("/a", watch=False)
    assert solo.read(OpCode.GET_DATA, read, GetDataResponse) == (None, solo.stat("/a"))
    number = solo.read(
        OpCode.GET_ALL_CHILDREN_NUMBER,
        GetAllChildrenNumberRequest("/"),
        GetAllChildrenNumberResponse,
    )
    assert number.total_number == 6
    owned = solo.read(OpCode.GET_EPHEMERALS, GetEphemeralsRequest("/a"), GetEphemeralsResponse)
    assert owned.ephemerals == ["/a/x"]
    several = MultiRequest(
        [
            (OpCode.GET_DATA, GetDataRequest("/a/y", watch=True)),
            (OpCode.GET_DATA, GetDataRequest("/none", watch=True)),
        ]
    )
    results = solo.read(OpCode.MULTI_READ, several, MultiResponse).results
    assert [opcode for opcode, _ in results] == [OpCode.GET_DATA, -1]
    assert results[0][1].data == b"1"
    assert solo.watches.count == 0


@pytest.mark.parametrize(
    ("opcode", "request_", "error"),
    [
        (OpCode.GET_DATA, GetDataRequest("/none", watch=True), ZkError.NONODE),
        (OpCode.EXISTS, ExistsRequest("/none", watch=False), ZkError.NONODE),
        (OpCode.EXISTS, ExistsRequest("/\0", watch=False), ZkError.BADARGUMENTS),
        (OpCode.GET_DATA, GetDataRequest("/mine", watch=True), ZkError.NOAUTH),
        (OpCode.GET_ACL, GetACLRequest("/none"), ZkError.NONODE),
        (OpCode.GET_DATA, SyncRequest("/mine"), ZkError.MARSHALLINGERROR),
        (99, SyncRequest("/"), ZkError.UNIMPLEMENTED),
    ],
)
def test_reads_that_are_refused_leave_no_watch(opcode, request_, error):
    solo = SoloTree()
    solo.create("/mine", acl=[ACL(31, digest_id(b"a:b"))])
    with pytest.raises(Refused) as refused:
        solo.read(opcode, request_)
    assert refused.value.error is error
    assert solo.watches.count == 0


def test_hashes_are_shown_to_administrators_only():
    solo = SoloTree()
    owner = digest_id(b"alice:secret")
    solo.create("/a", acl=[ACL(31, owner), ACL(1, Id("world", "anyone"))])
    hidden = solo.read(OpCode.GET_ACL, GetACLRequest("/a"), GetACLResponse)
    assert [acl.id.id for acl in hidden.acl] == ["alice:x", "anyone"]
    shown = solo.read(OpCode.GET_ACL, GetACLRequest("/a"), GetACLResponse, auth=[owner])
    assert shown.acl[0].id == owner
    me = solo.read(OpCode.WHO_AM_I, SyncRequest(""), WhoAmIResponse, auth=[*ANYBODY, owner])
    assert me.client_info == [ClientInfo("ip", "127.0.0.1"), ClientInfo("digest", "alice")]


def build():
    solo = SoloTree(checked=False)
    solo.create("/a", None, acl=[ACL(31, digest_id(b"a:b"))])
    for number in range(1200):
        solo.create("/zookeeper/n-", str(number).encode(), flags=2)
    solo.create("/e", b"x", flags=CreateMode.EPHEMERAL)
    return solo


def state(tree):
    nodes = [(path, node.data, node.acl.encoded, node.cversion, node.owner, node.stat(),
              list(node.children or ())) for path, node in tree.nodes.items()]  # fmt: skip
    return (nodes, tree.sessions, tree.ephemerals, tree.secret, tree.last_zxid,
            tree.last_session_ids, tree.data_bytes)  # fmt: skip


def test_a_snapshot_brings_everything_back_and_refuses_what_is_cut():
    solo = build()
    chunks = list(solo.tree.dump())
    assert len(chunks) == 5
    loaded = Tree.load(chunks)
    assert state(loaded) == state(solo.tree)
    assert loaded.password(solo.session) == solo.tree.password(solo.session)
    damaged = [
        chunks[:-1], chunks[:2] + chunks[3:], [], chunks[1:], [*chunks, b"\x01"], [b"\xc1"],
        [chunks[0], b"\x93\x01\x02\x03", chunks[-1]], [chunks[0][:-3], *chunks[1:]],
    ]  # fmt: skip
    for broken in damaged:
        with pytest.raises(CorruptSnapshot):
            Tree.load(broken)
