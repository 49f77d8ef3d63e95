"""Envelope (key 58): a broker forwards a client's request with its principal (KIP-590)."""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BYTES, INT16, at, message


@message(api=ApiKey.ENVELOPE, versions=(0, 0), flexible_from=0)
class EnvelopeRequest:
    request_data: bytes = at(BYTES)
    request_principal: bytes | None = at(BYTES, nullable=True)
    client_host_address: bytes = at(BYTES)


@message(api=ApiKey.ENVELOPE, versions=(0, 0), flexible_from=0)
class EnvelopeResponse:
    response_data: bytes | None = at(BYTES, nullable=True, default=None)
    error_code: int = at(INT16)
