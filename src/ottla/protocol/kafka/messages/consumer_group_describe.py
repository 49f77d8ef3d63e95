"""ConsumerGroupDescribe (key 69): groups of the newer protocol (KIP-848).

Version 1 tells which protocol each member speaks (KIP-1099).
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


@message(api=ApiKey.CONSUMER_GROUP_DESCRIBE, versions=(0, 1), flexible_from=0)
class ConsumerGroupDescribeRequest:
    group_ids: list[str] = at(array(STRING))
    include_authorized_operations: bool = at(BOOL)


@struct
class TopicPartitions:
    topic_id: uuid.UUID = at(UUID)
    topic_name: str = at(STRING)
    partitions: list[int] = at(array(INT32))


@struct
class Assignment:
    topic_partitions: list[TopicPartitions] = at(array(TopicPartitions))


@struct
class Member:
    member_id: str = at(STRING)
    instance_id: str | None = at(STRING, nullable=True, default=None)
    rack_id: str | None = at(STRING, nullable=True, default=None)
    member_epoch: int = at(INT32)
    client_id: str = at(STRING)
    client_host: str = at(STRING)
    subscribed_topic_names: list[str] = at(array(STRING))
    subscribed_topic_regex: str | None = at(STRING, nullable=True, default=None)
    assignment: Assignment = at(Assignment)
    target_assignment: Assignment = at(Assignment)
    member_type: int = at(INT8, since=1, default=-1, ignorable=True)


@struct
class DescribedGroup:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True, default=None)
    group_id: str = at(STRING)
    group_state: str = at(STRING)
    group_epoch: int = at(INT32)
    assignment_epoch: int = at(INT32)
    assignor_name: str = at(STRING)
    members: list[Member] = at(array(Member))
    authorized_operations: int = at(INT32, default=-2147483648)


@message(api=ApiKey.CONSUMER_GROUP_DESCRIBE, versions=(0, 1), flexible_from=0)
class ConsumerGroupDescribeResponse:
    throttle_time_ms: int = at(INT32)
    groups: list[DescribedGroup] = at(array(DescribedGroup))
