"""RenewDelegationToken (key 39): prolongs the life of a token (KIP-48).

Version 2 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BYTES, INT16, INT32, INT64, at, message


@message(api=ApiKey.RENEW_DELEGATION_TOKEN, versions=(1, 2), flexible_from=2)
class RenewDelegationTokenRequest:
    hmac: bytes = at(BYTES)
    renew_period_ms: int = at(INT64)


@message(api=ApiKey.RENEW_DELEGATION_TOKEN, versions=(1, 2), flexible_from=2)
class RenewDelegationTokenResponse:
    error_code: int = at(INT16)
    expiry_timestamp_ms: int = at(INT64)
    throttle_time_ms: int = at(INT32)
