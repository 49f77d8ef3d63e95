"""OffsetForLeaderEpoch (KIP-101, KIP-279, KIP-320): where a leader epoch ended in the leader's log.

The answer names the greatest epoch at or below the one asked for that the leader knows, and its
end offset; both -1 when it knows none.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.errors import BrokerError
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)


def handle(
    request: OffsetForLeaderEpochRequest, ctx: RequestContext
) -> OffsetForLeaderEpochResponse:
    return OffsetForLeaderEpochResponse(
        topics=[
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=[
                    _answer(TopicPartition(topic.topic, asked.partition), asked, ctx)
                    for asked in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


def _answer(
    tp: TopicPartition, asked: OffsetForLeaderPartition, ctx: RequestContext
) -> EpochEndOffset:
    services = ctx.services
    try:
        known = services.metadata.partition(tp) is not None
        partition = services.partitions.require_leader(tp, known=known)
        partition.require_epoch(asked.current_leader_epoch)
    except BrokerError as error:
        return EpochEndOffset(partition=tp.partition, error_code=error.code)
    epoch, end = partition.log.end_offset_for_epoch(asked.leader_epoch)
    return EpochEndOffset(partition=tp.partition, leader_epoch=epoch, end_offset=end)


def failed(
    request: OffsetForLeaderEpochRequest, code: ErrorCode, _message: str | None
) -> OffsetForLeaderEpochResponse:
    """`code` for every partition."""
    return OffsetForLeaderEpochResponse(
        topics=[
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=[
                    EpochEndOffset(partition=asked.partition, error_code=code)
                    for asked in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.OFFSET_FOR_LEADER_EPOCH,
    versions=(2, 4),
    request_type=OffsetForLeaderEpochRequest,
    handle=handle,
    failed=failed,
)
