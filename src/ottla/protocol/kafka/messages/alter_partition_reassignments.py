"""AlterPartitionReassignments (key 45): starts or cancels moves of replicas (KIP-455)."""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, array, at, message, struct


@struct
class ReassignablePartition:
    partition_index: int = at(INT32)
    replicas: list[int] | None = at(array(INT32), nullable=True, default=None)


@struct
class ReassignableTopic:
    name: str = at(STRING)
    partitions: list[ReassignablePartition] = at(array(ReassignablePartition))


@message(api=ApiKey.ALTER_PARTITION_REASSIGNMENTS, versions=(0, 0), flexible_from=0)
class AlterPartitionReassignmentsRequest:
    timeout_ms: int = at(INT32, default=60000)
    topics: list[ReassignableTopic] = at(array(ReassignableTopic))


@struct
class ReassignablePartitionResponse:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)


@struct
class ReassignableTopicResponse:
    name: str = at(STRING)
    partitions: list[ReassignablePartitionResponse] = at(array(ReassignablePartitionResponse))


@message(api=ApiKey.ALTER_PARTITION_REASSIGNMENTS, versions=(0, 0), flexible_from=0)
class AlterPartitionReassignmentsResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    responses: list[ReassignableTopicResponse] = at(array(ReassignableTopicResponse))
