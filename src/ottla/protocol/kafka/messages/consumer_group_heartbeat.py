"""ConsumerGroupHeartbeat (key 68): the one request of the newer group protocol (KIP-848).

From version 1 on members choose their own id and may subscribe by regular expression (KIP-1082).
"""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, UUID, array, at, message, struct


@struct
class TopicPartitions:
    topic_id: uuid.UUID = at(UUID)
    partitions: list[int] = at(array(INT32))


@message(api=ApiKey.CONSUMER_GROUP_HEARTBEAT, versions=(0, 1), flexible_from=0)
class ConsumerGroupHeartbeatRequest:
    group_id: str = at(STRING)
    member_id: str = at(STRING)
    member_epoch: int = at(INT32)
    instance_id: str | None = at(STRING, nullable=True, default=None)
    rack_id: str | None = at(STRING, nullable=True, default=None)
    rebalance_timeout_ms: int = at(INT32, default=-1)
    subscribed_topic_names: list[str] | None = at(array(STRING), nullable=True, default=None)
    subscribed_topic_regex: str | None = at(STRING, since=1, nullable=True, default=None)
    server_assignor: str | None = at(STRING, nullable=True, default=None)
    topic_partitions: list[TopicPartitions] | None = at(
        array(TopicPartitions), nullable=True, default=None
    )


@struct
class Assignment:
    topic_partitions: list[TopicPartitions] = at(array(TopicPartitions))


@message(api=ApiKey.CONSUMER_GROUP_HEARTBEAT, versions=(0, 1), flexible_from=0)
class ConsumerGroupHeartbeatResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True, default=None)
    member_id: str | None = at(STRING, nullable=True, default=None)
    member_epoch: int = at(INT32)
    heartbeat_interval_ms: int = at(INT32)
    assignment: Assignment | None = at(Assignment, nullable=True, default=None)
