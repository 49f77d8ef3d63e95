"""DescribeLogDirs (KIP-113): which replicas are in which log directory, and how large they are.

A directory that failed is named with KAFKA_STORAGE_ERROR. No topics named: null. Version 4 has
fields for the size of the disk, which stay unknown (-1).
"""

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)


def handle(request: DescribeLogDirsRequest, ctx: RequestContext) -> DescribeLogDirsResponse:
    wanted: set[TopicPartition] | None = None
    if request.topics is not None:
        wanted = {
            TopicPartition(topic.topic, index)
            for topic in request.topics
            for index in topic.partitions
        }
    results = []
    for log_dir in ctx.services.log_manager.dirs:
        topics: dict[str, DescribeLogDirsTopic] = {}
        for tp, log in sorted(log_dir.logs.items()):
            if wanted is None or tp in wanted:
                topic = topics.setdefault(tp.topic, DescribeLogDirsTopic(name=tp.topic))
                topic.partitions.append(
                    DescribeLogDirsPartition(
                        partition_index=tp.partition, partition_size=log.size_bytes
                    )
                )
        results.append(DescribeLogDirsResult(log_dir=log_dir.path, topics=list(topics.values())))
    results += [
        DescribeLogDirsResult(log_dir=path, error_code=ErrorCode.KAFKA_STORAGE_ERROR)
        for path in ctx.services.log_manager.lost_dirs
    ]
    return DescribeLogDirsResponse(results=results)


API = Api(
    ApiKey.DESCRIBE_LOG_DIRS,
    versions=(1, 4),
    request_type=DescribeLogDirsRequest,
    handle=handle,
)
