"""DescribeConfigs (key 32): the configuration of topics and brokers (KIP-133).

Version 1 tells where values come from (KIP-226), 3 types and documentation (KIP-569), 4 is
flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class DescribeConfigsResource:
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)
    configuration_keys: list[str] | None = at(array(STRING), nullable=True)


@message(api=ApiKey.DESCRIBE_CONFIGS, versions=(1, 4), flexible_from=4)
class DescribeConfigsRequest:
    resources: list[DescribeConfigsResource] = at(array(DescribeConfigsResource))
    include_synonyms: bool = at(BOOL)
    include_documentation: bool = at(BOOL, since=3)


@struct
class DescribeConfigsSynonym:
    name: str = at(STRING)
    value: str | None = at(STRING, nullable=True)
    source: int = at(INT8)


@struct
class DescribeConfigsResourceResult:
    name: str = at(STRING)
    value: str | None = at(STRING, nullable=True)
    read_only: bool = at(BOOL)
    config_source: int = at(INT8, default=-1)
    is_sensitive: bool = at(BOOL)
    synonyms: list[DescribeConfigsSynonym] = at(array(DescribeConfigsSynonym))
    config_type: int = at(INT8, since=3, ignorable=True)
    documentation: str | None = at(STRING, since=3, nullable=True, ignorable=True)


@struct
class DescribeConfigsResult:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)
    configs: list[DescribeConfigsResourceResult] = at(array(DescribeConfigsResourceResult))


@message(api=ApiKey.DESCRIBE_CONFIGS, versions=(1, 4), flexible_from=4)
class DescribeConfigsResponse:
    throttle_time_ms: int = at(INT32)
    results: list[DescribeConfigsResult] = at(array(DescribeConfigsResult))
