"""CreateDelegationToken (key 38): a token in place of a principal's credentials (KIP-48).

Version 2 is flexible, 3 may create a token for another owner (KIP-373).
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
class CreatableRenewers:
    principal_type: str = at(STRING)
    principal_name: str = at(STRING)


@message(api=ApiKey.CREATE_DELEGATION_TOKEN, versions=(1, 3), flexible_from=2)
class CreateDelegationTokenRequest:
    owner_principal_type: str | None = at(STRING, since=3, nullable=True)
    owner_principal_name: str | None = at(STRING, since=3, nullable=True)
    renewers: list[CreatableRenewers] = at(array(CreatableRenewers))
    max_lifetime_ms: int = at(INT64)


@message(api=ApiKey.CREATE_DELEGATION_TOKEN, versions=(1, 3), flexible_from=2)
class CreateDelegationTokenResponse:
    error_code: int = at(INT16)
    principal_type: str = at(STRING)
    principal_name: str = at(STRING)
    token_requester_principal_type: str = at(STRING, since=3)
    token_requester_principal_name: str = at(STRING, since=3)
    issue_timestamp_ms: int = at(INT64)
    expiry_timestamp_ms: int = at(INT64)
    max_timestamp_ms: int = at(INT64)
    token_id: str = at(STRING)
    hmac: bytes = at(BYTES)
    throttle_time_ms: int = at(INT32)
