"""Carries out the controller's decisions on this broker's replicas: LeaderAndIsr and StopReplica.

One request at a time. The controller epoch and this broker's own epoch fence requests of a past
controller and requests meant for this broker's previous life; the leader epoch fences each
partition.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import trio

from ottla.broker.errors import BrokerError, InconsistentTopicId
from ottla.broker.ids import (
    NO_BROKER,
    NO_EPOCH,
    ZERO_TOPIC_ID,
    BrokerEpoch,
    BrokerId,
    ControllerEpoch,
    LeaderEpoch,
    Offset,
    PartitionEpoch,
    TopicId,
    TopicPartition,
)
from ottla.broker.metadata import LEADER_DURING_DELETE
from ottla.broker.partitions.partition import Partition
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.partitions.values import PartitionServices, PartitionState
from ottla.broker.replication.fetcher import Fetchers
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.leader_and_isr import (
    LeaderAndIsrPartitionError,
    LeaderAndIsrPartitionState,
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    LeaderAndIsrTopicError,
)
from ottla.protocol.kafka.messages.stop_replica import (
    StopReplicaPartitionError,
    StopReplicaRequest,
    StopReplicaResponse,
)
from ottla.protocol.kafka.messages.update_metadata import UpdateMetadataRequest
from ottla.runtime.interfaces import Address

ROLES_PER_STEP = 5
"""Partitions that take their roles, and perhaps make their logs, before others get their turn."""


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What a topic's configuration means to its replicas."""

    log: LogConfig
    min_isr: int


class RoleListener(Protocol):
    """Whoever needs to know which partitions this broker leads (groups, transactions)."""

    def on_leader(self, tp: TopicPartition) -> None: ...

    def on_not_leader(self, tp: TopicPartition) -> None: ...


class TopicConfigs(Protocol):
    """Where the settings of topics come from."""

    async def read_topics(self, names: Iterable[str]) -> None:
        """Learn these topics' overrides from the ensemble."""
        ...

    def settings(self, topic: str) -> TopicSettings:
        """What is known of a topic now."""
        ...


class ReplicaSet:
    """Creates, changes and removes the partitions of a registry as the controller says."""

    def __init__(
        self,
        registry: PartitionRegistry,
        log_manager: LogManager,
        fetchers: Fetchers,
        services: PartitionServices,
        *,
        topics: TopicConfigs,
        broker_epoch: Callable[[], BrokerEpoch],
        role_listeners: Iterable[RoleListener],
    ) -> None:
        self.controller_epoch = ControllerEpoch(-1)
        self._registry = registry
        self._log_manager = log_manager
        self._fetchers = fetchers
        self._services = services
        self._topics = topics
        self._broker_epoch = broker_epoch
        self._role_listeners = tuple(role_listeners)
        self._one_at_a_time = trio.Lock()
        self._known: dict[BrokerId, Address] = {}

    def fence(self, controller_epoch: int, broker_epoch: int) -> ErrorCode:
        """NONE, or why a request of this controller about this broker is refused."""
        if controller_epoch < self.controller_epoch:
            return ErrorCode.STALE_CONTROLLER_EPOCH
        # The controller may know of a registration of ours before we do, never of a later one than
        # is.
        if broker_epoch != -1 and broker_epoch < self._broker_epoch():
            return ErrorCode.STALE_BROKER_EPOCH
        return ErrorCode.NONE

    async def apply_leader_and_isr(
        self, request: LeaderAndIsrRequest, *, version: int
    ) -> LeaderAndIsrResponse:
        """Take the roles that the controller gives; one error per partition in the answer."""
        async with self._one_at_a_time:
            refused = self.fence(request.controller_epoch, request.broker_epoch)
            if refused:
                return LeaderAndIsrResponse(error_code=refused)
            self.controller_epoch = ControllerEpoch(request.controller_epoch)
            for live in request.live_leaders:
                self._known[BrokerId(live.broker_id)] = Address(live.host_name, live.port)
            # What waits for the ensemble comes first, so that the roles change soon after another.
            await self._topics.read_topics(
                topic.topic_name
                for topic in request.topic_states
                if any(
                    self._registry.get(TopicPartition(topic.topic_name, state.partition_index))
                    is None
                    for state in topic.partition_states
                )
            )
            # The ensemble may have been out of reach for long, and this broker registered anew.
            refused = self.fence(request.controller_epoch, request.broker_epoch)
            if refused:
                return LeaderAndIsrResponse(error_code=refused)
            errors: list[tuple[TopicId, TopicPartition, ErrorCode]] = []
            for topic in request.topic_states:
                for state in topic.partition_states:
                    if len(errors) % ROLES_PER_STEP == ROLES_PER_STEP - 1:
                        await trio.lowlevel.checkpoint()
                        refused = self.fence(request.controller_epoch, request.broker_epoch)
                        if refused:
                            return LeaderAndIsrResponse(error_code=refused)
                    tp = TopicPartition(topic.topic_name, state.partition_index)
                    code = self._take_role(tp, topic.topic_id, state)
                    errors.append((topic.topic_id, tp, code))
            self._fetchers.drop_idle()
            return _leader_and_isr_response(errors, version)

    def _take_role(
        self,
        tp: TopicPartition,
        topic_id: TopicId,
        state: LeaderAndIsrPartitionState,
    ) -> ErrorCode:
        own_id = self._services.broker_id
        if own_id not in state.replicas:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if self._registry.is_offline(tp):
            return ErrorCode.KAFKA_STORAGE_ERROR
        try:
            partition = self._registry.get(tp) or self._create(tp, topic_id, is_new=state.is_new)
        except BrokerError as error:
            self._services.events.error(
                "partition.create_failed", partition=str(tp), reason=str(error)
            )
            return error.code
        if topic_id not in (partition.topic_id, ZERO_TOPIC_ID):
            return ErrorCode.INCONSISTENT_TOPIC_ID
        if state.leader_epoch < partition.leader_epoch:
            return ErrorCode.STALE_CONTROLLER_EPOCH
        if (
            state.leader_epoch == partition.leader_epoch
            and state.partition_epoch <= partition.partition_epoch
        ):
            return ErrorCode.NONE  # a repetition, or older than what AlterPartition told us
        decided = PartitionState(
            leader=BrokerId(state.leader),
            leader_epoch=LeaderEpoch(state.leader_epoch),
            partition_epoch=PartitionEpoch(state.partition_epoch),
            isr=[BrokerId(broker) for broker in state.isr],
            replicas=[BrokerId(broker) for broker in state.replicas],
        )
        if state.leader == own_id:
            self._lead(partition, decided)
        else:
            self._follow(partition, decided)
        return ErrorCode.NONE

    def _create(self, tp: TopicPartition, topic_id: TopicId, *, is_new: bool) -> Partition:
        settings = self._topics.settings(tp.topic)
        log = self._log_manager.get(tp)
        if log is not None and log.topic_id not in (None, ZERO_TOPIC_ID, topic_id):
            raise InconsistentTopicId(f"{tp}: the log on disk belongs to topic id {log.topic_id}")
        now_ms = self._services.wall_clock.now_ms()
        log = self._log_manager.create(
            tp, settings.log, now_ms=now_ms, topic_id=topic_id, is_new=is_new
        )
        log.config = settings.log
        partition = Partition(
            tp,
            topic_id,
            log,
            high_watermark=Offset(self._log_manager.high_watermark(tp)),
            min_isr=settings.min_isr,
            services=self._services,
        )
        self._registry.add(partition)
        return partition

    def _lead(self, partition: Partition, state: PartitionState) -> None:
        self._fetchers.unfollow(partition.tp)
        if partition.make_leader(state):
            self._services.events.info(
                "partition.leader_started",
                partition=str(partition.tp),
                leader_epoch=state.leader_epoch,
                log_end=partition.log.log_end,
                high_watermark=partition.high_watermark,
                isr=list(state.isr),
            )
        # A new leader epoch in the same hands still fences what the group home has under way.
        for listener in self._role_listeners:
            listener.on_leader(partition.tp)

    def _follow(self, partition: Partition, state: PartitionState) -> None:
        was_leader = partition.is_leader
        partition.make_follower(state)
        if was_leader:
            for listener in self._role_listeners:
                listener.on_not_leader(partition.tp)
        address = self._known.get(state.leader)
        if state.leader == NO_BROKER or address is None:
            self._fetchers.unfollow(partition.tp)
            return
        self._fetchers.follow(partition, state.leader, address)
        self._services.events.debug(
            "partition.follower_started",
            partition=str(partition.tp),
            leader=state.leader,
            leader_epoch=state.leader_epoch,
            log_end=partition.log.log_end,
        )

    async def apply_stop_replica(self, request: StopReplicaRequest) -> StopReplicaResponse:
        """Stop replicas, and delete those that the controller wants deleted (versions 3 and up)."""
        async with self._one_at_a_time:
            refused = self.fence(request.controller_epoch, request.broker_epoch)
            if refused:
                return StopReplicaResponse(error_code=refused)
            self.controller_epoch = ControllerEpoch(request.controller_epoch)
            stopped = [
                (tp, delete, self._stop(tp, leader_epoch, delete=delete))
                for tp, leader_epoch, delete in _stopped(request)
            ]
            self._fetchers.drop_idle()
            code_deleted = self._sync_deletions()
            return StopReplicaResponse(
                partition_errors=[
                    StopReplicaPartitionError(
                        topic_name=tp.topic,
                        partition_index=tp.partition,
                        error_code=code or (code_deleted if delete else ErrorCode.NONE),
                    )
                    for tp, delete, code in stopped
                ]
            )

    def _stop(self, tp: TopicPartition, leader_epoch: int, *, delete: bool) -> ErrorCode:
        partition = self._registry.get(tp)
        # -2: the topic is being deleted; -1: the controller is too old to know (KIP-570).
        if (
            partition is not None
            and leader_epoch not in (NO_EPOCH, -2)
            and leader_epoch < partition.leader_epoch
        ):
            return ErrorCode.FENCED_LEADER_EPOCH
        self._fetchers.unfollow(tp)
        if partition is not None:
            self._end(partition)
        if not delete:
            return ErrorCode.NONE
        try:
            if self._log_manager.discard_offline(tp, unique=UUID(int=self._now_ms())):
                self._registry.bring_online(tp)
                self._services.events.info("partition.deleted", partition=str(tp))
                return ErrorCode.NONE
        except OSError as error:
            self._services.events.error(
                "partition.delete_failed", partition=str(tp), reason=str(error)
            )
            return ErrorCode.KAFKA_STORAGE_ERROR
        if self._registry.is_offline(tp):
            return ErrorCode.KAFKA_STORAGE_ERROR
        return self._delete(tp, partition)

    def drop_moved_away(self, request: UpdateMetadataRequest) -> None:
        """Delete replicas that were assigned elsewhere while nobody could tell this broker to.

        It was down, or the controller was deposed between its decision and StopReplica. Each step
        of a reassignment raises the leader epoch, so what is older than that is not asked for.
        """
        own_id = self._services.broker_id
        dropped = False
        for topic in request.topic_states:
            for state in topic.partition_states:
                if own_id in state.replicas or state.leader == LEADER_DURING_DELETE:
                    continue
                tp = TopicPartition(topic.topic_name, state.partition_index)
                log = self._log_manager.get(tp)
                if (
                    log is None
                    or log.topic_id not in (None, topic.topic_id)
                    or self._registry.is_offline(tp)
                ):
                    continue
                partition = self._registry.get(tp)
                newest = log.latest_epoch if partition is None else partition.leader_epoch
                if state.leader_epoch > newest:
                    self._stop(tp, state.leader_epoch, delete=True)
                    dropped = True
        if dropped:
            self._fetchers.drop_idle()
            self._sync_deletions()

    def _end(self, partition: Partition) -> None:
        was_leader = partition.is_leader
        partition.stop()
        if was_leader:
            for listener in self._role_listeners:
                listener.on_not_leader(partition.tp)

    def take_offline(self, tps: Iterable[TopicPartition]) -> None:
        """The logs of these are lost: they take part in nothing until the next start."""
        for tp in tps:
            self._fetchers.unfollow(tp)
            partition = self._registry.take_offline(tp)
            if partition is not None:
                self._end(partition)
        self._fetchers.drop_idle()

    def _delete(self, tp: TopicPartition, partition: Partition | None) -> ErrorCode:
        if partition is not None:
            self._registry.remove(tp)
        log = self._log_manager.get(tp)
        if log is None:
            if not self._log_manager.may_be_lost(tp):
                return ErrorCode.NONE
            # With its directory it would come back, for a topic of that name to take for its own.
            self._services.events.error(
                "partition.delete_failed",
                partition=str(tp),
                reason="it may be in a log directory that failed",
            )
            return ErrorCode.KAFKA_STORAGE_ERROR
        try:
            self._log_manager.delete(
                tp, now_ms=self._now_ms(), unique=log.topic_id or ZERO_TOPIC_ID
            )
        except OSError as error:
            self._services.events.error(
                "partition.delete_failed", partition=str(tp), reason=str(error)
            )
            return ErrorCode.KAFKA_STORAGE_ERROR
        self._services.events.info("partition.deleted", partition=str(tp))
        return ErrorCode.NONE

    def _now_ms(self) -> int:
        return self._services.wall_clock.now_ms()

    def _sync_deletions(self) -> ErrorCode:
        """One sync for all logs that a request has deleted, before the controller is told."""
        try:
            self._log_manager.sync_deletions()
        except OSError as error:
            self._services.events.error(
                "partition.delete_failed", partition=None, reason=str(error)
            )
            return ErrorCode.KAFKA_STORAGE_ERROR
        return ErrorCode.NONE

    def shrink_isrs(self) -> None:
        """One round of the ISR timer over the partitions led here."""
        for partition in self._registry:
            partition.shrink_isr()


def _stopped(request: StopReplicaRequest) -> Iterable[tuple[TopicPartition, int, bool]]:
    """The partitions of a request, whichever version's fields it uses."""
    for topic in request.topics:
        for index in topic.partition_indexes:
            yield TopicPartition(topic.name, index), NO_EPOCH, request.delete_partitions
    for state in request.topic_states:
        for partition in state.partition_states:
            yield (
                TopicPartition(state.topic_name, partition.partition_index),
                partition.leader_epoch,
                partition.delete_partition,
            )


def _leader_and_isr_response(
    errors: list[tuple[TopicId, TopicPartition, ErrorCode]], version: int
) -> LeaderAndIsrResponse:
    """The answer in the form of the request's version: by topic id since 5, by name before."""
    if version < 5:
        return LeaderAndIsrResponse(
            partition_errors=[
                LeaderAndIsrPartitionError(
                    topic_name=tp.topic, partition_index=tp.partition, error_code=code
                )
                for _, tp, code in errors
            ]
        )
    topics: dict[TopicId, LeaderAndIsrTopicError] = {}
    for topic_id, tp, code in errors:
        topic = topics.setdefault(
            topic_id, LeaderAndIsrTopicError(topic_id=topic_id, partition_errors=[])
        )
        topic.partition_errors.append(
            LeaderAndIsrPartitionError(partition_index=tp.partition, error_code=code)
        )
    return LeaderAndIsrResponse(topics=list(topics.values()))
