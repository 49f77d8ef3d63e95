"""ElectLeaders (KIP-183, KIP-460), on the controller; any other broker answers NOT_CONTROLLER.

Version 0 knows preferred elections only. No partitions named: null, all of them, and then those
that needed no election are left out of the answer.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.controller.reign import Deposed
from ottla.broker.ensemble.errors import EnsembleError
from ottla.broker.errors import InvalidRequest, NotController, RequestTimedOut
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)

PREFERRED, UNCLEAN = 0, 1


async def handle(request: ElectLeadersRequest, ctx: RequestContext) -> ElectLeadersResponse:
    if request.election_type not in {PREFERRED, UNCLEAN}:
        raise InvalidRequest(f"there is no election of type {request.election_type}")
    wanted = None
    if request.topic_partitions is not None:
        wanted = [
            TopicPartition(topic.topic, index)
            for topic in request.topic_partitions
            for index in topic.partitions
        ]
    try:
        elections = await ctx.services.controller.elect_leaders(
            wanted, unclean=request.election_type == UNCLEAN
        )
    except Deposed as error:
        known = ctx.services.metadata.controller_id
        raise NotController(f"broker {known} is the controller") from error
    except EnsembleError as error:
        raise RequestTimedOut(f"the ensemble cannot be asked now: {error}") from error
    topics: dict[str, ReplicaElectionResult] = {}
    for tp, (code, message) in elections.items():
        if wanted is None and code == ErrorCode.ELECTION_NOT_NEEDED:
            continue
        topic = topics.setdefault(tp.topic, ReplicaElectionResult(topic=tp.topic))
        topic.partition_result.append(
            PartitionResult(partition_id=tp.partition, error_code=code, error_message=message)
        )
    return ElectLeadersResponse(replica_election_results=list(topics.values()))


def failed(
    request: ElectLeadersRequest, code: ErrorCode, message: str | None
) -> ElectLeadersResponse:
    """`code` for every partition, or at the top when none is named, which version 0 cannot say."""
    if request.topic_partitions is None:
        return ElectLeadersResponse(error_code=code)
    return ElectLeadersResponse(
        replica_election_results=[
            ReplicaElectionResult(
                topic=topic.topic,
                partition_result=[
                    PartitionResult(partition_id=index, error_code=code, error_message=message)
                    for index in topic.partitions
                ],
            )
            for topic in request.topic_partitions
        ],
    )


API = Api(
    ApiKey.ELECT_LEADERS,
    versions=(0, 2),
    request_type=ElectLeadersRequest,
    handle=handle,
    failed=failed,
)
