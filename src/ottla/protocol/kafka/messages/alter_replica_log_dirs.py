"""AlterReplicaLogDirs (key 34): moves replicas between directories of a broker (KIP-113).

Version 2 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, array, at, message, struct


@struct
class AlterReplicaLogDirTopic:
    name: str = at(STRING)
    partitions: list[int] = at(array(INT32))


@struct
class AlterReplicaLogDir:
    path: str = at(STRING)
    topics: list[AlterReplicaLogDirTopic] = at(array(AlterReplicaLogDirTopic))


@message(api=ApiKey.ALTER_REPLICA_LOG_DIRS, versions=(1, 2), flexible_from=2)
class AlterReplicaLogDirsRequest:
    dirs: list[AlterReplicaLogDir] = at(array(AlterReplicaLogDir))


@struct
class AlterReplicaLogDirPartitionResult:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)


@struct
class AlterReplicaLogDirTopicResult:
    topic_name: str = at(STRING)
    partitions: list[AlterReplicaLogDirPartitionResult] = at(
        array(AlterReplicaLogDirPartitionResult)
    )


@message(api=ApiKey.ALTER_REPLICA_LOG_DIRS, versions=(1, 2), flexible_from=2)
class AlterReplicaLogDirsResponse:
    throttle_time_ms: int = at(INT32)
    results: list[AlterReplicaLogDirTopicResult] = at(array(AlterReplicaLogDirTopicResult))
