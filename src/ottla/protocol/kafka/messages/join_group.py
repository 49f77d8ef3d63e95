"""JoinGroup (key 11): a member enters a group, or asks for a rebalance.

Version 1 has a rebalance timeout of its own, 4 makes new members come back with the id they were
given (KIP-394), 5 has static membership (KIP-345), 6 is flexible, 7 returns the protocol type
(KIP-559), 8 gives a reason (KIP-800), 9 may tell the leader to skip the assignment (KIP-814).
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


@struct
class JoinGroupRequestProtocol:
    name: str = at(STRING)
    metadata: bytes = at(BYTES)


@message(api=ApiKey.JOIN_GROUP, versions=(0, 9), flexible_from=6)
class JoinGroupRequest:
    group_id: str = at(STRING)
    session_timeout_ms: int = at(INT32)
    rebalance_timeout_ms: int = at(INT32, since=1, default=-1, ignorable=True)
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, since=5, nullable=True, default=None)
    protocol_type: str = at(STRING)
    protocols: list[JoinGroupRequestProtocol] = at(array(JoinGroupRequestProtocol))
    reason: str | None = at(STRING, since=8, nullable=True, default=None, ignorable=True)


@struct
class JoinGroupResponseMember:
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, since=5, nullable=True, default=None, ignorable=True)
    metadata: bytes = at(BYTES)


@message(api=ApiKey.JOIN_GROUP, versions=(0, 9), flexible_from=6)
class JoinGroupResponse:
    throttle_time_ms: int = at(INT32, since=2, ignorable=True)
    error_code: int = at(INT16)
    generation_id: int = at(INT32, default=-1)
    protocol_type: str | None = at(STRING, since=7, nullable=True, default=None, ignorable=True)
    protocol_name: str | None = at(STRING, nullable_since=7)
    leader: str = at(STRING)
    skip_assignment: bool = at(BOOL, since=9)
    member_id: str = at(STRING)
    members: list[JoinGroupResponseMember] = at(array(JoinGroupResponseMember))
