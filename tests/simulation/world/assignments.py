"""Where partitions are and where they move to, as the ensemble has it after each transaction.

Checked at every change: the ISR and the leader are among the replicas, and a move ends only when
all that stay are in sync (KIP-455).
"""

import json
import re
from typing import NamedTuple

import trio

from ottla.broker.ids import TopicPartition
from ottla.coordinator.tree.tree import Tree
from tests.simulation.world.history import Violation

_TOPICS = "/brokers/topics"
_CHANGED = re.compile(r"/brokers/topics/([^/]+)(?:/partitions/(\d+)/state)?")


class Placement(NamedTuple):
    """One partition's row of `/brokers/topics/<topic>`."""

    replicas: tuple[int, ...]
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()

    @property
    def moves(self) -> bool:
        return bool(self.adding or self.removing)

    @property
    def origin(self) -> tuple[int, ...]:
        return tuple(each for each in self.replicas if each not in self.adding)

    @property
    def target(self) -> tuple[int, ...]:
        return tuple(each for each in self.replicas if each not in self.removing)


class AssignmentWatch:
    """Follows the znodes of topics. `now` has every partition that there is."""

    def __init__(self) -> None:
        self.now: dict[TopicPartition, Placement] = {}
        self.leaders: dict[TopicPartition, int] = {}
        self.ended = 0  # moves, also those that were cancelled
        self._past: dict[TopicPartition, list[tuple[float, Placement]]] = {}

    def on_change(self, path: str, tree: Tree) -> None:
        found = _CHANGED.fullmatch(path)
        if found is None:
            return
        topic = found[1]
        node = tree.nodes.get(f"{_TOPICS}/{topic}")
        if node is None or not node.data:
            for tp in [each for each in self.now if each.topic == topic]:
                del self.now[tp]
        elif found[2] is not None:
            self._check(TopicPartition(topic, int(found[2])), tree)
        else:
            self._take(topic, json.loads(node.data), tree)

    def _take(self, topic: str, row: dict, tree: Tree) -> None:
        adding, removing = row.get("adding_replicas", {}), row.get("removing_replicas", {})
        for number, replicas in row["partitions"].items():
            tp = TopicPartition(topic, int(number))
            placed = Placement(
                tuple(replicas), tuple(adding.get(number, ())), tuple(removing.get(number, ()))
            )
            before = self.now.get(tp)
            if placed == before:
                continue
            self.now[tp] = placed
            self._past.setdefault(tp, []).append((trio.current_time(), placed))
            isr = self._check(tp, tree)
            if before is None or not before.moves or placed.moves:
                continue
            self.ended += 1
            is_back = set(placed.replicas) == set(before.origin)
            if isr is not None and not is_back and isr != set(placed.replicas):
                raise Violation(f"{tp}: {before} ended as {placed} with the ISR {sorted(isr)}")

    def _check(self, tp: TopicPartition, tree: Tree) -> set[int] | None:
        """The ISR, which may only have replicas; None while there is none."""
        node = tree.nodes.get(f"{_TOPICS}/{tp.topic}/partitions/{tp.partition}/state")
        placed = self.now.get(tp)
        if node is None or not node.data or placed is None:
            return None
        state = json.loads(node.data)
        self.leaders[tp] = state["leader"]
        if not {*state["isr"], state["leader"]} <= {*placed.replicas, -1}:
            raise Violation(f"{tp}: {state} goes beyond {placed}")
        return set(state["isr"])

    def since(self, tp: TopicPartition, moment: float) -> list[Placement]:
        """All that `tp` was at and after `moment`."""
        past = self._past.get(tp, [])
        at = sum(when < moment for when, _ in past)
        return [placed for _, placed in past[max(at - 1, 0) :]]


__all__ = ["AssignmentWatch", "Placement"]
