"""One partition on this broker: its log and its role in replication.

Owned by the broker's loop: every method is one synchronous step but the waits. A `Partition` does
no networking; it hands wanted ISR changes to `IsrChanges` and is fed by the replica fetcher.
"""

from collections.abc import Sequence

import trio

from ottla.broker.errors import (
    FencedLeaderEpoch,
    KafkaStorageError,
    NotEnoughReplicas,
    NotEnoughReplicasAfterAppend,
    NotLeader,
    OffsetOutOfRange,
    UnknownLeaderEpoch,
)
from ottla.broker.ids import (
    NO_BROKER,
    NO_EPOCH,
    BrokerEpoch,
    BrokerId,
    LeaderEpoch,
    Offset,
    PartitionEpoch,
    TopicId,
    TopicPartition,
)
from ottla.broker.partitions.values import FetchInfo, PartitionServices, PartitionState, Role
from ottla.broker.partitions.waiters import CommitWaiters, Subscribers, Waiter
from ottla.broker.replication.follower import (
    Truncate,
    follower_high_watermark,
    move_after_out_of_range,
    truncation_after_divergence,
)
from ottla.broker.replication.leader import IsrChange, LeaderReplica
from ottla.broker.storage.log import AppendInfo, Log
from ottla.broker.storage.producers import Origin
from ottla.broker.storage.reading import FileRange
from ottla.broker.storage.segment import CorruptLog
from ottla.runtime.interfaces import BytesLike


class Partition:
    """One replica of a partition. Invariant: `log_start <= high_watermark <= log.log_end`.

    `changes` counts what a fetch that found nothing may have to see: another log end, high
    watermark, role or epoch. A fetch that remembers it need not read again while it stands. The log
    start, which retention moves too, is not in it.
    """

    __slots__ = (
        "_commit_waiters",
        "_committed_subscribers",
        "_end_subscribers",
        "_leader",
        "_services",
        "changes",
        "high_watermark",
        "leader_epoch",
        "leader_id",
        "log",
        "min_isr",
        "partition_epoch",
        "replicas",
        "role",
        "topic_id",
        "tp",
    )

    def __init__(
        self,
        tp: TopicPartition,
        topic_id: TopicId,
        log: Log,
        *,
        high_watermark: Offset,
        min_isr: int,
        services: PartitionServices,
    ) -> None:
        self.tp = tp
        self.topic_id = topic_id
        self.log = log
        self.min_isr = min_isr
        self.changes = 0
        self.role = Role.NONE
        self.leader_id = NO_BROKER
        self.leader_epoch = NO_EPOCH
        self.partition_epoch = PartitionEpoch(-1)
        self.replicas: tuple[BrokerId, ...] = ()
        self.high_watermark = Offset(max(log.log_start, min(high_watermark, log.log_end)))
        self._leader: LeaderReplica | None = None
        self._services = services
        self._commit_waiters = CommitWaiters()
        self._committed_subscribers = Subscribers()
        self._end_subscribers = Subscribers()
        log.on_settled = self._on_settled
        # Transactions that a recovery has seen to end, below what was known to be committed.
        log.forget_replicated(self.high_watermark)

    # Roles

    @property
    def is_leader(self) -> bool:
        return self._leader is not None

    @property
    def isr(self) -> frozenset[BrokerId]:
        """The committed in-sync replicas; empty on a broker that does not lead."""
        return frozenset() if self._leader is None else self._leader.isr

    @property
    def leader(self) -> LeaderReplica:
        """The leader core. NotLeader when this broker does not lead."""
        if self._leader is None:
            raise NotLeader(f"{self.tp}: broker {self._services.broker_id} does not lead it")
        return self._leader

    def make_leader(self, state: PartitionState) -> bool:
        """Lead from here on; True when this broker did not lead before."""
        services = self._services
        assert state.leader == services.broker_id
        now = trio.current_time()
        was_leader = self._leader is not None
        if state.leader_epoch > self.leader_epoch:
            # Followers with a later, uncommitted epoch must find this one in our history.
            self.log.assign_epoch(state.leader_epoch, self.log.log_end)
        if self._leader is None:
            self._leader = LeaderReplica(
                services.broker_id,
                log_end=Offset(self.log.log_end),
                settled_end=Offset(self.log.settled_end),
                high_watermark=self.high_watermark,
                lag_max=services.lag_max,
                min_isr=self.min_isr,
                eligible=services.is_alive,
            )
        self._take(state, Role.LEADER)
        moved = self._leader.lead(
            leader_epoch=state.leader_epoch,
            partition_epoch=state.partition_epoch,
            replicas=state.replicas,
            isr=state.isr,
            now=now,
        )
        if not was_leader:
            self._wake_all()
        if moved:
            self._committed_moved(self._leader)
        self.log.flush_if_wanted()  # what an earlier life or role left
        return not was_leader

    def make_follower(self, state: PartitionState) -> None:
        """Follow `state.leader` (perhaps none) from here on."""
        self._leader = None
        self._take(state, Role.FOLLOWER)
        self._wake_all()
        self.log.flush_if_wanted()

    def stop(self) -> None:
        """Take part in nothing until the controller says otherwise."""
        self._leader = None
        self.role = Role.NONE
        self._wake_all()

    def _take(self, state: PartitionState, role: Role) -> None:
        self.changes += 1
        self.role = role
        self.leader_id = state.leader
        self.leader_epoch = state.leader_epoch
        self.partition_epoch = state.partition_epoch
        self.replicas = tuple(state.replicas)

    def set_min_isr(self, min_isr: int) -> None:
        """`min.insync.replicas` changed while running."""
        self.min_isr = min_isr
        if self._leader is not None:
            self._leader.min_isr = min_isr
            if self._leader.advance(trio.current_time()):
                self._committed_moved(self._leader)

    def require_epoch(self, current_leader_epoch: int) -> None:
        """KIP-320: refuse a request made under another leader epoch; -1 is not checked."""
        if current_leader_epoch in (NO_EPOCH, self.leader_epoch):
            return
        if current_leader_epoch < self.leader_epoch:
            raise FencedLeaderEpoch(
                f"{self.tp}: leader epoch {current_leader_epoch} is over, it is {self.leader_epoch}"
            )
        raise UnknownLeaderEpoch(
            f"{self.tp}: leader epoch {current_leader_epoch} is not known yet here, "
            f"it is {self.leader_epoch}"
        )

    # Produce

    def append_as_leader(
        self,
        data: BytesLike,
        *,
        acks: int,
        expected_epoch: int = -1,
        origin: Origin = Origin.CLIENT,
    ) -> AppendInfo:
        """Append record batches.

        NotLeader, NotEnoughReplicas, and what `Log.append_as_leader` raises.
        acks: -1 refuses the append while the ISR is below `min.insync.replicas`.
        """
        leader = self.leader
        if expected_epoch >= 0:
            self.require_epoch(expected_epoch)
        if acks == -1 and len(leader.isr) < self.min_isr:
            raise NotEnoughReplicas(
                f"{self.tp}: {len(leader.isr)} in-sync replicas, "
                f"min.insync.replicas is {self.min_isr}"
            )
        info = self.log.append_as_leader(
            data,
            leader_epoch=self.leader_epoch,
            now_ms=self._services.wall_clock.now_ms(),
            origin=origin,
        )
        if self.log.log_end != leader.log_end:
            self._appended(leader, trio.current_time())
        return info

    def append_plain(
        self, parts: Sequence[memoryview], *, acks: int, now: float, now_ms: int
    ) -> list[int]:
        """See `Log.append_plain`; what stands in the way is for `append_as_leader` to say."""
        leader = self._leader
        if leader is None or (acks == -1 and len(leader.isr) < self.min_isr):
            return []
        first_offsets = self.log.append_plain(parts, leader_epoch=self.leader_epoch, now_ms=now_ms)
        if first_offsets:
            self._appended(leader, now)
        return first_offsets

    def _appended(self, leader: LeaderReplica, now: float) -> None:
        self.changes += 1
        log = self.log
        if leader.on_local_append(log.log_end, now, log.settled_end):  # type: ignore[arg-type]  # offsets by any name
            self._committed_moved(leader)
        self._end_subscribers.wake()

    def _on_settled(self) -> None:
        """More of the log is on stable storage than was, and so may count as committed."""
        leader = self._leader
        if leader is not None:
            end = Offset(min(self.log.settled_end, leader.log_end))
            if leader.on_local_settled(end, trio.current_time()):
                self._committed_moved(leader)

    def is_committed(self, end: int) -> bool:
        """Whether everything before `end` is on every in-sync replica."""
        return self.high_watermark >= end

    async def wait_committed(self, end: int) -> None:
        """Wait until `is_committed(end)`; the caller bounds the time.

        NotLeader when leadership went meanwhile, NotEnoughReplicasAfterAppend when the ISR fell
        below the minimum since the append.
        """
        epoch = self.leader_epoch
        while self._leader is not None and self.leader_epoch == epoch:
            if self.high_watermark >= end:
                if len(self._leader.maximal_isr) < self.min_isr:
                    raise NotEnoughReplicasAfterAppend(
                        f"{self.tp}: in-sync replicas fell below {self.min_isr} after the append"
                    )
                return
            await self._commit_waiters.add(Offset(end)).wait()
        raise NotLeader(f"{self.tp}: leadership moved before the records were committed")

    # Fetch

    @property
    def last_stable_offset(self) -> Offset:
        """The end for read_committed: the high watermark, or an open transaction below it."""
        unstable = self.log.first_unstable_offset
        if unstable is None or unstable >= self.high_watermark:
            return self.high_watermark
        return Offset(unstable)

    def fetch_for_consumer(
        self,
        offset: int,
        max_bytes: int,
        *,
        current_leader_epoch: int = -1,
        read_committed: bool = False,
        at_least_one: bool = True,
        last_fetched_epoch: int = -1,
        also_follower: bool = False,
    ) -> FetchInfo:
        """Committed records from `offset` on, of a leader, or of a follower too (KIP-392).

        NotLeader, OffsetOutOfRange, FencedLeaderEpoch, UnknownLeaderEpoch (KIP-320).
        """
        if not also_follower or self.role is not Role.FOLLOWER:
            _ = self.leader
        self.require_epoch(current_leader_epoch)
        end = self.last_stable_offset if read_committed else self.high_watermark
        return self._read(offset, max_bytes, end, last_fetched_epoch, at_least_one=at_least_one)

    def fetch_for_follower(
        self,
        replica_id: int,
        offset: int,
        max_bytes: int,
        *,
        current_leader_epoch: int,
        last_fetched_epoch: int = -1,
        replica_epoch: int = -1,
        log_start: int = -1,
        at_least_one: bool = True,
        now: float,
    ) -> FetchInfo:
        """Records from `offset` to the log end, noting how far the follower has come.

        NotLeader, OffsetOutOfRange, epoch errors; UnknownLeaderEpoch for a broker that is no
        replica of this partition as far as this leader knows.
        """
        leader = self.leader
        self.require_epoch(current_leader_epoch)
        follower = BrokerId(replica_id)
        if not leader.is_replica(follower):
            raise UnknownLeaderEpoch(
                f"{self.tp}: broker {replica_id} is not among its replicas yet"
            )
        info = self._read(
            offset,
            max_bytes,
            Offset(self.log.log_end),
            last_fetched_epoch,
            at_least_one=at_least_one,
        )
        if info.diverging is not None:
            return info
        if isinstance(info.records, FileRange) and leader.is_asked_again(follower, Offset(offset)):
            self._verify(info.records, offset)
        moved = leader.on_follower_fetch(
            follower,
            at=Offset(offset),
            log_start=Offset(log_start),
            broker_epoch=BrokerEpoch(replica_epoch),
            now=now,
        )
        if moved:
            self._committed_moved(leader)
            # It may be the last that this follower hears for long: who moved it is told, too.
            info = info._replace(
                high_watermark=self.high_watermark, last_stable_offset=self.last_stable_offset
            )
        if follower not in leader.isr and (change := leader.wanted_expansion(follower)):
            self._submit(change, "isr.expansion_wanted")
        return info

    def note_idle_fetch(self, replica_id: int, replica_epoch: int, now: float) -> bool:
        """A follower asks again for the log end, and nothing changed since it did so last.

        False when `fetch_for_follower` has to look at it all the same.
        """
        leader = self._leader
        return leader is not None and leader.on_idle_fetch(
            BrokerId(replica_id), BrokerEpoch(replica_epoch), now
        )

    def _read(
        self,
        offset: int,
        max_bytes: int,
        end: Offset,
        last_fetched_epoch: int,
        *,
        at_least_one: bool,
    ) -> FetchInfo:
        log = self.log
        high_watermark = self.high_watermark
        stable = self.last_stable_offset
        if last_fetched_epoch >= 0:
            epoch, epoch_end = log.end_offset_for_epoch(last_fetched_epoch)
            if epoch < 0 or epoch_end < 0:
                raise OffsetOutOfRange(
                    f"{self.tp}: nothing is known of leader epoch {last_fetched_epoch}"
                )
            if epoch < last_fetched_epoch or epoch_end < offset:
                return FetchInfo(
                    b"", high_watermark, stable, Offset(log.log_start), (epoch, epoch_end)
                )
        try:
            read = log.read(offset, max_bytes, end=end, at_least_one=at_least_one)
        except CorruptLog as error:
            self.note_damage(offset, error)
            raise
        return FetchInfo(read.data, high_watermark, stable, Offset(log.log_start))

    def is_damaged(self, records: FileRange, offset: int) -> bool:
        """Whether `records`, which could not be used, are damaged in the log and nowhere better.

        CorruptLog: they are better in another replica, and this one gives its log up.
        """
        try:
            self._verify(records, offset)
        except CorruptLog:
            if self.log.is_closed:
                raise
            return True
        return False

    def look_for_damage(self, offset: int) -> None:
        """Somebody could not use the batch at `offset`: is that because it is damaged here?"""
        try:
            data = self.log.read(offset, 1, end=self.log.log_end, at_least_one=True).data
            if isinstance(data, FileRange):
                self.log.verify(data)
        except CorruptLog as error:
            self.note_damage(offset, error)
        except (KafkaStorageError, OffsetOutOfRange):
            pass  # which whoever comes next is told

    def _verify(self, records: FileRange, offset: int) -> None:
        """Look whether it is our fault that a follower could not use what it got."""
        try:
            self.log.verify(records)
        except CorruptLog as error:
            self.note_damage(offset, error)
            raise

    def note_damage(self, offset: int, error: CorruptLog) -> None:
        """Who read from `offset` met it: give the log up, if others have it, or serve the rest."""
        self._services.events.error(
            "log.corrupt_batch_found", partition=str(self.tp), fetched=offset, reason=str(error)
        )
        if len(self.isr) > 1 or (self.role is Role.FOLLOWER and self.leader_id != NO_BROKER):
            self._services.lose_log(self.log, str(error))

    # Waiting

    def subscribe(self, waiter: Waiter, *, log_end: bool) -> None:
        """Set `waiter` once when the readable end moves (log end, or committed end) or the role."""
        (self._end_subscribers if log_end else self._committed_subscribers).add(waiter)

    def unsubscribe(self, waiter: Waiter, *, log_end: bool) -> None:
        """Take back `subscribe` of the same arguments."""
        (self._end_subscribers if log_end else self._committed_subscribers).discard(waiter)

    def _committed_moved(self, leader: LeaderReplica) -> None:
        assert leader.high_watermark >= self.high_watermark
        self.changes += 1
        self.high_watermark = leader.high_watermark
        if self.log.first_unstable_offset is not None:
            self.log.forget_replicated(self.high_watermark)
        self._commit_waiters.wake_up_to(self.high_watermark)
        self._committed_subscribers.wake()

    def _wake_all(self) -> None:
        self.changes += 1
        self._commit_waiters.wake_all()
        self._committed_subscribers.wake()
        self._end_subscribers.wake()

    # In-sync replicas

    def shrink_isr(self) -> None:
        """Ask for the removal of members that lag too long; for the upkeep timer."""
        leader = self._leader
        if leader is not None and (change := leader.wanted_shrink(trio.current_time())):
            self._submit(change, "isr.shrink_wanted")

    def _submit(self, change: IsrChange, event: str) -> None:
        self._services.events.info(
            event,
            partition=str(self.tp),
            added=list(change.added),
            removed=list(change.removed),
            leader_epoch=self.leader_epoch,
        )
        self._services.isr_changes.submit(self, change)

    def is_pending(self, change: IsrChange) -> bool:
        return self._leader is not None and self._leader.pending is change

    def on_isr_committed(self, isr: list[BrokerId], partition_epoch: PartitionEpoch) -> None:
        leader = self._leader
        if leader is None:
            return
        moved = leader.on_isr_committed(isr, partition_epoch, trio.current_time())
        self.partition_epoch = leader.partition_epoch
        self._services.events.info(
            "isr.changed",
            partition=str(self.tp),
            isr=sorted(leader.isr),
            partition_epoch=leader.partition_epoch,
        )
        if moved:
            self._committed_moved(leader)

    def on_isr_rejected(self, change: IsrChange) -> None:
        if self._leader is not None and self._leader.pending is change:
            self._leader.on_isr_rejected()

    # Following

    def append_fetched(
        self, records: BytesLike, leader_high_watermark: int, leader_log_start: int
    ) -> None:
        """Append what the leader sent for our log end, and take over its watermarks."""
        assert self.role is Role.FOLLOWER
        log = self.log
        if len(records):
            log.append_as_follower(records)
        committed = follower_high_watermark(Offset(leader_high_watermark), Offset(log.log_end))
        before = self.high_watermark
        # A newly elected leader may know of less than is committed; what we know stays true.
        self.high_watermark = max(before, committed)
        if leader_log_start > log.log_start:
            log.advance_log_start(min(leader_log_start, log.log_end))
            self.high_watermark = max(self.high_watermark, Offset(log.log_start))
        if self.high_watermark != before:
            self.changes += 1
            if log.first_unstable_offset is not None:
                log.forget_replicated(self.high_watermark)
            self._committed_subscribers.wake()

    def truncate_after_divergence(self, leader_epoch: int, leader_end: int) -> None:
        """Cut what the leader does not have (KIP-101/279); the next fetch checks again."""
        assert self.role is Role.FOLLOWER
        local_epoch, local_end = self.log.end_offset_for_epoch(leader_epoch)
        self._move(
            truncation_after_divergence(
                leader_epoch=LeaderEpoch(leader_epoch),
                leader_end=Offset(leader_end),
                local_epoch=LeaderEpoch(local_epoch),
                local_end=Offset(local_end),
                log_end=Offset(self.log.log_end),
            )
        )

    def on_out_of_range(self, leader_start: int, leader_end: int) -> None:
        """The leader answered OFFSET_OUT_OF_RANGE and holds [leader_start, leader_end)."""
        assert self.role is Role.FOLLOWER
        start, end = Offset(leader_start), Offset(leader_end)
        log_end = Offset(self.log.log_end)
        move = move_after_out_of_range(log_end=log_end, leader_start=start, leader_end=end)
        if isinstance(move, Truncate):
            self._move(move)
        elif move is not None:
            try:
                self.log.truncate_fully_and_start_at(move.start)
            finally:  # what a full disk refuses of it is tried again
                self.high_watermark = Offset(max(self.high_watermark, self.log.log_start))
                self._wake_all()

    def _move(self, move: Truncate) -> None:
        before = self.log.log_end
        # Also at the log's end: it may know an epoch there that the leader never heard of, and the
        # leader would answer every fetch with the same divergence.
        self.log.truncate_to(move.end)
        self.changes += 1
        if self.log.log_end == before:
            return
        self._services.events.info(
            "log.truncated",
            partition=str(self.tp),
            end=self.log.log_end,
            before=before,
            high_watermark=self.high_watermark,
        )
        if self.log.log_end < self.high_watermark:
            # Only an unclean election takes committed records back.
            self._services.events.warning(
                "log.truncated_below_high_watermark",
                partition=str(self.tp),
                end=self.log.log_end,
                high_watermark=self.high_watermark,
            )
            self.high_watermark = Offset(self.log.log_end)

    def go_on_in(self, log: Log) -> None:
        """The log is in another directory now: `log` is what the one so far was."""
        assert log.log_end == self.log.log_end
        self.log = log
        self.changes += 1
        self._on_settled()

    def check(self) -> None:
        """Assert every relation that this class promises."""
        assert self.log.log_start <= self.high_watermark <= self.log.log_end
        assert (self._leader is not None) == (self.role is Role.LEADER)
        if self._leader is not None:
            self._leader.check()
            assert self._leader.high_watermark == self.high_watermark
            assert self._leader.log_end == self.log.log_end
            assert self._leader.leader_epoch == self.leader_epoch
