"""Heartbeat: a member is alive; the answer tells it when it has to join again."""

from ottla.broker.api.api import Api, RequestContext
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest, HeartbeatResponse


def handle(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
    error = ctx.services.groups.heartbeat(
        request.group_id, request.member_id, request.group_instance_id, request.generation_id
    )
    return HeartbeatResponse(error_code=error)


API = Api(key=ApiKey.HEARTBEAT, versions=(0, 4), request_type=HeartbeatRequest, handle=handle)

__all__ = ["API", "handle"]
