"""ListTransactions (key 66): the transactions that have their home here (KIP-664).

Version 1 filters by duration (KIP-994).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@message(api=ApiKey.LIST_TRANSACTIONS, versions=(0, 1), flexible_from=0)
class ListTransactionsRequest:
    state_filters: list[str] = at(array(STRING))
    producer_id_filters: list[int] = at(array(INT64))
    duration_filter: int = at(INT64, since=1, default=-1)


@struct
class TransactionState:
    transactional_id: str = at(STRING)
    producer_id: int = at(INT64)
    transaction_state: str = at(STRING)


@message(api=ApiKey.LIST_TRANSACTIONS, versions=(0, 1), flexible_from=0)
class ListTransactionsResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    unknown_state_filters: list[str] = at(array(STRING))
    transaction_states: list[TransactionState] = at(array(TransactionState))
