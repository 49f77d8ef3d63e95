"""DescribeConfigs: the effective values of a topic or of this broker, and where they come from.

Everything is made from the rows of `ottla.config`. A topic's own values are read from the ensemble.
Version 1: sources and synonyms (KIP-226). 3: types and documentation. Another broker's values are
asked of that broker; loggers have no configuration at run time.

Synonyms are all the places where a value may come from, the one that counts first: the topic, then
what is set at run time for this broker, for all brokers, in the file, the defaults; within one of
these by the order of the keys that stand for each other, as `log.retention.ms` before its minutes.
"""

from collections.abc import Callable, Iterable
from itertools import dropwhile

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.api.config_changes import BROKER_RESOURCE, TOPIC_RESOURCE, require_own_id
from ottla.broker.controller.placement import check_topic_name
from ottla.broker.ensemble.config_watcher import read_config
from ottla.broker.ensemble.encodings import MalformedZnode
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
from ottla.config.topic import TopicConfig, sound_overrides
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

# Broker keys that say the same in different units, the strongest first.
_EQUALS = {
    name: tuple(fallback.name for fallback in row.fallbacks)
    for row in TOPIC.values()
    if len(row.fallbacks) > 1
    for name in (fallback.name for fallback in row.fallbacks)
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
                if not wanted or name in wanted:
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
        shared = config.layer(Source.DYNAMIC_CLUSTER)
        return shared, lambda name: _shared_key(name, config)
    require_own_id(resource.resource_name, ctx.services)
    return BROKER_KEYS, lambda name: _broker_key(name, config)


async def _topic_config(name: str, ctx: RequestContext) -> TopicConfig:
    services = ctx.services
    check_topic_name(name)
    if services.metadata.topic(name) is None:
        raise UnknownTopicOrPartition(f"topic {name} does not exist")
    try:
        overrides = await read_config(services.ensemble, "topics", name)
    except EnsembleError as error:
        raise RequestTimedOut(f"the ensemble cannot be asked now: {error}") from error
    except MalformedZnode as error:
        raise InvalidConfig(f"what the ensemble has cannot be read: {error}") from error
    sound, _ = sound_overrides(overrides, name)
    return services.config.topic_config(sound, topic=name)


def topic_key(
    name: str, topic_config: TopicConfig, config: BrokerConfig
) -> DescribeConfigsResourceResult:
    """One key of a topic, described in full."""
    row = TOPIC[name]
    text = topic_config.text(name)
    origin = topic_config.origin(name)
    result = _result(row.key, text)
    if origin.kind == "topic":
        result.config_source = TOPIC_SOURCE
        result.synonyms.append(_synonym(name, text, TOPIC_SOURCE))
    elif origin.broker_key is not None:
        result.config_source = BROKER_SOURCES[config.source(origin.broker_key)]
    names = [fallback.name for fallback in row.fallbacks]
    result.synonyms += _synonyms(names, config, Source)
    if not names:
        default = row.key.type.format(row.key.default)
        result.synonyms.append(_synonym(name, default, DEFAULT_SOURCE))
    return result


def _broker_key(name: str, config: BrokerConfig) -> DescribeConfigsResourceResult:
    result = _result(BROKER_KEYS[name], config.text(name))
    result.config_source = BROKER_SOURCES[config.source(name)]
    result.read_only = BROKER_KEYS[name].update is Update.RESTART
    found = _synonyms(_EQUALS.get(name, (name,)), config, Source)
    # What comes before the key's own first place is about the keys that stand in for it.
    result.synonyms += dropwhile(lambda synonym: synonym.name != name, found)
    return result


def _shared_key(name: str, config: BrokerConfig) -> DescribeConfigsResourceResult:
    """A key as it is set for all brokers, whatever this one makes of it."""
    source = Source.DYNAMIC_CLUSTER
    text = BROKER_KEYS[name].type.format(config.layer(source)[name])
    result = _result(BROKER_KEYS[name], text)
    result.config_source = BROKER_SOURCES[source]
    result.synonyms += _synonyms((name,), config, (source,))
    return result


def _synonyms(
    names: Iterable[str], config: BrokerConfig, sources: Iterable[Source]
) -> Iterable[DescribeConfigsSynonym]:
    for source in sources:
        values = config.layer(source)
        for name in names:
            if name in values:
                row = BROKER_KEYS[name]
                text = None if row.is_secret else row.type.format(values[name])
                yield _synonym(name, text, BROKER_SOURCES[source])


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
