"""What is checked on the daemons themselves, after each transaction and every second.

Ensemble: one transaction per zxid on every member, one leader per epoch, an epoch's transactions
only after all of those before, ephemerals only of sessions that live, no session ended early.
Brokers: leader epochs and controller epochs only grow, one leader per epoch, replicas hold the same
bytes below their high watermarks, what is committed is on all of the ISR, every core's own `check`.
"""

import json
import math
import re
from collections.abc import Callable

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.partitions.partition import Partition
from ottla.coordinator.tree.tree import Tree
from tests.simulation.world.clients.facts import EnsembleHistory
from tests.simulation.world.committed import CommittedChecker
from tests.simulation.world.history import History, Violation
from tests.simulation.world.nodes import Node
from tests.simulation.world.replicas import batches, compacted_difference, known_end

_STATE = re.compile(r"/brokers/topics/([^/]+)/partitions/(\d+)/state")
_IDS = "/brokers/ids/"


_BRIEF_TOMBSTONES_MS = 86_400_000


class EnsembleChecker:
    """Follows what every member applies."""

    def __init__(
        self,
        history: History,
        facts: EnsembleHistory,
        brokers: "BrokerChecker",
        fail: Callable[[BaseException], None],
    ) -> None:
        self._fail = fail
        self.on_change: list[Callable[[str, Tree], None]] = []  # a path that a transaction changed
        self._history = history
        self._facts = facts
        self._brokers = brokers
        self._applied: dict[int, tuple] = {}  # zxid -> what it was
        self._leaders: dict[int, str] = {}  # epoch -> member
        self._samples = 0
        self.last_zxid = 0

    def watch(self, node: Node) -> None:
        """`node` has started: follow it for this life."""
        member = node.handle.node

        def on_applied(applied) -> None:
            try:
                self._take(node.name, member, applied)
            except Violation as violation:
                self._fail(violation)

        member.subscribe_applied(on_applied)

    def _take(self, name: str, member, applied) -> None:
        what = (
            applied.session_id,
            applied.opcode,
            int(applied.error),
            applied.reply,
            tuple(applied.closed_sessions),
        )
        before = self._applied.setdefault(applied.zxid, what)
        if before != what:
            raise Violation(f"{name}: zxid {applied.zxid:#x} is {what}, elsewhere it was {before}")
        tree = member.tree
        for session in applied.closed_sessions:
            if tree.ephemerals.get(session):
                raise Violation(f"{name}: ephemerals of session {session:#x} outlive it")
        if applied.zxid > self.last_zxid:
            self.last_zxid = applied.zxid
            self._history.counts["transactions"] += 1
            for session in applied.closed_sessions:
                self._on_session_end(session)
            for change in applied.events:
                self._brokers.on_znode(change.path, tree)
                for listener in self.on_change:
                    listener(change.path, tree)

    def _on_session_end(self, session: int) -> None:
        until = self._facts.lived_until(session)
        if until is not None and trio.current_time() < until - 0.001:
            raise Violation(
                f"session {session:#x} expired {until - trio.current_time():.2f} s before its"
                f" timeout of {self._facts.timeouts[session]:g} s was over"
            )

    def sample(self, nodes: list[Node], *, everything: bool = False) -> None:
        """Each time another member is looked at closely, which walks over all that it has."""
        self._samples += 1
        for at, node in enumerate(nodes):
            if node.handle is None:
                continue
            member = node.handle.node
            if everything or self._samples % len(nodes) == at:
                member._core.check()
                member.tree.check()
                member.watches.check()
                if member._leading is not None:
                    member._leading._decider.check()
                    member._leading._tracker.check()
            if member.role == "leader":
                leader = self._leaders.setdefault(member.epoch, node.name)
                if leader != node.name:
                    raise Violation(f"epoch {member.epoch} is led by {leader} and {node.name}")

    def compare(self, nodes: list[Node]) -> None:
        """All members hold the same state. To be called once they have all applied the same."""
        dumps = {node.name: b"".join(node.handle.node.tree.dump()) for node in nodes}
        if len(set(dumps.values())) != 1:
            sizes = {name: len(dump) for name, dump in dumps.items()}
            raise Violation(f"members hold different states: {sizes}")


class BrokerChecker:
    """Follows the brokers' znodes, and looks into the brokers."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.states: dict[TopicPartition, dict] = {}
        self._leaders: dict[tuple[object, int, int], object] = {}
        self._controllers: dict[int, int] = {}
        self._controller_epoch = 0
        self._samples = 0
        self.registered: dict[int, float] = {}  # brokers that are, since when
        self._cut_at: dict[int, float] = {}  # when brokers lost their power last
        self.tainted: dict[TopicPartition, set[int]] = {}  # lost unsynced bytes while in sync
        self._restarted: dict[TopicPartition, set[int]] = {}  # while in sync, for whatever reason
        self.on_state: list[Callable[[TopicPartition], None]] = []
        self._committed = CommittedChecker()
        self._nodes: list[Node] = []  # brokers, as of the last sample
        history.on_acknowledged.append(self._on_acknowledged)

    # Znodes

    def on_znode(self, path: str, tree: Tree) -> None:
        found = _STATE.fullmatch(path)
        node = tree.nodes.get(path)
        if found is not None:
            tp = TopicPartition(found[1], int(found[2]))
            if node is None:
                self.states.pop(tp, None)
                self.tainted.pop(tp, None)
                self._restarted.pop(tp, None)
            elif node.data:
                self._on_state(tp, json.loads(node.data))
        elif path == "/controller_epoch" and node is not None and node.data:
            epoch = int(node.data)
            if epoch < self._controller_epoch:
                raise Violation(f"controller epoch {self._controller_epoch} fell to {epoch}")
            self._controller_epoch = epoch
        elif path.startswith(_IDS):
            broker = int(path.removeprefix(_IDS))
            self.registered.pop(broker, None)
            if node is not None:
                self.registered[broker] = trio.current_time()
                self._note_registration(broker)
        elif path == "/controller" and node is not None and node.data:
            epoch = int(tree.nodes["/controller_epoch"].data or b"0")
            broker = json.loads(node.data)["brokerid"]
            if self._controllers.setdefault(epoch, broker) != broker:
                raise Violation(f"controller epoch {epoch} has two controllers")

    def _on_state(self, tp: TopicPartition, state: dict) -> None:
        before = self.states.get(tp)
        self.states[tp] = state
        self._history.leaders[tp] = state["leader"]
        isr = set(state["isr"])
        if not isr:
            raise Violation(f"{tp}: nobody is in sync")
        if state["controller_epoch"] != self._controller_epoch:
            raise Violation(
                f"{tp}: {state} was written in controller epoch {self._controller_epoch}"
            )
        if before is not None:
            if state["leader_epoch"] < before["leader_epoch"]:
                raise Violation(f"{tp}: {state} after {before}")
            moved = state["leader"] != before["leader"]
            if moved and state["leader_epoch"] == before["leader_epoch"]:
                raise Violation(f"{tp}: two leaders in epoch {state['leader_epoch']}")
            if moved and state["leader"] >= 0 and state["leader"] not in before["isr"]:
                if tp not in self._history.unclean:
                    raise Violation(f"{tp}: unclean leader {state} after {before}")
                self._history.counts["unclean leaders"] += 1
        for suspects in (self.tainted.get(tp), self._restarted.get(tp)):
            if suspects:
                suspects &= isr
        for broker in isr.difference(before["isr"] if before is not None else isr):
            # Taken in for what it had before its power went, which the controller has not heard.
            if self._cut_at.get(broker, 0.0) > self.registered.get(broker, math.inf):
                self._taint(tp, broker)
        self._excuse_if_nobody_is_sure(tp)
        copies = self._copies(tp)
        self._check_committed(tp, copies)
        if before is not None:
            self._committed.check_growth(tp, before, state, copies)

    def _copies(self, tp: TopicPartition) -> dict[int, Partition]:
        copies = {}
        for node in self._nodes:
            partition = node.handle and node.handle.services.partitions.get(tp)
            if partition is not None:
                copies[_number(node)] = partition
        return copies

    def _on_acknowledged(self, tp: TopicPartition, end: int) -> None:
        """A producer with acks=all heard of it: as good as a leader's high watermark."""
        self._committed.note(tp, end)
        if tp in self.states:
            self._check_committed(tp, self._copies(tp))

    def _check_committed(self, tp: TopicPartition, copies: dict[int, Partition]) -> None:
        if tp not in self._history.excused:
            self._committed.check(tp, self.states[tp], copies, self.tainted.get(tp, set()))

    def excuse(self, tp: TopicPartition, reason: str) -> None:
        self._history.excused.setdefault(tp, reason)

    def sure(self, tp: TopicPartition) -> set[int]:
        """Who has been in sync without a restart: they have every acknowledged record."""
        unsure = self.tainted.get(tp, set()) | self._restarted.get(tp, set())
        return set(self.states[tp]["isr"]) - unsure

    def note_power_cut(self, broker: int) -> None:
        """`broker` may have lost what it had not synced, wherever it is in sync and written to."""
        self._cut_at[broker] = trio.current_time()
        for tp, state in self.states.items():
            if broker in state["isr"]:
                self._taint(tp, broker)
                self._excuse_if_nobody_is_sure(tp)

    def _taint(self, tp: TopicPartition, broker: int) -> None:
        if tp.topic not in self._history.scratch and tp not in self._history.unclean:
            self.tainted.setdefault(tp, set()).add(broker)

    def note_end(self, node: Node) -> None:
        """A broker that comes back may look like one that lost power, until it left its ISRs once.

        A controller that saw neither go cannot tell them apart when it elects.
        """
        self._note_registration(_number(node))

    def _note_registration(self, broker: int) -> None:
        """A broker whose session ended is registered anew as one that restarted is."""
        for tp, state in self.states.items():
            if broker in state["isr"]:
                self._restarted.setdefault(tp, set()).add(broker)
                self._excuse_if_nobody_is_sure(tp)

    def _excuse_if_nobody_is_sure(self, tp: TopicPartition) -> None:
        tainted = self.tainted.get(tp)
        isr = set(self.states[tp]["isr"])
        if tainted and tainted | self._restarted.get(tp, set()) >= isr:
            lost = f"of the ISR {sorted(isr)} {sorted(tainted)} lost power"
            self.excuse(tp, f"{lost}, all restarted or registered anew")

    # Brokers

    def sample(self, nodes: list[Node], *, everything: bool = False) -> None:
        """Each time another broker is looked at closely; who leads and what is committed, always.

        Their logs are read now and then.
        """
        self._samples += 1
        self._nodes = nodes
        copies: dict[TopicPartition, dict[int, Partition]] = {}
        for at, node in enumerate(nodes):
            if node.handle is None:
                continue
            services = node.handle.services
            closely = everything or self._samples % len(nodes) == at
            if closely:
                services.metadata.check()
                services.groups.check()
                services.fetch_sessions.check()
                if (cluster := services.controller.state) is not None:
                    cluster.check()
            number = _number(node)
            for partition in services.partitions:
                copies.setdefault(partition.tp, {})[number] = partition
                if closely:
                    partition.check()
                if everything or not self._samples % 15:
                    partition.log.check()  # reads it all
                if partition.is_leader:
                    key = partition.topic_id, partition.tp.partition, partition.leader_epoch
                    leader = self._leaders.setdefault(key, node.name)
                    if leader != node.name:
                        raise Violation(
                            f"{partition.tp}: {leader} and {node.name} lead in epoch"
                            f" {partition.leader_epoch}"
                        )
        for tp in self.states:
            self._check_committed(tp, copies.get(tp, {}))

    def compare(self, nodes: list[Node]) -> None:
        """Replicas hold the same below the lower of their high watermarks; see `replicas`."""
        copies: dict[tuple, list] = {}
        for node in nodes:
            if node.handle is not None:
                for partition in node.handle.services.partitions:
                    key = partition.topic_id, partition.tp
                    copies.setdefault(key, []).append((node.name, partition))
        for (_, tp), found in copies.items():
            if tp in self._history.excused:
                continue
            first, *others = found
            for other in others:
                self._compare_pair(tp, first, other)

    def _compare_pair(self, tp: TopicPartition, one: tuple, two: tuple) -> None:
        (name, mine), (other_name, theirs) = one, two
        start = max(mine.log.log_start, theirs.log.log_start)
        end = min(mine.high_watermark, theirs.high_watermark)
        if end <= start:
            return
        compacted = mine.log.config.is_compacted or theirs.log.config.is_compacted
        left, right = (
            batches(one.log, start, known_end(one.log, one.high_watermark) if compacted else end)
            for one in (mine, theirs)
        )
        self._history.counts["bytes compared between replicas"] += min(len(left), len(right))
        if compacted:
            brief = min(mine.log.config.delete_retention_ms, theirs.log.config.delete_retention_ms)
            difference = compacted_difference(
                left, right, end, tombstones_go=brief < _BRIEF_TOMBSTONES_MS
            )
            if difference is not None:
                raise Violation(f"{tp}: {name} and {other_name}: {difference}")
        elif left != right:
            raise Violation(
                f"{tp}: {name} and {other_name} differ between {start} and {end}"
                f" ({len(left)} and {len(right)} bytes)"
            )


def _number(broker: Node) -> int:
    return int(broker.name.rpartition("-")[2])


__all__ = ["BrokerChecker", "EnsembleChecker"]
