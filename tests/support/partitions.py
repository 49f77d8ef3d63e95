"""Partitions that keep their batches in memory: what the handlers of the data path need of one.

For tests of the server alone; offsets are counted from the batch headers and nothing is validated
but the size.
"""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import trio

from ottla.broker.errors import (
    BrokerError,
    CorruptMessage,
    FencedLeaderEpoch,
    NotLeader,
    OffsetOutOfRange,
    UnknownLeaderEpoch,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.txn_index import AbortedTxn

TOPIC_ID = UUID(int=7)


class Appended(NamedTuple):
    first_offset: int
    last_offset: int
    log_append_time_ms: int
    log_start: int


class Fetched(NamedTuple):
    records: bytes
    high_watermark: int
    last_stable_offset: int
    log_start: int
    diverging: tuple[int, int] | None = None


@dataclass(eq=False)
class MemoryPartition:
    """A partition that leads; `hold` keeps its high watermark where it is until `commit`."""

    tp: TopicPartition
    topic_id: UUID = TOPIC_ID
    is_leader: bool = True
    leader_id: int = 1
    leader_epoch: int = 5
    hold: bool = False
    min_isr: int = 1
    isr: frozenset[int] = frozenset({1})
    high_watermark: int = 0
    log_start: int = 0
    log_end: int = 0
    epoch_start: int = 0
    batches: list[tuple[int, int, bytes]] = field(default_factory=list)  # first, end, bytes
    refuse: BrokerError | None = None
    aborted: list[AbortedTxn] = field(default_factory=list)
    follower_fetches: list[tuple[int, int]] = field(default_factory=list)
    changes: int = 0
    reads: int = 0
    _waiters: dict[trio.Event, None] = field(default_factory=dict)

    @property
    def log(self) -> "MemoryPartition":
        return self

    @property
    def leader(self) -> "MemoryPartition":
        return self

    @property
    def epochs(self) -> "MemoryPartition":
        return self

    def epoch_of(self, offset: int) -> int:
        return self.leader_epoch if offset < self.log_end else -1

    @property
    def settled_end(self) -> int:
        return self.log_end

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        return (self.leader_epoch, self.log_end) if epoch >= self.leader_epoch else (-1, -1)

    def aborted_transactions(self, start: int, end: int) -> list[AbortedTxn]:
        return [each for each in self.aborted if each.last_offset >= start < end]

    @property
    def last_stable_offset(self) -> int:
        return self.high_watermark

    def append_as_leader(self, data: memoryview, *, acks: int) -> Appended:
        if self.refuse is not None:
            raise self.refuse
        if len(data) < 61:
            raise CorruptMessage("too short for a batch")
        first = self.log_end
        self.changes += 1
        self.log_end = first + int.from_bytes(data[23:27], "big") + 1
        self.batches.append((first, self.log_end, first.to_bytes(8, "big") + data[8:]))
        if not self.hold:
            self.commit()
        return Appended(first, self.log_end - 1, -1, self.log_start)

    def append_plain(self, parts: list[memoryview], *, acks: int, **_: object) -> list[int]:
        taken: list[int] = []
        if acks == -1 and len(self.isr) < self.min_isr:
            return taken
        for part in parts:
            if not self.is_leader or self.refuse is not None or len(part) < 61:
                break
            taken.append(self.append_as_leader(part, acks=acks).first_offset)
        return taken

    def commit(self) -> None:
        """The replicas have everything."""
        self.high_watermark = self.log_end
        self._wake()

    def resign(self) -> None:
        self.is_leader = False
        self._wake()

    def _wake(self) -> None:
        self.changes += 1
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter.set()

    def is_committed(self, end: int) -> bool:
        return self.high_watermark >= end

    async def wait_committed(self, end: int) -> None:
        while self.is_leader and not self.is_committed(end):
            changed = trio.Event()
            self._waiters[changed] = None
            await changed.wait()
        if not self.is_leader:
            raise NotLeader("leadership moved")

    def subscribe(self, waiter: trio.Event, *, log_end: bool) -> None:
        self._waiters[waiter] = None

    def unsubscribe(self, waiter: trio.Event, *, log_end: bool) -> None:
        self._waiters.pop(waiter, None)

    @property
    def waiters(self) -> int:
        return len(self._waiters)

    def require_epoch(self, epoch: int) -> None:
        if epoch not in {-1, self.leader_epoch}:
            raise (FencedLeaderEpoch if epoch < self.leader_epoch else UnknownLeaderEpoch)()

    def fetch_for_consumer(
        self,
        offset: int,
        max_bytes: int,
        *,
        current_leader_epoch: int = -1,
        at_least_one: bool,
        **_: object,
    ) -> Fetched:
        return self._fetch(
            offset, max_bytes, current_leader_epoch, at_least_one, self.high_watermark
        )

    def note_idle_fetch(self, replica_id: int, replica_epoch: int, now: float) -> bool:
        return False

    def fetch_for_follower(
        self,
        replica_id: int,
        offset: int,
        max_bytes: int,
        *,
        current_leader_epoch: int = -1,
        at_least_one: bool,
        **_: object,
    ) -> Fetched:
        self.follower_fetches.append((replica_id, offset))
        return self._fetch(offset, max_bytes, current_leader_epoch, at_least_one, self.log_end)

    def _fetch(
        self, offset: int, max_bytes: int, epoch: int, at_least_one: bool, end: int
    ) -> Fetched:
        self.reads += 1
        if not self.is_leader:
            raise NotLeader(f"{self.tp}: not led here")
        self.require_epoch(epoch)
        if not self.log_start <= offset <= self.log_end:
            raise OffsetOutOfRange(f"{offset}")
        found = b""
        for _, batch_end, data in self.batches:
            if batch_end <= offset or batch_end > end:
                continue
            if len(found) + len(data) > max_bytes and (found or not at_least_one):
                break
            found += data
        return Fetched(found, self.high_watermark, self.last_stable_offset, self.log_start)


class MemoryPartitions:
    """A registry of them."""

    def __init__(self, *partitions: MemoryPartition) -> None:
        self._by_tp = {partition.tp: partition for partition in partitions}

    def get(self, tp: TopicPartition) -> MemoryPartition | None:
        return self._by_tp.get(tp)

    def require(self, tp: TopicPartition) -> MemoryPartition:
        found = self._by_tp.get(tp)
        if found is None:
            raise UnknownTopicOrPartition(f"{tp} is not here")
        return found

    def require_leader(self, tp: TopicPartition, *, known: bool) -> MemoryPartition:
        found = self._by_tp.get(tp)
        if found is not None and found.is_leader:
            return found
        if found is not None or known:
            raise NotLeader(f"{tp} is not led here")
        raise UnknownTopicOrPartition(f"{tp} does not exist")

    def by_topic_id(self, topic_id: UUID, partition: int) -> MemoryPartition:
        for tp, found in self._by_tp.items():
            if (found.topic_id, tp.partition) == (topic_id, partition):
                return found
        raise UnknownTopicId(f"{topic_id} is not here")
