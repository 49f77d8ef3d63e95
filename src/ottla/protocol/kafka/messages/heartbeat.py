"""Heartbeat (key 12): a member of a classic group says that it is alive.

Version 3 knows static members (KIP-345), 4 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, at, message


@message(api=ApiKey.HEARTBEAT, versions=(0, 4), flexible_from=4)
class HeartbeatRequest:
    group_id: str = at(STRING)
    generation_id: int = at(INT32)
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, since=3, nullable=True, default=None)


@message(api=ApiKey.HEARTBEAT, versions=(0, 4), flexible_from=4)
class HeartbeatResponse:
    throttle_time_ms: int = at(INT32, since=1, ignorable=True)
    error_code: int = at(INT16)
