"""AlterReplicaLogDirs (KIP-113): have logs of this broker in other log directories.

Answered at once; the moves go on while the logs are in use, and DescribeLogDirs tells how far they
are. A replica that this broker does not have yet is REPLICA_NOT_AVAILABLE, and will be made in the
directory that is asked for.
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.errors import BrokerError
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_replica_log_dirs import (
    AlterReplicaLogDirPartitionResult,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
    AlterReplicaLogDirTopicResult,
)


def handle(request: AlterReplicaLogDirsRequest, ctx: RequestContext) -> AlterReplicaLogDirsResponse:
    def alter(tp: TopicPartition, path: str) -> ErrorCode:
        try:
            ctx.services.log_moves.alter(tp, path)
        except BrokerError as error:
            return error.code
        return ErrorCode.NONE

    return _response({tp: alter(tp, path) for tp, path in _asked(request)})


def _asked(request: AlterReplicaLogDirsRequest) -> list[tuple[TopicPartition, str]]:
    return [
        (TopicPartition(topic.name, index), wanted.path)
        for wanted in request.dirs
        for topic in wanted.topics
        for index in topic.partitions
    ]


def _response(codes: dict[TopicPartition, ErrorCode]) -> AlterReplicaLogDirsResponse:
    topics: dict[str, AlterReplicaLogDirTopicResult] = {}
    for tp, code in codes.items():
        topic = topics.setdefault(tp.topic, AlterReplicaLogDirTopicResult(topic_name=tp.topic))
        topic.partitions.append(
            AlterReplicaLogDirPartitionResult(partition_index=tp.partition, error_code=code)
        )
    return AlterReplicaLogDirsResponse(results=list(topics.values()))


def failed(
    request: AlterReplicaLogDirsRequest, code: ErrorCode, _message: str | None
) -> AlterReplicaLogDirsResponse:
    """`code` for every partition."""
    return _response({tp: code for tp, _ in _asked(request)})


API = Api(
    ApiKey.ALTER_REPLICA_LOG_DIRS,
    versions=(1, 2),
    request_type=AlterReplicaLogDirsRequest,
    handle=handle,
    failed=failed,
)
