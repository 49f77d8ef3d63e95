"""SaslAuthenticate (key 36): one token of the SASL exchange, each way (KIP-152).

Version 1 tells how long the session lives before it must be renewed (KIP-368), 2 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BYTES, INT16, INT64, STRING, at, message


@message(api=ApiKey.SASL_AUTHENTICATE, versions=(0, 2), flexible_from=2)
class SaslAuthenticateRequest:
    auth_bytes: bytes = at(BYTES)


@message(api=ApiKey.SASL_AUTHENTICATE, versions=(0, 2), flexible_from=2)
class SaslAuthenticateResponse:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    auth_bytes: bytes = at(BYTES)
    session_lifetime_ms: int = at(INT64, since=1, ignorable=True)
