"""DeleteGroups (key 42): removes empty groups with their offsets (KIP-229).

Version 2 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, array, at, message, struct


@message(api=ApiKey.DELETE_GROUPS, versions=(0, 2), flexible_from=2)
class DeleteGroupsRequest:
    groups_names: list[str] = at(array(STRING))


@struct
class DeletableGroupResult:
    group_id: str = at(STRING)
    error_code: int = at(INT16)


@message(api=ApiKey.DELETE_GROUPS, versions=(0, 2), flexible_from=2)
class DeleteGroupsResponse:
    throttle_time_ms: int = at(INT32)
    results: list[DeletableGroupResult] = at(array(DeletableGroupResult))
