"""Brings logs back that were lost one by one: a damaged batch, a file that vanished.

Such a log is offline (`lost_logs`), its leadership moves, the replica leaves the ISR. From then on
nobody counts on what it holds. It is checked from its start, cut at what is damaged, and follows
the leader from there like any replica that lags; so it heals without a restart.

To cut earlier would be a loss: the controller might choose this replica for what it had. So all of
this must be true by what the controller told last: it knows that the replica is offline here, and
refuses to take it into the ISR; another broker leads; the ISR is without this one. A change of the
ISR that the leader asked for before the loss may still be on its way; it fails once the partition's
epoch has moved on, and is not waited for longer than `SETTLED_S`.
"""

from collections.abc import Awaitable, Callable, Iterable

import trio

from ottla.broker.ensemble.errors import EnsembleError
from ottla.broker.errors import KafkaStorageError
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.broker.metadata import MetadataCache
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.interfaces import Events

RETRY_S = 5.0
SETTLED_S = 60.0


class Mending:
    """The task that mends a broker's logs, one at a time. `mend(tp)` checks and opens one."""

    def __init__(
        self,
        broker_id: BrokerId,
        logs: LogManager,
        registry: PartitionRegistry,
        metadata: MetadataCache,
        *,
        mend: Callable[[TopicPartition], Awaitable[None]],
        events: Events,
    ) -> None:
        self._broker_id = broker_id
        self._logs = logs
        self._registry = registry
        self._metadata = metadata
        self._mend = mend
        self._events = events
        self._lost: dict[TopicPartition, tuple[int, float]] = {}  # partition epoch, when

    def note_lost(self, lost: Iterable[TopicPartition]) -> None:
        """These were lost just now."""
        now = trio.current_time()
        for tp in lost:
            image = self._metadata.partition(tp)
            self._lost[tp] = (-1 if image is None else image.partition_epoch, now)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            offline = self._logs.offline_logs()
            for tp in offline:
                if self._may_be_cut(tp):
                    await self._bring_back(tp)
            with trio.move_on_after(RETRY_S if offline else float("inf")):
                await self._metadata.wait_changed()

    def _may_be_cut(self, tp: TopicPartition) -> bool:
        image = self._metadata.partition(tp)
        if (
            image is None
            or self._broker_id not in image.offline
            or self._broker_id in image.isr
            or image.leader == self._broker_id
            or image.leader not in self._metadata.brokers
        ):
            return False
        epoch, when = self._lost.get(tp, (-1, 0.0))  # at the start: of an earlier registration
        return image.partition_epoch > epoch or trio.current_time() - when > SETTLED_S

    async def _bring_back(self, tp: TopicPartition) -> None:
        try:
            await self._mend(tp)
        except (OSError, KafkaStorageError, EnsembleError) as error:
            self._events.error("log.mending_failed", partition=str(tp), reason=str(error))
            await trio.sleep(RETRY_S)
            return
        if self._logs.get(tp) is not None:
            self._lost.pop(tp, None)
            self._registry.bring_online(tp)


__all__ = ["Mending"]
