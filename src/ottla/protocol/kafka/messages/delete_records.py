"""DeleteRecords (key 21): moves the log start offset of partitions (KIP-107).

Version 2 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@struct
class DeleteRecordsPartition:
    partition_index: int = at(INT32)
    offset: int = at(INT64)


@struct
class DeleteRecordsTopic:
    name: str = at(STRING)
    partitions: list[DeleteRecordsPartition] = at(array(DeleteRecordsPartition))


@message(api=ApiKey.DELETE_RECORDS, versions=(0, 2), flexible_from=2)
class DeleteRecordsRequest:
    topics: list[DeleteRecordsTopic] = at(array(DeleteRecordsTopic))
    timeout_ms: int = at(INT32)


@struct
class DeleteRecordsPartitionResult:
    partition_index: int = at(INT32)
    low_watermark: int = at(INT64)
    error_code: int = at(INT16)


@struct
class DeleteRecordsTopicResult:
    name: str = at(STRING)
    partitions: list[DeleteRecordsPartitionResult] = at(array(DeleteRecordsPartitionResult))


@message(api=ApiKey.DELETE_RECORDS, versions=(0, 2), flexible_from=2)
class DeleteRecordsResponse:
    throttle_time_ms: int = at(INT32)
    topics: list[DeleteRecordsTopicResult] = at(array(DeleteRecordsTopicResult))
