"""Damaged snapshots are refused as such, whatever the damage."""

import contextlib
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.coordinator.tree import births, snapshot
from ottla.coordinator.tree.snapshot import CorruptSnapshot
from ottla.coordinator.tree.tree import Tree
from ottla.protocol.zookeeper.data import READ_ACL
from ottla.protocol.zookeeper.messages import SetACLRequest
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.support.solo_tree import SoloTree


def build():
    solo = SoloTree()
    for path in ("/a", "/a/b", "/c"):
        solo.create(path, b"data")
    solo.create("/e", flags=1)
    return list(solo.tree.dump())


CHUNKS = build()
PATHS = st.sampled_from(["/a", "/a/b", "/c", "/d", "/d/e"])
CHANGES = st.one_of(
    st.tuples(st.just("create"), PATHS, st.binary(max_size=3)),
    st.tuples(st.just("set"), PATHS, st.binary(max_size=3)),
    st.tuples(st.just("delete"), PATHS),
    st.tuples(st.just("set_acl"), PATHS),
)


def change(solo, kind, path, *data):
    if kind == "set_acl":
        solo.submit(OpCode.SET_ACL, SetACLRequest(path, READ_ACL, -1))
    else:
        getattr(solo, kind)(path, *data)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(CHANGES, max_size=12),
    st.lists(st.tuples(CHANGES, st.booleans()), max_size=20),
    st.sampled_from([1, 3, 1000]),
)
def test_a_dump_is_of_its_moment_whatever_is_applied_meanwhile(before, meanwhile, part_paths):
    """Every row is a chunk of its own here, so changes come between any two of them."""
    solo = SoloTree()
    with (
        mock.patch.object(snapshot, "_CHUNK_NODES", 1),
        mock.patch.object(births, "PART_PATHS", part_paths),
    ):
        for each in before:
            change(solo, *each)
        expected = list(solo.tree.dump())
        dump = solo.tree.dump()
        taken = []
        for each, take in meanwhile:
            change(solo, *each)
            if take:
                taken += [chunk] if (chunk := next(dump, None)) is not None else []
        assert taken + list(dump) == expected
        assert not solo.tree._frozen
        solo.tree.check()
        assert Tree.load(list(solo.tree.dump())).nodes.keys() == solo.tree.nodes.keys()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_chunks_raise_only_corrupt_snapshot(data):
    chunks = list(CHUNKS)
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.integers(0, len(chunks) - 1))
        raw = bytearray(chunks[which])
        if raw and data.draw(st.booleans()):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        else:
            raw = bytearray(data.draw(st.binary(max_size=30)))
        chunks[which] = bytes(raw)
    with contextlib.suppress(CorruptSnapshot):
        Tree.load(chunks).check()
