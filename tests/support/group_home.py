"""A running group home over partitions in memory, and members that speak to it."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from ottla.broker.groups.home import Commit, GroupHome
from ottla.broker.groups.reply import Reply
from ottla.broker.groups.settings import OFFSETS_TOPIC, GroupSettings
from ottla.broker.groups.values import Join, JoinReply, OffsetEntry, Sync, SyncReply
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from tests.support.offsets_partition import OffsetsReplica

QUICK = GroupSettings(topic_partitions=2, initial_rebalance_delay_ms=0)


@dataclass
class Stage:
    """Everything around a home. `partitions` survive it, so that a second home can load them."""

    settings: GroupSettings = QUICK
    wall_clock: FixedWallClock = field(default_factory=FixedWallClock)
    events: RecordingEvents = field(default_factory=RecordingEvents)
    partitions: dict[TopicPartition, OffsetsReplica] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index in range(self.settings.topic_partitions):
            tp = TopicPartition(OFFSETS_TOPIC, index)
            self.partitions[tp] = OffsetsReplica(tp, self.wall_clock)

    def partition_of(self, home: GroupHome, group_id: str) -> OffsetsReplica:
        return self.partitions[TopicPartition(OFFSETS_TOPIC, home.partition_for(group_id))]

    @asynccontextmanager
    async def home(self, *, loaded: bool = True) -> AsyncIterator[GroupHome]:
        """A home that leads all partitions; loaded unless that is the test's affair."""
        home = GroupHome(
            self.settings,
            self.partitions.get,
            wall_clock=self.wall_clock,
            rng=random.Random(3),
            events=self.events,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(home.run)
            if loaded:
                for tp in self.partitions:
                    home.on_leader(tp)
                await trio.testing.wait_all_tasks_blocked()
            yield home
            home.check()
            nursery.cancel_scope.cancel()


@dataclass
class Consumer:
    """One client of a group, of a version that joins at once."""

    home: GroupHome
    group_id: str = "g"
    client_id: str = "client"
    instance_id: str | None = None
    session_ms: int = 10_000
    rebalance_ms: int = 60_000
    metadata: bytes = b"m"
    member_id: str = ""
    generation: int = -1

    def join(self) -> Reply[JoinReply]:
        return self.home.join(
            self.group_id,
            Join(
                self.member_id,
                self.instance_id,
                "consumer",
                (("range", self.metadata),),
                self.session_ms,
                self.rebalance_ms,
                self.client_id,
                "/10.0.0.1",
                "test",
                needs_known_id=False,
                may_skip_assignment=True,
            ),
        )

    def sync(self, **assignments: bytes) -> Reply[SyncReply]:
        shares = {self.member_id if key == "me" else key: v for key, v in assignments.items()}
        return self.home.sync(
            self.group_id,
            Sync(self.member_id, self.instance_id, self.generation, "consumer", "range", shares),
        )

    def take(self, reply: JoinReply) -> JoinReply:
        assert reply.error is ErrorCode.NONE
        self.member_id, self.generation = reply.member_id, reply.generation
        return reply

    def join_alone(self) -> None:
        """Be the only member of a stable group, where commits are immediate."""
        self.take(self.join().get_nowait())
        assert self.sync(me=b"all").get_nowait() == SyncReply(
            ErrorCode.NONE, "consumer", "range", b"all"
        )

    def heartbeat(self) -> ErrorCode:
        return self.home.heartbeat(self.group_id, self.member_id, self.instance_id, self.generation)

    def commit(self, offset: int, *, topic: str = "t", partition: int = 0) -> Reply[ErrorCode]:
        now_ms = self.home.wall_clock.now_ms()
        entry = OffsetEntry(offset, 4, "note", now_ms)
        return self.home.commit(
            Commit(
                self.group_id,
                self.member_id,
                self.instance_id,
                self.generation,
                [(TopicPartition(topic, partition), entry)],
            )
        )

    def fetched(self, *, topic: str = "t", partition: int = 0, stable: bool = False) -> int | None:
        tp = TopicPartition(topic, partition)
        error, [found] = self.home.fetch(self.group_id, [tp], require_stable=stable)
        assert error is ErrorCode.NONE
        assert found.error is ErrorCode.NONE
        return None if found.entry is None else found.entry.offset
