"""SyncGroup (key 14): the leading member hands in the assignment, all members fetch theirs.

Version 3 knows static members (KIP-345), 4 is flexible, 5 checks protocol type and name (KIP-559).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BYTES, INT16, INT32, STRING, array, at, message, struct


@struct
class SyncGroupRequestAssignment:
    member_id: str = at(STRING)
    assignment: bytes = at(BYTES)


@message(api=ApiKey.SYNC_GROUP, versions=(0, 5), flexible_from=4)
class SyncGroupRequest:
    group_id: str = at(STRING)
    generation_id: int = at(INT32)
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, since=3, nullable=True, default=None)
    protocol_type: str | None = at(STRING, since=5, nullable=True, default=None, ignorable=True)
    protocol_name: str | None = at(STRING, since=5, nullable=True, default=None, ignorable=True)
    assignments: list[SyncGroupRequestAssignment] = at(array(SyncGroupRequestAssignment))


@message(api=ApiKey.SYNC_GROUP, versions=(0, 5), flexible_from=4)
class SyncGroupResponse:
    throttle_time_ms: int = at(INT32, since=1, ignorable=True)
    error_code: int = at(INT16)
    protocol_type: str | None = at(STRING, since=5, nullable=True, default=None, ignorable=True)
    protocol_name: str | None = at(STRING, since=5, nullable=True, default=None, ignorable=True)
    assignment: bytes = at(BYTES)
