"""ExpireDelegationToken (key 40): shortens the life of a token, or ends it (KIP-48).

Version 2 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BYTES, INT16, INT32, INT64, at, message


@message(api=ApiKey.EXPIRE_DELEGATION_TOKEN, versions=(1, 2), flexible_from=2)
class ExpireDelegationTokenRequest:
    hmac: bytes = at(BYTES)
    expiry_time_period_ms: int = at(INT64)


@message(api=ApiKey.EXPIRE_DELEGATION_TOKEN, versions=(1, 2), flexible_from=2)
class ExpireDelegationTokenResponse:
    error_code: int = at(INT16)
    expiry_timestamp_ms: int = at(INT64)
    throttle_time_ms: int = at(INT32)
