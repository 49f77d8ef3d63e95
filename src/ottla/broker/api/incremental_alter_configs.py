"""IncrementalAlterConfigs: single keys of a topic or broker are set, removed, added to (KIP-339).

Versions 0 and 1, which differ in their encoding alone. APPEND and SUBTRACT are for keys that are
lists; a key that is not set begins with its default.
"""

from collections.abc import Mapping
from enum import IntEnum
from functools import partial

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.api.config_changes import (
    TOPIC_RESOURCE,
    Config,
    alter,
    check_keys,
    named_twice,
    outcome,
)
from ottla.broker.errors import BrokerError, InvalidConfig, InvalidRequest
from ottla.config.broker import BROKER_KEYS
from ottla.config.keys import Key
from ottla.config.keys_log import TOPIC
from ottla.config.values import ValueType
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)


class Operation(IntEnum):
    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


_TOPIC_KEYS: Mapping[str, Key] = {name: row.key for name, row in TOPIC.items()}


async def handle(
    request: IncrementalAlterConfigsRequest, ctx: RequestContext
) -> IncrementalAlterConfigsResponse:
    named = named_twice(request.resources)
    responses = []
    for resource in request.resources:
        failure: BrokerError | None = None
        try:
            if named[resource.resource_type, resource.resource_name] > 1:
                raise InvalidRequest("each resource may be named once")
            _check(resource)
            await alter(
                resource,
                partial(changed, resource),
                ctx.services,
                replaces=False,
                validate_only=request.validate_only,
            )
        except BrokerError as error:
            failure = error
        responses.append(_response(resource, *outcome(failure)))
    return IncrementalAlterConfigsResponse(responses=responses)


def _check(resource: AlterConfigsResource) -> None:
    check_keys(
        resource.configs,
        [
            each.name
            for each in resource.configs
            if each.value is None and each.config_operation != Operation.DELETE
        ],
    )
    for each in resource.configs:
        if each.config_operation not in set(Operation):
            raise InvalidRequest(f"{each.name}: there is no operation {each.config_operation}")


def changed(resource: AlterConfigsResource, before: Config) -> dict[str, str]:
    """`before` after the operations. InvalidConfig for lists' operations on other keys."""
    keys = _TOPIC_KEYS if resource.resource_type == TOPIC_RESOURCE else BROKER_KEYS
    after = dict(before)
    for each in resource.configs:
        text: str = each.value or ""
        match Operation(each.config_operation):
            case Operation.SET:
                after[each.name] = text
            case Operation.DELETE:
                after.pop(each.name, None)
            case Operation.APPEND:
                there = _listed(each, after, keys)
                added = [one for one in text.split(",") if one not in there]
                after[each.name] = ",".join(there + added)
            case Operation.SUBTRACT:
                there = _listed(each, after, keys)
                gone = text.split(",")
                after[each.name] = ",".join(one for one in there if one not in gone)
    return after


def _listed(change: AlterableConfig, config: Config, keys: Mapping[str, Key]) -> list[str]:
    row = keys.get(change.name)
    if row is None:
        raise InvalidConfig(f"{change.name} is not a key that is known here")
    default = row.type.format(row.default)
    if row.type is not ValueType.LIST:
        raise InvalidConfig(f"{change.name} is {row.type.words}; only lists are added to")
    there = config.get(change.name, default)
    return there.split(",") if there else []


def _response(
    resource: AlterConfigsResource, code: int, message: str | None
) -> AlterConfigsResourceResponse:
    return AlterConfigsResourceResponse(
        error_code=code,
        error_message=message,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )


def failed(
    request: IncrementalAlterConfigsRequest, code: ErrorCode, message: str | None
) -> IncrementalAlterConfigsResponse:
    """`code` for every resource."""
    return IncrementalAlterConfigsResponse(
        responses=[_response(resource, code, message) for resource in request.resources]
    )


API = Api(
    ApiKey.INCREMENTAL_ALTER_CONFIGS,
    versions=(0, 1),
    request_type=IncrementalAlterConfigsRequest,
    handle=handle,
    failed=failed,
)
