"""OffsetCommit (key 8): a group stores its progress.

Version 5 dropped the retention time (KIP-211), 6 added leader epochs (KIP-320), 7 static membership
(KIP-345), 8 is flexible, 9 accepts member epochs of the newer group protocol (KIP-848).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@struct
class OffsetCommitRequestPartition:
    partition_index: int = at(INT32)
    committed_offset: int = at(INT64)
    committed_leader_epoch: int = at(INT32, since=6, default=-1, ignorable=True)
    committed_metadata: str | None = at(STRING, nullable=True)


@struct
class OffsetCommitRequestTopic:
    name: str = at(STRING)
    partitions: list[OffsetCommitRequestPartition] = at(array(OffsetCommitRequestPartition))


@message(api=ApiKey.OFFSET_COMMIT, versions=(2, 9), flexible_from=8)
class OffsetCommitRequest:
    group_id: str = at(STRING)
    generation_id_or_member_epoch: int = at(INT32, default=-1)
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, since=7, nullable=True, default=None)
    retention_time_ms: int = at(INT64, until=4, default=-1, ignorable=True)
    topics: list[OffsetCommitRequestTopic] = at(array(OffsetCommitRequestTopic))


@struct
class OffsetCommitResponsePartition:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)


@struct
class OffsetCommitResponseTopic:
    name: str = at(STRING)
    partitions: list[OffsetCommitResponsePartition] = at(array(OffsetCommitResponsePartition))


@message(api=ApiKey.OFFSET_COMMIT, versions=(2, 9), flexible_from=8)
class OffsetCommitResponse:
    throttle_time_ms: int = at(INT32, since=3, ignorable=True)
    topics: list[OffsetCommitResponseTopic] = at(array(OffsetCommitResponseTopic))
