"""The leader's view of one partition: followers' progress, in-sync replicas, high watermark.

A core: no I/O, no clock. Rules and sources:

* The high watermark is the smallest log end among the *maximal* ISR (the committed ISR plus a
  replica whose entry is in flight; a replica whose removal is in flight still counts, KIP-497) and
  among the eligible replicas that are caught up but not yet in the ISR, and it does not move while
  the ISR is smaller than `min.insync.replicas`. It never goes back.
* The leader's own end counts as far as it is settled: with `flush.messages`, what of it is on
  stable storage as the topic demands. A follower asks for no offset before it is settled.
* A follower is caught up when its log end equals the leader's, or when it was so within
  `replica.lag.time.max.ms`; "was so" is judged against the leader's log end at the time of its
  fetch.
* A follower may enter the ISR when it reached the high watermark and the offset at which this
  leader's epoch began.
* One ISR change is in flight at a time; only the controller's answer settles it (KIP-497).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ottla.broker.ids import BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch
from ottla.broker.replication.read_replica import ReadReplica

NEVER = float("-inf")
UNKNOWN_END = Offset(-1)


@dataclass(frozen=True, slots=True)
class IsrChange:
    """A change of the in-sync replicas that the controller is asked to make (AlterPartition)."""

    isr: tuple[tuple[BrokerId, BrokerEpoch], ...]
    leader_epoch: LeaderEpoch
    partition_epoch: PartitionEpoch
    added: tuple[BrokerId, ...] = ()
    removed: tuple[BrokerId, ...] = ()


class FollowerProgress:
    """What the leader knows of one follower, from its fetches in this leader epoch."""

    __slots__ = (
        "broker_epoch",
        "caught_up_at",
        "fetched_at",
        "leader_end_at_fetch",
        "log_end",
        "log_start",
    )

    def __init__(self, caught_up_at: float) -> None:
        self.log_end: Offset = UNKNOWN_END
        self.log_start: Offset = UNKNOWN_END
        self.fetched_at: float = NEVER
        self.leader_end_at_fetch: Offset = UNKNOWN_END
        self.caught_up_at: float = caught_up_at
        self.broker_epoch: BrokerEpoch = BrokerEpoch(-1)

    def on_fetch(self, at: Offset, log_start: Offset, leader_end: Offset, now: float) -> None:
        """Record a fetch at offset `at`, that is: everything before it is in the follower's log."""
        if at >= leader_end:
            self.caught_up_at = max(self.caught_up_at, now)
        elif at >= self.leader_end_at_fetch:
            self.caught_up_at = max(self.caught_up_at, self.fetched_at)
        self.log_end = at
        self.log_start = log_start
        self.leader_end_at_fetch = max(self.leader_end_at_fetch, leader_end)
        self.fetched_at = now

    def is_caught_up(self, leader_end: Offset, now: float, lag_max: float) -> bool:
        return self.log_end == leader_end or now - self.caught_up_at <= lag_max


class LeaderReplica:
    """Leadership of one partition by this broker, from one LeaderAndIsr on.

    Invariants: `high_watermark` and `settled_end` <= `log_end`; `isr` contains this broker and lies
    within `replicas`; at most one `pending` change, based on the present partition epoch.
    """

    __slots__ = (
        "_eligible",
        "_followers",
        "_lag_max",
        "broker_id",
        "epoch_start",
        "high_watermark",
        "isr",
        "leader_epoch",
        "log_end",
        "maximal_isr",
        "min_isr",
        "partition_epoch",
        "pending",
        "replicas",
        "settled_end",
    )

    def __init__(
        self,
        broker_id: BrokerId,
        *,
        log_end: Offset,
        high_watermark: Offset,
        lag_max: float,
        min_isr: int,
        eligible: Callable[[BrokerId], bool],
        settled_end: Offset | None = None,
    ) -> None:
        """`lag_max` in seconds; `eligible` says whether a broker is alive as far as we know.

        `settled_end` None: all of the log is.
        """
        assert 0 <= high_watermark <= log_end
        self.broker_id = broker_id
        self.log_end = log_end
        self.settled_end = log_end if settled_end is None else settled_end
        self.high_watermark = high_watermark
        self.leader_epoch = LeaderEpoch(-1)
        self.partition_epoch = PartitionEpoch(-1)
        self.epoch_start = log_end
        self.replicas: tuple[BrokerId, ...] = (broker_id,)
        self.isr: frozenset[BrokerId] = frozenset((broker_id,))
        self.maximal_isr: frozenset[BrokerId] = self.isr
        self.min_isr = min_isr
        self.pending: IsrChange | None = None
        self._followers: dict[BrokerId, FollowerProgress] = {}
        self._lag_max = lag_max
        self._eligible = eligible

    def lead(
        self,
        *,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        replicas: Sequence[BrokerId],
        isr: Iterable[BrokerId],
        now: float,
    ) -> bool:
        """Take the state a controller's LeaderAndIsr gives; True when the high watermark moved."""
        assert self.broker_id in replicas
        assert leader_epoch >= self.leader_epoch
        members = frozenset(isr)
        assert self.broker_id in members
        new_epoch = leader_epoch > self.leader_epoch
        if new_epoch:
            self.epoch_start = self.log_end
        self.leader_epoch = leader_epoch
        self.partition_epoch = partition_epoch
        self.replicas = tuple(replicas)
        self._settle(members)
        known = {} if new_epoch else self._followers
        self._followers = {
            follower: known.get(follower)
            or FollowerProgress(caught_up_at=now if follower in members else NEVER)
            for follower in replicas
            if follower != self.broker_id
        }
        return self.advance(now)

    def on_local_append(self, end: Offset, now: float, settled_end: Offset | None = None) -> bool:
        """The own log now ends at `end`; True when the high watermark moved.

        `settled_end` None: at once settled.
        """
        assert end >= self.log_end
        self.log_end = end
        self.settled_end = end if settled_end is None else settled_end
        # With another member in the maximal ISR the minimum cannot move by our own append.
        return len(self.maximal_isr) == 1 and self.advance(now)

    def on_local_settled(self, end: Offset, now: float) -> bool:
        """What the own log holds below `end` now counts; True when the high watermark moved."""
        self.settled_end = end
        return self.advance(now)

    def on_follower_fetch(
        self,
        follower: BrokerId,
        *,
        at: Offset,
        log_start: Offset,
        broker_epoch: BrokerEpoch,
        now: float,
    ) -> bool:
        """A valid fetch of this leader epoch; True when the high watermark moved.

        KeyError when `follower` is no replica of this partition.
        """
        progress = self._followers[follower]
        progress.on_fetch(at, log_start, self.log_end, now)
        progress.broker_epoch = broker_epoch
        return self.advance(now)

    def on_idle_fetch(self, follower: BrokerId, broker_epoch: BrokerEpoch, now: float) -> bool:
        """A fetch at the same offset as before, by a member that has everything: all that
        `on_follower_fetch` would do. False when that one has to look at it.
        """
        progress = self._followers.get(follower)
        end = self.log_end
        if (
            progress is None
            or progress.log_end != end
            or self.high_watermark != end
            or follower not in self.isr
            or progress.broker_epoch != broker_epoch
        ):
            return False
        progress.caught_up_at = max(progress.caught_up_at, now)
        progress.fetched_at = now
        return True

    def is_asked_again(self, follower: BrokerId, at: Offset) -> bool:
        """Whether this fetch asks for what the one before was given: it could not be used."""
        progress = self._followers.get(follower)
        return progress is not None and progress.log_end == at and at < progress.leader_end_at_fetch

    def readable_from(self, offset: Offset) -> list[ReadReplica]:
        """The followers in the ISR that have `offset` or end there."""
        return [
            ReadReplica(broker, progress.log_end, progress.caught_up_at)
            for broker, progress in self._followers.items()
            if broker in self.isr and progress.log_start <= offset <= progress.log_end
        ]

    def is_replica(self, broker: BrokerId) -> bool:
        return broker in self._followers

    def advance(self, now: float) -> bool:
        """Recompute the high watermark; True when it moved."""
        if len(self.isr) < self.min_isr:
            return False
        end = self.settled_end
        for follower, progress in self._followers.items():
            if progress.log_end < end and (
                follower in self.maximal_isr
                or (
                    progress.is_caught_up(self.log_end, now, self._lag_max)
                    and self._eligible(follower)
                )
            ):
                end = progress.log_end
        if end <= self.high_watermark:
            return False
        self.high_watermark = end
        return True

    def wanted_expansion(self, follower: BrokerId) -> IsrChange | None:
        """The ISR with `follower` in it, when it may enter now; it then is `pending`."""
        if self.pending is not None or follower in self.isr or not self._eligible(follower):
            return None
        progress = self._followers.get(follower)
        if progress is None or progress.log_end < max(self.high_watermark, self.epoch_start):
            return None
        return self._propose(self.isr | {follower}, added=(follower,))

    def wanted_shrink(self, now: float) -> IsrChange | None:
        """The ISR without members that lag too long, if there are any; it then is `pending`."""
        if self.pending is not None or len(self.isr) == 1:
            return None
        lagging = tuple(
            sorted(
                follower
                for follower, progress in self._followers.items()
                if follower in self.isr
                and not progress.is_caught_up(self.log_end, now, self._lag_max)
            )
        )
        return self._propose(self.isr.difference(lagging), removed=lagging) if lagging else None

    def _propose(
        self,
        isr: frozenset[BrokerId],
        *,
        added: tuple[BrokerId, ...] = (),
        removed: tuple[BrokerId, ...] = (),
    ) -> IsrChange:
        assert self.pending is None
        ordered = [broker for broker in self.replicas if broker in isr]
        self.pending = IsrChange(
            tuple((broker, self._epoch_of(broker)) for broker in ordered),
            self.leader_epoch,
            self.partition_epoch,
            added,
            removed,
        )
        self.maximal_isr = self.isr | isr
        return self.pending

    def _epoch_of(self, broker: BrokerId) -> BrokerEpoch:
        progress = self._followers.get(broker)
        return BrokerEpoch(-1) if progress is None else progress.broker_epoch

    def on_isr_committed(
        self, isr: Iterable[BrokerId], partition_epoch: PartitionEpoch, now: float
    ) -> bool:
        """The controller made (or already had) this ISR; True when the high watermark moved."""
        if partition_epoch < self.partition_epoch:
            return False
        members = frozenset(isr)
        assert self.broker_id in members
        self.partition_epoch = partition_epoch
        self._settle(members)
        return self.advance(now)

    def on_isr_rejected(self) -> None:
        """The controller said that the change was not made and never will be."""
        self._settle(self.isr)

    def _settle(self, isr: frozenset[BrokerId]) -> None:
        self.isr = isr
        self.maximal_isr = isr
        self.pending = None

    def low_watermark(self, log_start: Offset) -> Offset:
        """The smallest log start among live replicas; what DeleteRecords waits for (KIP-107)."""
        starts = [p.log_start for b, p in self._followers.items() if self._eligible(b)]
        return min([log_start, *starts])

    def check(self) -> None:
        """Assert every relation that this class promises."""
        assert 0 <= self.high_watermark <= self.log_end
        assert self.settled_end <= self.log_end
        assert self.broker_id in self.isr
        assert self.isr <= self.maximal_isr
        assert self.isr <= frozenset(self.replicas)
        assert self.broker_id not in self._followers
        assert frozenset(self._followers) | {self.broker_id} == frozenset(self.replicas)
        if self.pending is None:
            assert self.maximal_isr == self.isr
        else:
            assert self.pending.partition_epoch == self.partition_epoch
            assert self.pending.leader_epoch == self.leader_epoch
