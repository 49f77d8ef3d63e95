"""Quotas: how much may hang below a path, kept where ZooKeeper's tools look for it.

`/zookeeper/quota<path>/zookeeper_limits` holds the limits, `.../zookeeper_stats` what there is,
both as text: `count=5,bytes=100`, hard limits behind it as `=;byteHardLimit=200;countHardLimit=10`;
-1 is no limit. A node counts for the nearest path above it, or its own, that has limits. Figures
in `zookeeper_stats` change with the transaction that changes them, without a version or a watch.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ottla.coordinator.tree.paths import QUOTA, ROOT

if TYPE_CHECKING:
    from ottla.coordinator.tree.tree import Tree

LIMITS = "/zookeeper_limits"
STATS = "/zookeeper_stats"
_BELOW = QUOTA + "/"
_SEPARATORS = re.compile("[,;]+")


def guarded_path(path: str, ending: str) -> str | None:
    """The path that a node of quotas (LIMITS or STATS) is about; None: it is another node."""
    if path.endswith(ending) and path.startswith(_BELOW):
        return path[len(QUOTA) : -len(ending)] or None
    return None


def parse(data: bytes | None) -> dict[str, int]:
    """The figures of a limits or stats node. What is no figure is left out."""
    found: dict[str, int] = {}
    for part in _SEPARATORS.split((data or b"").decode(errors="replace")):
        name, _, value = part.partition("=")
        try:
            found[name] = int(value.partition("=")[0] or "-1")
        except ValueError:
            continue
    return found


def text(figures: Mapping[str, int]) -> bytes:
    """As `parse` reads it; count and bytes first, for tools that know no others."""
    head = f"count={figures.get('count', -1)},bytes={figures.get('bytes', -1)}"
    others = sorted(name for name in figures if name not in {"count", "bytes"})
    tail = "".join(f";{name}={figures[name]}" for name in others)
    return (head + (f"={tail}" if tail else "")).encode()


class Quotas:
    """Which paths have limits. Owned by the tree, which calls it within `apply`."""

    __slots__ = ("_tree", "limited")

    def __init__(self, tree: "Tree") -> None:
        self._tree = tree
        self.limited: dict[str, None] = {}

    def limited_above(self, path: str) -> str | None:
        """The nearest path with limits, `path` itself included."""
        limited = self.limited
        while path and path != ROOT:
            if path in limited:
                return path
            path = path[: path.rindex("/")]
        return None

    def inserted(self, path: str) -> None:
        guarded = guarded_path(path, LIMITS)
        if guarded is not None:
            self.limited[guarded] = None

    def removed(self, path: str) -> None:
        guarded = guarded_path(path, LIMITS)
        if guarded is not None:
            self.limited.pop(guarded, None)

    def begin_stats(self, path: str) -> None:
        """A node was created; if it is one for figures, count what there is already."""
        guarded = guarded_path(path, STATS)
        if guarded is not None:
            count, size = self._measure(guarded)
            self._write(path, {"count": count, "bytes": size})

    def changed(self, path: str, count: int, size: int) -> None:
        """So many nodes and bytes more (or fewer) at `path`."""
        guarded = self.limited_above(path)
        if guarded is None:
            return
        stats_path = QUOTA + guarded + STATS
        node = self._tree.nodes.get(stats_path)
        if node is None:
            return
        figures = parse(node.data)
        figures["count"] = figures.get("count", -1) + count
        figures["bytes"] = figures.get("bytes", -1) + size
        self._write(stats_path, figures)

    def excess(self, path: str, count: int, size: int) -> tuple[str, bool] | None:
        """(path of the limit, whether it is a hard one) that so much more would break."""
        guarded = self.limited_above(path)
        if guarded is None:
            return None
        nodes = self._tree.nodes
        limits, stats = nodes.get(QUOTA + guarded + LIMITS), nodes.get(QUOTA + guarded + STATS)
        if limits is None or stats is None:
            return None
        allowed, there = parse(limits.data), parse(stats.data)
        soft = False
        for name, hard_name, more in (
            ("count", "countHardLimit", count),
            ("bytes", "byteHardLimit", size),
        ):
            hard = allowed.get(hard_name, -1)
            limit = hard if hard > -1 else allowed.get(name, -1)
            if more and limit > -1 and there.get(name, -1) + more > limit:
                if hard > -1:
                    return guarded, True
                soft = True
        return (guarded, False) if soft else None

    def _measure(self, top: str) -> tuple[int, int]:
        """Nodes and bytes at and below a path."""
        nodes = self._tree.nodes
        count = size = 0
        stack = [top] if top in nodes else []
        while stack:
            path = stack.pop()
            node = nodes[path]
            count += 1
            size += len(node.data or b"")
            stack += [f"{path}/{name}" for name in node.children or ()]
        return count, size

    def _write(self, path: str, figures: Mapping[str, int]) -> None:
        node = self._tree.for_change(path)
        data = text(figures)
        self._tree.data_bytes += len(data) - len(node.data or b"")
        node.data = data
        node.touched()


__all__ = ["LIMITS", "STATS", "Quotas", "guarded_path", "parse", "text"]
