"""AlterUserScramCredentials (key 51): sets and removes SCRAM credentials (KIP-554)."""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BYTES,
    INT8,
    INT16,
    INT32,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class ScramCredentialDeletion:
    name: str = at(STRING)
    mechanism: int = at(INT8)


@struct
class ScramCredentialUpsertion:
    name: str = at(STRING)
    mechanism: int = at(INT8)
    iterations: int = at(INT32)
    salt: bytes = at(BYTES)
    salted_password: bytes = at(BYTES)


@message(api=ApiKey.ALTER_USER_SCRAM_CREDENTIALS, versions=(0, 0), flexible_from=0)
class AlterUserScramCredentialsRequest:
    deletions: list[ScramCredentialDeletion] = at(array(ScramCredentialDeletion))
    upsertions: list[ScramCredentialUpsertion] = at(array(ScramCredentialUpsertion))


@struct
class AlterUserScramCredentialsResult:
    user: str = at(STRING)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)


@message(api=ApiKey.ALTER_USER_SCRAM_CREDENTIALS, versions=(0, 0), flexible_from=0)
class AlterUserScramCredentialsResponse:
    throttle_time_ms: int = at(INT32)
    results: list[AlterUserScramCredentialsResult] = at(array(AlterUserScramCredentialsResult))
