"""A partition of the offsets topic over a real log, whose commits a test can hold back."""

import trio

from ottla.broker.errors import BrokerError, NotEnoughReplicasAfterAppend, NotLeader
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import AppendInfo, Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Origin
from ottla.broker.storage.reading import FileRange
from ottla.broker.storage.segment import CorruptLog
from ottla.runtime.interfaces import BytesLike
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from ottla.runtime.memory_disk import MemoryDisk


class OffsetsReplica:
    """Leads with epoch 1 until `resign`. With `hold` its high watermark waits for `commit`."""

    def __init__(self, tp: TopicPartition, wall_clock: FixedWallClock) -> None:
        self.tp = tp
        self.wall_clock = wall_clock
        self.disk = MemoryDisk()
        self.disk.make_dirs(f"/log/{tp}")
        self.log = Log.open(
            self.disk,
            f"/log/{tp}",
            tp,
            LogConfig(cleanup_policy=frozenset({"compact"})),
            now_ms=wall_clock.now_ms(),
            clean=True,
            events=RecordingEvents(),
        )
        self.is_leader = True
        self.leader_epoch = 1
        self.high_watermark = 0
        self.hold = False
        self.refuse: BrokerError | None = None
        self.too_few_replicas = False
        self.appends = 0
        self._moved = trio.Event()

    def append_as_leader(
        self, data: BytesLike, *, acks: int, origin: Origin = Origin.CLIENT
    ) -> AppendInfo:
        assert acks == -1
        if not self.is_leader:
            raise NotLeader(f"{self.tp}")
        if self.refuse is not None:
            raise self.refuse
        info = self.log.append_as_leader(
            data,
            leader_epoch=self.leader_epoch,
            now_ms=self.wall_clock.now_ms(),
            origin=origin,
        )
        self.appends += 1
        if not self.hold:
            self.high_watermark = self.log.log_end
        return info

    def commit(self) -> None:
        """The followers have everything."""
        self.high_watermark = self.log.log_end
        self._wake()

    def next_epoch(self) -> None:
        """The controller chose the same leader again."""
        self.leader_epoch += 1
        self._wake()

    def resign(self) -> None:
        self.is_leader = False
        self._wake()

    def is_damaged(self, records: FileRange, offset: int) -> bool:
        """Nobody has anything better."""
        try:
            self.log.verify(records)
        except CorruptLog:
            return True
        return False

    def is_committed(self, end: int) -> bool:
        return self.high_watermark >= end

    async def wait_committed(self, end: int) -> None:
        epoch = self.leader_epoch
        while self.is_leader and self.leader_epoch == epoch:
            if self.is_committed(end):
                if self.too_few_replicas:
                    raise NotEnoughReplicasAfterAppend(f"{self.tp}")
                return
            await self._moved.wait()
        raise NotLeader(f"{self.tp}")

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
