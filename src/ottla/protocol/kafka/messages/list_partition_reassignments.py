"""ListPartitionReassignments (key 46): the moves that are under way (KIP-455)."""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, array, at, message, struct


@struct
class ListPartitionReassignmentsTopics:
    name: str = at(STRING)
    partition_indexes: list[int] = at(array(INT32))


@message(api=ApiKey.LIST_PARTITION_REASSIGNMENTS, versions=(0, 0), flexible_from=0)
class ListPartitionReassignmentsRequest:
    timeout_ms: int = at(INT32, default=60000)
    topics: list[ListPartitionReassignmentsTopics] | None = at(
        array(ListPartitionReassignmentsTopics), nullable=True, default=None
    )


@struct
class OngoingPartitionReassignment:
    partition_index: int = at(INT32)
    replicas: list[int] = at(array(INT32))
    adding_replicas: list[int] = at(array(INT32))
    removing_replicas: list[int] = at(array(INT32))


@struct
class OngoingTopicReassignment:
    name: str = at(STRING)
    partitions: list[OngoingPartitionReassignment] = at(array(OngoingPartitionReassignment))


@message(api=ApiKey.LIST_PARTITION_REASSIGNMENTS, versions=(0, 0), flexible_from=0)
class ListPartitionReassignmentsResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    topics: list[OngoingTopicReassignment] = at(array(OngoingTopicReassignment))
