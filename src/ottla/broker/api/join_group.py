"""JoinGroup: become a member of the next generation of a group; parked until it begins.

Version 0 has one timeout for sessions and rebalances. From 4 on a new member is first told its id
(KIP-394), 5 has static members (KIP-345), 8 a reason (KIP-800), and 9 can tell a leader not to
assign (KIP-814).
"""

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.api.group_replies import answer
from ottla.broker.groups.values import Join, JoinReply
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.join_group import (
    JoinGroupRequest,
    JoinGroupResponse,
    JoinGroupResponseMember,
)

_REBALANCE_TIMEOUT_FROM = 1
_KNOWN_ID_FROM = 4
_NULL_PROTOCOL_FROM = 7
_SKIP_ASSIGNMENT_FROM = 9
_REASON_MAX = 255


def handle(request: JoinGroupRequest, ctx: RequestContext) -> JoinGroupResponse | Parked:
    version = ctx.api_version
    command = Join(
        member_id=request.member_id,
        instance_id=request.group_instance_id,
        protocol_type=request.protocol_type,
        protocols=tuple((protocol.name, protocol.metadata) for protocol in request.protocols),
        session_ms=request.session_timeout_ms,
        rebalance_ms=(
            request.rebalance_timeout_ms
            if version >= _REBALANCE_TIMEOUT_FROM
            else request.session_timeout_ms
        ),
        client_id=ctx.client_id or "",
        client_host=f"/{ctx.peer.host}",
        reason=(request.reason or "not provided")[:_REASON_MAX],
        needs_known_id=version >= _KNOWN_ID_FROM and request.group_instance_id is None,
        may_skip_assignment=version >= _SKIP_ASSIGNMENT_FROM,
    )
    no_protocol = None if version >= _NULL_PROTOCOL_FROM else ""

    def response(reply: JoinReply) -> JoinGroupResponse:
        return JoinGroupResponse(
            error_code=reply.error,
            generation_id=reply.generation,
            protocol_type=reply.protocol_type,
            protocol_name=reply.protocol or no_protocol,
            leader=reply.leader,
            skip_assignment=reply.skip_assignment,
            member_id=reply.member_id,
            members=[
                JoinGroupResponseMember(
                    member_id=member.member_id,
                    group_instance_id=member.instance_id,
                    metadata=member.metadata,
                )
                for member in reply.members
            ],
        )

    return answer(ctx.services.groups.join(request.group_id, command), response)


API = Api(key=ApiKey.JOIN_GROUP, versions=(0, 9), request_type=JoinGroupRequest, handle=handle)

__all__ = ["API", "handle"]
