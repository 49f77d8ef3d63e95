"""What the controller tells a broker: roles, replicas to stop, the metadata of the cluster.

LeaderAndIsr 4-7, StopReplica 2-4, UpdateMetadata 6-8. Requests of a former controller get
STALE_CONTROLLER_EPOCH, those for a former life of this broker STALE_BROKER_EPOCH; the one fence for
both is the replica set's.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.ids import ControllerEpoch
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse
from ottla.protocol.kafka.messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from ottla.protocol.kafka.messages.update_metadata import (
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)


async def handle_leader_and_isr(
    request: LeaderAndIsrRequest, ctx: RequestContext
) -> LeaderAndIsrResponse:
    return await ctx.services.replicas.apply_leader_and_isr(request, version=ctx.api_version)


async def handle_stop_replica(
    request: StopReplicaRequest, ctx: RequestContext
) -> StopReplicaResponse:
    return await ctx.services.replicas.apply_stop_replica(request)


def handle_update_metadata(
    request: UpdateMetadataRequest, ctx: RequestContext
) -> UpdateMetadataResponse:
    replicas = ctx.services.replicas
    refused = replicas.fence(request.controller_epoch, request.broker_epoch)
    if refused:
        return UpdateMetadataResponse(error_code=refused)
    replicas.controller_epoch = ControllerEpoch(request.controller_epoch)
    metadata = ctx.services.metadata
    gone = {tp.topic for tp in metadata.apply(request)}
    for topic in sorted(gone):
        if metadata.topic(topic) is None:
            ctx.services.groups.on_topic_deleted(topic)
    replicas.drop_moved_away(request)
    return UpdateMetadataResponse()


APIS = (
    Api(
        ApiKey.LEADER_AND_ISR,
        versions=(4, 7),
        request_type=LeaderAndIsrRequest,
        handle=handle_leader_and_isr,
    ),
    Api(
        ApiKey.STOP_REPLICA,
        versions=(2, 4),
        request_type=StopReplicaRequest,
        handle=handle_stop_replica,
    ),
    Api(
        ApiKey.UPDATE_METADATA,
        versions=(6, 8),
        request_type=UpdateMetadataRequest,
        handle=handle_update_metadata,
    ),
)
