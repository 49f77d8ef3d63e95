"""DeleteAcls (key 31): removes the access rules that match filters (KIP-140).

Version 1 has pattern types (KIP-290), 2 is flexible, 3 knows user resources (KIP-373).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class DeleteAclsFilter:
    resource_type_filter: int = at(INT8)
    resource_name_filter: str | None = at(STRING, nullable=True)
    pattern_type_filter: int = at(INT8, default=3)
    principal_filter: str | None = at(STRING, nullable=True)
    host_filter: str | None = at(STRING, nullable=True)
    operation: int = at(INT8)
    permission_type: int = at(INT8)


@message(api=ApiKey.DELETE_ACLS, versions=(1, 3), flexible_from=2)
class DeleteAclsRequest:
    filters: list[DeleteAclsFilter] = at(array(DeleteAclsFilter))


@struct
class DeleteAclsMatchingAcl:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    resource_type: int = at(INT8)
    resource_name: str = at(STRING)
    pattern_type: int = at(INT8, default=3)
    principal: str = at(STRING)
    host: str = at(STRING)
    operation: int = at(INT8)
    permission_type: int = at(INT8)


@struct
class DeleteAclsFilterResult:
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)
    matching_acls: list[DeleteAclsMatchingAcl] = at(array(DeleteAclsMatchingAcl))


@message(api=ApiKey.DELETE_ACLS, versions=(1, 3), flexible_from=2)
class DeleteAclsResponse:
    throttle_time_ms: int = at(INT32)
    filter_results: list[DeleteAclsFilterResult] = at(array(DeleteAclsFilterResult))
