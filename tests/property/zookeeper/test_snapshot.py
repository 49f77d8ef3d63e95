"""Damaged snapshots are refused as such, whatever the damage."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.coordinator.tree.snapshot import CorruptSnapshot
from ottla.coordinator.tree.tree import Tree
from tests.support.solo_tree import SoloTree


def build():
    solo = SoloTree()
    for path in ("/a", "/a/b", "/c"):
        solo.create(path, b"data")
    solo.create("/e", flags=1)
    return list(solo.tree.dump())


CHUNKS = build()


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
