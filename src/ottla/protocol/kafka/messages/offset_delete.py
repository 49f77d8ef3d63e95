"""OffsetDelete (key 47): forgets offsets of topics a group is no longer subscribed to (KIP-496).

Its only version is not flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, array, at, message, struct


@struct
class OffsetDeleteRequestPartition:
    partition_index: int = at(INT32)


@struct
class OffsetDeleteRequestTopic:
    name: str = at(STRING)
    partitions: list[OffsetDeleteRequestPartition] = at(array(OffsetDeleteRequestPartition))


@message(api=ApiKey.OFFSET_DELETE, versions=(0, 0))
class OffsetDeleteRequest:
    group_id: str = at(STRING)
    topics: list[OffsetDeleteRequestTopic] = at(array(OffsetDeleteRequestTopic))


@struct
class OffsetDeleteResponsePartition:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)


@struct
class OffsetDeleteResponseTopic:
    name: str = at(STRING)
    partitions: list[OffsetDeleteResponsePartition] = at(array(OffsetDeleteResponsePartition))


@message(api=ApiKey.OFFSET_DELETE, versions=(0, 0))
class OffsetDeleteResponse:
    error_code: int = at(INT16)
    throttle_time_ms: int = at(INT32)
    topics: list[OffsetDeleteResponseTopic] = at(array(OffsetDeleteResponseTopic))
