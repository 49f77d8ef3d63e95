"""AllocateProducerIds (key 67): a broker gets a block of producer ids from the controller.

See KIP-730.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, at, message


@message(api=ApiKey.ALLOCATE_PRODUCER_IDS, versions=(0, 0), flexible_from=0)
class AllocateProducerIdsRequest:
    broker_id: int = at(INT32)
    broker_epoch: int = at(INT64, default=-1)


@message(api=ApiKey.ALLOCATE_PRODUCER_IDS, versions=(0, 0), flexible_from=0)
class AllocateProducerIdsResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    producer_id_start: int = at(INT64)
    producer_id_len: int = at(INT32)
