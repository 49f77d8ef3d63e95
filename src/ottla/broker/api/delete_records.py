"""DeleteRecords (KIP-107): move a partition's log start up to an offset, -1 for the high watermark.

Answered once every live replica has moved too, so that no later leader brings the records back;
followers learn of the new start with their next fetch and report theirs with the one after it.
"""

import trio

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.errors import (
    BrokerError,
    InvalidTopic,
    NotLeader,
    OffsetOutOfRange,
    PolicyViolation,
)
from ottla.broker.ids import Offset, TopicPartition
from ottla.broker.metadata import INTERNAL_TOPICS
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_records import (
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)

HIGH_WATERMARK = -1
LOOK_S = 0.05


class _Waiting:
    """A parked response: this broker's logs have moved, some follower's not yet."""

    __slots__ = ("_ctx", "_deadline", "_response", "_targets")

    def __init__(
        self,
        response: DeleteRecordsResponse,
        targets: dict[TopicPartition, tuple[int, DeleteRecordsPartitionResult]],
        deadline: float,
        ctx: RequestContext,
    ) -> None:
        self._response = response
        self._targets = targets
        self._deadline = deadline
        self._ctx = ctx

    def is_ready(self) -> bool:
        """Take over what has moved so far; whether nothing is left to wait for."""
        for tp, (offset, result) in list(self._targets.items()):
            try:
                low = low_watermark(tp, self._ctx)
            except BrokerError as error:
                result.error_code, result.low_watermark = error.code, -1
                del self._targets[tp]
                continue
            result.low_watermark = low
            if low >= offset:
                del self._targets[tp]
        return not self._targets

    async def wait(self) -> DeleteRecordsResponse:
        with trio.move_on_at(self._deadline):
            # A rare request about something that moves with the followers' fetches: looking now and
            # then is cheaper than a wake-up that every fetch would have to consider.
            while not self.is_ready():  # noqa: ASYNC110
                await trio.sleep(LOOK_S)
        for _, result in self._targets.values():
            result.error_code = ErrorCode.REQUEST_TIMED_OUT
        return self._response


def low_watermark(tp: TopicPartition, ctx: RequestContext) -> int:
    partition = ctx.services.partitions.get(tp)
    if partition is None or not partition.is_leader:
        raise NotLeader(f"{tp} is not led by this broker any more")
    return partition.leader.low_watermark(Offset(partition.log.log_start))


def handle(request: DeleteRecordsRequest, ctx: RequestContext) -> DeleteRecordsResponse | Parked:
    targets: dict[TopicPartition, tuple[int, DeleteRecordsPartitionResult]] = {}
    response = DeleteRecordsResponse()
    for topic in request.topics:
        results = []
        for asked in topic.partitions:
            tp = TopicPartition(topic.name, asked.partition_index)
            result = DeleteRecordsPartitionResult(partition_index=tp.partition, low_watermark=-1)
            results.append(result)
            try:
                targets[tp] = _delete(tp, asked.offset, ctx), result
            except BrokerError as error:
                result.error_code = error.code
        response.topics.append(DeleteRecordsTopicResult(name=topic.name, partitions=results))
    waiting = _Waiting(response, targets, ctx.now + request.timeout_ms / 1000, ctx)
    return response if waiting.is_ready() else waiting


def _delete(tp: TopicPartition, asked: int, ctx: RequestContext) -> int:
    """Move the log start of the partition that this broker leads; where to."""
    services = ctx.services
    if tp.topic in INTERNAL_TOPICS:
        raise InvalidTopic(f"{tp.topic} is internal")
    known = services.metadata.partition(tp) is not None
    partition = services.partitions.require_leader(tp, known=known)
    if "delete" not in partition.log.config.cleanup_policy:
        raise PolicyViolation(f"{tp.topic} is compacted only")
    offset = partition.high_watermark if asked == HIGH_WATERMARK else asked
    if not 0 <= offset <= partition.high_watermark:
        raise OffsetOutOfRange(f"{tp}: {offset} is beyond {partition.high_watermark}")
    if offset > partition.log.log_start:
        partition.log.advance_log_start(offset)
    return offset


def failed(
    request: DeleteRecordsRequest, code: ErrorCode, _message: str | None
) -> DeleteRecordsResponse:
    """`code` for every partition."""
    return DeleteRecordsResponse(
        topics=[
            DeleteRecordsTopicResult(
                name=topic.name,
                partitions=[
                    DeleteRecordsPartitionResult(
                        partition_index=asked.partition_index, low_watermark=-1, error_code=code
                    )
                    for asked in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.DELETE_RECORDS,
    versions=(0, 2),
    request_type=DeleteRecordsRequest,
    handle=handle,
    failed=failed,
)
