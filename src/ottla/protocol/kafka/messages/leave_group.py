"""LeaveGroup (key 13): members leave at once instead of timing out.

Version 3 removes several members at a time, static ones among them (KIP-345), 4 is flexible, 5
carries a reason (KIP-800).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, array, at, message, struct


@struct
class MemberIdentity:
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, nullable=True, default=None)
    reason: str | None = at(STRING, since=5, nullable=True, default=None, ignorable=True)


@message(api=ApiKey.LEAVE_GROUP, versions=(0, 5), flexible_from=4)
class LeaveGroupRequest:
    group_id: str = at(STRING)
    member_id: str = at(STRING, until=2)
    members: list[MemberIdentity] = at(array(MemberIdentity), since=3)


@struct
class MemberResponse:
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, nullable=True)
    error_code: int = at(INT16)


@message(api=ApiKey.LEAVE_GROUP, versions=(0, 5), flexible_from=4)
class LeaveGroupResponse:
    throttle_time_ms: int = at(INT32, since=1, ignorable=True)
    error_code: int = at(INT16)
    members: list[MemberResponse] = at(array(MemberResponse), since=3)
