"""An operator who moves partitions between brokers, turns back, and has preferred leaders elected.

An answered wish counts, whatever the controllers go through: the partition ends there. One whose
answer never came may have been granted, or be granted later; such a partition is asked for once
more when the faults are over and nothing older can be under way.
"""

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from ottla.protocol.kafka.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from ottla.protocol.kafka.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
)
from tests.simulation.world.assignments import AssignmentWatch
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History, Violation
from tests.simulation.world.nodes import Node

SETTLED_S = 20.0  # after this long, no request of before the healing is under way
TIMEOUT_S = 8.0
_PREFERRED = 0

Target = tuple[int, ...]
Wishes = dict[TopicPartition, Target | None]

_REFUSED = {ErrorCode.INVALID_REPLICA_ASSIGNMENT, ErrorCode.NO_REASSIGNMENT_IN_PROGRESS}
_UNCLEAR = {
    ErrorCode.NOT_CONTROLLER,  # or it was, when it began
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.UNKNOWN_SERVER_ERROR,
}
_ELECTED = {ErrorCode.NONE, ErrorCode.ELECTION_NOT_NEEDED}
_NOT_NOW = {
    ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
    ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    *_UNCLEAR,
}


class Mover:
    """`play` until the end of the faults, then `finish`; `check` what came of it.

    `topics` are watched over; now and then one that nobody needs is moved too.
    """

    def __init__(
        self, port: KafkaPort, history: History, watch: AssignmentWatch, topics: list[str]
    ) -> None:
        self.is_finished = False
        self._port = port
        self._history = history
        self._watch = watch
        self._topics = topics
        self._brokers = sorted(port.brokers)
        self._ends: dict[TopicPartition, set[Target]] = {}  # where it may be in the end
        self._unsure: dict[TopicPartition, None] = {}  # a request may still come through

    async def play(self) -> None:
        rng = self._port.rng
        while True:
            await trio.sleep(rng.choice((0.2, 2.0, 5.0)))
            chance = rng.random()
            if chance < 0.2:
                await self._elect()
            elif chance < 0.45:
                await self._turn_back()
            else:
                tps = self._some()
                await self._ask({tp: self._anywhere() for tp in tps})

    def _some(self) -> list[TopicPartition]:
        rng = self._port.rng
        known = sorted(self._watch.now)
        watched = [tp for tp in known if tp.topic in self._topics]
        chosen = watched if rng.random() < 0.85 else known
        return rng.sample(chosen, min(len(chosen), rng.choice((1, 1, 2, 5))))

    def _anywhere(self) -> Target:
        rng = self._port.rng
        return tuple(rng.sample(self._brokers, rng.choice((2, 2, 3))))

    async def _turn_back(self) -> None:
        """Cancel some of what the controller says is under way."""
        rng = self._port.rng
        under_way = await self._list()
        if under_way:
            chosen = rng.sample(under_way, rng.randint(1, len(under_way)))
            await self._ask(dict.fromkeys(chosen))

    # Asking

    async def _ask(self, wishes: Wishes, *, settled: bool = False) -> None:
        """Once; what came of it goes into `_ends` and `_unsure`, also when this is cancelled.

        `settled`: no earlier request is under way.
        """
        began = trio.current_time()
        sure = wishes.keys() - self._unsure.keys()
        self._unsure.update(dict.fromkeys(wishes))
        topics: dict[str, ReassignableTopic] = {}
        for tp, target in wishes.items():
            topic = topics.setdefault(tp.topic, ReassignableTopic(name=tp.topic, partitions=[]))
            replicas = None if target is None else list(target)
            topic.partitions.append(
                ReassignablePartition(partition_index=tp.partition, replicas=replicas)
            )
        answer = await self._send(
            AlterPartitionReassignmentsRequest(timeout_ms=6000, topics=list(topics.values())), 0
        )
        if answer is None or answer.error_code:
            if answer is not None and answer.error_code not in _UNCLEAR:
                raise Violation(f"moves: {ErrorCode(answer.error_code).name}")
            return
        for topic in answer.responses:
            for row in topic.partitions:
                tp = TopicPartition(topic.name, row.partition_index)
                code = ErrorCode(row.error_code)
                if code is ErrorCode.NONE if settled else tp in sure and code not in _UNCLEAR:
                    del self._unsure[tp]
                self._note(tp, wishes[tp], code, row.error_message, began)

    def _note(
        self,
        tp: TopicPartition,
        target: Target | None,
        code: ErrorCode,
        message: str | None,
        began: float,
    ) -> None:
        what = "cancelled" if target is None else "started"
        self._history.counts[f"moves {what}: {code.name.lower()}"] += 1
        if code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and tp.topic not in self._topics:
            self._ends.pop(tp, None)
            self._unsure.pop(tp, None)
        elif code is ErrorCode.NONE and target is not None:
            self._ends[tp] = {target}
        elif code is ErrorCode.NONE:
            moving = [placed for placed in self._watch.since(tp, began) if placed.moves]
            if not moving:
                raise Violation(f"{tp}: a move was cancelled where there was none")
            self._ends[tp] = {placed.origin for placed in moving}
        elif code not in _REFUSED | _UNCLEAR:
            raise Violation(f"{tp}: the move to {target} is refused: {code.name} {message}")

    async def _list(self) -> list[TopicPartition] | None:
        """What the controller says is under way; None: nobody says anything."""
        answer = await self._send(ListPartitionReassignmentsRequest(timeout_ms=6000), 0)
        if answer is None or answer.error_code:
            return None
        return [
            TopicPartition(topic.name, row.partition_index)
            for topic in answer.topics
            for row in topic.partitions
        ]

    async def _elect(self, tps: list[TopicPartition] | None = None) -> None:
        """Have the preferred leaders elected, of some partitions or these."""
        tps = tps or self._some()
        request = ElectLeadersRequest(
            election_type=_PREFERRED,
            topic_partitions=[
                TopicPartitions(topic=tp.topic, partitions=[tp.partition]) for tp in tps
            ],
            timeout_ms=6000,
        )
        answer = await self._send(request, 2)
        if answer is None or answer.error_code:
            return
        for topic in answer.replica_election_results:
            for row in topic.partition_result:
                code = ErrorCode(row.error_code)
                self._history.counts[f"preferred elections: {code.name.lower()}"] += 1
                gone = code is ErrorCode.INVALID_TOPIC_EXCEPTION  # it is being deleted
                if code not in _ELECTED | _NOT_NOW and (not gone or topic.topic in self._topics):
                    raise Violation(f"{topic.topic}-{row.partition_id} elects: {code.name}")

    async def _send(self, request, version: int):
        """Ask whoever is the controller now; None: no answer."""
        port = self._port
        if port.controller < 0 and not await port.refresh("safe"):
            return None
        try:
            answer = await port.ask(port.controller, request, version, TIMEOUT_S)
        except LinkLost:
            port.controller = -1
            return None
        if answer.error_code == ErrorCode.NOT_CONTROLLER or _has_no_controller(answer):
            port.controller = -1
        return answer

    # The end

    async def finish(self) -> None:
        """Ask again for what is not certain, wait for all moves; then have preferred leaders
        elected whenever others lead. Ends by cancellation.
        """
        await trio.sleep(SETTLED_S)
        while self._unsure:
            for tp in self._unsure.keys() - self._watch.now.keys():
                del self._unsure[tp]
            await self._ask({tp: self._anywhere() for tp in self._unsure}, settled=True)
            await trio.sleep(0.2)
        while not self.is_finished:
            await trio.sleep(0.5)
            if any(placed.moves for placed in self._watch.now.values()):
                continue
            # The controller hears of its last step a little later than the members.
            self.is_finished = await self._list() == []
        while True:
            await trio.sleep(0.5)
            if badly_led := self._badly_led():
                await self._elect(badly_led)

    def _badly_led(self) -> list[TopicPartition]:
        now, leaders = self._watch.now, self._watch.leaders
        return [tp for tp in self._watched() if leaders.get(tp) != now[tp].replicas[0]]

    def _watched(self) -> list[TopicPartition]:
        return sorted(tp for tp in self._watch.now if tp.topic in self._topics)

    def missing(self, brokers: list[Node]) -> list[str]:
        """What is not done yet."""
        moving = [str(tp) for tp, placed in self._watch.now.items() if placed.moves]
        missing = [f"{tp} still moves" for tp in moving]
        if not moving and not self.is_finished:
            missing.append("the last moves are not settled, or the controller has others")
        missing += [f"{tp} is not led by the preferred leader" for tp in self._badly_led()]
        for node in brokers:
            broker = int(node.name.rpartition("-")[2])
            missing += [
                f"{node.name} still has {tp}, which moved away"
                for tp, placed in self._watch.now.items()
                if broker not in placed.replicas and directories_of(node, tp)
            ]
        return missing

    def check(self) -> None:
        """To be called when nothing is missing."""
        for tp in self._watched():
            placed, ends = self._watch.now[tp], self._ends.get(tp)
            if ends is not None and placed.replicas not in ends:
                raise Violation(f"{tp} is on {placed.replicas}, it was to end on {sorted(ends)}")
            self._history.counts["partitions where they were moved to"] += ends is not None
        self._history.counts["moves ended"] += self._watch.ended


def _has_no_controller(answer) -> bool:
    """Elections are refused row by row."""
    results = getattr(answer, "replica_election_results", None) or []
    rows = [row for topic in results for row in topic.partition_result]
    return any(row.error_code == ErrorCode.NOT_CONTROLLER for row in rows)


def directories_of(node: Node, tp: TopicPartition) -> list[str]:
    """Where `node` has a log of `tp`, or a copy that is to become one."""
    disk, its_name = node.disk, str(tp)
    return [
        f"{path}/{name}"
        for path in node.log_dirs
        if disk.exists(path)
        for name in disk.list_dir(path)
        if name == its_name or (name.startswith(f"{its_name}.") and name.endswith("-future"))
    ]


__all__ = ["Mover", "directories_of"]
