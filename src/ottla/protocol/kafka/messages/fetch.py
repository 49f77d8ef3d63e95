"""Fetch (key 1): consumers and follower replicas read record batches.

Version 4 brought isolation levels (KIP-98), 5 the log start offset (KIP-107), 7 fetch sessions
(KIP-227), 9 leader epochs (KIP-320), 11 racks and the preferred replica (KIP-392), 12 is flexible
and detects divergence by epoch (KIP-595), 13 uses topic ids (KIP-516), 14 knows tiered offsets
(KIP-405), 15 moved the replica id into a tagged structure (KIP-903), 16 names new leaders in tagged
fields (KIP-951), 17 carries the replica's directory (KIP-853).
"""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    INT8,
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    UUID,
    array,
    at,
    message,
    struct,
)


@struct
class ReplicaState:
    replica_id: int = at(INT32, default=-1)
    replica_epoch: int = at(INT64, default=-1)


@struct
class FetchPartition:
    partition: int = at(INT32)
    current_leader_epoch: int = at(INT32, since=9, default=-1, ignorable=True)
    fetch_offset: int = at(INT64)
    last_fetched_epoch: int = at(INT32, since=12, default=-1)
    log_start_offset: int = at(INT64, since=5, default=-1, ignorable=True)
    partition_max_bytes: int = at(INT32)
    replica_directory_id: uuid.UUID = at(UUID, since=17, ignorable=True, tag=0)


@struct
class FetchTopic:
    topic: str = at(STRING, until=12, ignorable=True)
    topic_id: uuid.UUID = at(UUID, since=13, ignorable=True)
    partitions: list[FetchPartition] = at(array(FetchPartition))


@struct
class ForgottenTopic:
    topic: str = at(STRING, until=12, ignorable=True)
    topic_id: uuid.UUID = at(UUID, since=13, ignorable=True)
    partitions: list[int] = at(array(INT32))


@message(api=ApiKey.FETCH, versions=(4, 17), flexible_from=12)
class FetchRequest:
    cluster_id: str | None = at(
        STRING, since=12, nullable=True, default=None, ignorable=True, tag=0
    )
    replica_id: int = at(INT32, until=14, default=-1)
    replica_state: ReplicaState = at(ReplicaState, since=15, tag=1)
    max_wait_ms: int = at(INT32)
    min_bytes: int = at(INT32)
    max_bytes: int = at(INT32, default=2**31 - 1)
    isolation_level: int = at(INT8)
    session_id: int = at(INT32, since=7, ignorable=True)
    session_epoch: int = at(INT32, since=7, default=-1, ignorable=True)
    topics: list[FetchTopic] = at(array(FetchTopic))
    forgotten_topics_data: list[ForgottenTopic] = at(array(ForgottenTopic), since=7)
    rack_id: str = at(STRING, since=11, ignorable=True)


@struct
class EpochEndOffset:
    epoch: int = at(INT32, default=-1)
    end_offset: int = at(INT64, default=-1)


@struct
class LeaderIdAndEpoch:
    leader_id: int = at(INT32, default=-1)
    leader_epoch: int = at(INT32, default=-1)


@struct
class SnapshotId:
    end_offset: int = at(INT64, default=-1)
    epoch: int = at(INT32, default=-1)


@struct
class AbortedTransaction:
    producer_id: int = at(INT64)
    first_offset: int = at(INT64)


@struct
class PartitionData:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)
    high_watermark: int = at(INT64)
    last_stable_offset: int = at(INT64, default=-1)
    log_start_offset: int = at(INT64, since=5, default=-1, ignorable=True)
    diverging_epoch: EpochEndOffset = at(EpochEndOffset, since=12, tag=0)
    current_leader: LeaderIdAndEpoch = at(LeaderIdAndEpoch, since=12, tag=1)
    snapshot_id: SnapshotId = at(SnapshotId, since=12, tag=2)
    aborted_transactions: list[AbortedTransaction] | None = at(
        array(AbortedTransaction), nullable=True
    )
    preferred_read_replica: int = at(INT32, since=11, default=-1)
    records: memoryview | bytes | None = at(RECORDS, nullable=True)


@struct
class FetchableTopicResponse:
    topic: str = at(STRING, until=12, ignorable=True)
    topic_id: uuid.UUID = at(UUID, since=13, ignorable=True)
    partitions: list[PartitionData] = at(array(PartitionData))


@struct
class NodeEndpoint:
    node_id: int = at(INT32)
    host: str = at(STRING)
    port: int = at(INT32)
    rack: str | None = at(STRING, nullable=True, default=None)


@message(api=ApiKey.FETCH, versions=(4, 17), flexible_from=12)
class FetchResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16, since=7, ignorable=True)
    session_id: int = at(INT32, since=7)
    responses: list[FetchableTopicResponse] = at(array(FetchableTopicResponse))
    node_endpoints: list[NodeEndpoint] = at(array(NodeEndpoint), since=16, tag=0)
