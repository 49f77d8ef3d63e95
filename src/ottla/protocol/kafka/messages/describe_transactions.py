"""DescribeTransactions (key 65): the state of transactional ids (KIP-664)."""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@message(api=ApiKey.DESCRIBE_TRANSACTIONS, versions=(0, 0), flexible_from=0)
class DescribeTransactionsRequest:
    transactional_ids: list[str] = at(array(STRING))


@struct
class TopicData:
    topic: str = at(STRING)
    partitions: list[int] = at(array(INT32))


@struct
class TransactionState:
    error_code: int = at(INT16)
    transactional_id: str = at(STRING)
    transaction_state: str = at(STRING)
    transaction_timeout_ms: int = at(INT32)
    transaction_start_time_ms: int = at(INT64)
    producer_id: int = at(INT64)
    producer_epoch: int = at(INT16)
    topics: list[TopicData] = at(array(TopicData))


@message(api=ApiKey.DESCRIBE_TRANSACTIONS, versions=(0, 0), flexible_from=0)
class DescribeTransactionsResponse:
    throttle_time_ms: int = at(INT32)
    transaction_states: list[TransactionState] = at(array(TransactionState))
