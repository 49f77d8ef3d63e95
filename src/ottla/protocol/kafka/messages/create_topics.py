"""CreateTopics (key 19).

Version 4 may leave partition and replica counts to the broker (KIP-464), 5 is flexible and returns
the topic's configuration (KIP-525), 6 may be throttled (KIP-599), 7 returns topic ids (KIP-516).
"""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    INT8,
    INT16,
    INT32,
    STRING,
    UUID,
    array,
    at,
    message,
    struct,
)


@struct
class CreatableReplicaAssignment:
    partition_index: int = at(INT32)
    broker_ids: list[int] = at(array(INT32))


@struct
class CreatableTopicConfig:
    name: str = at(STRING)
    value: str | None = at(STRING, nullable=True)


@struct
class CreatableTopic:
    name: str = at(STRING)
    num_partitions: int = at(INT32)
    replication_factor: int = at(INT16)
    assignments: list[CreatableReplicaAssignment] = at(array(CreatableReplicaAssignment))
    configs: list[CreatableTopicConfig] = at(array(CreatableTopicConfig))


@message(api=ApiKey.CREATE_TOPICS, versions=(2, 7), flexible_from=5)
class CreateTopicsRequest:
    topics: list[CreatableTopic] = at(array(CreatableTopic))
    timeout_ms: int = at(INT32, default=60000)
    validate_only: bool = at(BOOL)


@struct
class CreatableTopicConfigs:
    name: str = at(STRING)
    value: str | None = at(STRING, nullable=True)
    read_only: bool = at(BOOL)
    config_source: int = at(INT8, default=-1)
    is_sensitive: bool = at(BOOL)


@struct
class CreatableTopicResult:
    name: str = at(STRING)
    topic_id: uuid.UUID = at(UUID, since=7, ignorable=True)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    topic_config_error_code: int = at(INT16, since=5, ignorable=True, tag=0)
    num_partitions: int = at(INT32, since=5, default=-1, ignorable=True)
    replication_factor: int = at(INT16, since=5, default=-1, ignorable=True)
    configs: list[CreatableTopicConfigs] | None = at(
        array(CreatableTopicConfigs), since=5, nullable=True, ignorable=True
    )


@message(api=ApiKey.CREATE_TOPICS, versions=(2, 7), flexible_from=5)
class CreateTopicsResponse:
    throttle_time_ms: int = at(INT32)
    topics: list[CreatableTopicResult] = at(array(CreatableTopicResult))
