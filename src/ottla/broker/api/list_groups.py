"""ListGroups: the groups at home on this broker, by state from version 4 on, by type from 5 on."""

from ottla.broker.api.api import Api, RequestContext
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.list_groups import (
    ListedGroup,
    ListGroupsRequest,
    ListGroupsResponse,
)

_TYPE = "classic"


def handle(request: ListGroupsRequest, ctx: RequestContext) -> ListGroupsResponse:
    error, groups = ctx.services.groups.groups()
    states = {state.lower() for state in request.states_filter}
    types = {each.lower() for each in request.types_filter}
    if types and _TYPE not in types:
        groups = []
    return ListGroupsResponse(
        error_code=error,
        groups=[
            ListedGroup(
                group_id=group.group_id,
                protocol_type=group.protocol_type or "",
                group_state=group.state.value,
                group_type=_TYPE,
            )
            for group in groups
            if not states or group.state.value.lower() in states
        ],
    )


API = Api(key=ApiKey.LIST_GROUPS, versions=(0, 5), request_type=ListGroupsRequest, handle=handle)

__all__ = ["API", "handle"]
