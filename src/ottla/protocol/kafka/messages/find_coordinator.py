"""FindCoordinator (key 10): which broker is the home of a group or of a transactional id.

Version 1 knows key types (KIP-98), 3 is flexible, 4 asks for many keys at once (KIP-699), 5 is for
clients that know the newer transaction errors (KIP-890), 6 allows keys of share groups (KIP-932).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT8, INT16, INT32, STRING, array, at, message, struct


@message(api=ApiKey.FIND_COORDINATOR, versions=(0, 6), flexible_from=3)
class FindCoordinatorRequest:
    key: str = at(STRING, until=3)
    key_type: int = at(INT8, since=1)
    coordinator_keys: list[str] = at(array(STRING), since=4)


@struct
class Coordinator:
    key: str = at(STRING)
    node_id: int = at(INT32)
    host: str = at(STRING)
    port: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)


@message(api=ApiKey.FIND_COORDINATOR, versions=(0, 6), flexible_from=3)
class FindCoordinatorResponse:
    throttle_time_ms: int = at(INT32, since=1, ignorable=True)
    error_code: int = at(INT16, until=3)
    error_message: str | None = at(STRING, since=1, until=3, nullable=True, ignorable=True)
    node_id: int = at(INT32, until=3)
    host: str = at(STRING, until=3)
    port: int = at(INT32, until=3)
    coordinators: list[Coordinator] = at(array(Coordinator), since=4)
