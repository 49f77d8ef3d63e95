"""EndTxn (key 26): a producer commits or aborts its transaction (KIP-98).

Version 3 is flexible, 4 is for clients that know the newer transaction errors (KIP-890).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT16, INT32, INT64, STRING, at, message


@message(api=ApiKey.END_TXN, versions=(0, 4), flexible_from=3)
class EndTxnRequest:
    transactional_id: str = at(STRING)
    producer_id: int = at(INT64)
    producer_epoch: int = at(INT16)
    committed: bool = at(BOOL)


@message(api=ApiKey.END_TXN, versions=(0, 4), flexible_from=3)
class EndTxnResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
