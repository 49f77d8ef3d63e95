"""ApiVersions: which APIs this broker serves, in which versions, computed from the registry.

A request in a version that is not served is answered by `dispatch` in the form of version 0 with
error 35 and the same list (KIP-511). From version 3 on the client names its software. There are no
finalized features: they belong to clusters without an ensemble.
"""

import re

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.api.registry import Registry
from ottla.broker.errors import InvalidRequest
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
)

_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


def handle(request: ApiVersionsRequest, ctx: RequestContext) -> ApiVersionsResponse:
    if ctx.api_version >= 3:
        software = (request.client_software_name, request.client_software_version)
        if not all(map(_SOFTWARE.fullmatch, software)):
            raise InvalidRequest("malformed name or version of the client software")
        ctx.connection.client_software = software
    return versions_response(ctx.services.registry, ErrorCode.NONE)


def versions_response(registry: Registry, code: ErrorCode) -> ApiVersionsResponse:
    return ApiVersionsResponse(
        error_code=code,
        api_keys=[
            ApiVersion(api_key=key, min_version=first, max_version=last)
            for key, first, last in registry.advertised()
        ],
    )


API = Api(ApiKey.API_VERSIONS, versions=(0, 4), request_type=ApiVersionsRequest, handle=handle)
