"""ListOffsets (key 2): the offset of a timestamp, or of one of the special timestamps.

Version 2 added isolation levels (KIP-98), 4 leader epochs (KIP-320), 6 is flexible, 7 asks for the
record with the largest timestamp (KIP-734), 8 for the earliest local offset (KIP-405), 9 for the
last tiered one (KIP-1005).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class ListOffsetsPartition:
    partition_index: int = at(INT32)
    current_leader_epoch: int = at(INT32, since=4, default=-1, ignorable=True)
    timestamp: int = at(INT64)


@struct
class ListOffsetsTopic:
    name: str = at(STRING)
    partitions: list[ListOffsetsPartition] = at(array(ListOffsetsPartition))


@message(api=ApiKey.LIST_OFFSETS, versions=(1, 9), flexible_from=6)
class ListOffsetsRequest:
    replica_id: int = at(INT32)
    isolation_level: int = at(INT8, since=2)
    topics: list[ListOffsetsTopic] = at(array(ListOffsetsTopic))


@struct
class ListOffsetsPartitionResponse:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)
    timestamp: int = at(INT64, default=-1)
    offset: int = at(INT64, default=-1)
    leader_epoch: int = at(INT32, since=4, default=-1)


@struct
class ListOffsetsTopicResponse:
    name: str = at(STRING)
    partitions: list[ListOffsetsPartitionResponse] = at(array(ListOffsetsPartitionResponse))


@message(api=ApiKey.LIST_OFFSETS, versions=(1, 9), flexible_from=6)
class ListOffsetsResponse:
    throttle_time_ms: int = at(INT32, since=2, ignorable=True)
    topics: list[ListOffsetsTopicResponse] = at(array(ListOffsetsTopicResponse))
