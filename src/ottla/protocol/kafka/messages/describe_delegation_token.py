"""DescribeDelegationToken (key 41): the tokens of owners (KIP-48).

Version 2 is flexible, 3 tells who asked for a token (KIP-373).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BYTES,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class DescribeDelegationTokenOwner:
    principal_type: str = at(STRING)
    principal_name: str = at(STRING)


@message(api=ApiKey.DESCRIBE_DELEGATION_TOKEN, versions=(1, 3), flexible_from=2)
class DescribeDelegationTokenRequest:
    owners: list[DescribeDelegationTokenOwner] | None = at(
        array(DescribeDelegationTokenOwner), nullable=True
    )


@struct
class DescribedDelegationTokenRenewer:
    principal_type: str = at(STRING)
    principal_name: str = at(STRING)


@struct
class DescribedDelegationToken:
    principal_type: str = at(STRING)
    principal_name: str = at(STRING)
    token_requester_principal_type: str = at(STRING, since=3)
    token_requester_principal_name: str = at(STRING, since=3)
    issue_timestamp: int = at(INT64)
    expiry_timestamp: int = at(INT64)
    max_timestamp: int = at(INT64)
    token_id: str = at(STRING)
    hmac: bytes = at(BYTES)
    renewers: list[DescribedDelegationTokenRenewer] = at(array(DescribedDelegationTokenRenewer))


@message(api=ApiKey.DESCRIBE_DELEGATION_TOKEN, versions=(1, 3), flexible_from=2)
class DescribeDelegationTokenResponse:
    error_code: int = at(INT16)
    tokens: list[DescribedDelegationToken] = at(array(DescribedDelegationToken))
    throttle_time_ms: int = at(INT32)
