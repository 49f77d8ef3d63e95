"""CreateAcls (key 30): adds access rules (KIP-140).

Version 1 has pattern types (KIP-290), 2 is flexible, 3 knows user resources (KIP-373).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class AclCreation:
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)
    resource_pattern_type: int = at(INT8, default=3)
    principal: str = at(STRING)
    host: str = at(STRING)
    operation: int = at(INT8)
    permission_type: int = at(INT8)


@message(api=ApiKey.CREATE_ACLS, versions=(1, 3), flexible_from=2)
class CreateAclsRequest:
    creations: list[AclCreation] = at(array(AclCreation))


@struct
class AclCreationResult:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)


@message(api=ApiKey.CREATE_ACLS, versions=(1, 3), flexible_from=2)
class CreateAclsResponse:
    throttle_time_ms: int = at(INT32)
    results: list[AclCreationResult] = at(array(AclCreationResult))
