"""Planted bugs of partitions: leaders, followers, logs, producers."""

from ottla.broker.groups.producer_ids import ProducerIdAllocator
from ottla.broker.main import Broker
from ottla.broker.partitions.partition import Partition
from ottla.broker.partitions.replica_set import ReplicaSet
from ottla.broker.replication.leader import LeaderReplica
from ottla.broker.storage.compaction_records import LatestOffsets
from ottla.broker.storage.log import Log
from ottla.broker.storage.producers import Producers
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.planted.bugs import Patch, planted

_KILLS = {"kill_broker": 4.0, "reset": 15.0}


@planted("the high watermark is the leader's log end")
def _high_watermark_of_the_leader() -> list[Patch]:
    def advance(self, now: float) -> bool:
        moved = self.log_end > self.high_watermark
        self.high_watermark = max(self.high_watermark, self.log_end)
        return moved

    return [(LeaderReplica, "advance", advance)]


@planted("the high watermark counts replicas that have left the ISR")
def _high_watermark_by_number() -> list[Patch]:
    def advance(self, now: float) -> bool:
        ends = [self.settled_end, *[each.log_end for each in self._followers.values()]]
        ends.sort(reverse=True)
        end = ends[min(len(self.isr), len(ends)) - 1]
        moved = end > self.high_watermark
        self.high_watermark = max(self.high_watermark, end)
        return moved

    return [(LeaderReplica, "advance", advance)]


@planted("the high watermark no longer waits for a replica once its removal is asked for")
def _removal_counts_at_once() -> list[Patch]:
    original = LeaderReplica.advance

    def advance(self, now: float) -> bool:
        if self.pending is None or not self.pending.removed:
            return original(self, now)
        kept = self._followers
        self._followers = {
            each: progress for each, progress in kept.items() if each not in self.pending.removed
        }
        try:
            return original(self, now)
        finally:
            self._followers = kept

    return [(LeaderReplica, "advance", advance)]


@planted("a follower counts as having what its fetch is about to bring")
def _fetch_counts_as_append() -> list[Patch]:
    original = LeaderReplica.on_follower_fetch

    def on_fetch(self, follower, *, at, **fields) -> bool:
        return original(self, follower, at=max(at, self.log_end), **fields)

    return [(LeaderReplica, "on_follower_fetch", on_fetch)]


@planted("a follower enters the ISR before it has what is committed")
def _isr_entered_early() -> list[Patch]:
    def wanted(self, follower):
        if self.pending is not None or follower in self.isr or not self._eligible(follower):
            return None
        if self._followers[follower].log_end < 0:
            return None
        return self._propose(self.isr | {follower}, added=(follower,))

    return [(LeaderReplica, "wanted_expansion", wanted)]


@planted("acks=all is answered after the leader's append")
def _ack_before_replication() -> list[Patch]:
    async def wait(self, end: int) -> None:
        return

    return [
        (Partition, "wait_committed", wait),
        (Partition, "is_committed", lambda self, end: True),
    ]


@planted("a follower cuts its log at its high watermark when the leader changes")
def _truncation_to_the_high_watermark() -> list[Patch]:
    original = Partition.make_follower

    def follow(self, state) -> None:
        changed = state.leader_epoch > self.leader_epoch
        original(self, state)
        if changed:
            self.log.truncate_to(self.high_watermark)

    return [(Partition, "make_follower", follow)]


@planted("a follower that diverged appends on")
def _no_truncation() -> list[Patch]:
    def ignore(self, leader_epoch: int, leader_end: int) -> None:
        self.log.epochs.clear()
        self.log.epochs.assign(max(leader_epoch, 0), 0)

    return [(Partition, "truncate_after_divergence", ignore)]


@planted("consumers read to the leader's log end")
def _read_beyond_the_high_watermark() -> list[Patch]:
    original = Partition.fetch_for_consumer

    def fetch(self, offset: int, max_bytes: int, **options):
        kept, self.high_watermark = self.high_watermark, self.log.log_end
        try:
            return original(self, offset, max_bytes, **options)
        finally:
            self.high_watermark = kept

    return [(Partition, "fetch_for_consumer", fetch)]


@planted("a producer's batch that was sent twice is appended twice")
def _no_duplicate_check() -> list[Patch]:
    return [
        (Producers, "duplicate_of", lambda self, batch: None),
        (Producers, "check", lambda self, batch, origin: None),
    ]


@planted(
    "what producers wrote is forgotten at a restart",
    faults=_KILLS,
    changes={"delay_s": 0.02, "records_per_s": 8.0},
)
def _producers_forgotten() -> list[Patch]:
    original = Log.open.__func__

    def reopen(cls, *args, **options):
        log = original(cls, *args, **options)
        log.producers.clear()
        return log

    return [(Log, "open", classmethod(reopen))]


@planted("every broker hands out producer ids from the first block", changes={"producers": 3})
def _producer_ids_given_twice() -> list[Patch]:
    original = ProducerIdAllocator.__init__

    def begin(self, next_block) -> None:
        async def first_block() -> tuple[int, int]:
            _, length = await next_block()
            return 0, length

        original(self, first_block)

    return [(ProducerIdAllocator, "__init__", begin)]


@planted(
    "what flush.messages=1 promises to be on disk is acknowledged before it is",
    faults={"power_brokers": 12.0, "power_leader": 8.0, "slow_disk": 1.5},
    settings={"log.flush.interval.messages": "1"},
    changes={"durable": True},
)
def _ack_before_flush() -> list[Patch]:
    original = Log._append

    def append(self, *args) -> None:
        original(self, *args)
        self.settled_end = self.log_end

    return [(Log, "_append", append)]


@planted("a replica stays when its topic is deleted")
def _deletion_forgotten() -> list[Patch]:
    return [(ReplicaSet, "_delete", lambda self, tp, partition: ErrorCode.NONE)]


@planted(
    "the cleaner drops the newest record of a key, too",
    settings={
        "offsets.topic.segment.bytes": "2000",
        "log.cleaner.backoff.ms": "1000",
        "log.cleaner.min.cleanable.ratio": "0.01",
    },
    changes={"groups": 2, "group_members": 3},
)
def _newest_record_dropped() -> list[Patch]:
    original = LatestOffsets.is_superseded
    return [
        (
            LatestOffsets,
            "is_superseded",
            lambda self, key, offset: original(self, key, offset - 1),
        )
    ]


@planted(
    "what is deleted stays on the disk and serves the next topic of that name: no id is asked for",
    changes={"recreates": True},
)
def _data_of_a_former_topic() -> list[Patch]:
    original = ReplicaSet._create

    def delete(self, tp, partition) -> ErrorCode:
        if partition is not None:
            self._registry.remove(tp)
        return ErrorCode.NONE

    def create(self, tp, topic_id, *, is_new: bool):
        log = self._log_manager.get(tp)
        if log is not None:
            log.topic_id = topic_id
        return original(self, tp, topic_id, is_new=is_new)

    return [(ReplicaSet, "_delete", delete), (ReplicaSet, "_create", create)]


@planted(
    "a new configuration of a topic reaches the brokers that lead some of it, no others",
    changes={"configures": True},
)
def _configured_where_it_is_led() -> list[Patch]:
    original = Broker._on_topic_settings

    def take(self, changed) -> None:
        led = {partition.tp.topic for partition in self._registry if partition.is_leader}
        original(self, {topic: changed[topic] for topic in changed if topic in led})

    return [(Broker, "_on_topic_settings", take)]


@planted(
    "a compaction forgets what producers wrote last",
    faults={"reset": 1.0, "kill_broker": 10.0},
    settings={"log.cleaner.backoff.ms": "300"},
    changes={
        "records_per_s": 8.0,
        "delay_s": 0.02,
        "compacted": {
            "cleanup_policy": "compact",
            "segment_bytes": "500",
            "segment_ms": "3000",
            "min_cleanable_dirty_ratio": "0.01",
            "delete_retention_ms": "604800000",
        },
    },
)
def _producers_compacted_away() -> list[Patch]:
    original = Log.take_over

    def take_over(self, bases, truncations: int) -> bool:
        taken = original(self, bases, truncations)
        self.producers.clear()
        return taken

    return [(Log, "take_over", take_over)]
