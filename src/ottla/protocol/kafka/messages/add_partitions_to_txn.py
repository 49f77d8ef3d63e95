"""AddPartitionsToTxn (key 24): a transaction is going to write to partitions (KIP-98).

Version 3 is flexible. From 4 on brokers batch several transactions into one request, and may only
verify that the partitions are part of them (KIP-890).
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
class AddPartitionsToTxnTopic:
    name: str = at(STRING)
    partitions: list[int] = at(array(INT32))


@struct
class AddPartitionsToTxnTransaction:
    transactional_id: str = at(STRING)
    producer_id: int = at(INT64)
    producer_epoch: int = at(INT16)
    verify_only: bool = at(BOOL)
    topics: list[AddPartitionsToTxnTopic] = at(array(AddPartitionsToTxnTopic))


@message(api=ApiKey.ADD_PARTITIONS_TO_TXN, versions=(0, 5), flexible_from=3)
class AddPartitionsToTxnRequest:
    transactions: list[AddPartitionsToTxnTransaction] = at(
        array(AddPartitionsToTxnTransaction), since=4
    )
    v3_and_below_transactional_id: str = at(STRING, until=3)
    v3_and_below_producer_id: int = at(INT64, until=3)
    v3_and_below_producer_epoch: int = at(INT16, until=3)
    v3_and_below_topics: list[AddPartitionsToTxnTopic] = at(array(AddPartitionsToTxnTopic), until=3)


@struct
class AddPartitionsToTxnPartitionResult:
    partition_index: int = at(INT32)
    partition_error_code: int = at(INT16)


@struct
class AddPartitionsToTxnTopicResult:
    name: str = at(STRING)
    results_by_partition: list[AddPartitionsToTxnPartitionResult] = at(
        array(AddPartitionsToTxnPartitionResult)
    )


@struct
class AddPartitionsToTxnResult:
    transactional_id: str = at(STRING)
    topic_results: list[AddPartitionsToTxnTopicResult] = at(array(AddPartitionsToTxnTopicResult))


@message(api=ApiKey.ADD_PARTITIONS_TO_TXN, versions=(0, 5), flexible_from=3)
class AddPartitionsToTxnResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16, since=4, ignorable=True)
    results_by_transaction: list[AddPartitionsToTxnResult] = at(
        array(AddPartitionsToTxnResult), since=4
    )
    results_by_topic_v3_and_below: list[AddPartitionsToTxnTopicResult] = at(
        array(AddPartitionsToTxnTopicResult), until=3
    )
