"""DescribeClientQuotas (key 48): quotas of entities that match a filter (KIP-546).

Version 1 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    FLOAT64,
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
class ComponentData:
    entity_type: str = at(STRING)
    match_type: int = at(INT8)
    match: str | None = at(STRING, nullable=True)


@message(api=ApiKey.DESCRIBE_CLIENT_QUOTAS, versions=(0, 1), flexible_from=1)
class DescribeClientQuotasRequest:
    components: list[ComponentData] = at(array(ComponentData))
    strict: bool = at(BOOL)


@struct
class EntityData:
    entity_type: str = at(STRING)
    entity_name: str | None = at(STRING, nullable=True)


@struct
class ValueData:
    key: str = at(STRING)
    value: float = at(FLOAT64)


@struct
class EntryData:
    entity: list[EntityData] = at(array(EntityData))
    values: list[ValueData] = at(array(ValueData))


@message(api=ApiKey.DESCRIBE_CLIENT_QUOTAS, versions=(0, 1), flexible_from=1)
class DescribeClientQuotasResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    entries: list[EntryData] | None = at(array(EntryData), nullable=True)
