"""Planted bugs of the coordinator ensemble."""

from functools import partial
from itertools import count
from types import SimpleNamespace

import trio

from ottla.coordinator import snapshotting
from ottla.coordinator.client_port import connection as connection_module
from ottla.coordinator.client_port.connection import Connection
from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.leadership import Leadership
from ottla.coordinator.consensus.replica import Replica
from ottla.coordinator.node import Node
from ottla.coordinator.store import snapshots
from ottla.coordinator.store import store as store_module
from ottla.coordinator.store.txn_log import SegmentWriter
from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.pending import Overlay
from ottla.coordinator.tree.sessions import SessionTracker
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.watches import Watches, _Table
from ottla.protocol.zookeeper.jute import Reader, put_string
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.simulation.world.planted.bugs import Patch, planted


class _Busy:
    """Trio, where everybody else has much to do at each checkpoint."""

    def __init__(self) -> None:
        self.lowlevel = SimpleNamespace(checkpoint=partial(trio.sleep, 0.05))

    def __getattr__(self, name: str):
        return getattr(trio, name)


_FAR = 1 << 62  # a zxid above all


@planted("a vote and entries count as durable before they are synced")
def _ack_before_sync() -> list[Patch]:
    async def sync(self) -> None:
        self._safe = self._file.size() if self._file is not None else 0

    return [(SegmentWriter, "sync", sync)]


@planted("a vote is given to whoever asks first, however old its log is")
def _vote_for_an_old_log() -> list[Patch]:
    return [(Consensus, "_is_up_to_date", lambda self, _epoch, _index: True)]


@planted(
    "what a killed member wrote is not synced when it starts again",
    faults={"kill_member": 8.0, "slow_disk": 1.0, "power_member": 10.0},
    changes={"ensemble_clients": 3, "snap_count": 100_000},
)
def _restart_without_sync() -> list[Patch]:
    original = store_module._recover

    class Unsynced:
        def __init__(self, disk) -> None:
            self._disk = disk

        def __getattr__(self, name: str):
            return getattr(self._disk, name)

        def open(self, path: str, *, create: bool = True):
            file = self._disk.open(path, create=create)
            file.sync_now = lambda: None
            return file

    return [
        (store_module, "_recover", lambda disk, *more: original(Unsynced(disk), *more)),
    ]


@planted("the leader of the ensemble commits what it alone has synced")
def _commit_alone() -> list[Patch]:
    def commit_index(self, synced_index: int, commit_index: int) -> int:
        return max(synced_index, commit_index)

    return [(Leadership, "commit_index", commit_index)]


@planted("a member applies what its leader sends before a majority has it")
def _applied_before_commit() -> list[Patch]:
    original = Replica.append

    def append(self, request, epoch):
        answer = original(self, request, epoch)
        if request.block is not None and self.log.last_index == request.block.last_index:
            self.commit_index = self.log.last_index
        return answer

    return [(Replica, "append", append)]


@planted("decisions look at what is applied, not at what was decided before them")
def _decided_without_the_pending() -> list[Patch]:
    original = Overlay.open

    def look(self, path: str, change):
        kept, self._nodes = self._nodes, {}
        try:
            return original(self, path, change)
        finally:
            self._nodes = kept

    return [(Overlay, "open", look)]


@planted(
    "a write that comes late from where the client was before its session moved is done",
    faults={"slow_link": 0.7},
    changes={"ensemble_clients": 3},
)
def _write_after_the_move() -> list[Patch]:
    original = Decider.require_session

    def require(self, session_id: int, member_id: int) -> None:
        at = self._overlay.session_member(session_id)
        original(self, session_id, member_id if at is None else at)

    return [(Decider, "require_session", require)]


@planted("a session's ephemerals stay when it ends")
def _ephemerals_stay() -> list[Patch]:
    original = Tree._close_session

    def close(self, reader, opcode: int, session_id: int) -> bytes:
        kept = self.ephemerals.pop(session_id, {})
        reply = original(self, reader, opcode, session_id)
        if kept:
            self.ephemerals[session_id] = kept
        return reply

    return [(Tree, "_close_session", close)]


@planted("sessions expire after a third of their timeout")
def _early_expiry() -> list[Patch]:
    original = SessionTracker.add

    def add(self, session_id: int, timeout_s: float, now: float) -> None:
        original(self, session_id, timeout_s / 3, now)

    return [(SessionTracker, "add", add)]


@planted(
    "a member does not tell the leader which sessions it heard from",
    faults={"kill_broker": 20.0, "clock_jump": 20.0},  # where links hold, reads keep a session
)
def _touches_not_reported() -> list[Patch]:
    return [(Node, "_report_touches", lambda self: None)]


@planted("a snapshot of the state leaves out sessions that own nothing")
def _snapshot_without_sessions() -> list[Patch]:
    original = Tree.dump

    def dump(self):
        kept = self.sessions
        self.sessions = {each: kept[each] for each in kept if each in self.ephemerals}
        chunks = list(original(self))
        self.sessions = kept
        yield from chunks

    return [(Tree, "dump", dump)]


@planted(
    "a snapshot of the state has changes that were made while it was written",
    faults={"kill_member": 8.0, "isolate": 10.0},
    changes={"snap_count": 60, "ensemble_clients": 3},
    given=((snapshotting, "SLICE_S", 0.0), (snapshots, "trio", _Busy())),
    given_what="a snapshot takes 50 ms for each piece",  # else it takes no virtual time at all
)
def _snapshot_of_no_moment() -> list[Patch]:
    return [(Tree, "for_change", lambda self, path: self.nodes[path])]


@planted("every third watch is forgotten")
def _lost_watch() -> list[Patch]:
    original, calls = Watches.trigger, count()

    def trigger(self, changes, auth_of=None):
        fired = original(self, changes, auth_of)
        return [each for each in fired if next(calls) % 3]

    return [(Watches, "trigger", trigger)]


@planted("a watch is delivered behind the next answer, that is after the read")
def _watch_after_the_read() -> list[Patch]:
    original = Connection.take_out
    held: dict[Connection, list[bytes]] = {}

    def send_event(self, encoded: bytes) -> None:
        held.setdefault(self, []).append(encoded)

    def take_out(self, now: float) -> bytes:
        data = original(self, now)
        if not data:
            return data
        late = b"".join(held.pop(self, ()))
        self.out_bytes += len(late)
        return data + late

    return [(Connection, "send_event", send_event), (Connection, "take_out", take_out)]


@planted("recursive watches are counted on when they are gone")
def _gone_recursive_watches_counted() -> list[Patch]:
    original = _Table.drop

    def drop(self, path: str, session_id: int, modes: int) -> bool:
        counted = self.recursive
        had = original(self, path, session_id, modes)
        self.recursive = counted
        return had

    return [(_Table, "drop", drop)]


@planted("watches that move to another member forget what they waited for: setWatches' zxid")
def _set_watches_without_zxid() -> list[Patch]:
    original = Watches.rearm

    def rearm(self, session_id: int, request, tree):
        return original(self, session_id, request._replace(relative_zxid=_FAR), tree)

    return [(Watches, "rearm", rearm)]


@planted(
    "sync is answered by a member from what it has, as when it is cut off from the majority",
    faults={"slow_link": 1.5, "slow_disk": 3.0, "cut_pair": 8.0},
    changes={"ensemble_clients": 3},
)
def _sync_not_through_the_log() -> list[Patch]:
    original = connection_module.answer

    def answer(tree, watches, asker, opcode: int, body: Reader) -> bytes:
        if opcode == OpCode.SYNC:
            return put_string(body.string())
        return original(tree, watches, asker, opcode, body)

    writes = connection_module.WRITES - {int(OpCode.SYNC)}
    return [(connection_module, "WRITES", writes), (connection_module, "answer", answer)]
