"""DescribeLogDirs (KIP-113): which replicas are in which log directory, and how large they are.

A directory that failed is named with KAFKA_STORAGE_ERROR. No topics named: null. A log on its way
to another directory (KIP-113) is in both; `offset_lag` says how much of it is still to come, for
other logs how far the high watermark is ahead. Version 4 has the size of the file system (KIP-827).
"""

from ottla.broker.api.api import Api, RequestContext, Services
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
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
                topic.partitions.append(_describe(tp, log, ctx.services))
        result = DescribeLogDirsResult(log_dir=log_dir.path, topics=list(topics.values()))
        if (space := log_dir.space()) is not None:
            result.total_bytes, result.usable_bytes = space
        results.append(result)
    results += [
        DescribeLogDirsResult(log_dir=path, error_code=ErrorCode.KAFKA_STORAGE_ERROR)
        for path in ctx.services.log_manager.lost_dirs
    ]
    return DescribeLogDirsResponse(results=results)


def _describe(tp: TopicPartition, log: Log, services: Services) -> DescribeLogDirsPartition:
    current = services.log_manager.get(tp)
    is_future = log is not current
    if is_future:
        lag = current.log_end - log.log_end if current is not None else 0
    else:
        partition = services.partitions.get(tp)
        lag = partition.high_watermark - log.log_end if partition is not None else 0
    return DescribeLogDirsPartition(
        partition_index=tp.partition,
        partition_size=log.size_bytes,
        offset_lag=max(lag, 0),
        is_future_key=is_future,
    )


API = Api(
    ApiKey.DESCRIBE_LOG_DIRS,
    versions=(1, 4),
    request_type=DescribeLogDirsRequest,
    handle=handle,
)
