"""DescribeCluster (key 60): brokers, controller and id of the cluster (KIP-700).

Version 1 can ask for the endpoints of controllers (KIP-919).
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT8, INT16, INT32, STRING, array, at, message, struct


@message(api=ApiKey.DESCRIBE_CLUSTER, versions=(0, 1), flexible_from=0)
class DescribeClusterRequest:
    include_cluster_authorized_operations: bool = at(BOOL)
    endpoint_type: int = at(INT8, since=1, default=1)


@struct
class DescribeClusterBroker:
    broker_id: int = at(INT32)
    host: str = at(STRING)
    port: int = at(INT32)
    rack: str | None = at(STRING, nullable=True, default=None)


@message(api=ApiKey.DESCRIBE_CLUSTER, versions=(0, 1), flexible_from=0)
class DescribeClusterResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True, default=None)
    endpoint_type: int = at(INT8, since=1, default=1)
    cluster_id: str = at(STRING)
    controller_id: int = at(INT32, default=-1)
    brokers: list[DescribeClusterBroker] = at(array(DescribeClusterBroker))
    cluster_authorized_operations: int = at(INT32, default=-2147483648)
