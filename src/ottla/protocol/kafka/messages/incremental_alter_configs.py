"""IncrementalAlterConfigs (key 44): sets, removes, appends to single keys (KIP-339).

Version 1 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class AlterableConfig:
    name: str = at(STRING)
    config_operation: int = at(INT8)
    value: str | None = at(STRING, nullable=True)


@struct
class AlterConfigsResource:
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)
    configs: list[AlterableConfig] = at(array(AlterableConfig))


@message(api=ApiKey.INCREMENTAL_ALTER_CONFIGS, versions=(0, 1), flexible_from=1)
class IncrementalAlterConfigsRequest:
    resources: list[AlterConfigsResource] = at(array(AlterConfigsResource))
    validate_only: bool = at(BOOL)


@struct
class AlterConfigsResourceResponse:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)


@message(api=ApiKey.INCREMENTAL_ALTER_CONFIGS, versions=(0, 1), flexible_from=1)
class IncrementalAlterConfigsResponse:
    throttle_time_ms: int = at(INT32)
    responses: list[AlterConfigsResourceResponse] = at(array(AlterConfigsResourceResponse))
