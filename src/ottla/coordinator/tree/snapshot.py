"""A tree as msgpack chunks and back.

The first chunk is a map with `format`, `zxid`, `secret`, `sessions`, `last_session_ids`,
`membership` and `config_version` (the last two since there is reconfig); then come lists of up to
`_CHUNK_NODES` rows, parents before children; the last chunk is the number of rows. A row is (path,
data, acl, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid), where `acl` is
its bytes the first time and afterwards its place among those seen.
"""

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import msgpack

from ottla.coordinator.tree.access import AccessList, access_list
from ottla.coordinator.tree.births import Births
from ottla.coordinator.tree.paths import ROOT, parent_of
from ottla.coordinator.tree.znode import Znode
from ottla.protocol.zookeeper.errors import DecodeError

if TYPE_CHECKING:
    from ottla.coordinator.tree.tree import Tree

_FORMAT = 1
_CHUNK_NODES = 500


Row = tuple[str, bytes | None, AccessList, int, int, int, int, int, int, int, int, int]


class CorruptSnapshot(ValueError):
    """The chunks are not, or not all, that `dump` wrote."""


class Frozen:
    """The state of a tree at one moment, while the tree goes on.

    Taking it costs next to nothing, however large the tree is: its nodes are walked in the order
    in which they were made. One that changes or goes before its turn is kept as it was: the tree
    calls `keep` before each change.
    """

    __slots__ = ("_head", "_kept", "_parts", "_tree", "_zxid")

    def __init__(self, tree: "Tree") -> None:
        self._tree = tree
        self._zxid = tree.last_zxid
        self._head = msgpack.packb(
            {
                "format": _FORMAT,
                "zxid": tree.last_zxid,
                "secret": tree.secret,
                "sessions": [[sid, *figures] for sid, figures in tree.sessions.items()],
                "last_session_ids": list(tree.last_session_ids.items()),
                "membership": tree.membership,
                "config_version": tree.config_version,
            }
        )
        self._parts = tree.births.so_far()
        self._kept: dict[str, Row] = {}

    def keep(self, path: str, node: Znode) -> None:
        if node.czxid <= self._zxid and path not in self._kept:
            self._kept[path] = _row(path, node)

    def chunks(self) -> Generator[bytes]:
        try:
            yield self._head
            count = yield from self._rows()
            yield msgpack.packb(count)
        finally:
            self._tree.thaw(self)

    def _rows(self) -> Generator[bytes, None, int]:
        """How many rows there are. What was removed before is forgotten on the way."""
        seen: dict[AccessList, int] = {}
        rows: list[tuple[object, ...]] = []
        count = 0
        node_at, kept = self._tree.nodes.get, self._kept
        for part in self._parts:
            places, last = part.places(), part.last
            found = 0
            for path in places:
                if path in kept:
                    _, data, acl, *figures = kept[path]
                    if figures[0] > last:
                        continue
                    rows.append((path, data, _place_of(acl, seen), *figures))
                else:
                    node = node_at(path)
                    if node is None or (czxid := node.czxid) > last:
                        continue
                    acl = node.acl
                    rows.append((  # as `_row`, without a call for each of a million
                        path, node.data, seen[acl] if acl in seen else _place_of(acl, seen), czxid,
                        node.mzxid, node.ctime, node.mtime, node.version, node.cversion,
                        node.aversion, node.owner, node.pzxid,
                    ))  # fmt: skip
                found += 1
                if len(rows) == _CHUNK_NODES:
                    yield msgpack.packb(rows)
                    rows = []
            count += found
            if found < len(part.paths) and self._tree.has_one_dump:
                part.forget_removed(self._tree.nodes)
        if rows:
            yield msgpack.packb(rows)
        if self._tree.has_one_dump:
            self._tree.births.join_small()
        return count


def _row(path: str, node: Znode) -> Row:
    return (
        path, node.data, node.acl, node.czxid, node.mzxid, node.ctime, node.mtime, node.version,
        node.cversion, node.aversion, node.owner, node.pzxid,
    )  # fmt: skip


def _place_of(acl: AccessList, seen: dict[AccessList, int]) -> int | bytes:
    """Among those seen, or the list itself the first time."""
    place = seen.get(acl)
    if place is not None:
        return place
    seen[acl] = len(seen)
    return acl.encoded


def load(chunks: Iterable[bytes]) -> "Tree":
    """Raises CorruptSnapshot."""
    try:
        tree = _load(iter(chunks))
        tree.check()
    except (
        ValueError, TypeError, KeyError, IndexError, StopIteration, AssertionError, DecodeError,
        msgpack.UnpackException,
    ) as error:  # fmt: skip
        raise CorruptSnapshot(f"{type(error).__name__}: {error}") from error
    return tree


def _load(chunks: Iterator[bytes]) -> "Tree":
    from ottla.coordinator.tree.tree import Tree

    head = msgpack.unpackb(next(chunks))
    if head["format"] != _FORMAT:
        raise CorruptSnapshot(f"format {head['format']}")
    tree = Tree()
    tree.nodes.clear()
    tree.births = Births()
    tree.data_bytes = 0
    tree.last_zxid = head["zxid"]
    tree.secret = head["secret"]
    tree.sessions = {sid: (timeout_ms, owner) for sid, timeout_ms, owner in head["sessions"]}
    tree.last_session_ids = dict(head["last_session_ids"])
    tree.membership = head.get("membership", b"")
    tree.config_version = head.get("config_version", 0)
    seen: list[AccessList] = []
    for chunk in chunks:
        rows = msgpack.unpackb(chunk)
        if isinstance(rows, int):
            if rows != len(tree.nodes) or next(chunks, None) is not None:
                raise CorruptSnapshot(f"{rows} nodes promised, {len(tree.nodes)} read")
            return tree
        for row in rows:
            _insert(tree, row, seen)
    raise CorruptSnapshot("the last chunk is missing")


def _insert(tree: "Tree", row: list[object], seen: list[AccessList]) -> None:
    path, data, acl, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = row
    if isinstance(acl, bytes):
        seen.append(access_list(acl))
        shared = seen[-1]
    else:
        assert isinstance(acl, int)
        shared = seen[acl]
    assert isinstance(path, str)
    assert data is None or isinstance(data, bytes)
    assert path == ROOT or parent_of(path) in tree.nodes
    figures = (czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid)
    node = Znode(data, shared, 0, 0, 0)
    for name, value in zip(_FIGURES, figures, strict=True):
        assert isinstance(value, int)
        setattr(node, name, value)
    tree.insert(path, node)


_FIGURES = (
    "czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "owner", "pzxid",
)  # fmt: skip

__all__ = ["CorruptSnapshot", "Frozen", "load"]
