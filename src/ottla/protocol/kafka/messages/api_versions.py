"""ApiVersions (key 18): which APIs and versions a broker serves.

It is the first request of most clients, hence its response header stays at version 0 for ever, and
an unknown version is answered in the form of version 0 (KIP-35, KIP-511). Version 3 is flexible,
names the client's software and tells features (KIP-584); 4 may show features starting at 0.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    at,
    message,
    struct,
)


@message(api=ApiKey.API_VERSIONS, versions=(0, 4), flexible_from=3)
class ApiVersionsRequest:
    client_software_name: str = at(STRING, since=3, ignorable=True)
    client_software_version: str = at(STRING, since=3, ignorable=True)


@struct
class ApiVersion:
    api_key: int = at(INT16)
    min_version: int = at(INT16)
    max_version: int = at(INT16)


@struct
class SupportedFeatureKey:
    name: str = at(STRING)
    min_version: int = at(INT16)
    max_version: int = at(INT16)


@struct
class FinalizedFeatureKey:
    name: str = at(STRING)
    max_version_level: int = at(INT16)
    min_version_level: int = at(INT16)


@message(api=ApiKey.API_VERSIONS, versions=(0, 4), flexible_from=3)
class ApiVersionsResponse:
    error_code: int = at(INT16)
    api_keys: list[ApiVersion] = at(array(ApiVersion))
    throttle_time_ms: int = at(INT32, since=1, ignorable=True)
    supported_features: list[SupportedFeatureKey] = at(
        array(SupportedFeatureKey), since=3, ignorable=True, tag=0
    )
    finalized_features_epoch: int = at(INT64, since=3, default=-1, ignorable=True, tag=1)
    finalized_features: list[FinalizedFeatureKey] = at(
        array(FinalizedFeatureKey), since=3, ignorable=True, tag=2
    )
    zk_migration_ready: bool = at(BOOL, since=3, ignorable=True, tag=3)
