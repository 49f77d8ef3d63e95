"""ListOffsets: the offset of a partition's start, its readable end, or of a point in time.

| timestamp asked | since | offset                                                              |
|-----------------|-------|---------------------------------------------------------------------|
| -1 latest       | 1     | high watermark; last stable offset for read_committed; log end for  |
|                 |       | a follower                                                          |
| -2 earliest     | 1     | log start                                                           |
| -3 max          | 7     | the record with the greatest timestamp, with that timestamp         |
| -4 local start  | 8     | log start, as there is no remote tier                               |
| -5 last tiered  | 9     | -1, as there is no remote tier                                      |
| 0 and above     | 1     | the first record at or after that time, with its timestamp          |

One that the version does not know: UNSUPPORTED_VERSION. Nothing found, or found above what the
asker may read: offset -1, timestamp -1 and no error.
"""

from typing import TYPE_CHECKING

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.errors import (
    BrokerError,
    LeaderNotAvailable,
    OffsetNotAvailable,
    UnsupportedVersion,
)
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)

if TYPE_CHECKING:
    from ottla.broker.partitions.partition import Partition

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED = -1, -2, -3, -4, -5
READ_COMMITTED = 1
DEBUGGING_REPLICA = -2
CONSUMER = -1
_SINCE = {LATEST: 1, EARLIEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9}
EPOCHS_SINCE = 4
NOT_AVAILABLE_SINCE = 5

Found = tuple[int, int, int]  # timestamp, offset, leader epoch; -1 for what is not known
NOTHING: Found = (-1, -1, -1)


def handle(request: ListOffsetsRequest, ctx: RequestContext) -> ListOffsetsResponse:
    return ListOffsetsResponse(
        topics=[
            ListOffsetsTopicResponse(
                name=topic.name,
                partitions=[
                    _answer(TopicPartition(topic.name, asked.partition_index), asked, request, ctx)
                    for asked in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


def _answer(
    tp: TopicPartition,
    asked: ListOffsetsPartition,
    request: ListOffsetsRequest,
    ctx: RequestContext,
) -> ListOffsetsPartitionResponse:
    services = ctx.services
    try:
        if request.replica_id == DEBUGGING_REPLICA:
            partition = services.partitions.require(tp)
        else:
            known = services.metadata.partition(tp) is not None
            partition = services.partitions.require_leader(tp, known=known)
        partition.require_epoch(asked.current_leader_epoch)
        if asked.timestamp < 0 and ctx.api_version < _SINCE.get(asked.timestamp, 1 << 15):
            raise UnsupportedVersion(f"timestamp {asked.timestamp} in version {ctx.api_version}")
        timestamp, offset, epoch = _find(partition, asked.timestamp, _end(partition, request))
        if request.replica_id == CONSUMER:
            _require_settled(partition, asked.timestamp, offset, ctx)
    except BrokerError as error:
        return ListOffsetsPartitionResponse(partition_index=tp.partition, error_code=error.code)
    answer = ListOffsetsPartitionResponse(
        partition_index=tp.partition, timestamp=timestamp, offset=offset
    )
    if ctx.api_version >= EPOCHS_SINCE:
        answer.leader_epoch = epoch
    return answer


def _require_settled(
    partition: "Partition", timestamp: int, offset: int, ctx: RequestContext
) -> None:
    """KIP-207: a leader whose high watermark has not reached its own epoch may know of less than
    its predecessor had committed, and would send a consumer back in time."""
    if partition.high_watermark >= partition.leader.epoch_start:
        return
    if timestamp == LATEST or (timestamp not in {EARLIEST, EARLIEST_LOCAL} and offset < 0):
        text = f"{partition.tp}: not all that was committed is known here yet"
        if ctx.api_version < NOT_AVAILABLE_SINCE:
            raise LeaderNotAvailable(text)
        raise OffsetNotAvailable(text)


def _end(partition: "Partition", request: ListOffsetsRequest) -> int:
    """The end of what the asker may read."""
    if request.replica_id != CONSUMER:
        return partition.log.log_end
    if request.isolation_level == READ_COMMITTED:
        return partition.last_stable_offset
    return partition.high_watermark


def _find(partition: "Partition", timestamp: int, end: int) -> Found:
    log = partition.log
    if timestamp == LATEST:
        return -1, end, partition.leader_epoch
    if timestamp in {EARLIEST, EARLIEST_LOCAL}:
        return -1, log.log_start, log.epochs.epoch_of(log.log_start)
    if timestamp == LATEST_TIERED:
        return NOTHING
    if timestamp == MAX_TIMESTAMP:
        found = log.max_timestamp_offset()
    else:
        found = log.offset_for_timestamp(timestamp)
    return NOTHING if found is None or found[1] >= end else found


def failed(
    request: ListOffsetsRequest, code: ErrorCode, _message: str | None
) -> ListOffsetsResponse:
    """`code` for every partition."""
    return ListOffsetsResponse(
        topics=[
            ListOffsetsTopicResponse(
                name=topic.name,
                partitions=[
                    ListOffsetsPartitionResponse(
                        partition_index=asked.partition_index, error_code=code
                    )
                    for asked in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.LIST_OFFSETS,
    versions=(1, 9),
    request_type=ListOffsetsRequest,
    handle=handle,
    failed=failed,
)
