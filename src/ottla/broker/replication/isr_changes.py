"""Sends wanted ISR changes to the controller: AlterPartition, KIP-497.

One request is in flight; what is wanted meanwhile goes with the next one. A change is retried until
the controller settles it or its partition has moved on.
"""

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import trio

from ottla.broker.ids import BrokerEpoch, BrokerId, PartitionEpoch, TopicPartition
from ottla.broker.link import BrokerLink
from ottla.broker.replication.leader import IsrChange
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
    AlterPartitionResponse,
    AlterPartitionResponsePartitionData,
    BrokerState,
)
from ottla.runtime.interfaces import Events

RETRY_SECONDS = 0.05
TIMEOUT_SECONDS = 10.0
VERSION = 3

# The controller said that the change was not and will not be made: the last committed ISR holds.
REJECTED = frozenset((ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.INELIGIBLE_REPLICA))
# Our view is outdated; a LeaderAndIsr with a newer one is on its way, and until it came the larger
# of both ISRs has to count.
OUTDATED = frozenset(
    (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_UPDATE_VERSION,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.NEW_LEADER_ELECTED,
    )
)


class LedPartition(Protocol):
    """What a partition offers to whoever settles its ISR change."""

    @property
    def tp(self) -> TopicPartition: ...

    @property
    def topic_id(self) -> UUID: ...

    def is_pending(self, change: IsrChange) -> bool: ...

    def on_isr_committed(self, isr: list[BrokerId], partition_epoch: PartitionEpoch) -> None: ...

    def on_isr_rejected(self, change: IsrChange) -> None: ...


class IsrChanges:
    """The queue and the task that empties it; at most one change a partition waits."""

    def __init__(
        self,
        broker_id: BrokerId,
        broker_epoch: Callable[[], BrokerEpoch],
        controller_link: Callable[[], BrokerLink | None],
        events: Events,
    ) -> None:
        self._broker_id = broker_id
        self._broker_epoch = broker_epoch
        self._controller_link = controller_link
        self._events = events
        self._wanted: dict[TopicPartition, tuple[LedPartition, IsrChange]] = {}
        self._wake = trio.Event()

    def submit(self, partition: LedPartition, change: IsrChange) -> None:
        self._wanted[partition.tp] = (partition, change)
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            batch, self._wanted = self._wanted, {}
            live = {tp: item for tp, item in batch.items() if item[0].is_pending(item[1])}
            if live and (unsettled := await self._send(live)):
                for tp, item in unsettled.items():
                    self._wanted.setdefault(tp, item)
                await trio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _send(
        self, batch: dict[TopicPartition, tuple[LedPartition, IsrChange]]
    ) -> dict[TopicPartition, tuple[LedPartition, IsrChange]]:
        """Ask for all of `batch`; what still has to be asked."""
        link = self._controller_link()
        if link is None:
            return batch
        try:
            response = await link.request(
                self._request(batch), version=VERSION, timeout_s=TIMEOUT_SECONDS
            )
        except OSError as error:
            self._events.debug("isr.change_delayed", reason=str(error), partitions=len(batch))
            return batch
        assert isinstance(response, AlterPartitionResponse)
        if response.error_code != ErrorCode.NONE:
            self._events.debug(
                "isr.change_delayed",
                reason=ErrorCode(response.error_code).name,
                partitions=len(batch),
            )
            return batch
        return self._settle(batch, response)

    def _request(
        self, batch: dict[TopicPartition, tuple[LedPartition, IsrChange]]
    ) -> AlterPartitionRequest:
        topics: dict[UUID, AlterPartitionRequestTopicData] = {}
        for tp, (partition, change) in batch.items():
            topic = topics.setdefault(
                partition.topic_id,
                AlterPartitionRequestTopicData(topic_id=partition.topic_id, partitions=[]),
            )
            topic.partitions.append(
                AlterPartitionRequestPartitionData(
                    partition_index=tp.partition,
                    leader_epoch=change.leader_epoch,
                    new_isr_with_epochs=[
                        BrokerState(broker_id=broker, broker_epoch=epoch)
                        for broker, epoch in change.isr
                    ],
                    partition_epoch=change.partition_epoch,
                )
            )
        return AlterPartitionRequest(
            broker_id=self._broker_id,
            broker_epoch=self._broker_epoch(),
            topics=list(topics.values()),
        )

    def _settle(
        self,
        batch: dict[TopicPartition, tuple[LedPartition, IsrChange]],
        response: AlterPartitionResponse,
    ) -> dict[TopicPartition, tuple[LedPartition, IsrChange]]:
        answers = {
            (topic.topic_id, partition.partition_index): partition
            for topic in response.topics
            for partition in topic.partitions
        }
        unsettled = {}
        for tp, (partition, change) in batch.items():
            answer = answers.get((partition.topic_id, tp.partition))
            if not partition.is_pending(change):
                continue
            if answer is None or not self._settle_one(partition, change, answer):
                unsettled[tp] = (partition, change)
        return unsettled

    def _settle_one(
        self,
        partition: LedPartition,
        change: IsrChange,
        answer: AlterPartitionResponsePartitionData,
    ) -> bool:
        code = ErrorCode(answer.error_code)
        if code is ErrorCode.NONE:
            if answer.leader_epoch == change.leader_epoch:
                partition.on_isr_committed(
                    [BrokerId(broker) for broker in answer.isr],
                    PartitionEpoch(answer.partition_epoch),
                )
            return True
        self._events.info(
            "isr.change_refused",
            partition=str(partition.tp),
            code=code.name,
            added=list(change.added),
            removed=list(change.removed),
        )
        if code in REJECTED:
            partition.on_isr_rejected(change)
            return True
        return code in OUTDATED
