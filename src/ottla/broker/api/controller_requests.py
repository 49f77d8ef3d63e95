"""What other brokers ask the controller: each request goes to it as it is, and its answer back.

ControlledShutdown 0-3, AlterPartition 2-3, AllocateProducerIds 0. A broker that is not the
controller answers NOT_CONTROLLER.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
from ottla.protocol.kafka.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
)
from ottla.protocol.kafka.messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
)


async def controlled_shutdown(
    request: ControlledShutdownRequest, ctx: RequestContext
) -> ControlledShutdownResponse:
    return await ctx.services.controller.controlled_shutdown(request)


async def alter_partition(
    request: AlterPartitionRequest, ctx: RequestContext
) -> AlterPartitionResponse:
    return await ctx.services.controller.alter_partition(request)


async def allocate_producer_ids(
    request: AllocateProducerIdsRequest, ctx: RequestContext
) -> AllocateProducerIdsResponse:
    return await ctx.services.controller.allocate_producer_ids(request)


APIS = (
    Api(
        ApiKey.CONTROLLED_SHUTDOWN,
        versions=(0, 3),
        request_type=ControlledShutdownRequest,
        handle=controlled_shutdown,
    ),
    Api(
        ApiKey.ALTER_PARTITION,
        versions=(2, 3),
        request_type=AlterPartitionRequest,
        handle=alter_partition,
    ),
    Api(
        ApiKey.ALLOCATE_PRODUCER_IDS,
        versions=(0, 0),
        request_type=AllocateProducerIdsRequest,
        handle=allocate_producer_ids,
    ),
)
