"""AlterConfigs (key 33): replaces the whole configuration of a resource (KIP-133).

Version 2 is flexible. IncrementalAlterConfigs is what newer clients use.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class AlterableConfig:
    name: str = at(STRING)
    value: str | None = at(STRING, nullable=True)


@struct
class AlterConfigsResource:
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)
    configs: list[AlterableConfig] = at(array(AlterableConfig))


@message(api=ApiKey.ALTER_CONFIGS, versions=(0, 2), flexible_from=2)
class AlterConfigsRequest:
    resources: list[AlterConfigsResource] = at(array(AlterConfigsResource))
    validate_only: bool = at(BOOL)


@struct
class AlterConfigsResourceResponse:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)


@message(api=ApiKey.ALTER_CONFIGS, versions=(0, 2), flexible_from=2)
class AlterConfigsResponse:
    throttle_time_ms: int = at(INT32)
    responses: list[AlterConfigsResourceResponse] = at(array(AlterConfigsResourceResponse))
