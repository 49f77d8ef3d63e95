"""DeleteTopics, on the controller. Any other broker answers NOT_CONTROLLER for every topic.

Versions 1 to 6. 6: topics may be named by id (KIP-516); an id that nobody has is UNKNOWN_TOPIC_ID.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.errors import InvalidRequest, NotController
from ottla.broker.ids import ZERO_TOPIC_ID
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)


async def handle(request: DeleteTopicsRequest, ctx: RequestContext) -> DeleteTopicsResponse:
    controller = ctx.services.controller
    cluster = controller.state
    if not controller.is_active or cluster is None:
        raise NotController(f"broker {ctx.services.metadata.controller_id} is the controller")
    response = DeleteTopicsResponse()
    by_name: dict[str, DeletableTopicResult] = {}
    for name in request.topic_names:
        by_name[name] = DeletableTopicResult(name=name)
    for topic in request.topics:
        if (topic.name is None) == (topic.topic_id == ZERO_TOPIC_ID):
            raise InvalidRequest("a topic to delete is named either by its name or by its id")
        name = topic.name or cluster.names.get(topic.topic_id) or ""
        if name:
            by_name[name] = DeletableTopicResult(name=name, topic_id=topic.topic_id)
        else:
            response.responses.append(
                DeletableTopicResult(
                    name=None,
                    topic_id=topic.topic_id,
                    error_code=ErrorCode.UNKNOWN_TOPIC_ID,
                    error_message=f"no topic has the id {topic.topic_id}",
                )
            )
    outcomes = await controller.delete_topics(list(by_name), timeout_s=request.timeout_ms / 1000)
    for outcome in outcomes:
        result = by_name[outcome.name]
        result.error_code = outcome.error
        result.error_message = outcome.message
        if outcome.topic_id != ZERO_TOPIC_ID:
            result.topic_id = outcome.topic_id
    response.responses.extend(by_name.values())
    return response


def failed(
    request: DeleteTopicsRequest, code: ErrorCode, message: str | None
) -> DeleteTopicsResponse:
    """`code` for every topic."""
    by_name = [
        DeletableTopicResult(name=name, error_code=code, error_message=message)
        for name in request.topic_names
    ]
    return DeleteTopicsResponse(
        responses=by_name
        + [
            DeletableTopicResult(
                name=topic.name, topic_id=topic.topic_id, error_code=code, error_message=message
            )
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.DELETE_TOPICS,
    versions=(1, 6),
    request_type=DeleteTopicsRequest,
    handle=handle,
    failed=failed,
)
