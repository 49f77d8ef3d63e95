"""The group home: Kafka's group coordinator on this broker.

A broker is home of the groups whose partition of __consumer_offsets it leads. Task tree of `run`:
one `Shard.run` for each led partition, and the maker of the offsets topic. All requests are plain
calls; those that may have to wait return a `Reply`.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from ottla.broker.errors import BrokerError
from ottla.broker.groups.group import Group
from ottla.broker.groups.reply import Reply
from ottla.broker.groups.retention import subscribed_topics
from ottla.broker.groups.routing import partition_for
from ottla.broker.groups.seam import OffsetsPartition
from ottla.broker.groups.settings import OFFSETS_TOPIC, GroupSettings
from ottla.broker.groups.shard import Shard, ShardServices, ShardState
from ottla.broker.groups.states import GroupState
from ottla.broker.groups.values import (
    CONSUMER_PROTOCOL,
    NO_MEMBER,
    Join,
    JoinReply,
    MemberIdentity,
    OffsetEntry,
    Sync,
    SyncReply,
)
from ottla.broker.groups.writes import OffsetsWrite
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.runtime.interfaces import Events, WallClock

TOPIC_CREATION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Commit:
    """OffsetCommit of one group. `entries` hold what passed the checks of topics and partitions."""

    group_id: str
    member_id: str
    instance_id: str | None
    generation: int
    entries: Sequence[tuple[TopicPartition, OffsetEntry]]


@dataclass(frozen=True, slots=True)
class FetchedOffset:
    tp: TopicPartition
    entry: OffsetEntry | None  # None: nothing is committed, or it is not decided yet
    error: ErrorCode = ErrorCode.NONE


class GroupHome:
    """Made by the broker's main, which tells it what this broker leads.

    partition: the local replica of a partition, or None.
    partition_count: how many partitions the offsets topic has; 0 while it does not exist.
    ensure_offsets_topic: returns once the topic exists, or raises a BrokerError that says why it
    cannot be made. It is never called twice at the same time.
    """

    def __init__(
        self,
        settings: GroupSettings,
        partition: Callable[[TopicPartition], OffsetsPartition | None],
        *,
        wall_clock: WallClock,
        rng: random.Random,
        events: Events,
        partition_count: Callable[[], int] = lambda: 0,
        ensure_offsets_topic: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.settings = settings
        self.wall_clock = wall_clock
        self._partition = partition
        self._services = ShardServices(settings, wall_clock, rng, events)
        self._events = events
        self._partition_count = partition_count
        self._ensure_offsets_topic = ensure_offsets_topic
        self._shards: dict[int, Shard] = {}  # by partition; no closed ones
        self._nursery: trio.Nursery | None = None  # None: not running
        self._topic_wanted = trio.Event()
        self._topic_replies: list[Reply[BrokerError | None]] = []

    # --- Life ---

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every parked request is sent away."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for shard in self._shards.values():
                    nursery.start_soon(shard.run)
                task_status.started()
                await self._make_topic()
        finally:
            self._nursery = None
            for shard in list(self._shards.values()):
                shard.close()
            self._shards.clear()
            self._answer_topic(None)

    def on_leader(self, tp: TopicPartition) -> None:
        """This broker leads a partition of the offsets topic now; load it unless that is known."""
        assert tp.topic == OFFSETS_TOPIC
        known = self._shards.get(tp.partition)
        if known is not None and known.state is not ShardState.CLOSED:
            return
        partition = self._partition(tp)
        if partition is None:
            return  # deleted again meanwhile
        shard = self._shards[tp.partition] = Shard(partition, self._services)
        if self._nursery is not None:
            self._nursery.start_soon(shard.run)

    def on_not_leader(self, tp: TopicPartition) -> None:
        """This broker does not lead the partition any more, or never did."""
        shard = self._shards.pop(tp.partition, None)
        if shard is not None:
            shard.close()

    def on_topic_deleted(self, topic: str) -> None:
        """Its offsets mean nothing any more. Looks at every group, for an event that is rare."""
        for shard in self._serving():
            for group in list(shard.groups.values()):
                keys = [tp for tp in group.offsets.all_keys() if tp.topic == topic]
                if keys:
                    shard.delete_offsets(group, keys, ends_group=False)

    # --- Where a group is ---

    def partition_for(self, group_id: str) -> int:
        """The partition of the offsets topic that a group belongs to."""
        return partition_for(group_id, self._partition_count() or self.settings.topic_partitions)

    def want_offsets_topic(self) -> Reply[BrokerError | None]:
        """Have the offsets topic made; None when it exists then."""
        reply: Reply[BrokerError | None] = Reply()
        self._topic_replies.append(reply)
        self._topic_wanted.set()
        return reply

    async def _make_topic(self) -> None:
        while True:
            await self._topic_wanted.wait()
            self._topic_wanted = trio.Event()
            failure: BrokerError | None = None
            if self._ensure_offsets_topic is not None:
                with trio.move_on_after(TOPIC_CREATION_TIMEOUT_S):
                    try:
                        await self._ensure_offsets_topic()
                    except BrokerError as error:
                        failure = error
                        self._events.warning("offsets_topic.not_created", reason=str(error))
            self._answer_topic(failure)

    def _answer_topic(self, failure: BrokerError | None) -> None:
        replies, self._topic_replies = self._topic_replies, []
        for reply in replies:
            reply.set(failure)

    def _locate(self, group_id: str) -> Shard | ErrorCode:
        if self._nursery is None:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        shard = self._shards.get(self.partition_for(group_id))
        if shard is None or shard.state is ShardState.CLOSED:
            return ErrorCode.NOT_COORDINATOR
        if shard.state is ShardState.LOADING:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        return shard

    def _locate_member(self, group_id: str) -> Shard | ErrorCode:
        """As `_locate`, for requests that only make sense with a group's name."""
        return self._locate(group_id) if group_id else ErrorCode.INVALID_GROUP_ID

    def _serving(self) -> list[Shard]:
        return [s for s in self._shards.values() if s.state is ShardState.SERVING]

    # --- Membership ---

    def join(self, group_id: str, command: Join) -> Reply[JoinReply]:
        shard = self._locate_member(group_id)
        if isinstance(shard, ErrorCode):
            return Reply.of(JoinReply(shard, command.member_id))
        settings = self.settings
        if not settings.session_ms_min <= command.session_ms <= settings.session_ms_max:
            return Reply.of(JoinReply(ErrorCode.INVALID_SESSION_TIMEOUT, command.member_id))
        group = shard.groups.get(group_id)
        if group is None:
            if command.member_id != NO_MEMBER:
                return Reply.of(JoinReply(ErrorCode.UNKNOWN_MEMBER_ID, command.member_id))
            group = shard.make_group(group_id)
        reply: Reply[JoinReply] = Reply()
        shard.perform(group, group.join(command, reply, shard.now()))
        return reply

    def sync(self, group_id: str, command: Sync) -> Reply[SyncReply]:
        shard = self._locate_member(group_id)
        if shard is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
            # The rebalance it belongs to is lost; this makes the member join again, here.
            return Reply.of(SyncReply(ErrorCode.REBALANCE_IN_PROGRESS))
        if isinstance(shard, ErrorCode):
            return Reply.of(SyncReply(shard))
        group = shard.groups.get(group_id)
        if group is None:
            return Reply.of(SyncReply(ErrorCode.UNKNOWN_MEMBER_ID))
        reply: Reply[SyncReply] = Reply()
        shard.perform(group, group.sync(command, reply, shard.now()))
        return reply

    def heartbeat(
        self, group_id: str, member_id: str, instance_id: str | None, generation: int
    ) -> ErrorCode:
        shard = self._locate_member(group_id)
        if isinstance(shard, ErrorCode):
            if shard is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                return ErrorCode.NONE  # its session starts anew when the group is loaded
            return shard
        group = shard.groups.get(group_id)
        if group is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        error = group.heartbeat(member_id, instance_id, generation, shard.now())
        shard.touched(group)
        return error

    def leave(
        self, group_id: str, leaving: Sequence[MemberIdentity]
    ) -> tuple[ErrorCode, list[ErrorCode]]:
        """(error of the whole request, one error for each of `leaving` if there is none)."""
        shard = self._locate_member(group_id)
        if isinstance(shard, ErrorCode):
            return shard, []
        group = shard.groups.get(group_id)
        if group is None:
            return ErrorCode.NONE, [ErrorCode.UNKNOWN_MEMBER_ID] * len(leaving)
        errors: list[ErrorCode] = []
        for who in leaving:
            error, effects = group.leave(who, shard.now())
            shard.perform(group, effects)
            errors.append(error)
        return ErrorCode.NONE, errors

    # --- Offsets ---

    def commit(self, command: Commit) -> Reply[ErrorCode]:
        """Commit offsets; the one error is that of all entries."""
        shard = self._locate(command.group_id)
        if isinstance(shard, ErrorCode):
            return Reply.of(shard)
        group = shard.groups.get(command.group_id)
        if group is None:
            if command.generation >= 0:
                return Reply.of(ErrorCode.ILLEGAL_GENERATION)
            group = shard.make_group(command.group_id)
        error = group.decide_commit(
            command.member_id, command.instance_id, command.generation, shard.now()
        )
        shard.touched(group)
        if error is not ErrorCode.NONE or not command.entries:
            return Reply.of(error)
        reply: Reply[ErrorCode] = Reply()
        shard.append(OffsetsWrite(group, list(command.entries), reply))
        return reply

    def fetch(
        self, group_id: str, wanted: Sequence[TopicPartition] | None, *, require_stable: bool
    ) -> tuple[ErrorCode, list[FetchedOffset]]:
        """Committed offsets, of all partitions when `wanted` is None."""
        shard = self._locate(group_id)
        if isinstance(shard, ErrorCode):
            return shard, []
        group = shard.groups.get(group_id)
        if group is None:
            return ErrorCode.NONE, [FetchedOffset(tp, None) for tp in wanted or ()]
        offsets = group.offsets
        if wanted is None:
            wanted = offsets.committed_keys()
        unstable = ErrorCode.UNSTABLE_OFFSET_COMMIT
        return ErrorCode.NONE, [
            FetchedOffset(tp, None, unstable)
            if require_stable and offsets.is_unstable(tp)
            else FetchedOffset(tp, offsets.get(tp))
            for tp in wanted
        ]

    def delete_offsets(
        self, group_id: str, wanted: Sequence[TopicPartition]
    ) -> tuple[ErrorCode, list[TopicPartition], Reply[ErrorCode]]:
        """(error of the whole request, those still subscribed to, how the deletion ended)."""
        shard = self._locate_member(group_id)
        if isinstance(shard, ErrorCode):
            return shard, [], Reply.of(shard)
        group = shard.groups.get(group_id)
        if group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND, [], Reply.of(ErrorCode.GROUP_ID_NOT_FOUND)
        kept: list[TopicPartition] = []
        if group.state is not GroupState.EMPTY:
            if group.protocol_type != CONSUMER_PROTOCOL:
                return ErrorCode.NON_EMPTY_GROUP, [], Reply.of(ErrorCode.NON_EMPTY_GROUP)
            topics = subscribed_topics(group)
            kept = [tp for tp in wanted if topics is None or tp.topic in topics]
        reply: Reply[ErrorCode] = Reply()
        known = group.offsets.all_keys()
        gone = [tp for tp in wanted if tp not in kept and tp in known]
        shard.delete_offsets(group, gone, ends_group=False, reply=reply)
        return ErrorCode.NONE, kept, reply

    # --- Administration ---

    def delete(self, group_id: str) -> Reply[ErrorCode]:
        """Delete an empty group with all its offsets."""
        shard = self._locate(group_id)
        if isinstance(shard, ErrorCode):
            return Reply.of(shard)
        group = shard.groups.get(group_id)
        if group is None:
            return Reply.of(ErrorCode.GROUP_ID_NOT_FOUND)
        if group.state is not GroupState.EMPTY:
            return Reply.of(ErrorCode.NON_EMPTY_GROUP)
        reply: Reply[ErrorCode] = Reply()
        shard.delete_offsets(group, group.offsets.all_keys(), ends_group=True, reply=reply)
        return reply

    def describe(self, group_id: str) -> Group | ErrorCode | None:
        """The group to look at, not to change; None when there is no such group."""
        shard = self._locate(group_id)
        return shard if isinstance(shard, ErrorCode) else shard.groups.get(group_id)

    def groups(self) -> tuple[ErrorCode, list[Group]]:
        """All groups at home here. COORDINATOR_LOAD_IN_PROGRESS: there will be more."""
        if self._nursery is None:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE, []
        loading = any(s.state is ShardState.LOADING for s in self._shards.values())
        error = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS if loading else ErrorCode.NONE
        return error, [group for shard in self._serving() for group in shard.groups.values()]

    def check(self) -> None:
        for partition, shard in self._shards.items():
            assert shard.partition.tp == TopicPartition(OFFSETS_TOPIC, partition)
            shard.check()


__all__ = ["Commit", "FetchedOffset", "GroupHome"]
