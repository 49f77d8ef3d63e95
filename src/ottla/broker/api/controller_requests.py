"""What only the controller can do: each request goes to it as it is, and its answer back.

CreateTopics 2-7, DeleteTopics 1-6, CreatePartitions 0-3, ElectLeaders 0-2, and from other brokers
ControlledShutdown 0-3, AlterPartition 2-3, AllocateProducerIds 0. A broker that is not the
controller answers NOT_CONTROLLER; the asker finds the controller through Metadata.
"""

from collections.abc import Awaitable, Callable

from ottla.broker.api.api import Api, Handler, Message, RequestContext
from ottla.broker.errors import NotController
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.allocate_producer_ids import AllocateProducerIdsRequest
from ottla.protocol.kafka.messages.alter_partition import AlterPartitionRequest
from ottla.protocol.kafka.messages.controlled_shutdown import ControlledShutdownRequest
from ottla.protocol.kafka.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)
from ottla.protocol.kafka.messages.create_topics import (
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from ottla.protocol.kafka.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from ottla.protocol.kafka.messages.elect_leaders import ElectLeadersRequest


def by_controller(method: str) -> Handler:
    """A handler that asks the controller's method of that name."""

    async def handle(request: Message, ctx: RequestContext) -> Message:
        controller = ctx.services.controller
        if not controller.is_active:
            raise NotController(
                f"broker {ctx.services.broker_id} is not the controller, "
                f"{ctx.services.metadata.controller_id} is"
            )
        ask: Callable[[Message], Awaitable[Message]] = getattr(controller, method)
        return await ask(request)

    return handle


def create_topics_failed(
    request: CreateTopicsRequest, code: ErrorCode, message: str | None
) -> CreateTopicsResponse:
    return CreateTopicsResponse(
        topics=[
            CreatableTopicResult(
                name=topic.name, error_code=code, error_message=message, configs=None
            )
            for topic in request.topics
        ]
    )


def delete_topics_failed(
    request: DeleteTopicsRequest, code: ErrorCode, message: str | None
) -> DeleteTopicsResponse:
    return DeleteTopicsResponse(
        responses=[
            DeletableTopicResult(name=name, error_code=code, error_message=message)
            for name in request.topic_names
        ]
        + [
            DeletableTopicResult(
                name=topic.name, topic_id=topic.topic_id, error_code=code, error_message=message
            )
            for topic in request.topics
        ]
    )


def create_partitions_failed(
    request: CreatePartitionsRequest, code: ErrorCode, message: str | None
) -> CreatePartitionsResponse:
    return CreatePartitionsResponse(
        results=[
            CreatePartitionsTopicResult(name=topic.name, error_code=code, error_message=message)
            for topic in request.topics
        ]
    )


APIS = (
    Api(
        ApiKey.CREATE_TOPICS,
        versions=(2, 7),
        request_type=CreateTopicsRequest,
        handle=by_controller("create_topics"),
        failed=create_topics_failed,
    ),
    Api(
        ApiKey.DELETE_TOPICS,
        versions=(1, 6),
        request_type=DeleteTopicsRequest,
        handle=by_controller("delete_topics"),
        failed=delete_topics_failed,
    ),
    Api(
        ApiKey.CREATE_PARTITIONS,
        versions=(0, 3),
        request_type=CreatePartitionsRequest,
        handle=by_controller("create_partitions"),
        failed=create_partitions_failed,
    ),
    Api(
        ApiKey.ELECT_LEADERS,
        versions=(0, 2),
        request_type=ElectLeadersRequest,
        handle=by_controller("elect_leaders"),
    ),
    Api(
        ApiKey.CONTROLLED_SHUTDOWN,
        versions=(0, 3),
        request_type=ControlledShutdownRequest,
        handle=by_controller("controlled_shutdown"),
    ),
    Api(
        ApiKey.ALTER_PARTITION,
        versions=(2, 3),
        request_type=AlterPartitionRequest,
        handle=by_controller("alter_partition"),
    ),
    Api(
        ApiKey.ALLOCATE_PRODUCER_IDS,
        versions=(0, 0),
        request_type=AllocateProducerIdsRequest,
        handle=by_controller("allocate_producer_ids"),
    ),
)
