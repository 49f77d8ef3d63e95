"""DescribeTopicPartitions (KIP-966): topics and partitions in pages, in the order of names.

The cursor names the first partition of the next page. No topics named: all of them. Eligible
leader replicas are kept by clusters without an ensemble only, so those fields are null.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.api.auto_creation import name_error
from ottla.broker.api.metadata import TOPIC_OPERATIONS, View
from ottla.broker.errors import InvalidRequest
from ottla.broker.metadata import TopicImage
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages import describe_topic_partitions as messages

PAGE_MAX = 2000  # Kafka's `max.request.partition.size.limit`


def handle(
    request: messages.DescribeTopicPartitionsRequest, ctx: RequestContext
) -> messages.DescribeTopicPartitionsResponse:
    metadata = ctx.services.metadata
    first_topic, first_index = "", 0
    if request.cursor is not None:
        first_topic, first_index = request.cursor.topic_name, request.cursor.partition_index
        if first_index < 0:
            raise InvalidRequest(f"the cursor's partition is {first_index}")
    left = min(request.response_partition_limit, PAGE_MAX)
    if left < 1:
        raise InvalidRequest("the limit of partitions is below 1")
    view = View(metadata, ctx.listener_name, 12)
    response = messages.DescribeTopicPartitionsResponse()
    names = {topic.name for topic in request.topics} or set(metadata.topics)
    for name in sorted(name for name in names if name >= first_topic):
        topic = metadata.topic(name)
        if topic is None:
            response.topics.append(
                messages.DescribeTopicPartitionsResponseTopic(
                    name=name,
                    error_code=name_error(name) or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                )
            )
            continue
        start = first_index if name == first_topic else 0
        indexes = [index for index in topic.partitions if index >= start]
        if left == 0:
            response.next_cursor = _cursor(name, start)
            break
        response.topics.append(_topic(topic, indexes[:left], view))
        if len(indexes) > left:
            response.next_cursor = _cursor(name, indexes[left])
            break
        left -= len(indexes)
    return response


def _cursor(name: str, index: int) -> messages.Cursor:
    return messages.Cursor(topic_name=name, partition_index=index)


def _topic(
    topic: TopicImage, indexes: list[int], view: View
) -> messages.DescribeTopicPartitionsResponseTopic:
    found = messages.DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        topic_authorized_operations=TOPIC_OPERATIONS,
    )
    for index in indexes:
        image = topic.partitions[index]
        found.partitions.append(
            messages.DescribeTopicPartitionsResponsePartition(
                error_code=view.leader_error(image),
                partition_index=index,
                leader_id=view.alive_or_none(image.leader),
                leader_epoch=image.leader_epoch,
                replica_nodes=list(image.replicas),
                isr_nodes=list(image.isr),
                offline_replicas=view.offline(image),
            )
        )
    return found


def failed(
    request: messages.DescribeTopicPartitionsRequest, code: ErrorCode, _message: str | None
) -> messages.DescribeTopicPartitionsResponse:
    """`code` for every topic that was named."""
    return messages.DescribeTopicPartitionsResponse(
        topics=[
            messages.DescribeTopicPartitionsResponseTopic(name=topic.name, error_code=code)
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.DESCRIBE_TOPIC_PARTITIONS,
    versions=(0, 0),
    request_type=messages.DescribeTopicPartitionsRequest,
    handle=handle,
    failed=failed,
)
