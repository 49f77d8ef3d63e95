"""DescribeAcls (key 29): access rules that match a filter (KIP-140).

Version 1 has pattern types (KIP-290), 2 is flexible, 3 knows user resources (KIP-373).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT8, INT16, INT32, STRING, array, at, message, struct


@message(api=ApiKey.DESCRIBE_ACLS, versions=(1, 3), flexible_from=2)
class DescribeAclsRequest:
    resource_type_filter: int = at(INT8)
    resource_name_filter: str | None = at(STRING, nullable=True)
    pattern_type_filter: int = at(INT8, default=3)
    principal_filter: str | None = at(STRING, nullable=True)
    host_filter: str | None = at(STRING, nullable=True)
    operation: int = at(INT8)
    permission_type: int = at(INT8)


@struct
class AclDescription:
    principal: str = at(STRING)
    host: str = at(STRING)
    operation: int = at(INT8)
    permission_type: int = at(INT8)


@struct
class DescribeAclsResource:
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)
    pattern_type: int = at(INT8, default=3)
    acls: list[AclDescription] = at(array(AclDescription))


@message(api=ApiKey.DESCRIBE_ACLS, versions=(1, 3), flexible_from=2)
class DescribeAclsResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    resources: list[DescribeAclsResource] = at(array(DescribeAclsResource))
