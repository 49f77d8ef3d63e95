"""What has been decided but not applied yet: the state that the next decision must see.

ZooKeeper calls it outstanding changes. A decision first gathers what it changes apart, so that one
that fails in the middle (a multi) leaves no trace; `commit` then puts it over the tree until the
entry has been applied, in the same order.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from ottla.coordinator.tree.access import AccessList
from ottla.coordinator.tree.quotas import Quotas
from ottla.coordinator.tree.tree import Tree


@dataclass(slots=True)
class PendingNode:
    """The figures of a znode that decisions depend on; `owner` None: deleted."""

    version: int
    cversion: int
    aversion: int
    owner: int | None
    child_count: int
    acl: AccessList
    size: int  # of the data
    uses: int = 0  # decisions on their way that are in it


class Change:
    """What one decision changes, over all that was decided before it."""

    __slots__ = ("nodes", "sessions")

    def __init__(self) -> None:
        self.nodes: dict[str, PendingNode] = {}
        self.sessions: dict[int, int | None] = {}  # id -> member it is at; None: closed


class Overlay:
    """`tree` as it will be once all that was decided is applied."""

    __slots__ = ("_nodes", "_queue", "_sessions", "_tree")

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._nodes: dict[str, PendingNode] = {}
        self._sessions: dict[int, Change] = {}  # id -> the newest change of that session
        self._queue: deque[Change | str] = deque()  # a path: a setData, which changes no more

    def __len__(self) -> int:
        """Decisions that are not applied yet."""
        return len(self._queue)

    def open(self, path: str, change: Change) -> PendingNode | None:
        """The node as of now, as a part of `change` and free to be changed; None: no such node."""
        node = change.nodes.get(path)
        if node is not None:
            return None if node.owner is None else node
        earlier = self._nodes.get(path)
        if earlier is not None:
            if earlier.owner is None:
                return None
            node = PendingNode(
                earlier.version,
                earlier.cversion,
                earlier.aversion,
                earlier.owner,
                earlier.child_count,
                earlier.acl,
                earlier.size,
            )
        else:
            known = self._tree.nodes.get(path)
            if known is None:
                return None
            children = known.children
            node = PendingNode(
                known.version,
                known.cversion,
                known.aversion,
                known.owner,
                len(children) if children else 0,
                known.acl,
                len(known.data) if known.data else 0,
            )
        change.nodes[path] = node
        return node

    def open_one(self, path: str) -> PendingNode | None:
        """The node as of now, for a decision on it alone; `commit_one` ends it or nothing does."""
        node = self._nodes.get(path)
        if node is not None:
            return None if node.owner is None else node
        known = self._tree.nodes.get(path)
        if known is None:
            return None
        children, data = known.children, known.data
        return PendingNode(
            known.version,
            known.cversion,
            known.aversion,
            known.owner,
            len(children) if children else 0,
            known.acl,
            len(data) if data else 0,
        )

    def commit_one(self, path: str, node: PendingNode) -> None:
        """`node` of `open_one` was changed."""
        if not node.uses:
            self._nodes[path] = node
        node.uses += 1
        self._queue.append(path)

    @property
    def quotas(self) -> Quotas:
        """As of the last transaction applied; as in ZooKeeper, what is outstanding counts not."""
        return self._tree.quotas

    def session_member(self, session_id: int) -> int | None:
        """The member that the session's client is at; None: no such session."""
        newest = self._sessions.get(session_id)
        if newest is not None:
            return newest.sessions[session_id]
        known = self._tree.sessions.get(session_id)
        return None if known is None else known[1]

    def ephemerals(self, session_id: int) -> list[str]:
        """Paths that the session owns; looks through everything that is outstanding."""
        owned = dict(self._tree.ephemerals.get(session_id, {}))
        for path, node in self._nodes.items():
            if node.owner == session_id:
                owned[path] = None
            else:
                owned.pop(path, None)
        return list(owned)

    def commit(self, change: Change) -> None:
        nodes = self._nodes
        for path, node in change.nodes.items():
            earlier = nodes.get(path)
            node.uses = 1 if earlier is None else earlier.uses + 1
            nodes[path] = node
        if change.sessions:
            for session_id in change.sessions:
                self._sessions[session_id] = change
        self._queue.append(change)

    def applied(self) -> None:
        """The oldest decision is in the tree now."""
        change = self._queue.popleft()
        nodes = self._nodes
        if type(change) is str:
            node = nodes[change]
            if node.uses == 1:
                del nodes[change]
            else:
                node.uses -= 1
            return
        assert isinstance(change, Change)
        for path in change.nodes:
            node = nodes[path]
            node.uses -= 1
            if not node.uses:
                del nodes[path]
        if change.sessions:
            for session_id in change.sessions:
                if self._sessions.get(session_id) is change:
                    del self._sessions[session_id]

    def check(self) -> None:
        assert self._queue or not (self._nodes or self._sessions)
        for path, node in self._nodes.items():
            queued = [each for each in self._queue if path in _paths_of(each)]
            assert node.uses == len(queued) > 0, path
            assert node.child_count >= 0, path
        for change in self._sessions.values():
            assert change in self._queue


def _paths_of(change: Change | str) -> Collection[str]:
    return (change,) if isinstance(change, str) else change.nodes


__all__ = ["Change", "Overlay", "PendingNode"]
