"""AlterConfigs: what a request names becomes all that a topic or broker has set (KIP-133).

Versions 0 to 2, which differ in their encoding alone. What is not named goes back to its default,
which is why clients now use IncrementalAlterConfigs.
"""

from functools import partial

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.api.config_changes import Config, alter, check_keys, named_twice, outcome
from ottla.broker.errors import BrokerError, InvalidRequest
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)


async def handle(request: AlterConfigsRequest, ctx: RequestContext) -> AlterConfigsResponse:
    named = named_twice(request.resources)
    responses = []
    for resource in request.resources:
        failure: BrokerError | None = None
        try:
            if named[resource.resource_type, resource.resource_name] > 1:
                raise InvalidRequest("each resource may be named once")
            wanted = _wanted(resource)
            await alter(
                resource,
                partial(_replaced, wanted),
                ctx.services,
                replaces=True,
                validate_only=request.validate_only,
            )
        except BrokerError as error:
            failure = error
        responses.append(_response(resource, *outcome(failure)))
    return AlterConfigsResponse(responses=responses)


def _wanted(resource: AlterConfigsResource) -> dict[str, str]:
    check_keys(resource.configs, [each.name for each in resource.configs if each.value is None])
    return {each.name: each.value for each in resource.configs if each.value is not None}


def _replaced(wanted: dict[str, str], _before: Config) -> dict[str, str]:
    return wanted


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
    request: AlterConfigsRequest, code: ErrorCode, message: str | None
) -> AlterConfigsResponse:
    """`code` for every resource."""
    return AlterConfigsResponse(
        responses=[_response(resource, code, message) for resource in request.resources]
    )


API = Api(
    ApiKey.ALTER_CONFIGS,
    versions=(0, 2),
    request_type=AlterConfigsRequest,
    handle=handle,
    failed=failed,
)
