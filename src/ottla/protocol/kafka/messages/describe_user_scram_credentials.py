"""DescribeUserScramCredentials (key 50): which SCRAM credentials users have (KIP-554)."""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class UserName:
    name: str = at(STRING)


@message(api=ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS, versions=(0, 0), flexible_from=0)
class DescribeUserScramCredentialsRequest:
    users: list[UserName] | None = at(array(UserName), nullable=True)


@struct
class CredentialInfo:
    mechanism: int = at(INT8)
    iterations: int = at(INT32)


@struct
class DescribeUserScramCredentialsResult:
    user: str = at(STRING)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    credential_infos: list[CredentialInfo] = at(array(CredentialInfo))


@message(api=ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS, versions=(0, 0), flexible_from=0)
class DescribeUserScramCredentialsResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    results: list[DescribeUserScramCredentialsResult] = at(
        array(DescribeUserScramCredentialsResult)
    )
