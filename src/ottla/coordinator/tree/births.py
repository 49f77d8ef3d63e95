"""The paths of a tree in the order in which their nodes were made, to be walked in slices.

A dict cannot be walked while it grows and shrinks, and a copy of one with a million entries takes
a tenth of a second. Here paths are only ever added, to the newest of many small parts. A node that
is removed leaves its path behind until a walk comes by: a snapshot is one, so that what is left
behind is bounded by what changes between two of them.

A path that was removed and made again stands here twice, and counts where its node was made last:
a place is stale when the node is newer than the part that it is in.
"""

from collections.abc import Mapping, Sequence

from ottla.coordinator.tree.znode import Znode

PART_PATHS = 1000


class Part:
    """Paths of nodes made up to `last`, a zxid. All nodes of one zxid are in the same part."""

    __slots__ = ("last", "paths")

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.last = 0

    def places(self) -> Sequence[str]:
        """Each path once, where it came last."""
        paths = self.paths
        if len(set(paths)) == len(paths):
            return paths
        return list(dict.fromkeys(reversed(paths)))[::-1]

    def forget_removed(self, nodes: Mapping[str, Znode]) -> None:
        last = self.last
        self.paths = [
            path
            for path in self.places()
            if (node := nodes.get(path)) is not None and node.czxid <= last
        ]


class Births:
    """Owned by the tree."""

    __slots__ = ("_newest", "_parts")

    def __init__(self) -> None:
        self._newest = Part()
        self._parts = [self._newest]

    def add(self, path: str, czxid: int) -> None:
        """A new node, newer than those before it unless they come from a snapshot."""
        part = self._newest
        if len(part.paths) >= PART_PATHS and czxid != part.last:
            part = self._begin()
        part.paths.append(path)
        part.last = max(part.last, czxid)

    def _begin(self) -> Part:
        part = self._newest = Part()
        self._parts.append(part)
        return part

    def so_far(self) -> Sequence[Part]:
        """All parts up to now, in order. What is made later goes into others."""
        if self._newest.paths:
            self._begin()
        return self._parts[:-1]

    def join_small(self) -> None:
        """Make few parts of many that lost most of their paths."""
        joined: list[Part] = []
        for part in self._parts[:-1]:
            if joined and len(joined[-1].paths) + len(part.paths) <= PART_PATHS:
                joined[-1].paths.extend(part.paths)
                joined[-1].last = part.last
            elif part.paths:
                joined.append(part)
        self._parts = [*joined, self._newest]

    def check(self, nodes: Mapping[str, Znode]) -> None:
        """Every node has one place that is not stale."""
        if sum(len(part.paths) for part in self._parts) == len(nodes):
            return  # each was added once, and none is stale: as after a start, with a million
        placed = 0
        for part in self._parts:
            last = part.last
            found = [nodes[path].czxid for path in part.places() if path in nodes]
            placed += len([czxid for czxid in found if czxid <= last])
        assert placed == len(nodes), (placed, len(nodes))


__all__ = ["PART_PATHS", "Births", "Part"]
