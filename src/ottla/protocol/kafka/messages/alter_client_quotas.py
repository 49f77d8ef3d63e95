"""AlterClientQuotas (key 49): sets and removes quotas of entities (KIP-546).

Version 1 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    FLOAT64,
    INT16,
    INT32,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class EntityData:
    entity_type: str = at(STRING)
    entity_name: str | None = at(STRING, nullable=True)


@struct
class OpData:
    key: str = at(STRING)
    value: float = at(FLOAT64)
    remove: bool = at(BOOL)


@struct
class AlterClientQuotasRequestEntryData:
    entity: list[EntityData] = at(array(EntityData))
    ops: list[OpData] = at(array(OpData))


@message(api=ApiKey.ALTER_CLIENT_QUOTAS, versions=(0, 1), flexible_from=1)
class AlterClientQuotasRequest:
    entries: list[AlterClientQuotasRequestEntryData] = at(array(AlterClientQuotasRequestEntryData))
    validate_only: bool = at(BOOL)


@struct
class AlterClientQuotasResponseEntryData:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    entity: list[EntityData] = at(array(EntityData))


@message(api=ApiKey.ALTER_CLIENT_QUOTAS, versions=(0, 1), flexible_from=1)
class AlterClientQuotasResponse:
    throttle_time_ms: int = at(INT32)
    entries: list[AlterClientQuotasResponseEntryData] = at(
        array(AlterClientQuotasResponseEntryData)
    )
