"""OffsetForLeaderEpoch (key 23): where an epoch of a partition ended (KIP-101, KIP-279).

Version 2 may be asked with the current leader epoch (KIP-320), 3 names the replica that asks, 4 is
flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@struct
class OffsetForLeaderPartition:
    partition: int = at(INT32)
    current_leader_epoch: int = at(INT32, default=-1)
    leader_epoch: int = at(INT32)


@struct
class OffsetForLeaderTopic:
    topic: str = at(STRING)
    partitions: list[OffsetForLeaderPartition] = at(array(OffsetForLeaderPartition))


@message(api=ApiKey.OFFSET_FOR_LEADER_EPOCH, versions=(2, 4), flexible_from=4)
class OffsetForLeaderEpochRequest:
    replica_id: int = at(INT32, since=3, default=-2, ignorable=True)
    topics: list[OffsetForLeaderTopic] = at(array(OffsetForLeaderTopic))


@struct
class EpochEndOffset:
    error_code: int = at(INT16)
    partition: int = at(INT32)
    leader_epoch: int = at(INT32, default=-1)
    end_offset: int = at(INT64, default=-1)


@struct
class OffsetForLeaderTopicResult:
    topic: str = at(STRING)
    partitions: list[EpochEndOffset] = at(array(EpochEndOffset))


@message(api=ApiKey.OFFSET_FOR_LEADER_EPOCH, versions=(2, 4), flexible_from=4)
class OffsetForLeaderEpochResponse:
    throttle_time_ms: int = at(INT32)
    topics: list[OffsetForLeaderTopicResult] = at(array(OffsetForLeaderTopicResult))
