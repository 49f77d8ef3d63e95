"""Keys and values of the records in `__transaction_state`.

Both start with their version as int16: see `codec.decode_versioned`. Version 1 of the value is
flexible (KIP-915).
"""

from ottla.protocol.kafka.schema import (
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    at,
    message,
    struct,
)


@message(versions=(0, 0))
class TransactionLogKey:
    transactional_id: str = at(STRING)


@struct
class PartitionsSchema:
    topic: str = at(STRING)
    partition_ids: list[int] = at(array(INT32))


@message(versions=(0, 1), flexible_from=1)
class TransactionLogValue:
    producer_id: int = at(INT64)
    producer_epoch: int = at(INT16)
    transaction_timeout_ms: int = at(INT32)
    transaction_status: int = at(INT8)
    transaction_partitions: list[PartitionsSchema] | None = at(
        array(PartitionsSchema), nullable=True
    )
    transaction_last_update_timestamp_ms: int = at(INT64)
    transaction_start_timestamp_ms: int = at(INT64)
