"""CreatePartitions (key 37): adds partitions to topics (KIP-195).

Version 2 is flexible, 3 may be throttled (KIP-599).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT16, INT32, STRING, array, at, message, struct


@struct
class CreatePartitionsAssignment:
    broker_ids: list[int] = at(array(INT32))


@struct
class CreatePartitionsTopic:
    name: str = at(STRING)
    count: int = at(INT32)
    assignments: list[CreatePartitionsAssignment] | None = at(
        array(CreatePartitionsAssignment), nullable=True
    )


@message(api=ApiKey.CREATE_PARTITIONS, versions=(0, 3), flexible_from=2)
class CreatePartitionsRequest:
    topics: list[CreatePartitionsTopic] = at(array(CreatePartitionsTopic))
    timeout_ms: int = at(INT32)
    validate_only: bool = at(BOOL)


@struct
class CreatePartitionsTopicResult:
    name: str = at(STRING)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True, default=None)


@message(api=ApiKey.CREATE_PARTITIONS, versions=(0, 3), flexible_from=2)
class CreatePartitionsResponse:
    throttle_time_ms: int = at(INT32)
    results: list[CreatePartitionsTopicResult] = at(array(CreatePartitionsTopicResult))
