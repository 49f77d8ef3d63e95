"""OffsetFetch (key 9): a group asks for its committed offsets.

Null topics mean all topics from version 2 on, where an error for the whole group was added too. 5
returns leader epochs (KIP-320), 6 is flexible, 7 can insist on stable offsets (KIP-447), 8 asks for
several groups at once (KIP-709), 9 is fenced by member epoch (KIP-848).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
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
class OffsetFetchRequestTopic:
    name: str = at(STRING)
    partition_indexes: list[int] = at(array(INT32))


@struct
class OffsetFetchRequestTopics:
    name: str = at(STRING)
    partition_indexes: list[int] = at(array(INT32))


@struct
class OffsetFetchRequestGroup:
    group_id: str = at(STRING)
    member_id: str | None = at(STRING, since=9, nullable=True, default=None, ignorable=True)
    member_epoch: int = at(INT32, since=9, default=-1, ignorable=True)
    topics: list[OffsetFetchRequestTopics] | None = at(
        array(OffsetFetchRequestTopics), nullable=True
    )


@message(api=ApiKey.OFFSET_FETCH, versions=(1, 9), flexible_from=6)
class OffsetFetchRequest:
    group_id: str = at(STRING, until=7)
    topics: list[OffsetFetchRequestTopic] | None = at(
        array(OffsetFetchRequestTopic), until=7, nullable_since=2
    )
    groups: list[OffsetFetchRequestGroup] = at(array(OffsetFetchRequestGroup), since=8)
    require_stable: bool = at(BOOL, since=7)


@struct
class OffsetFetchResponsePartition:
    partition_index: int = at(INT32)
    committed_offset: int = at(INT64)
    committed_leader_epoch: int = at(INT32, since=5, default=-1, ignorable=True)
    metadata: str | None = at(STRING, nullable=True)
    error_code: int = at(INT16)


@struct
class OffsetFetchResponseTopic:
    name: str = at(STRING)
    partitions: list[OffsetFetchResponsePartition] = at(array(OffsetFetchResponsePartition))


@struct
class OffsetFetchResponsePartitions:
    partition_index: int = at(INT32)
    committed_offset: int = at(INT64)
    committed_leader_epoch: int = at(INT32, default=-1)
    metadata: str | None = at(STRING, nullable=True)
    error_code: int = at(INT16)


@struct
class OffsetFetchResponseTopics:
    name: str = at(STRING)
    partitions: list[OffsetFetchResponsePartitions] = at(array(OffsetFetchResponsePartitions))


@struct
class OffsetFetchResponseGroup:
    group_id: str = at(STRING)
    topics: list[OffsetFetchResponseTopics] = at(array(OffsetFetchResponseTopics))
    error_code: int = at(INT16)


@message(api=ApiKey.OFFSET_FETCH, versions=(1, 9), flexible_from=6)
class OffsetFetchResponse:
    throttle_time_ms: int = at(INT32, since=3, ignorable=True)
    topics: list[OffsetFetchResponseTopic] = at(array(OffsetFetchResponseTopic), until=7)
    error_code: int = at(INT16, since=2, until=7, ignorable=True)
    groups: list[OffsetFetchResponseGroup] = at(array(OffsetFetchResponseGroup), since=8)
