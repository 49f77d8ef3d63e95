"""Judging AlterPartition, by which a leader asks for another ISR (KIP-497, 704, 841, 903).

Pure. A request is fenced by broker epoch, then by leader epoch, then by partition epoch, and its
ISR must be made of live assigned replicas. `judge` says what to write; `answer` builds the
response once the writes are done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from ottla.broker.controller.state import ControllerState, StateWrite
from ottla.broker.ensemble.values import PartitionState
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionResponse,
    AlterPartitionResponsePartitionData,
    AlterPartitionResponseTopicData,
)

_RECOVERING = 1


@dataclass(slots=True)
class Judgement:
    """`error` refuses the whole request. Otherwise each partition is in `refused`, or unchanged
    since it already is as wished, or in `writes`."""

    error: ErrorCode = ErrorCode.NONE
    refused: dict[tuple[UUID, int], ErrorCode] = field(default_factory=dict)
    writes: list[StateWrite] = field(default_factory=list)


def judge(cluster: ControllerState, request: AlterPartitionRequest) -> Judgement:
    """Decide about every partition of a request; changes nothing."""
    broker = cluster.brokers.get(BrokerId(request.broker_id))
    if broker is None or broker.epoch != request.broker_epoch:
        return Judgement(error=ErrorCode.STALE_BROKER_EPOCH)
    judgement = Judgement()
    for topic in request.topics:
        name = cluster.names.get(topic.topic_id)
        for wish in topic.partitions:
            if name is None:
                judgement.refused[topic.topic_id, wish.partition_index] = ErrorCode.UNKNOWN_TOPIC_ID
                continue
            tp = TopicPartition(name, wish.partition_index)
            verdict = _judge_partition(cluster, tp, broker.id, wish)
            if isinstance(verdict, ErrorCode):
                judgement.refused[topic.topic_id, wish.partition_index] = verdict
            elif verdict is not None:
                judgement.writes.append(verdict)
    return judgement


def _judge_partition(
    cluster: ControllerState,
    tp: TopicPartition,
    leader: BrokerId,
    wish: AlterPartitionRequestPartitionData,
) -> StateWrite | ErrorCode | None:
    state = cluster.partitions.get(tp)
    if state is None or tp.topic in cluster.deleting:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if wish.partition_epoch > state.partition_epoch or wish.leader_epoch > state.leader_epoch:
        # The leader knows more than we do: then we are not the controller any more.
        return ErrorCode.NOT_CONTROLLER
    if wish.leader_epoch < state.leader_epoch:
        return ErrorCode.FENCED_LEADER_EPOCH
    if leader != state.leader:
        return ErrorCode.INVALID_REQUEST
    isr = wished_isr(wish)
    recovering = wish.leader_recovery_state == _RECOVERING
    if set(isr) == set(state.isr) and recovering == state.recovering:
        return None  # before the next check, so that a repeated request succeeds
    if wish.partition_epoch < state.partition_epoch:
        return ErrorCode.INVALID_UPDATE_VERSION
    if recovering and (len(isr) > 1 or not state.recovering):
        return ErrorCode.INVALID_REQUEST
    if leader not in isr or len(set(isr)) != len(isr) or not set(isr) <= set(cluster.replicas(tp)):
        return ErrorCode.INVALID_REQUEST
    if any(not _may_join(cluster, tp, wish, replica) for replica in isr):
        return ErrorCode.INELIGIBLE_REPLICA
    new = replace(state, isr=isr, recovering=recovering, controller_epoch=cluster.epoch)
    return StateWrite(tp, new, ())


def wished_isr(wish: AlterPartitionRequestPartitionData) -> tuple[BrokerId, ...]:
    """Version 3 lists brokers with their epochs, version 2 without."""
    if wish.new_isr_with_epochs:
        return tuple([BrokerId(each.broker_id) for each in wish.new_isr_with_epochs])
    return tuple([BrokerId(each) for each in wish.new_isr])


def _may_join(
    cluster: ControllerState,
    tp: TopicPartition,
    wish: AlterPartitionRequestPartitionData,
    replica: BrokerId,
) -> bool:
    if not cluster.is_online(replica, tp):
        return False
    known = cluster.brokers[replica].epoch
    return all(
        each.broker_epoch in {-1, known}
        for each in wish.new_isr_with_epochs
        if each.broker_id == replica
    )


def answer(
    cluster: ControllerState,
    request: AlterPartitionRequest,
    judgement: Judgement,
    failed: Mapping[TopicPartition, ErrorCode],
) -> AlterPartitionResponse:
    """The response: for each partition its state now, or why it stays as it was."""
    response = AlterPartitionResponse(error_code=judgement.error)
    if judgement.error:
        return response
    for topic in request.topics:
        name = cluster.names.get(topic.topic_id)
        answered = AlterPartitionResponseTopicData(topic_id=topic.topic_id)
        for wish in topic.partitions:
            at = wish.partition_index
            error = judgement.refused.get((topic.topic_id, at), ErrorCode.NONE)
            state = None
            if name is not None:
                tp = TopicPartition(name, at)
                error = error or failed.get(tp, ErrorCode.NONE)
                state = cluster.partitions.get(tp)
            answered.partitions.append(_partition_answer(at, error, state))
        response.topics.append(answered)
    return response


def _partition_answer(
    at: int, error: ErrorCode, state: PartitionState | None
) -> AlterPartitionResponsePartitionData:
    if error or state is None:
        return AlterPartitionResponsePartitionData(
            partition_index=at, error_code=error or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        )
    return AlterPartitionResponsePartitionData(
        partition_index=at,
        leader_id=state.leader,
        leader_epoch=state.leader_epoch,
        isr=list(state.isr),
        leader_recovery_state=_RECOVERING if state.recovering else 0,
        partition_epoch=state.partition_epoch,
    )
