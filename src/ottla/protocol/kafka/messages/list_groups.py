"""ListGroups (key 16): the groups that have their home on this broker.

Version 3 is flexible, 4 filters by state (KIP-518), 5 by type (KIP-848).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, array, at, message, struct


@message(api=ApiKey.LIST_GROUPS, versions=(0, 5), flexible_from=3)
class ListGroupsRequest:
    states_filter: list[str] = at(array(STRING), since=4)
    types_filter: list[str] = at(array(STRING), since=5)


@struct
class ListedGroup:
    group_id: str = at(STRING)
    protocol_type: str = at(STRING)
    group_state: str = at(STRING, since=4, ignorable=True)
    group_type: str = at(STRING, since=5, ignorable=True)


@message(api=ApiKey.LIST_GROUPS, versions=(0, 5), flexible_from=3)
class ListGroupsResponse:
    throttle_time_ms: int = at(INT32, since=1, ignorable=True)
    error_code: int = at(INT16)
    groups: list[ListedGroup] = at(array(ListedGroup))
