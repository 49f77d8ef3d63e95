"""UpdateFeatures (key 57): finalises the level of cluster-wide features (KIP-584).

Version 1 has upgrade types in place of a flag, and a dry run (KIP-778).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class FeatureUpdateKey:
    feature: str = at(STRING)
    max_version_level: int = at(INT16)
    allow_downgrade: bool = at(BOOL, until=0)
    upgrade_type: int = at(INT8, since=1, default=1)


@message(api=ApiKey.UPDATE_FEATURES, versions=(0, 1), flexible_from=0)
class UpdateFeaturesRequest:
    timeout_ms: int = at(INT32, default=60000)
    feature_updates: list[FeatureUpdateKey] = at(array(FeatureUpdateKey))
    validate_only: bool = at(BOOL, since=1)


@struct
class UpdatableFeatureResult:
    feature: str = at(STRING)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)


@message(api=ApiKey.UPDATE_FEATURES, versions=(0, 1), flexible_from=0)
class UpdateFeaturesResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    results: list[UpdatableFeatureResult] = at(array(UpdatableFeatureResult))
