"""InitProducerId (key 22): a producer gets its id and epoch (KIP-98).

Version 2 is flexible, 3 lets a producer go on with the epoch it has (KIP-360), 4 and 5 are for
clients that know newer errors (KIP-588, KIP-890).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, at, message


@message(api=ApiKey.INIT_PRODUCER_ID, versions=(0, 5), flexible_from=2)
class InitProducerIdRequest:
    transactional_id: str | None = at(STRING, nullable=True)
    transaction_timeout_ms: int = at(INT32)
    producer_id: int = at(INT64, since=3, default=-1)
    producer_epoch: int = at(INT16, since=3, default=-1)


@message(api=ApiKey.INIT_PRODUCER_ID, versions=(0, 5), flexible_from=2)
class InitProducerIdResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    producer_id: int = at(INT64, default=-1)
    producer_epoch: int = at(INT16)
