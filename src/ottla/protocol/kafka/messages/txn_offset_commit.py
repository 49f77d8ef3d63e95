"""TxnOffsetCommit (key 28): offsets that become valid when a transaction commits (KIP-98).

Version 2 added leader epochs (KIP-320), 3 is flexible and fences by group membership (KIP-447), 4
is for clients that know the newer transaction errors (KIP-890).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@struct
class TxnOffsetCommitRequestPartition:
    partition_index: int = at(INT32)
    committed_offset: int = at(INT64)
    committed_leader_epoch: int = at(INT32, since=2, default=-1, ignorable=True)
    committed_metadata: str | None = at(STRING, nullable=True)


@struct
class TxnOffsetCommitRequestTopic:
    name: str = at(STRING)
    partitions: list[TxnOffsetCommitRequestPartition] = at(array(TxnOffsetCommitRequestPartition))


@message(api=ApiKey.TXN_OFFSET_COMMIT, versions=(0, 4), flexible_from=3)
class TxnOffsetCommitRequest:
    transactional_id: str = at(STRING)
    group_id: str = at(STRING)
    producer_id: int = at(INT64)
    producer_epoch: int = at(INT16)
    generation_id: int = at(INT32, since=3, default=-1)
    member_id: str = at(STRING, since=3)
    group_instance_id: str | None = at(STRING, since=3, nullable=True, default=None)
    topics: list[TxnOffsetCommitRequestTopic] = at(array(TxnOffsetCommitRequestTopic))


@struct
class TxnOffsetCommitResponsePartition:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)


@struct
class TxnOffsetCommitResponseTopic:
    name: str = at(STRING)
    partitions: list[TxnOffsetCommitResponsePartition] = at(array(TxnOffsetCommitResponsePartition))


@message(api=ApiKey.TXN_OFFSET_COMMIT, versions=(0, 4), flexible_from=3)
class TxnOffsetCommitResponse:
    throttle_time_ms: int = at(INT32)
    topics: list[TxnOffsetCommitResponseTopic] = at(array(TxnOffsetCommitResponseTopic))
