"""DescribeGroups: state and members of groups. A group that is unknown is said to be Dead."""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.groups.group import Group
from ottla.broker.groups.states import GroupState
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)


def handle(request: DescribeGroupsRequest, ctx: RequestContext) -> DescribeGroupsResponse:
    return DescribeGroupsResponse(groups=[_described(group_id, ctx) for group_id in request.groups])


def _described(group_id: str, ctx: RequestContext) -> DescribedGroup:
    group = ctx.services.groups.describe(group_id)
    if group is None:
        return DescribedGroup(group_id=group_id, group_state=GroupState.DEAD.value)
    if isinstance(group, ErrorCode):
        return DescribedGroup(group_id=group_id, error_code=group)
    # What members subscribe to and have is only certain between rebalances.
    protocol = group.protocol if group.state is GroupState.STABLE else None
    return DescribedGroup(
        group_id=group_id,
        group_state=group.state.value,
        protocol_type=group.protocol_type or "",
        protocol_data=protocol or "",
        members=_members(group, protocol),
    )


def _members(group: Group, protocol: str | None) -> list[DescribedGroupMember]:
    return [
        DescribedGroupMember(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            member_metadata=b"" if protocol is None else member.metadata(protocol),
            member_assignment=b"" if protocol is None else member.assignment,
        )
        for member in group.members.by_id.values()
    ]


def failed(
    request: DescribeGroupsRequest, code: ErrorCode, _message: str | None
) -> DescribeGroupsResponse:
    """`code` for every group."""
    return DescribeGroupsResponse(
        groups=[DescribedGroup(group_id=group_id, error_code=code) for group_id in request.groups]
    )


API = Api(
    key=ApiKey.DESCRIBE_GROUPS,
    versions=(0, 5),
    request_type=DescribeGroupsRequest,
    handle=handle,
    failed=failed,
)

__all__ = ["API", "failed", "handle"]
