"""SyncGroup: hand in the assignment as leader, get one's own share; parked until it is committed.

From version 3 on with static members (KIP-345), from 5 on the protocol has to be named (KIP-559).
"""

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.api.group_replies import answer
from ottla.broker.errors import InconsistentGroupProtocol
from ottla.broker.groups.values import Sync, SyncReply
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.sync_group import SyncGroupRequest, SyncGroupResponse

_PROTOCOL_FROM = 5


def handle(request: SyncGroupRequest, ctx: RequestContext) -> SyncGroupResponse | Parked:
    if ctx.api_version >= _PROTOCOL_FROM and None in (
        request.protocol_type,
        request.protocol_name,
    ):
        raise InconsistentGroupProtocol("the protocol's type and name have to be given")
    command = Sync(
        member_id=request.member_id,
        instance_id=request.group_instance_id,
        generation=request.generation_id,
        protocol_type=request.protocol_type,
        protocol=request.protocol_name,
        assignments={share.member_id: share.assignment for share in request.assignments},
    )
    return answer(ctx.services.groups.sync(request.group_id, command), _response)


def _response(reply: SyncReply) -> SyncGroupResponse:
    return SyncGroupResponse(
        error_code=reply.error,
        protocol_type=reply.protocol_type,
        protocol_name=reply.protocol,
        assignment=reply.assignment,
    )


API = Api(key=ApiKey.SYNC_GROUP, versions=(0, 5), request_type=SyncGroupRequest, handle=handle)

__all__ = ["API", "handle"]
