"""DescribeCluster (KIP-700): the live brokers, the controller and the cluster's id.

Version 1 says of which kind the endpoints should be; controllers of their own do not exist here.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.api.metadata import CLUSTER_OPERATIONS, View
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)

BROKERS, CONTROLLERS = 1, 2


def handle(request: DescribeClusterRequest, ctx: RequestContext) -> DescribeClusterResponse:
    if request.endpoint_type != BROKERS:
        known = request.endpoint_type == CONTROLLERS
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE
            if known
            else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
            error_message=f"endpoints of type {request.endpoint_type} are not served by a broker",
        )
    metadata = ctx.services.metadata
    view = View(metadata, ctx.listener_name, ctx.api_version)
    response = DescribeClusterResponse(
        cluster_id=ctx.services.cluster_id,
        controller_id=view.alive_or_none(metadata.controller_id),
        brokers=[
            DescribeClusterBroker(
                broker_id=node.id, host=address.host, port=address.port, rack=node.rack
            )
            for node, address in metadata.endpoints(ctx.listener_name)
        ],
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = CLUSTER_OPERATIONS
    return response


API = Api(
    ApiKey.DESCRIBE_CLUSTER,
    versions=(0, 1),
    request_type=DescribeClusterRequest,
    handle=handle,
)
