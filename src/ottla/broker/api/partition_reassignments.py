"""AlterPartitionReassignments and ListPartitionReassignments (KIP-455), on the controller.

Any other broker answers NOT_CONTROLLER.

No replicas (null) cancel a move. No topics named in a list: null, all that is under way.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.controller.reign import Deposed
from ottla.broker.ensemble.errors import EnsembleError
from ottla.broker.errors import NotController, RequestTimedOut
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)
from ottla.protocol.kafka.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
    OngoingTopicReassignment,
)


async def alter(
    request: AlterPartitionReassignmentsRequest, ctx: RequestContext
) -> AlterPartitionReassignmentsResponse:
    wishes = {
        TopicPartition(topic.name, each.partition_index): (
            None if each.replicas is None else [BrokerId(replica) for replica in each.replicas]
        )
        for topic in request.topics
        for each in topic.partitions
    }
    try:
        outcomes = await ctx.services.controller.alter_reassignments(wishes)
    except Deposed as error:
        raise _not_controller(ctx) from error
    except EnsembleError as error:
        raise RequestTimedOut(f"the ensemble cannot be asked now: {error}") from error
    topics: dict[str, ReassignableTopicResponse] = {}
    for tp in wishes:
        code, message = outcomes[tp]
        topic = topics.setdefault(tp.topic, ReassignableTopicResponse(name=tp.topic))
        topic.partitions.append(
            ReassignablePartitionResponse(
                partition_index=tp.partition, error_code=code, error_message=message
            )
        )
    return AlterPartitionReassignmentsResponse(responses=list(topics.values()))


def list_under_way(
    request: ListPartitionReassignmentsRequest, ctx: RequestContext
) -> ListPartitionReassignmentsResponse:
    try:
        under_way = ctx.services.controller.reassignments()
    except Deposed as error:
        raise _not_controller(ctx) from error
    wanted = None
    if request.topics is not None:
        wanted = {
            TopicPartition(topic.name, index)
            for topic in request.topics
            for index in topic.partition_indexes
        }
    topics: dict[str, OngoingTopicReassignment] = {}
    for tp, assignment in sorted(under_way.items()):
        if wanted is None or tp in wanted:
            topic = topics.setdefault(tp.topic, OngoingTopicReassignment(name=tp.topic))
            topic.partitions.append(
                OngoingPartitionReassignment(
                    partition_index=tp.partition,
                    replicas=list(assignment.replicas),
                    adding_replicas=list(assignment.adding),
                    removing_replicas=list(assignment.removing),
                )
            )
    return ListPartitionReassignmentsResponse(topics=list(topics.values()))


def _not_controller(ctx: RequestContext) -> NotController:
    return NotController(f"broker {ctx.services.metadata.controller_id} is the controller")


APIS = (
    Api(
        ApiKey.ALTER_PARTITION_REASSIGNMENTS,
        versions=(0, 0),
        request_type=AlterPartitionReassignmentsRequest,
        handle=alter,
    ),
    Api(
        ApiKey.LIST_PARTITION_REASSIGNMENTS,
        versions=(0, 0),
        request_type=ListPartitionReassignmentsRequest,
        handle=list_under_way,
    ),
)
