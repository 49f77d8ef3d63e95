"""OffsetDelete: forget offsets of topics that no member of a group subscribes to (KIP-496)."""

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.api.group_replies import answer
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)


def handle(request: OffsetDeleteRequest, ctx: RequestContext) -> OffsetDeleteResponse | Parked:
    services = ctx.services
    wanted: list[TopicPartition] = []
    unknown: set[TopicPartition] = set()
    for topic in request.topics:
        for asked in topic.partitions:
            tp = TopicPartition(topic.name, asked.partition_index)
            if services.metadata.partition(tp) is None:
                unknown.add(tp)
            else:
                wanted.append(tp)
    error, subscribed, reply = services.groups.delete_offsets(request.group_id, wanted)
    if error is not ErrorCode.NONE:
        return OffsetDeleteResponse(error_code=error)

    def response(written: ErrorCode) -> OffsetDeleteResponse:
        def code(tp: TopicPartition) -> ErrorCode:
            if tp in unknown:
                return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            return ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if tp in subscribed else written

        return OffsetDeleteResponse(
            topics=[
                OffsetDeleteResponseTopic(
                    name=topic.name,
                    partitions=[
                        OffsetDeleteResponsePartition(
                            partition_index=asked.partition_index,
                            error_code=code(TopicPartition(topic.name, asked.partition_index)),
                        )
                        for asked in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    return answer(reply, response)


API = Api(
    key=ApiKey.OFFSET_DELETE, versions=(0, 0), request_type=OffsetDeleteRequest, handle=handle
)

__all__ = ["API", "handle"]
