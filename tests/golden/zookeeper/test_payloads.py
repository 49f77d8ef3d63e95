"""Bytes of log entries: members of different versions and logs of yesterday depend on them.

Layouts stand in `coordinator.tree.txns`. A payload that changes needs a new format number there.
"""

import pytest

from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import REOPEN_SESSION
from ottla.protocol.zookeeper.data import OPEN_ACL, READ_ACL
from ottla.protocol.zookeeper.messages import (
    CheckVersionRequest,
    CreateRequest,
    CreateSessionRequest,
    DeleteRequest,
    MultiRequest,
    SetACLRequest,
    SetDataRequest,
    SyncRequest,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.support.solo_tree import SoloTree

REQUESTS = {
    "create session": (OpCode.CREATE_SESSION, CreateSessionRequest(9000), {"session": 0}),
    "create": (OpCode.CREATE, CreateRequest("/ä", b"12", OPEN_ACL, 0), {}),
    "create sequential": (OpCode.CREATE2, CreateRequest("/ä/s-", None, READ_ACL, 3), {}),
    "set data": (OpCode.SET_DATA, SetDataRequest("/ä", b"345", -1), {}),
    "set acl": (OpCode.SET_ACL, SetACLRequest("/ä", OPEN_ACL, 0), {}),
    "check": (OpCode.CHECK, CheckVersionRequest("/ä", 1), {}),
    "sync": (OpCode.SYNC, SyncRequest("/ä"), {}),
    "multi": (
        OpCode.MULTI,
        MultiRequest(
            [
                (OpCode.SET_DATA, SetDataRequest("/ä", b"6", 1)),
                (OpCode.DELETE, DeleteRequest("/ä/s-0000000000", 0)),
            ]
        ),
        {},
    ),
    "failed multi": (
        OpCode.MULTI,
        MultiRequest([(OpCode.CHECK, CheckVersionRequest("/", 0)), (2, DeleteRequest("/no", 0))]),
        {},
    ),
    "error": (OpCode.DELETE, DeleteRequest("/none", -1), {}),
    "reopen session": (REOPEN_SESSION, CreateSessionRequest(8000), {"member": 2}),
    "close session": (OpCode.CLOSE_SESSION, None, {"member": None}),
}

GOLDEN = {
    "create session": (
        "01fff6000000010000000000000007018bcfe5680000010000018bcfe568000000232800000000"
    ),
    "create": (
        "010001000000010000000000000007018bcfe5680000000000018bcfe56800000000000000000000"
        "000001000000032fc3a4000000023132000000010000001f00000005776f726c6400000006616e79"
        "6f6e65"
    ),
    "create sequential": (
        "01000f000000010000000000000007018bcfe5680000000000018bcfe56800018bcfe56800000000"
        "000001000000102fc3a42f732d30303030303030303030ffffffff00000001000000010000000577"
        "6f726c6400000006616e796f6e65"
    ),
    "set data": (
        "010005000000010000000000000007018bcfe5680000000000018bcfe5680000000001000000032f"
        "c3a400000003333435"
    ),
    "set acl": (
        "010007000000010000000000000007018bcfe5680000000000018bcfe5680000000001000000032f"
        "c3a4000000010000001f00000005776f726c6400000006616e796f6e65"
    ),
    "check": "01000d000000010000000000000007018bcfe5680000000000018bcfe56800000000032fc3a4",
    "sync": "010009000000010000000000000007018bcfe5680000000000018bcfe56800000000032fc3a4",
    "multi": (
        "01000e000000010000000000000007018bcfe5680000000000018bcfe56800000000020005000000"
        "00001000000002000000032fc3a400000001360002000000000014000000102fc3a42f732d303030"
        "30303030303030"
    ),
    "failed multi": (
        "01000e000000010000000000000007018bcfe5680000000000018bcfe5680000000002ffff000000"
        "000000ffffff9b00000000"
    ),
    "error": "010002ff9b00010000000000000007018bcfe5680000000000018bcfe56800",
    "reopen session": "01fff4000000020000000000000007018bcfe5680000000000018bcfe5680000001f40",
    "close session": "01fff50000ffff0000000000000000018bcfe5680000000000018bcfe56800",
}


def build() -> SoloTree:
    """One session is open: its first payload brought the secret."""
    return SoloTree()


def test_payloads_are_what_they_were():
    solo = build()
    for name, (opcode, request, options) in REQUESTS.items():
        payload = solo.decide(opcode, request.encode() if request else b"", **options)
        assert payload.hex() == GOLDEN[name], name
        solo.apply(payload)


def test_entries_of_yesterday_build_the_same_tree():
    solo = build()
    old = Tree.load(list(solo.tree.dump()))
    for raw in GOLDEN.values():
        old.apply(old.last_zxid + 1, bytes.fromhex(raw))
        old.check()
    assert list(old.nodes)[4:] == ["/ä"]
    node = old.nodes["/ä"]
    assert (node.data, node.version, node.cversion, node.aversion) == (b"6", 2, 1, 1)
    assert list(old.sessions.values()) == [(9000, 1)]


def test_another_format_is_not_taken_for_this_one():
    raw = bytearray.fromhex(GOLDEN["create"])
    raw[0] = 2
    with pytest.raises(AssertionError, match="format 2"):
        Tree().apply(1, bytes(raw))
