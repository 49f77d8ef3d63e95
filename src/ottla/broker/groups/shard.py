"""The groups of one partition of the offsets topic, while this broker leads it.

Tasks, all ended by `close`: `run` > {replay}, then {follow commits, keep time}. Everything else is
synchronous: a request changes its group, appends what has to be remembered, and is answered at once
or by one of those tasks.
"""

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum

import trio

from ottla.broker.errors import BrokerError, NotEnoughReplicasAfterAppend, NotLeader
from ottla.broker.groups.deadlines import NEVER, Deadlines
from ottla.broker.groups.group import Group
from ottla.broker.groups.replay import Replay
from ottla.broker.groups.reply import Reply
from ottla.broker.groups.retention import expired_offsets
from ottla.broker.groups.seam import OffsetsPartition
from ottla.broker.groups.settings import GroupSettings
from ottla.broker.groups.states import GroupState
from ottla.broker.groups.values import Answer, Effect, Moment, OffsetEntry, Persist
from ottla.broker.groups.writes import GenerationWrite, OffsetsWrite, Write
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.producers import Origin
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.interfaces import Events, WallClock


class ShardState(Enum):
    LOADING = "loading"
    SERVING = "serving"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ShardServices:
    settings: GroupSettings
    wall_clock: WallClock
    rng: random.Random
    events: Events


@dataclass(slots=True, eq=False)
class _Queued:
    """An appended write. Those that wait stand in log order, so in the order of deadlines too."""

    write: Write
    first_offset: int
    end: int
    deadline: float
    is_settled: bool = False  # whoever waited was told


class Shard:
    """One term of leadership over one partition; never reused."""

    def __init__(self, partition: OffsetsPartition, services: ShardServices) -> None:
        self.partition = partition
        self.groups: dict[str, Group] = {}
        self.state = ShardState.LOADING
        self._settings = services.settings
        self._wall_clock = services.wall_clock
        self._rng = services.rng
        self._events = services.events
        self._queue: deque[_Queued] = deque()
        self._queue_filled = trio.Event()
        self._timers: Deadlines[Group] = Deadlines()  # what a group's own clock wants
        self._expiries: Deadlines[Group] = Deadlines()  # when to look for offsets that are too old
        self._asleep_until = NEVER
        self._wake_up = trio.Event()
        self._scope = trio.CancelScope()

    def now(self) -> Moment:
        return Moment(trio.current_time(), self._wall_clock.now_ms())

    # --- Life ---

    async def run(self) -> None:
        """Load, then serve until `close`."""
        with self._scope:
            if not await self._load():
                self.close()
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_commits)
                nursery.start_soon(self._keep_time)

    def close(self) -> None:
        """The partition moved away: everything that waits here is sent to look for its new home."""
        if self.state is ShardState.CLOSED:
            return
        self.state = ShardState.CLOSED
        self._scope.cancel()
        now = self.now()
        for queued in self._queue:
            if not queued.is_settled and isinstance(queued.write, OffsetsWrite):
                queued.write.fail(ErrorCode.NOT_COORDINATOR, now)
        self._queue.clear()
        for group in self.groups.values():
            for effect in group.close(ErrorCode.NOT_COORDINATOR):
                self._perform_one(group, effect)
        self._events.info(
            "groups.unloaded", partition=str(self.partition.tp), groups=len(self.groups)
        )
        self.groups.clear()

    async def _load(self) -> bool:
        began = trio.current_time()
        replay = Replay(
            self.partition, self.make_group, self._settings.load_buffer_bytes, self._events
        )
        try:
            await replay.run()
        except (BrokerError, OSError) as error:
            self._events.error(
                "groups.load_failed", partition=str(self.partition.tp), reason=str(error)
            )
            return False
        if not await self._is_load_committed() or self.state is ShardState.CLOSED:
            return False
        self.state = ShardState.SERVING
        now = self.now()
        for group in list(self.groups.values()):
            if group.is_disposable():
                self._remove(group)
                continue
            self.perform(group, group.activate(now))
            self._plan_expiry(group, now)
        self._events.info(
            "groups.loaded",
            partition=str(self.partition.tp),
            groups=len(self.groups),
            records=replay.records,
            milliseconds=round((trio.current_time() - began) * 1000),
        )
        return True

    async def _is_load_committed(self) -> bool:
        """Wait until what was loaded stays; False: the partition moved away first.

        The log's end may be on no other replica yet. A member that was given a generation, or an
        offset, from there would be ahead of the next home, which Kafka's group coordinator risks.
        """
        end = self.partition.log.log_end
        while not self.partition.is_committed(end):
            try:
                await self.partition.wait_committed(end)
            except NotEnoughReplicasAfterAppend:
                break
            except NotLeader:
                if not self.partition.is_leader:
                    return False
        return True

    def make_group(self, group_id: str) -> Group:
        """The group of that id, a new empty one if there is none."""
        group = self.groups.get(group_id)
        if group is None:
            now = self.now()
            group = self.groups[group_id] = Group(group_id, self._settings, self._rng, now)
            if self.state is ShardState.SERVING:
                self._plan_expiry(group, now)
        return group

    def _remove(self, group: Group) -> None:
        group.close(ErrorCode.GROUP_ID_NOT_FOUND)
        del self.groups[group.group_id]
        self._timers.clear(group)
        self._expiries.clear(group)

    # --- Effects ---

    def perform(self, group: Group, effects: list[Effect]) -> None:
        """Do what a step of `group` asks for, and set the clock for its next one."""
        for effect in effects:
            self._perform_one(group, effect)
        deadline = group.next_deadline()
        if deadline == NEVER:
            self._timers.clear(group)
        else:
            self._timers.set(group, deadline)
            self._wake_before(deadline)

    def touched(self, group: Group) -> None:
        """A heartbeat moved a deadline to later; the clock finds out by itself."""
        planned = self._timers.get(group)
        if planned is None or group.next_deadline() < planned:
            self.perform(group, [])

    def _perform_one(self, group: Group, effect: Effect) -> None:
        if isinstance(effect, Answer):
            assert isinstance(effect.ticket, Reply)
            effect.ticket.set(effect.reply)
        elif isinstance(effect, Persist):
            self.append(GenerationWrite(group, effect.write))
        else:
            write = self._events.warning if effect.is_warning else self._events.info
            write(effect.event, **effect.fields)

    # --- The log ---

    def append(self, write: Write) -> None:
        """Append the records of `write` and follow them; failures go to the write itself."""
        now = self.now()
        batch = build_batch(
            ((key, value, now.wall_ms, ()) for key, value in write.records()),
            codec=Codec(self._settings.topic_codec),
        )
        try:
            info = self.partition.append_as_leader(batch, acks=-1, origin=Origin.INTERNAL)
        except BrokerError as error:
            self.perform(write.group, write.fail(error.code, now))
            return
        write.appended()
        queued = _Queued(
            write,
            info.first_offset,
            info.last_offset + 1,
            now.seconds + self._settings.commit_timeout_ms / 1000,
        )
        self._queue.append(queued)
        if self._queue[0] is queued and self.partition.is_committed(queued.end):
            self._commit_head(now)  # nobody else has to have it
        else:
            self._queue_filled.set()

    async def _follow_commits(self) -> None:
        """Apply what is committed in log order, and tell those whose time is up."""
        while True:
            if not self._queue:
                self._queue_filled = trio.Event()
                await self._queue_filled.wait()
                continue
            head = self._queue[0]
            deadline = next((q.deadline for q in self._queue if not q.is_settled), NEVER)
            with trio.move_on_at(deadline) as scope:
                try:
                    await self.partition.wait_committed(head.end)
                except NotEnoughReplicasAfterAppend as error:
                    # On all replicas that are left, so it stands; but more were asked for.
                    for queued in list(self._queue):
                        if self.partition.is_committed(queued.end):
                            self._settle(queued, error.code)
                except NotLeader:
                    if self.partition.is_leader:
                        continue  # a new epoch of the same leader keeps its log
                    self.close()
                    return
            now = self.now()
            if scope.cancelled_caught:
                for queued in list(self._queue):
                    if queued.deadline > now.seconds:
                        break
                    self._settle(queued, ErrorCode.REQUEST_TIMED_OUT)
            while self._queue and self.partition.is_committed(self._queue[0].end):
                self._commit_head(now)

    def _settle(self, queued: _Queued, error: ErrorCode) -> None:
        if not queued.is_settled:
            queued.is_settled = True
            self.perform(queued.write.group, queued.write.fail(error, self.now()))

    def _commit_head(self, now: Moment) -> None:
        queued = self._queue.popleft()
        queued.is_settled = True
        write = queued.write
        group = write.group
        effects = write.commit(queued.first_offset, now)
        if group.state is GroupState.DEAD:
            return
        self.perform(group, effects)
        if isinstance(write, OffsetsWrite) and write.ends_group and group.is_disposable():
            self._remove(group)
            self._events.info("group.removed", group=group.group_id)
        elif group not in self._expiries or write.may_expire_sooner():
            self._plan_expiry(group, now)

    # --- Time ---

    async def _keep_time(self) -> None:
        while True:
            self._asleep_until = min(self._timers.next(), self._expiries.next())
            self._wake_up = trio.Event()
            with trio.move_on_at(self._asleep_until):
                await self._wake_up.wait()
            now = self.now()
            while (group := self._timers.pop_due(now.seconds)) is not None:
                self.perform(group, group.tick(now))
            while (group := self._expiries.pop_due(now.seconds)) is not None:
                self._expire(group, now)

    def _wake_before(self, when: float) -> None:
        if when < self._asleep_until:
            self._asleep_until = when
            self._wake_up.set()

    def _expire(self, group: Group, now: Moment) -> None:
        """Write tombstones for what is too old, and for the group when nothing else is left."""
        retention_ms = self._settings.offsets_retention_ms
        keys, _ = expired_offsets(group, now.wall_ms, retention_ms)
        ends = (
            group.state is GroupState.EMPTY
            and not group.pending
            and not group.undecided
            and len(keys) == len(group.offsets)
            and group.offsets.is_settled
        )
        if keys:
            self._events.info("offsets.expired", group=group.group_id, offsets=len(keys))
        self.delete_offsets(group, keys, ends_group=ends)
        if group.state is not GroupState.DEAD:
            self._plan_expiry(group, now, after_s=self._settings.retention_check_interval_ms / 1000)

    def delete_offsets(
        self,
        group: Group,
        keys: list[TopicPartition],
        *,
        ends_group: bool,
        reply: Reply[ErrorCode] | None = None,
    ) -> None:
        """Write tombstones. With `ends_group` the group goes too, unless somebody joins before."""
        tombstones: list[tuple[TopicPartition, OffsetEntry | None]] = [(tp, None) for tp in keys]
        ends_in_log = ends_group and (group.last_record is not None or group.undecided > 0)
        if tombstones or ends_in_log:
            self.append(OffsetsWrite(group, tombstones, reply, ends_group=ends_group))
            return
        if ends_group and group.is_disposable():
            self._remove(group)
        if reply is not None:
            reply.set(ErrorCode.NONE)

    def _plan_expiry(self, group: Group, now: Moment, *, after_s: float = 0.0) -> None:
        """Look at the group again when its next offset may have become too old."""
        keys, next_ms = expired_offsets(group, now.wall_ms, self._settings.offsets_retention_ms)
        if keys:
            wait_s = after_s
        elif next_ms is not None:
            wait_s = max((next_ms - now.wall_ms) / 1000, after_s)
        elif group.state is GroupState.EMPTY and not len(group.offsets):
            wait_s = self._settings.retention_check_interval_ms / 1000
        else:
            self._expiries.clear(group)
            return
        self._expiries.set(group, now.seconds + wait_s)
        self._wake_before(now.seconds + wait_s)

    def check(self) -> None:
        for group_id, group in self.groups.items():
            assert group.group_id == group_id
            assert group.state is not GroupState.DEAD
            group.check()
        ends = [queued.end for queued in self._queue]
        assert ends == sorted(ends)
        assert self.state is not ShardState.CLOSED or not (self.groups or self._queue)


__all__ = ["Shard", "ShardServices", "ShardState"]
