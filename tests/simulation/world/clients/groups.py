"""Members of consumer groups by the classic protocol: join, sync, heartbeat, fetch, commit."""

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.codec import decode_versioned, encode_versioned
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from ottla.protocol.kafka.messages.consumer_protocol import TopicPartition as Owned
from ottla.protocol.kafka.messages.find_coordinator import FindCoordinatorRequest
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest
from ottla.protocol.kafka.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from ottla.protocol.kafka.messages.leave_group import LeaveGroupRequest, MemberIdentity
from ottla.protocol.kafka.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from ottla.protocol.kafka.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestTopic
from ottla.protocol.kafka.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.simulation.world.clients.consumers import OUT_OF_RANGE_S, fetch
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History

SESSION_MS = 10_000
REBALANCE_MS = 15_000
_LOST_HOME = {
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
}
_JOIN_AGAIN = {ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION}


class Rejoin(Exception):
    """The membership is over; join again, without the member id when it is unknown there."""

    def __init__(self, *, forget: bool = False) -> None:
        self.forget = forget


class GroupMember:
    """One member; `run` lives until cancelled, which is a crash without a farewell.

    With `instance` it is a static member (KIP-345): it never says goodbye, and who comes back under
    that name takes over what it had.
    """

    protocol = "range"

    def __init__(
        self,
        name: str,
        group: str,
        tps: list[TopicPartition],
        port: KafkaPort,
        history: History,
        *,
        instance: str | None = None,
    ) -> None:
        self.name = name
        self._instance = instance
        self.group = group
        self.stable_since = -1.0
        self._tps = tps
        self._port = port
        self._history = history
        self._home = -1
        self._member_id = ""
        self._generation = -1
        self._leads = False
        self._known = 0  # partitions that there were when it joined

    async def run(self) -> None:
        while True:
            try:
                mine = await self._join()
                positions = await self._positions(mine)
                self.stable_since = trio.current_time()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._beat)
                    for tp in mine:
                        nursery.start_soon(self._consume, tp, positions[tp])
            except Rejoin as reason:
                self._over(reason)
            except BaseExceptionGroup as errors:
                reasons, others = errors.split(Rejoin)
                if others is not None:
                    raise others from None
                self._over(Rejoin(forget=any(each.forget for each in reasons.exceptions)))

    def _over(self, reason: Rejoin) -> None:
        self.stable_since = -1.0
        if reason.forget:
            self._member_id, self._generation = "", -1

    async def leave(self) -> None:
        """Say goodbye; used after `run` was cancelled."""
        if not self._member_id or self._instance is not None:
            return
        request = LeaveGroupRequest(
            group_id=self.group, members=[MemberIdentity(member_id=self._member_id)]
        )
        try:
            await self._port.ask(self._home, request, 4, 3.0)
        except LinkLost:
            return

    async def _ask(self, request, version: int, timeout_s: float = 8.0, on_lost=None):
        """From the group's home, wherever it is. `on_lost` is told when an answer never came."""
        while True:
            if self._home < 0:
                await self._find_home()
            try:
                return await self._port.ask(self._home, request, version, timeout_s)
            except LinkLost:
                self._home = -1
                if on_lost is not None:
                    on_lost()

    async def _find_home(self) -> None:
        while self._home < 0:
            try:
                answer = await self._port.ask(
                    self._port.any_broker(), FindCoordinatorRequest(key=self.group), 3, 5.0
                )
            except LinkLost:
                await trio.sleep(0.1)
                continue
            if answer.error_code == ErrorCode.NONE:
                self._home = answer.node_id
            else:
                await trio.sleep(0.3)

    async def _check(self, code: int) -> bool:
        """Whether to go on with the answer; False: ask again."""
        code = ErrorCode(code)
        if code is ErrorCode.NONE:
            return True
        self._history.counts[f"group {code.name.lower()}"] += 1
        if code in _LOST_HOME:
            self._home = -1
            await trio.sleep(0.2)
            return False
        if code in _JOIN_AGAIN:
            raise Rejoin
        if code is ErrorCode.UNKNOWN_MEMBER_ID:
            raise Rejoin(forget=True)
        if code is ErrorCode.FENCED_INSTANCE_ID and self._instance is not None:
            # An earlier request of this member to join, taken for lost, was heard after all.
            raise Rejoin(forget=True)
        if code is ErrorCode.REQUEST_TIMED_OUT or code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            await trio.sleep(0.2)
            return False
        raise AssertionError(f"{self.name}: {code.name}")

    async def _join(self) -> list[TopicPartition]:
        topics = sorted({tp.topic for tp in self._tps})
        self._known = len(self._tps)
        while True:
            protocol = JoinGroupRequestProtocol(
                name=self.protocol, metadata=self._subscription(topics)
            )
            answer = await self._ask(
                JoinGroupRequest(
                    group_id=self.group,
                    session_timeout_ms=SESSION_MS,
                    rebalance_timeout_ms=REBALANCE_MS,
                    member_id=self._member_id,
                    group_instance_id=self._instance,
                    protocol_type="consumer",
                    protocols=[protocol],
                ),
                9 if self._instance is not None else 5,
                REBALANCE_MS / 1000 + 5,
            )
            if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
                self._member_id = answer.member_id
                continue
            if await self._check(answer.error_code):
                break
        self._member_id = answer.member_id
        self._generation = answer.generation_id
        plans = []
        self._leads = answer.leader == answer.member_id
        planned = self._history.planned
        if answer.skip_assignment:
            # It came back under its name (KIP-814), maybe to more partitions than were shared out.
            self._known = planned.get((self.group, self._generation), 0)
        elif self._leads:
            planned[self.group, self._generation] = self._known
            members = {each.member_id: bytes(each.metadata) for each in answer.members}
            for member, share in self._assign(members).items():
                plan = ConsumerProtocolAssignment(assigned_partitions=owned_rows(share))
                plans.append(
                    SyncGroupRequestAssignment(
                        member_id=member, assignment=encode_versioned(plan, 1)
                    )
                )
        while True:
            request = SyncGroupRequest(
                group_id=self.group,
                generation_id=self._generation,
                member_id=self._member_id,
                group_instance_id=self._instance,
                assignments=plans,
            )
            synced = await self._ask(request, 3, REBALANCE_MS / 1000 + 5)
            if await self._check(synced.error_code):
                break
        if not synced.assignment:
            return []  # its leader knew nothing of this member
        _, assignment = decode_versioned(ConsumerProtocolAssignment, synced.assignment)
        mine = [
            TopicPartition(each.topic, index)
            for each in assignment.assigned_partitions
            for index in each.partitions
        ]
        owner = self._instance or self._member_id
        self._history.assigned(self.group, self._generation, owner, mine)
        self._history.counts["group generations joined"] += 1
        return mine

    def _subscription(self, topics: list[str]) -> bytes:
        return encode_versioned(ConsumerProtocolSubscription(topics=topics), 1)

    def _assign(self, members: dict[str, bytes]) -> dict[str, list[TopicPartition]]:
        """`members`: id and metadata of each."""
        names = sorted(members)
        return {name: self._tps[at :: len(names)] for at, name in enumerate(names)}

    async def _positions(self, mine: list[TopicPartition]) -> dict[TopicPartition, int]:
        history = self._history
        while True:
            floors = {tp: history.commits.get((self.group, tp), -1) for tp in mine}
            answer = await self._ask(
                OffsetFetchRequest(
                    group_id=self.group,
                    topics=[
                        OffsetFetchRequestTopic(name=tp.topic, partition_indexes=[tp.partition])
                        for tp in mine
                    ],
                ),
                5,
            )
            if not await self._check(answer.error_code):
                continue
            rows = [
                (TopicPartition(topic.name, row.partition_index), row)
                for topic in answer.topics
                for row in topic.partitions
            ]
            if any(row.error_code for _, row in rows):
                await trio.sleep(0.2)
                continue
            for tp, row in rows:
                history.fetched_commit(self.group, tp, row.committed_offset, floors[tp])
            return {tp: max(0, row.committed_offset) for tp, row in rows}

    async def _beat(self) -> None:
        while True:
            await trio.sleep(SESSION_MS / 4000)
            if self._leads and len(self._tps) != self._known:
                self._history.counts["groups that took in new partitions"] += 1
                raise Rejoin
            request = HeartbeatRequest(
                group_id=self.group,
                generation_id=self._generation,
                member_id=self._member_id,
                group_instance_id=self._instance,
            )
            answer = await self._ask(request, 3)
            await self._check(answer.error_code)

    async def _consume(self, tp: TopicPartition, position: int) -> None:
        history, port = self._history, self._port
        seen = history.consumed.setdefault((self.group, tp), set())
        lost_since: float | None = None
        while True:
            try:
                code, _, records, end, *_ = await fetch(port, history, tp, position)
            except LinkLost:
                port.leader_unknown(tp)
                continue
            if code is ErrorCode.OFFSET_OUT_OF_RANGE:
                # The position may come from a member that knows a newer leader.
                lost_since = lost_since or trio.current_time()
                if trio.current_time() - lost_since > OUT_OF_RANGE_S or tp in history.excused:
                    history.lost_position(tp, position)
                    position = 0
                port.leader_unknown(tp)
                await trio.sleep(0.5)
            elif code is not ErrorCode.NONE:
                port.leader_unknown(tp)
                await trio.sleep(0.1)
            if not records:
                continue
            lost_since = None
            for offset, _, value in records:
                assert value is not None
                history.read(tp, offset, value)
                seen.add(offset)
            position = end
            if port.rng.random() < 0.4:
                # Work on it; who is stopped meanwhile commits when others may have gone on.
                await trio.sleep(port.rng.choice((0.0, 0.0, 0.1, 1.0)))
                await self._commit(tp, position)

    async def _commit(self, tp: TopicPartition, offset: int) -> None:
        generation, newest = self._generation, self._history.generations.get(self.group, 0)
        answer = await self._ask(
            OffsetCommitRequest(
                group_id=self.group,
                generation_id_or_member_epoch=generation,
                member_id=self._member_id,
                group_instance_id=self._instance,
                topics=[
                    OffsetCommitRequestTopic(
                        name=tp.topic,
                        partitions=[
                            OffsetCommitRequestPartition(
                                partition_index=tp.partition,
                                committed_offset=offset,
                                committed_metadata="",
                            )
                        ],
                    )
                ],
            ),
            7,
            on_lost=lambda: self._history.commit_unanswered(self.group, tp, offset),
        )
        code = answer.topics[0].partitions[0].error_code
        if await self._check(code):
            self._history.committed(self.group, tp, offset, generation=generation, newest=newest)


def owned_rows(tps: list[TopicPartition]) -> list[Owned]:
    """As the consumer protocol lists partitions."""
    topics = dict.fromkeys(tp.topic for tp in tps)
    return [
        Owned(topic=topic, partitions=[tp.partition for tp in tps if tp.topic == topic])
        for topic in topics
    ]
