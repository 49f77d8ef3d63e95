"""LeaveGroup: a member goes; from version 3 on several at once, by instance id too (KIP-345)."""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.groups.values import MemberIdentity
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberResponse,
)

_BATCHED_FROM = 3
_REASON_MAX = 255


def handle(request: LeaveGroupRequest, ctx: RequestContext) -> LeaveGroupResponse:
    if ctx.api_version < _BATCHED_FROM:
        leaving = [MemberIdentity(request.member_id, None, "not provided")]
    else:
        leaving = [
            MemberIdentity(
                member.member_id,
                member.group_instance_id,
                (member.reason or "not provided")[:_REASON_MAX],
            )
            for member in request.members
        ]
    error, errors = ctx.services.groups.leave(request.group_id, leaving)
    if ctx.api_version < _BATCHED_FROM:
        only = errors[0] if error is ErrorCode.NONE else error
        return LeaveGroupResponse(error_code=only)
    return LeaveGroupResponse(
        error_code=error,
        members=[
            MemberResponse(
                member_id=who.member_id, group_instance_id=who.instance_id, error_code=code
            )
            for who, code in zip(leaving, errors, strict=False)  # no errors: see error_code
        ],
    )


API = Api(key=ApiKey.LEAVE_GROUP, versions=(0, 5), request_type=LeaveGroupRequest, handle=handle)

__all__ = ["API", "handle"]
