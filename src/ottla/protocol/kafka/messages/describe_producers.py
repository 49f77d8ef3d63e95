"""DescribeProducers (key 61): the producer states of partitions (KIP-664)."""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@struct
class TopicRequest:
    name: str = at(STRING)
    partition_indexes: list[int] = at(array(INT32))


@message(api=ApiKey.DESCRIBE_PRODUCERS, versions=(0, 0), flexible_from=0)
class DescribeProducersRequest:
    topics: list[TopicRequest] = at(array(TopicRequest))


@struct
class ProducerState:
    producer_id: int = at(INT64)
    producer_epoch: int = at(INT32)
    last_sequence: int = at(INT32, default=-1)
    last_timestamp: int = at(INT64, default=-1)
    coordinator_epoch: int = at(INT32)
    current_txn_start_offset: int = at(INT64, default=-1)


@struct
class PartitionResponse:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True, default=None)
    active_producers: list[ProducerState] = at(array(ProducerState))


@struct
class TopicResponse:
    name: str = at(STRING)
    partitions: list[PartitionResponse] = at(array(PartitionResponse))


@message(api=ApiKey.DESCRIBE_PRODUCERS, versions=(0, 0), flexible_from=0)
class DescribeProducersResponse:
    throttle_time_ms: int = at(INT32)
    topics: list[TopicResponse] = at(array(TopicResponse))
