"""Produce (key 0): a client appends record batches to partitions.

Batches have been in format v2 since version 3 (KIP-98), may be zstd from 7 (KIP-110). Version 5
returns the log start offset, 8 per-record errors (KIP-467), 9 is flexible, 10 names the new leader
in tagged fields (KIP-951), 11 is 10 for a client that knows the newer transaction errors (KIP-890).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class PartitionProduceData:
    index: int = at(INT32)
    records: memoryview | bytes | None = at(RECORDS, nullable=True)


@struct
class TopicProduceData:
    name: str = at(STRING)
    partition_data: list[PartitionProduceData] = at(array(PartitionProduceData))


@message(api=ApiKey.PRODUCE, versions=(3, 11), flexible_from=9)
class ProduceRequest:
    transactional_id: str | None = at(STRING, nullable=True, default=None)
    acks: int = at(INT16)
    timeout_ms: int = at(INT32)
    topic_data: list[TopicProduceData] = at(array(TopicProduceData))


@struct
class BatchIndexAndErrorMessage:
    batch_index: int = at(INT32)
    batch_index_error_message: str | None = at(STRING, nullable=True, default=None)


@struct
class LeaderIdAndEpoch:
    leader_id: int = at(INT32, default=-1)
    leader_epoch: int = at(INT32, default=-1)


@struct
class PartitionProduceResponse:
    index: int = at(INT32)
    error_code: int = at(INT16)
    base_offset: int = at(INT64)
    log_append_time_ms: int = at(INT64, default=-1)
    log_start_offset: int = at(INT64, since=5, default=-1, ignorable=True)
    record_errors: list[BatchIndexAndErrorMessage] = at(
        array(BatchIndexAndErrorMessage), since=8, ignorable=True
    )
    error_message: str | None = at(STRING, since=8, nullable=True, default=None, ignorable=True)
    current_leader: LeaderIdAndEpoch = at(LeaderIdAndEpoch, since=10, tag=0)


@struct
class TopicProduceResponse:
    name: str = at(STRING)
    partition_responses: list[PartitionProduceResponse] = at(array(PartitionProduceResponse))


@struct
class NodeEndpoint:
    node_id: int = at(INT32)
    host: str = at(STRING)
    port: int = at(INT32)
    rack: str | None = at(STRING, nullable=True, default=None)


@message(api=ApiKey.PRODUCE, versions=(3, 11), flexible_from=9)
class ProduceResponse:
    responses: list[TopicProduceResponse] = at(array(TopicProduceResponse))
    throttle_time_ms: int = at(INT32)
    node_endpoints: list[NodeEndpoint] = at(array(NodeEndpoint), since=10, tag=0)
