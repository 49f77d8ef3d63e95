"""What the clients of the ensemble know together, and the znodes that they share."""

import random
from bisect import bisect_left
from typing import NamedTuple

from ottla.coordinator.tree.values import Applied
from ottla.protocol.zookeeper.opcodes import EventType
from tests.simulation.world.history import Violation
from tests.simulation.world.linearizability import Ledger
from tests.simulation.world.nodes import Node

ROOT = "/sim"
COUNTER = f"{ROOT}/counter"
LOCKS = f"{ROOT}/locks"
GUARD = f"{ROOT}/guard"
ONLOOKERS = f"{ROOT}-onlooker"
REGISTERS = tuple(f"{ROOT}/register-{at}" for at in range(2))
SHARED = ((ROOT, b""), (COUNTER, b"0"), (LOCKS, b""), (GUARD, b"-1"))
"""What has to be there, with its first value, parents first."""

_TOLD = {EventType.NODE_CREATED, EventType.NODE_DELETED, EventType.NODE_DATA_CHANGED}


class Change(NamedTuple):
    """What a recursive watch tells of one change."""

    zxid: int
    kind: int
    path: str


def register(rng: random.Random) -> str:
    """A znode whose history is checked for linearizability."""
    return rng.choice(REGISTERS)


class EnsembleHistory:
    """What clients of the ensemble know about its state."""

    def __init__(self, *, tick_s: float, links_hold: bool) -> None:
        """`links_hold`: whether members hear each other as long as they live."""
        self._tick_s = tick_s
        self._links_hold = links_hold
        self.versions: dict[int, str] = {}  # counter version -> who was told that it made it
        self.newest = 0  # newest version that somebody was told of
        self.heard: dict[int, float] = {}  # session -> when its last answered write was sent
        self.answered: dict[int, float] = {}  # session -> when its last answered read was sent
        self.closed: set[int] = set()  # sessions that asked for their end
        self.timeouts: dict[int, float] = {}  # session -> s
        self.changes: list[Change] = []  # below ROOT, in the order of the ensemble
        self.ledger = Ledger()
        self._last_zxid = 0
        self._numbers: list[tuple[int, int]] = []  # (czxid, number) of sequential znodes, sorted

    def watch(self, member: Node) -> None:
        """`member` has started: follow what it applies in this life."""
        member.handle.node.subscribe_applied(self._on_applied)

    def lived_until(self, session: int) -> float | None:
        """Until when a session may not expire, as clients know it; None: they do not.

        A write is known to the leader by itself. Of reads it learns by its members' reports, every
        half tick; a member that is paused or cut off goes on with its clients for a while.
        """
        if session in self.closed or session not in self.timeouts:
            return None
        signs = [self.heard.get(session, 0.0)]
        if self._links_hold and session in self.answered:
            signs.append(self.answered[session] - 2.5 * self._tick_s)
        return max(signs) + self.timeouts[session]

    def _on_applied(self, applied: Applied) -> None:
        if applied.zxid <= self._last_zxid:
            return  # another member was first
        self._last_zxid = applied.zxid
        for kind, path, _ in applied.events:
            if kind in _TOLD and (path == ROOT or path.startswith(f"{ROOT}/")):
                self.changes.append(Change(applied.zxid, kind, path))

    def numbered(self, czxid: int, number: int) -> None:
        """A client was told of a sequential znode below LOCKS: later ones have higher numbers."""
        numbers = self._numbers
        at = bisect_left(numbers, (czxid, number))
        for earlier, later in zip(numbers[at - 1 : at], [(czxid, number)], strict=False):
            _in_order(earlier, later)
        for later in numbers[at : at + 1]:
            _in_order((czxid, number), later)
        numbers.insert(at, (czxid, number))


def _in_order(earlier: tuple[int, int], later: tuple[int, int]) -> None:
    if earlier[0] == later[0] or earlier[1] >= later[1]:
        raise Violation(
            f"znodes of zxids {earlier[0]:#x} and {later[0]:#x} have numbers"
            f" {earlier[1]} and {later[1]}"
        )


__all__ = [
    "COUNTER",
    "GUARD",
    "LOCKS",
    "ONLOOKERS",
    "REGISTERS",
    "ROOT",
    "SHARED",
    "Change",
    "EnsembleHistory",
    "register",
]
