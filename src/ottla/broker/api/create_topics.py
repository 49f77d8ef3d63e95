"""CreateTopics, on the controller. Any other broker answers NOT_CONTROLLER for every topic.

Versions 2 to 7. 4: -1 partitions or replicas mean the broker's defaults (KIP-464). 5: the answer
tells partitions, replicas and configuration (KIP-525). 7: and the topic's id. A topic that is named
twice is refused, all others are treated each by itself.
"""

from collections import Counter

from ottla.broker.api.api import Api, RequestContext, Services
from ottla.broker.api.describe_configs import topic_key
from ottla.broker.controller.topics import NewTopic, TopicOutcome
from ottla.broker.errors import NotController
from ottla.broker.ids import BrokerId
from ottla.config.keys_log import TOPIC
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)

CONFIGS_SINCE = 5


async def handle(request: CreateTopicsRequest, ctx: RequestContext) -> CreateTopicsResponse:
    return await create_topics(request, ctx.services, with_configs=ctx.api_version >= CONFIGS_SINCE)


async def create_topics(
    request: CreateTopicsRequest, services: Services, *, with_configs: bool = False
) -> CreateTopicsResponse:
    """Ask this broker's controller. NotController."""
    if not services.controller.is_active:
        raise NotController(f"broker {services.metadata.controller_id} is the controller")
    results = {
        topic.name: CreatableTopicResult(name=topic.name, configs=None) for topic in request.topics
    }
    named = Counter(topic.name for topic in request.topics)
    wishes: dict[str, NewTopic] = {}
    for topic in request.topics:
        wish = _wish(topic) if named[topic.name] == 1 else "is named more than once"
        if isinstance(wish, str):
            results[topic.name].error_code = ErrorCode.INVALID_REQUEST
            results[topic.name].error_message = f"topic {topic.name} {wish}"
        else:
            wishes[topic.name] = wish
    outcomes = await services.controller.create_topics(
        list(wishes.values()),
        timeout_s=request.timeout_ms / 1000,
        validate_only=request.validate_only,
    )
    for outcome in outcomes:
        result = results[outcome.name]
        _tell(outcome, result)
        if with_configs and not outcome.error:
            result.configs = _configs(wishes[outcome.name], services)
    return CreateTopicsResponse(topics=list(results.values()))


def _wish(topic: CreatableTopic) -> NewTopic | str:
    """What the controller is asked, or what is wrong with the request."""
    placed = [each.partition_index for each in topic.assignments]
    if len(set(placed)) != len(placed):
        return "has an assignment that names a partition twice"
    unset = [each.name for each in topic.configs if each.value is None]
    if unset:
        return f"has no value for {', '.join(unset)}"
    return NewTopic(
        topic.name,
        topic.num_partitions,
        topic.replication_factor,
        {
            each.partition_index: [BrokerId(broker) for broker in each.broker_ids]
            for each in topic.assignments
        },
        {each.name: each.value for each in topic.configs if each.value is not None},
    )


def _tell(outcome: TopicOutcome, result: CreatableTopicResult) -> None:
    result.error_code = outcome.error
    result.error_message = outcome.message
    result.topic_id = outcome.topic_id
    result.num_partitions = outcome.partitions
    result.replication_factor = outcome.replication_factor


def _configs(wish: NewTopic, services: Services) -> list[CreatableTopicConfigs]:
    own = services.config.topic_config(wish.configs, topic=wish.name)
    described = [topic_key(name, own, services.config) for name in TOPIC]
    return [
        CreatableTopicConfigs(
            name=each.name,
            value=each.value,
            config_source=each.config_source,
            is_sensitive=each.is_sensitive,
        )
        for each in described
    ]


def failed(
    request: CreateTopicsRequest, code: ErrorCode, message: str | None
) -> CreateTopicsResponse:
    """`code` for every topic."""
    return CreateTopicsResponse(
        topics=[
            CreatableTopicResult(
                name=topic.name, error_code=code, error_message=message, configs=None
            )
            for topic in request.topics
        ]
    )


API = Api(
    ApiKey.CREATE_TOPICS,
    versions=(2, 7),
    request_type=CreateTopicsRequest,
    handle=handle,
    failed=failed,
)
