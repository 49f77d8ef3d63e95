"""DescribeProducers (KIP-664): who has written to partitions, idempotently or in a transaction, as
this replica knows, leader or not. For tools that look for transactions which nobody ends.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.errors import BrokerError, NotLeader, UnknownTopicOrPartition
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.producers import Producer
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)


def handle(request: DescribeProducersRequest, ctx: RequestContext) -> DescribeProducersResponse:
    return DescribeProducersResponse(
        topics=[
            TopicResponse(
                name=topic.name,
                partitions=[
                    _describe(TopicPartition(topic.name, index), ctx)
                    for index in topic.partition_indexes
                ],
            )
            for topic in request.topics
        ]
    )


def _describe(tp: TopicPartition, ctx: RequestContext) -> PartitionResponse:
    try:
        producers = _producers_of(tp, ctx)
    except BrokerError as error:
        return PartitionResponse(
            partition_index=tp.partition, error_code=error.code, error_message=str(error)
        )
    return PartitionResponse(
        partition_index=tp.partition,
        active_producers=[
            ProducerState(
                producer_id=producer.producer_id,
                producer_epoch=producer.epoch,
                last_sequence=producer.last_sequence,
                last_timestamp=producer.timestamp,
                coordinator_epoch=producer.home_epoch,
                current_txn_start_offset=producer.txn_first_offset,
            )
            for producer in producers
        ],
    )


def _producers_of(tp: TopicPartition, ctx: RequestContext) -> list[Producer]:
    services = ctx.services
    if services.partitions.get(tp) is None and services.metadata.topic(tp.topic) is None:
        raise UnknownTopicOrPartition(f"there is no topic {tp.topic}")
    try:
        partition = services.partitions.require(tp)
    except UnknownTopicOrPartition as error:
        if services.metadata.partition(tp) is None:
            raise
        raise NotLeader(f"{tp} has no replica on this broker") from error
    return list(partition.log.producers.by_id.values())


def failed(
    request: DescribeProducersRequest, code: ErrorCode, message: str | None
) -> DescribeProducersResponse:
    """`code` for every partition."""
    return DescribeProducersResponse(
        topics=[
            TopicResponse(
                name=topic.name,
                partitions=[
                    PartitionResponse(partition_index=index, error_code=code, error_message=message)
                    for index in topic.partition_indexes
                ],
            )
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.DESCRIBE_PRODUCERS,
    versions=(0, 0),
    request_type=DescribeProducersRequest,
    handle=handle,
    failed=failed,
)
