"""DescribeLogDirs (key 35): what is in the log directories of a broker (KIP-113).

Version 2 is flexible, 3 has an error for the whole request, 4 tells the size of volumes (KIP-827).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class DescribableLogDirTopic:
    topic: str = at(STRING)
    partitions: list[int] = at(array(INT32))


@message(api=ApiKey.DESCRIBE_LOG_DIRS, versions=(1, 4), flexible_from=2)
class DescribeLogDirsRequest:
    topics: list[DescribableLogDirTopic] | None = at(array(DescribableLogDirTopic), nullable=True)


@struct
class DescribeLogDirsPartition:
    partition_index: int = at(INT32)
    partition_size: int = at(INT64)
    offset_lag: int = at(INT64)
    is_future_key: bool = at(BOOL)


@struct
class DescribeLogDirsTopic:
    name: str = at(STRING)
    partitions: list[DescribeLogDirsPartition] = at(array(DescribeLogDirsPartition))


@struct
class DescribeLogDirsResult:
    error_code: int = at(INT16)
    log_dir: str = at(STRING)
    topics: list[DescribeLogDirsTopic] = at(array(DescribeLogDirsTopic))
    total_bytes: int = at(INT64, since=4, default=-1, ignorable=True)
    usable_bytes: int = at(INT64, since=4, default=-1, ignorable=True)


@message(api=ApiKey.DESCRIBE_LOG_DIRS, versions=(1, 4), flexible_from=2)
class DescribeLogDirsResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16, since=3, ignorable=True)
    results: list[DescribeLogDirsResult] = at(array(DescribeLogDirsResult))
