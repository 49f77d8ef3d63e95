"""SaslHandshake (key 17): a client chooses its SASL mechanism.

After version 0 the mechanism's tokens follow bare on the connection, after 1 they travel in
SaslAuthenticate (KIP-152).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, STRING, array, at, message


@message(api=ApiKey.SASL_HANDSHAKE, versions=(0, 1))
class SaslHandshakeRequest:
    mechanism: str = at(STRING)


@message(api=ApiKey.SASL_HANDSHAKE, versions=(0, 1))
class SaslHandshakeResponse:
    error_code: int = at(INT16)
    mechanisms: list[str] = at(array(STRING))
