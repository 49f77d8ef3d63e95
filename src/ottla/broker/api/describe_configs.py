"""DescribeConfigs: the effective values of a topic or of this broker, and where they come from.

Everything is made from the rows of `ottla.config`. A topic's own values are read from the ensemble.
Version 1: sources and synonyms (KIP-226). 3: types and documentation. Another broker's values are
asked of that broker; loggers have no configuration at run time.
"""

from collections.abc import Callable, Iterable

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.ensemble.config_watcher import read_config
from ottla.broker.ensemble.errors import EnsembleError
from ottla.broker.errors import (
    BrokerError,
    InvalidConfig,
    InvalidRequest,
    RequestTimedOut,
    UnknownTopicOrPartition,
)
from ottla.config.broker import BROKER_KEYS, BrokerConfig, Source
from ottla.config.keys import Key, Update
from ottla.config.keys_log import TOPIC
from ottla.config.problems import ConfigError
from ottla.config.topic import TopicConfig
from ottla.config.values import ValueType
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)

TOPIC_RESOURCE, BROKER_RESOURCE = 2, 4

# KIP-226's numbers for where a value comes from.
TOPIC_SOURCE = 1
DEFAULT_SOURCE = 5
BROKER_SOURCES = {
    Source.DYNAMIC_BROKER: 2,
    Source.DYNAMIC_CLUSTER: 3,
    Source.STATIC: 4,
    Source.DEFAULT: DEFAULT_SOURCE,
}

# KIP-569's numbers of types.
TYPES = {
    ValueType.BOOLEAN: 1,
    ValueType.STRING: 2,
    ValueType.INT: 3,
    ValueType.SHORT: 4,
    ValueType.LONG: 5,
    ValueType.DOUBLE: 6,
    ValueType.LIST: 7,
    ValueType.CLASS: 8,
    ValueType.PASSWORD: 9,
}

Describe = Callable[[str], DescribeConfigsResourceResult]


async def handle(request: DescribeConfigsRequest, ctx: RequestContext) -> DescribeConfigsResponse:
    results = []
    for resource in request.resources:
        result = DescribeConfigsResult(
            resource_type=resource.resource_type, resource_name=resource.resource_name
        )
        try:
            names, describe = await _described(resource, ctx)
        except BrokerError as error:
            result.error_code, result.error_message = error.code, str(error)
        else:
            wanted = resource.configuration_keys
            for name in names:
                if wanted is None or name in wanted:
                    result.configs.append(_shown(describe(name), request))
        results.append(result)
    return DescribeConfigsResponse(results=results)


async def _described(
    resource: DescribeConfigsResource, ctx: RequestContext
) -> tuple[Iterable[str], Describe]:
    """The names of a resource's keys, and what describes one of them."""
    config = ctx.services.config
    if resource.resource_type == TOPIC_RESOURCE:
        topic_config = await _topic_config(resource.resource_name, ctx)
        return TOPIC, lambda name: topic_key(name, topic_config, config)
    if resource.resource_type != BROKER_RESOURCE:
        raise InvalidRequest(f"resources of type {resource.resource_type} have no configuration")
    if not resource.resource_name:
        shared = [name for name in BROKER_KEYS if config.source(name) is Source.DYNAMIC_CLUSTER]
        return shared, lambda name: _broker_key(name, config)
    if resource.resource_name != str(ctx.services.broker_id):
        raise InvalidRequest(
            f"this is broker {ctx.services.broker_id}, ask broker {resource.resource_name} itself"
        )
    return BROKER_KEYS, lambda name: _broker_key(name, config)


async def _topic_config(name: str, ctx: RequestContext) -> TopicConfig:
    services = ctx.services
    if services.metadata.topic(name) is None:
        raise UnknownTopicOrPartition(f"topic {name} does not exist")
    try:
        overrides = await read_config(services.ensemble, "topics", name)
        return services.config.topic_config(overrides, topic=name)
    except EnsembleError as error:
        raise RequestTimedOut(f"the ensemble cannot be asked now: {error}") from error
    except ConfigError as error:
        raise InvalidConfig(str(error)) from error


def topic_key(
    name: str, topic_config: TopicConfig, config: BrokerConfig
) -> DescribeConfigsResourceResult:
    """One key of a topic, described in full."""
    row = TOPIC[name]
    text = topic_config.text(name)
    origin = topic_config.origin(name)
    result = _result(row.key, text)
    synonyms = result.synonyms
    if origin.kind == "topic":
        result.config_source = TOPIC_SOURCE
        synonyms.append(_synonym(name, text, TOPIC_SOURCE))
    for fallback in row.fallbacks:
        if config.is_set(fallback.name):
            source = BROKER_SOURCES[config.source(fallback.name)]
            synonyms.append(_synonym(fallback.name, config.text(fallback.name), source))
            if origin.broker_key == fallback.name:
                result.config_source = source
    default = row.key.type.format(row.key.default)
    broker_name = row.fallbacks[0].name if row.fallbacks else name
    synonyms.append(_synonym(broker_name, default, DEFAULT_SOURCE))
    return result


def _broker_key(name: str, config: BrokerConfig) -> DescribeConfigsResourceResult:
    row = BROKER_KEYS[name]
    result = _result(row, config.text(name))
    result.read_only = row.update is Update.RESTART
    result.config_source = BROKER_SOURCES[config.source(name)]
    if result.config_source != DEFAULT_SOURCE:
        result.synonyms.append(_synonym(name, result.value, result.config_source))
    if row.default is not None:
        default = None if row.is_secret else row.type.format(row.default)
        result.synonyms.append(_synonym(name, default, DEFAULT_SOURCE))
    return result


def _result(row: Key, text: str | None) -> DescribeConfigsResourceResult:
    return DescribeConfigsResourceResult(
        name=row.name,
        value=None if row.is_secret else text,
        config_source=DEFAULT_SOURCE,
        is_sensitive=row.is_secret,
        config_type=TYPES[row.type],
        documentation=row.doc,
    )


def _synonym(name: str, value: str | None, source: int) -> DescribeConfigsSynonym:
    return DescribeConfigsSynonym(name=name, value=value, source=source)


def _shown(
    result: DescribeConfigsResourceResult, request: DescribeConfigsRequest
) -> DescribeConfigsResourceResult:
    """Without what was not asked for."""
    if not request.include_synonyms:
        result.synonyms = []
    if not request.include_documentation:
        result.documentation = None
    return result


def failed(
    request: DescribeConfigsRequest, code: ErrorCode, message: str | None
) -> DescribeConfigsResponse:
    """`code` for every resource."""
    return DescribeConfigsResponse(
        results=[
            DescribeConfigsResult(
                error_code=code,
                error_message=message,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )
            for resource in request.resources
        ]
    )


API = Api(
    ApiKey.DESCRIBE_CONFIGS,
    versions=(1, 4),
    request_type=DescribeConfigsRequest,
    handle=handle,
    failed=failed,
)
