"""CreatePartitions (KIP-195), on the controller; any other broker answers NOT_CONTROLLER."""

from collections import Counter

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.controller.topics import MorePartitions
from ottla.broker.errors import NotController
from ottla.broker.ids import BrokerId
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)


async def handle(request: CreatePartitionsRequest, ctx: RequestContext) -> CreatePartitionsResponse:
    controller = ctx.services.controller
    if not controller.is_active:
        raise NotController(f"broker {ctx.services.metadata.controller_id} is the controller")
    results = {topic.name: CreatePartitionsTopicResult(name=topic.name) for topic in request.topics}
    named = Counter(topic.name for topic in request.topics)
    for name, count in named.items():
        if count > 1:
            results[name].error_code = ErrorCode.INVALID_REQUEST
            results[name].error_message = f"topic {name} is named more than once"
    outcomes = await controller.create_partitions(
        [_wish(topic) for topic in request.topics if named[topic.name] == 1],
        timeout_s=request.timeout_ms / 1000,
        validate_only=request.validate_only,
    )
    for outcome in outcomes:
        results[outcome.name].error_code = outcome.error
        results[outcome.name].error_message = outcome.message
    return CreatePartitionsResponse(results=list(results.values()))


def _wish(topic: CreatePartitionsTopic) -> MorePartitions:
    assignments = None
    if topic.assignments is not None:
        assignments = [[BrokerId(broker) for broker in a.broker_ids] for a in topic.assignments]
    return MorePartitions(topic.name, topic.count, assignments)


def failed(
    request: CreatePartitionsRequest, code: ErrorCode, message: str | None
) -> CreatePartitionsResponse:
    """`code` for every topic."""
    return CreatePartitionsResponse(
        results=[
            CreatePartitionsTopicResult(name=topic.name, error_code=code, error_message=message)
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.CREATE_PARTITIONS,
    versions=(0, 3),
    request_type=CreatePartitionsRequest,
    handle=handle,
    failed=failed,
)
