"""DescribeTopicPartitions (key 75): the partitions of topics, page by page (KIP-966)."""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT16, INT32, STRING, UUID, array, at, message, struct


@struct
class TopicRequest:
    name: str = at(STRING)


@struct
class Cursor:
    topic_name: str = at(STRING)
    partition_index: int = at(INT32)


@message(api=ApiKey.DESCRIBE_TOPIC_PARTITIONS, versions=(0, 0), flexible_from=0)
class DescribeTopicPartitionsRequest:
    topics: list[TopicRequest] = at(array(TopicRequest))
    response_partition_limit: int = at(INT32, default=2000)
    cursor: Cursor | None = at(Cursor, nullable=True, default=None)


@struct
class DescribeTopicPartitionsResponsePartition:
    error_code: int = at(INT16)
    partition_index: int = at(INT32)
    leader_id: int = at(INT32)
    leader_epoch: int = at(INT32, default=-1)
    replica_nodes: list[int] = at(array(INT32))
    isr_nodes: list[int] = at(array(INT32))
    eligible_leader_replicas: list[int] | None = at(array(INT32), nullable=True, default=None)
    last_known_elr: list[int] | None = at(array(INT32), nullable=True, default=None)
    offline_replicas: list[int] = at(array(INT32))


@struct
class DescribeTopicPartitionsResponseTopic:
    error_code: int = at(INT16)
    name: str | None = at(STRING, nullable=True)
    topic_id: uuid.UUID = at(UUID)
    is_internal: bool = at(BOOL)
    partitions: list[DescribeTopicPartitionsResponsePartition] = at(
        array(DescribeTopicPartitionsResponsePartition)
    )
    topic_authorized_operations: int = at(INT32, default=-2147483648)


@message(api=ApiKey.DESCRIBE_TOPIC_PARTITIONS, versions=(0, 0), flexible_from=0)
class DescribeTopicPartitionsResponse:
    throttle_time_ms: int = at(INT32)
    topics: list[DescribeTopicPartitionsResponseTopic] = at(
        array(DescribeTopicPartitionsResponseTopic)
    )
    next_cursor: Cursor | None = at(Cursor, nullable=True, default=None)
