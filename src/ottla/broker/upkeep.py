"""What a broker does by the clock: retention, flushes, checkpoints, compaction, lagging ISR
members.
"""

from dataclasses import dataclass

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.partitions.replica_set import ReplicaSet
from ottla.broker.slices import cleaner_settings
from ottla.broker.storage.cleaner import Cleaner, CleanerSettings
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import FOREVER
from ottla.broker.storage.log_dir import LogManager
from ottla.broker.storage.segment import CorruptLog
from ottla.config.broker import BrokerConfig
from ottla.runtime.interfaces import Runtime

FLUSH_ROUND_S = 1.0
FLUSH_ROUND_S_MIN = 0.01
ISR_ROUND_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class UpkeepSettings:
    """Periods in seconds."""

    retention_check: float
    high_watermark_checkpoint: float
    lag_max: float
    cleaner: CleanerSettings

    @classmethod
    def of(cls, config: BrokerConfig) -> "UpkeepSettings":
        return cls(
            retention_check=config.int("log.retention.check.interval.ms") / 1000,
            high_watermark_checkpoint=(
                config.int("replica.high.watermark.checkpoint.interval.ms") / 1000
            ),
            lag_max=config.int("replica.lag.time.max.ms") / 1000,
            cleaner=cleaner_settings(config),
        )


class Upkeep:
    """The timers of one broker; `run` holds a task for each."""

    def __init__(
        self,
        settings: UpkeepSettings,
        registry: PartitionRegistry,
        replicas: ReplicaSet,
        logs: LogManager,
        runtime: Runtime,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._replicas = replicas
        self._logs = logs
        self._runtime = runtime
        self._cleaner = Cleaner(
            settings.cleaner,
            logs,
            self._last_stable_offset_of,
            runtime,
            note_damage=self._note_damage,
        )

    def configure(self, config: BrokerConfig) -> None:
        """The broker's configuration changed: take over what may change while it runs."""
        self._cleaner.configure(cleaner_settings(config))

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._shrink_isrs)
            nursery.start_soon(self._checkpoint)
            nursery.start_soon(self._flush)
            nursery.start_soon(self._retain)
            nursery.start_soon(self._cleaner.run)

    async def _shrink_isrs(self) -> None:
        # Kafka looks twice within the lag time; a cap keeps a long one from delaying what is seen.
        period = min(self._settings.lag_max / 2, ISR_ROUND_MAX_S)
        while True:
            await trio.sleep(period)
            self._replicas.shrink_isrs()

    async def _checkpoint(self) -> None:
        while True:
            await trio.sleep(self._settings.high_watermark_checkpoint)
            self.note_high_watermarks()
            await self._logs.save_checkpoints()

    def note_high_watermarks(self) -> None:
        """Hand the high watermarks to the next checkpoint."""
        for partition in self._registry:
            self._logs.note_high_watermark(partition.tp, partition.high_watermark)

    async def _flush(self) -> None:
        shortest_ms: float = FOREVER
        while True:
            # A topic's `flush.ms` may be shorter than a round.
            await trio.sleep(min(FLUSH_ROUND_S, max(shortest_ms / 2000, FLUSH_ROUND_S_MIN)))
            now_ms = self._runtime.wall_clock.now_ms()
            shortest_ms = await self._logs.flush_due(now_ms)
            self._logs.look_for_space(now_ms)

    async def _retain(self) -> None:
        while True:
            await trio.sleep(self._settings.retention_check)
            await self._logs.upkeep(self._high_watermark_of, self._runtime.wall_clock.now_ms())

    def _high_watermark_of(self, tp: TopicPartition) -> int:
        partition = self._registry.get(tp)
        return 0 if partition is None else partition.high_watermark

    def _last_stable_offset_of(self, tp: TopicPartition) -> int:
        partition = self._registry.get(tp)
        return 0 if partition is None else partition.last_stable_offset

    def _note_damage(self, log: Log, offset: int, error: CorruptLog) -> None:
        partition = self._registry.get(log.tp)
        if partition is not None and partition.log is log:
            partition.note_damage(offset, error)
