"""One-shot watches that a client waits for, by path and kind. No I/O.

A watch is a callable; the same callable set twice on one path fires once. Paths are whole, with the
chroot: they are what the ensemble names in its events and what it wants to hear after a reconnect.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ottla.protocol.zookeeper.messages import SetWatches
from ottla.protocol.zookeeper.opcodes import EventType

SET_WATCHES_BYTES_MAX = 128 * 1024


class WatchEvent(NamedTuple):
    """Something happened to `path`; what, only a new read tells."""

    kind: EventType
    path: str


Watch = Callable[[WatchEvent], None]
_Watches = dict[str, dict[Watch, None]]


@dataclass(slots=True)
class WatchRegistry:
    """Armed watches: `data` on existing znodes, `exist` on absent ones, `child` on children."""

    data: _Watches = field(default_factory=dict)
    exist: _Watches = field(default_factory=dict)
    child: _Watches = field(default_factory=dict)

    def take(self, kind: int, path: str) -> list[Watch]:
        """Disarm and return the watches that an event fires."""
        fired: dict[Watch, None] = {}
        for watches in self._concerned(kind):
            fired.update(watches.pop(path, {}))
        return list(fired)

    def _concerned(self, kind: int) -> tuple[_Watches, ...]:
        match kind:
            case EventType.NODE_CREATED | EventType.NODE_DATA_CHANGED:
                return self.data, self.exist
            case EventType.NODE_DELETED:
                return self.data, self.exist, self.child
            case EventType.NODE_CHILDREN_CHANGED:
                return (self.child,)
        return ()

    def clear(self) -> None:
        self.data.clear()
        self.exist.clear()
        self.child.clear()

    def rearm(self, last_zxid: int) -> Iterator[SetWatches]:
        """What to send after a reconnect, in requests of bounded size."""
        lists: tuple[list[str], list[str], list[str]] = ([], [], [])
        size = 0
        for at, watches in enumerate((self.data, self.exist, self.child)):
            for path in watches:
                if size + len(path) > SET_WATCHES_BYTES_MAX:
                    yield SetWatches(last_zxid, *lists)
                    lists, size = ([], [], []), 0
                lists[at].append(path)
                size += len(path) + 4
        if size:
            yield SetWatches(last_zxid, *lists)


__all__ = ["Watch", "WatchEvent", "WatchRegistry"]
