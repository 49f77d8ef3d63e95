"""Error codes and their precedence as in ZooKeeper 3.9's PrepRequestProcessor."""

import pytest

from ottla.coordinator.tree.access import digest_id
from ottla.coordinator.tree.values import REOPEN_SESSION
from ottla.protocol.zookeeper.data import ACL, OPEN_ACL, READ_ACL, Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import (
    CheckVersionRequest,
    CreateRequest,
    CreateSessionRequest,
    CreateTTLRequest,
    DeleteContainerRequest,
    DeleteRequest,
    ErrorResponse,
    GetDataRequest,
    MultiRequest,
    SetACLRequest,
    SetDataRequest,
    SyncRequest,
)
from ottla.protocol.zookeeper.opcodes import CreateMode, OpCode, Perms
from tests.support.solo_tree import ANYBODY, SoloTree

EPHEMERAL = CreateMode.EPHEMERAL
SEQUENTIAL = CreateMode.PERSISTENT_SEQUENTIAL
ALICE = [*ANYBODY, digest_id(b"alice:secret")]


@pytest.fixture
def solo():
    solo = SoloTree()
    solo.create("/a", b"1")
    solo.create("/a/b")
    solo.create("/e", flags=EPHEMERAL)
    solo.create("/locked", acl=READ_ACL)
    return solo


CREATES = [
    ("/n", 0, OPEN_ACL, ZkError.OK),
    ("/a", 0, OPEN_ACL, ZkError.NODEEXISTS),
    ("/", 0, OPEN_ACL, ZkError.NODEEXISTS),
    ("/x/y", 0, OPEN_ACL, ZkError.NONODE),
    ("/x//y", 0, OPEN_ACL, ZkError.NONODE),  # the parent is looked up before the path is judged
    ("/a//y", 0, OPEN_ACL, ZkError.NONODE),
    ("/e/x", 0, OPEN_ACL, ZkError.NOCHILDRENFOREPHEMERALS),
    ("/locked/x", 0, OPEN_ACL, ZkError.NOAUTH),
    ("x", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/a/", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/a/..", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/a/.", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/a/\x00", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/a/\x1f", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/a/\U0001f600", 0, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/a/...", 0, OPEN_ACL, ZkError.OK),
    ("/a/ü .x", 0, OPEN_ACL, ZkError.OK),
    ("/n", 9, OPEN_ACL, ZkError.BADARGUMENTS),
    ("/n", 0, [], ZkError.INVALIDACL),
    ("/n", 0, [ACL(31, Id("world", "somebody"))], ZkError.INVALIDACL),
    ("/n", 0, [ACL(31, Id("digest", "nohash"))], ZkError.INVALIDACL),
    ("/n", 0, [ACL(31, Id("ip", "10.0.0.0/33"))], ZkError.INVALIDACL),
    ("/n", 0, [ACL(31, Id("ip", "10.0.0.1/8"))], ZkError.OK),
    ("/n", 0, [ACL(31, Id("auth", ""))], ZkError.INVALIDACL),  # an address proves nothing
    ("/n", 0, [ACL(31, Id("nosuch", "x"))], ZkError.INVALIDACL),
    ("/x/y", 0, [], ZkError.INVALIDACL),
    ("/n", CreateMode.PERSISTENT_WITH_TTL, OPEN_ACL, ZkError.UNIMPLEMENTED),
]


@pytest.mark.parametrize(("path", "flags", "acl", "error"), CREATES)
def test_create(solo, path, flags, acl, error):
    assert solo.create(path, flags=flags, acl=acl).error is error
    assert (path in solo.tree.nodes) == (error in (ZkError.OK, ZkError.NODEEXISTS))


DELETES = [
    ("/a/b", -1, ZkError.OK),
    ("/a/b", 0, ZkError.OK),
    ("/a/b", 1, ZkError.BADVERSION),
    ("/a", -1, ZkError.NOTEMPTY),
    ("/a", 5, ZkError.BADVERSION),
    ("/x", -1, ZkError.NONODE),
    ("/x/y", -1, ZkError.NONODE),
    ("/", -1, ZkError.BADARGUMENTS),
    ("/zookeeper", -1, ZkError.BADARGUMENTS),
    ("/zookeeper/quota", -1, ZkError.BADARGUMENTS),
    ("x", -1, ZkError.BADARGUMENTS),
    ("/locked/x", -1, ZkError.NOAUTH),
]


@pytest.mark.parametrize(("path", "version", "error"), DELETES)
def test_delete(solo, path, version, error):
    assert solo.delete(path, version).error is error


WRITES = [
    ("/a", -1, ZkError.OK),
    ("/a", 0, ZkError.OK),
    ("/a", 1, ZkError.BADVERSION),
    ("/x", -1, ZkError.NONODE),
    ("/x/", -1, ZkError.BADARGUMENTS),
    ("/locked", -1, ZkError.NOAUTH),
    ("/zookeeper/config", -1, ZkError.NOAUTH),
]


@pytest.mark.parametrize(("path", "version", "error"), WRITES)
def test_set_data(solo, path, version, error):
    assert solo.set(path, b"new", version).error is error


@pytest.mark.parametrize(("path", "version", "error"), WRITES[:5])
def test_check(solo, path, version, error):
    applied = solo.submit(OpCode.CHECK, CheckVersionRequest(path, version))
    assert applied.error is error
    assert not applied.events


def test_set_acl_counts_its_own_version(solo):
    request = SetACLRequest("/a", READ_ACL, 0)
    assert solo.submit(OpCode.SET_ACL, request).error is ZkError.OK
    assert solo.stat("/a").aversion == 1
    assert solo.stat("/a").version == 0
    assert solo.submit(OpCode.SET_ACL, request).error is ZkError.NOAUTH  # read only from now on
    empty = SetACLRequest("/x", [], -1)
    assert solo.submit(OpCode.SET_ACL, empty).error is ZkError.INVALIDACL
    absent = SetACLRequest("/x", OPEN_ACL, -1)
    assert solo.submit(OpCode.SET_ACL, absent).error is ZkError.NONODE
    stale = SetACLRequest("/a/b", OPEN_ACL, 3)
    assert solo.submit(OpCode.SET_ACL, stale).error is ZkError.BADVERSION


def test_sequential_names_count_creations_of_the_parent(solo):
    names = [solo.create("/a/n-", flags=SEQUENTIAL).reply[4:].decode() for _ in range(2)]
    solo.delete("/a/n-0000000001")
    names.append(solo.create("/a/n-", flags=SEQUENTIAL).reply[4:].decode())
    assert names == ["/a/n-0000000001", "/a/n-0000000002", "/a/n-0000000003"]


def test_sequential_numbers_wrap_as_zookeepers_do(solo):
    solo.tree.nodes["/a"].cversion = 2**31 - 1
    first = solo.create("/a/", flags=SEQUENTIAL).reply[4:].decode()
    second = solo.create("/a/", flags=SEQUENTIAL).reply[4:].decode()
    assert (first, second) == ("/a/2147483647", "/a/-2147483648")


def test_auth_in_an_acl_becomes_the_creators_identities(solo):
    mine = [ACL(int(Perms.ALL), Id("auth", ""))]
    assert solo.create("/mine", acl=mine, auth=ALICE).error is ZkError.OK
    assert [acl.id for acl in solo.tree.nodes["/mine"].acl.entries] == [ALICE[1]]
    assert solo.set("/mine").error is ZkError.NOAUTH
    assert solo.set("/mine", auth=ALICE).error is ZkError.OK
    assert solo.set("/mine", auth=[Id("super", "")]).error is ZkError.OK


@pytest.mark.parametrize(
    ("wanted", "address", "matches"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.1.0.0/16", "10.1.200.3", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("0.0.0.0/0", "9.9.9.9", True),
        ("fe80::/10", "fe80::1", True),
        ("::/0", "9.9.9.9", False),
    ],
)
def test_ip_access_has_prefixes(solo, wanted, address, matches):
    solo.create("/ip", acl=[ACL(31, Id("ip", wanted))])
    error = solo.set("/ip", auth=[Id("ip", address)]).error
    assert error is (ZkError.OK if matches else ZkError.NOAUTH)


def test_a_multi_happens_as_a_whole(solo):
    before = solo.tree.nodes["/a"].version
    results = solo.multi(
        (OpCode.CREATE, CreateRequest("/m", b"", OPEN_ACL, 0)),
        (OpCode.CREATE2, CreateRequest("/m/s-", b"x", OPEN_ACL, SEQUENTIAL)),
        (OpCode.CHECK, CheckVersionRequest("/m", 0)),
        (OpCode.SET_DATA, SetDataRequest("/a", b"2", before)),
        (OpCode.DELETE, DeleteRequest("/a/b", 0)),
    )
    assert [opcode for opcode, _ in results] == [1, 15, 13, 5, 2]
    assert results[0][1].path == "/m"
    assert results[1][1].path == "/m/s-0000000000"
    assert results[3][1].stat.version == before + 1
    assert "/a/b" not in solo.tree.nodes
    assert solo.stat("/m").mzxid == solo.stat("/a").mzxid  # one zxid for all


def test_a_multi_that_fails_changes_nothing_and_says_where(solo):
    solo.create("/seq")
    results = solo.multi(
        (OpCode.CREATE, CreateRequest("/seq/n-", b"", OPEN_ACL, SEQUENTIAL)),
        (OpCode.SET_DATA, SetDataRequest("/a", b"2", 0)),
        (OpCode.CHECK, CheckVersionRequest("/a", 0)),
        (OpCode.DELETE, DeleteRequest("/e", -1)),
    )
    assert results == [(-1, ErrorResponse(code)) for code in (0, 0, ZkError.BADVERSION, -2)]
    assert solo.stat("/a").version == 0
    # ZOOKEEPER-1624: a number taken by the failed part is free again.
    assert solo.create("/seq/n-", flags=SEQUENTIAL).reply[4:] == b"/seq/n-0000000000"


def test_reads_and_junk_in_a_multi_are_marshalling_errors(solo):
    read = MultiRequest([(OpCode.GET_DATA, GetDataRequest("/a", watch=False))])
    assert solo.submit(OpCode.MULTI, read).error is ZkError.MARSHALLINGERROR
    for opcode in (OpCode.MULTI, OpCode.CREATE, OpCode.SET_DATA, OpCode.DELETE):
        assert solo.apply(solo.decide(opcode, b"\0\0")).error is ZkError.MARSHALLINGERROR


def test_opcodes_not_served_are_unimplemented(solo):
    assert solo.submit(OpCode.RECONFIG).error is ZkError.RECONFIGDISABLED
    assert solo.submit(55).error is ZkError.UNIMPLEMENTED


def test_closing_a_session_takes_its_ephemerals_outstanding_ones_too(solo):
    other = solo.open_session()
    solo.create("/kept", flags=EPHEMERAL, session=other)
    create = CreateRequest("/late", b"", OPEN_ACL, EPHEMERAL).encode()
    delete = DeleteRequest("/e", -1).encode()
    payloads = [
        solo.decide(OpCode.CREATE, create),
        solo.decide(OpCode.DELETE, delete),
        solo.decide(OpCode.CLOSE_SESSION, member=None),
        solo.decide(OpCode.CREATE, create),
    ]
    outcomes = [solo.apply(payload) for payload in payloads]
    assert [outcome.error for outcome in outcomes] == [0, 0, 0, ZkError.SESSIONEXPIRED]
    assert outcomes[2].closed_sessions == (solo.session,)
    assert [(event.kind, event.path) for event in outcomes[2].events] == [(2, "/late"), (4, "/")]
    assert "/kept" in solo.tree.nodes
    assert solo.tree.session(solo.session) is None


def test_a_moved_session_is_refused_where_it_was(solo):
    body = CreateSessionRequest(20_000)
    moved = solo.submit(REOPEN_SESSION, body, member=2)
    assert moved.error is ZkError.OK
    assert solo.tree.session(solo.session)[1:4:2] == (20_000, 2)
    assert solo.set("/a").error is ZkError.SESSIONMOVED
    assert solo.submit(OpCode.CLOSE_SESSION).error is ZkError.SESSIONMOVED
    assert solo.set("/a", member=2).error is ZkError.OK
    assert solo.submit(OpCode.CLOSE_SESSION, member=2).error is ZkError.OK
    assert solo.submit(REOPEN_SESSION, body, member=2).error is ZkError.SESSIONEXPIRED


def test_session_ids_hold_the_member_and_never_repeat(solo):
    ids = [solo.session] + [solo.open_session() for _ in range(3)]
    solo.now_ms -= 60_000  # the wall clock is set back
    ids += [solo.open_session() for _ in range(3)]
    assert ids == sorted(set(ids))
    assert {session_id >> 56 for session_id in ids} == {1}
    passwords = {solo.tree.password(session_id) for session_id in ids}
    assert len(passwords) == len(ids)
    assert all(len(password) == 16 for password in passwords)


def test_decisions_see_what_is_not_applied_yet(solo):
    first = solo.decide(OpCode.SET_DATA, SetDataRequest("/a", b"2", 0).encode())
    second = solo.decide(OpCode.SET_DATA, SetDataRequest("/a", b"3", 0).encode())
    third = solo.decide(OpCode.SET_DATA, SetDataRequest("/a", b"4", 1).encode())
    assert solo.decider.outstanding == 3
    errors = [solo.apply(payload).error for payload in (first, second, third)]
    assert errors == [ZkError.OK, ZkError.BADVERSION, ZkError.OK]
    assert solo.tree.nodes["/a"].data == b"4"
    assert solo.decider.outstanding == 0


def test_sync_is_a_place_in_the_order(solo):
    applied = solo.submit(OpCode.SYNC, SyncRequest("/a"))
    assert (applied.error, applied.reply) == (ZkError.OK, b"\0\0\0\2/a")


def test_an_empty_entry_moves_the_zxid_only(solo):
    zxid = 5 << 32
    applied = solo.tree.apply(zxid, b"")
    assert (applied.error, applied.origin, solo.tree.last_zxid) == (ZkError.OK, None, zxid)


def test_containers_and_ttl_nodes():
    solo = SoloTree(extended_types=True)
    solo.submit(OpCode.CREATE_CONTAINER, CreateRequest("/c", b"", OPEN_ACL, 4))
    solo.create("/c/x")
    ttl = CreateTTLRequest("/t", b"", OPEN_ACL, CreateMode.PERSISTENT_WITH_TTL, 5000)
    assert solo.submit(OpCode.CREATE_TTL, ttl).error is ZkError.OK
    assert solo.tree.due_for_collection(solo.now_ms + 5000) == []
    assert solo.tree.due_for_collection(solo.now_ms + 5001) == ["/t"]
    assert solo.stat("/c").ephemeral_owner == solo.stat("/t").ephemeral_owner == 0
    collect = DeleteContainerRequest("/c")
    gone = solo.submit(OpCode.DELETE_CONTAINER, collect, member=None)
    assert gone.error is ZkError.NOTEMPTY
    solo.delete("/c/x")
    assert solo.tree.due_for_collection(solo.now_ms) == ["/c"]
    assert solo.submit(OpCode.DELETE_CONTAINER, collect).error is ZkError.UNIMPLEMENTED
    assert solo.submit(OpCode.DELETE_CONTAINER, collect, member=None).error is ZkError.OK
    assert "/c" not in solo.tree.nodes
    plain = DeleteContainerRequest("/zookeeper/x")
    assert solo.submit(OpCode.DELETE_CONTAINER, plain, member=None).error is ZkError.NONODE
    too_long = ttl._replace(path="/t2", ttl=1 << 40)
    assert solo.submit(OpCode.CREATE_TTL, too_long).error is ZkError.BADARGUMENTS


def test_changes_of_a_node_on_their_way_are_seen_until_the_last_of_them_is_applied(solo):
    first = solo.decide(OpCode.SET_DATA, SetDataRequest("/a", b"22", 0).encode())
    multi = MultiRequest([(OpCode.SET_DATA, SetDataRequest("/a", b"333", 1))]).encode()
    second = solo.decide(OpCode.MULTI, multi)
    third = solo.decide(OpCode.SET_DATA, SetDataRequest("/a", b"4", 2).encode())
    for payload in (first, second):
        solo.decider.check()
        assert solo.apply(payload).error is ZkError.OK
    # One is still on its way: what comes next is judged by that.
    refused = solo.decide(OpCode.SET_DATA, SetDataRequest("/a", b"5", 2).encode())
    fourth = solo.decide(OpCode.SET_DATA, SetDataRequest("/a", b"5", 3).encode())
    solo.decider.check()
    assert solo.apply(third).error is ZkError.OK
    assert solo.apply(refused).error is ZkError.BADVERSION
    assert solo.apply(fourth).error is ZkError.OK
    solo.decider.check()
    assert solo.decider.outstanding == 0
