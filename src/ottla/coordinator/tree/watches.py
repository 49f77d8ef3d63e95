"""Who wants to be told of which change. One member's sessions; not replicated.

A watch is one-shot (set by a read), persistent, or persistent and recursive (both by addWatch).
Data watches tell of a node's creation, change and deletion, child watches of its deletion and of
children coming and going. Recursive ones hang with the data watches, hear of everything at and
below their path and need no child events: each child tells of itself.
"""

from collections.abc import Callable, Iterator, Sequence

from ottla.coordinator.tree.access import AuthIds
from ottla.coordinator.tree.paths import ROOT
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import NodeChange
from ottla.protocol.zookeeper.messages import SetWatches2, WatcherEvent
from ottla.protocol.zookeeper.opcodes import EventType, KeeperState, Perms, WatcherType

ONE_SHOT = 1
PERSISTENT = 2
RECURSIVE = 4
_READ = int(Perms.READ)
_CONNECTED = int(KeeperState.SYNC_CONNECTED)

Fired = list[tuple[int, WatcherEvent]]


class _Table:
    """path -> session id -> modes, and the same by session. Neither holds empty entries."""

    __slots__ = ("by_path", "by_session", "recursive")

    def __init__(self) -> None:
        self.by_path: dict[str, dict[int, int]] = {}
        self.by_session: dict[int, dict[str, None]] = {}
        self.recursive = 0  # entries with RECURSIVE

    def add(self, path: str, session_id: int, mode: int) -> None:
        watchers = self.by_path.setdefault(path, {})
        old = watchers.get(session_id, 0)
        watchers[session_id] = old | mode
        if mode == RECURSIVE and not old & RECURSIVE:
            self.recursive += 1
        if not old:
            self.by_session.setdefault(session_id, {})[path] = None

    def drop(self, path: str, session_id: int, modes: int) -> bool:
        """Whether the session had any of `modes` here."""
        watchers = self.by_path.get(path)
        old = watchers.get(session_id, 0) if watchers else 0
        if not old & modes:
            return False
        assert watchers is not None
        if old & modes & RECURSIVE:
            self.recursive -= 1
        if old & ~modes:
            watchers[session_id] = old & ~modes
            return True
        del watchers[session_id]
        if not watchers:
            del self.by_path[path]
        paths = self.by_session[session_id]
        del paths[path]
        if not paths:
            del self.by_session[session_id]
        return True

    def modes(self, path: str, session_id: int) -> int:
        return self.by_path.get(path, {}).get(session_id, 0)

    def take(self, path: str) -> list[int]:
        """Sessions to tell of a change at `path`; their one-shot watches are used up."""
        told: list[int] = []
        watchers = self.by_path.get(path)
        if watchers:
            told = list(watchers)
            for session_id in told:
                self.drop(path, session_id, ONE_SHOT)
        if self.recursive:
            known = set(told)
            for ancestor in _ancestors(path):
                for session_id, modes in self.by_path.get(ancestor, {}).items():
                    if modes & RECURSIVE and session_id not in known:
                        known.add(session_id)
                        told.append(session_id)
        return told

    def forget(self, session_id: int) -> None:
        for path in list(self.by_session.get(session_id, ())):
            self.drop(path, session_id, ONE_SHOT | PERSISTENT | RECURSIVE)

    def check(self) -> None:
        entries = {(path, sid) for path, ids in self.by_path.items() for sid in ids}
        assert entries == {(path, sid) for sid, ps in self.by_session.items() for path in ps}
        assert all(self.by_path.values())
        assert all(self.by_session.values())
        modes = [mode for ids in self.by_path.values() for mode in ids.values()]
        assert all(modes)
        assert self.recursive == sum(mode & RECURSIVE != 0 for mode in modes)


class Watches:
    """The watches of the sessions whose clients are connected to this member."""

    __slots__ = ("_children", "_data")

    def __init__(self) -> None:
        self._data = _Table()
        self._children = _Table()

    @property
    def are_any(self) -> bool:
        """Whether anybody watches anything."""
        return bool(self._data.by_path or self._children.by_path)

    def watch_data(self, path: str, session_id: int) -> None:
        """Also how one waits for a node that does not exist yet."""
        self._data.add(path, session_id, ONE_SHOT)

    def watch_children(self, path: str, session_id: int) -> None:
        self._children.add(path, session_id, ONE_SHOT)

    def watch_always(self, path: str, session_id: int, *, recursive: bool) -> None:
        if recursive:
            self._data.add(path, session_id, RECURSIVE)
        else:
            self._data.add(path, session_id, PERSISTENT)
            self._children.add(path, session_id, PERSISTENT)

    def rearm(self, session_id: int, request: SetWatches2, tree: Tree) -> Fired:
        """Set the watches that a client had elsewhere; those that missed their change fire now."""
        fired: Fired = []
        since = request.relative_zxid

        def fire(kind: EventType, path: str) -> None:
            fired.append((session_id, WatcherEvent(int(kind), _CONNECTED, path)))

        for path in request.data_watches:
            node = tree.nodes.get(path or ROOT)
            if node is None:
                fire(EventType.NODE_DELETED, path)
            elif node.mzxid > since:
                fire(EventType.NODE_DATA_CHANGED, path)
            else:
                self.watch_data(path, session_id)
        for path in request.exist_watches:
            if (path or ROOT) in tree.nodes:
                fire(EventType.NODE_CREATED, path)
            else:
                self.watch_data(path, session_id)
        for path in request.child_watches:
            node = tree.nodes.get(path or ROOT)
            if node is None:
                fire(EventType.NODE_DELETED, path)
            elif node.pzxid > since:
                fire(EventType.NODE_CHILDREN_CHANGED, path)
            else:
                self.watch_children(path, session_id)
        for path in request.persistent_watches:
            self.watch_always(path, session_id, recursive=False)
        for path in request.persistent_recursive_watches:
            self.watch_always(path, session_id, recursive=True)
        return fired

    def trigger(
        self, changes: Sequence[NodeChange], auth_of: Callable[[int], AuthIds] | None = None
    ) -> Fired:
        """Who is to be told of `changes`, in their order.

        `auth_of` gives a session's identities: who may not read a node learns nothing of it, and
        its one-shot watch is used up all the same.
        """
        fired: Fired = []
        if not self.are_any:
            return fired
        for kind, path, acl in changes:
            if kind == EventType.NODE_CHILDREN_CHANGED:
                told = self._children.take(path)
            else:
                told = self._data.take(path)
                if kind == EventType.NODE_DELETED:
                    told += [sid for sid in self._children.take(path) if sid not in told]
            if not told:
                continue
            event = WatcherEvent(int(kind), _CONNECTED, path)
            if auth_of is None or acl.world_perms & _READ:
                fired += [(session_id, event) for session_id in told]
            else:
                fired += [(sid, event) for sid in told if acl.permits(_READ, auth_of(sid))]
        return fired

    def has(self, path: str, session_id: int, kind: WatcherType) -> bool:
        """Whether checkWatches finds one; see `remove` for what a kind covers."""
        data = self._data.modes(path, session_id)
        children = self._children.modes(path, session_id)
        match kind:
            case WatcherType.CHILDREN:
                return bool(children & ONE_SHOT)
            case WatcherType.DATA:
                return bool(data & ONE_SHOT)
            case WatcherType.PERSISTENT:
                return bool(data & children & PERSISTENT)
            case WatcherType.PERSISTENT_RECURSIVE:
                return bool(data & RECURSIVE)
            case WatcherType.ANY:
                return bool(data or children)

    def remove(self, path: str, session_id: int, kind: WatcherType) -> bool:
        """Drop the session's watches of this kind at the path; False: it had none."""
        data = children = 0
        match kind:
            case WatcherType.CHILDREN:
                children = ONE_SHOT
            case WatcherType.DATA:
                data = ONE_SHOT
            case WatcherType.PERSISTENT:
                data = children = PERSISTENT
            case WatcherType.PERSISTENT_RECURSIVE:
                data = RECURSIVE
            case WatcherType.ANY:
                data = children = ONE_SHOT | PERSISTENT | RECURSIVE
        had_children = self._children.drop(path, session_id, children)
        return self._data.drop(path, session_id, data) or had_children

    def forget(self, session_id: int) -> None:
        """The session's connection is gone; its client sets its watches anew where it goes."""
        self._data.forget(session_id)
        self._children.forget(session_id)

    @property
    def count(self) -> int:
        tables = (self._data, self._children)
        return sum(len(ids) for table in tables for ids in table.by_path.values())

    def paths(self) -> dict[str, list[int]]:
        """Watched paths and who watches them."""
        found: dict[str, dict[int, None]] = {}
        for table in (self._data, self._children):
            for path, ids in table.by_path.items():
                found.setdefault(path, {}).update(dict.fromkeys(ids))
        return {path: list(ids) for path, ids in found.items()}

    def check(self) -> None:
        self._data.check()
        self._children.check()
        assert self._children.recursive == 0


def _ancestors(path: str) -> Iterator[str]:
    if path == ROOT:
        return
    at = path.rindex("/")
    while at > 0:
        path = path[:at]
        yield path
        at = path.rindex("/")
    yield ROOT


__all__ = ["ONE_SHOT", "PERSISTENT", "RECURSIVE", "Watches"]
