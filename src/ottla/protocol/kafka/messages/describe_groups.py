"""DescribeGroups (key 15): state, members and assignments of classic groups.

Version 3 can return authorised operations (KIP-430), 4 the static member's name (KIP-345), 5 is
flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    BYTES,
    INT16,
    INT32,
    STRING,
    array,
    at,
    message,
    struct,
)


@message(api=ApiKey.DESCRIBE_GROUPS, versions=(0, 5), flexible_from=5)
class DescribeGroupsRequest:
    groups: list[str] = at(array(STRING))
    include_authorized_operations: bool = at(BOOL, since=3)


@struct
class DescribedGroupMember:
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, since=4, nullable=True, default=None, ignorable=True)
    client_id: str = at(STRING)
    client_host: str = at(STRING)
    member_metadata: bytes = at(BYTES)
    member_assignment: bytes = at(BYTES)


@struct
class DescribedGroup:
    error_code: int = at(INT16)
    group_id: str = at(STRING)
    group_state: str = at(STRING)
    protocol_type: str = at(STRING)
    protocol_data: str = at(STRING)
    members: list[DescribedGroupMember] = at(array(DescribedGroupMember))
    authorized_operations: int = at(INT32, since=3, default=-2147483648)


@message(api=ApiKey.DESCRIBE_GROUPS, versions=(0, 5), flexible_from=5)
class DescribeGroupsResponse:
    throttle_time_ms: int = at(INT32, since=1, ignorable=True)
    groups: list[DescribedGroup] = at(array(DescribedGroup))
