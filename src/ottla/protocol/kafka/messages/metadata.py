"""Metadata (key 3): brokers, the controller, and where the partitions of topics are.

In version 0 an empty list of topics means all of them; from 1 on that is null. 4 may forbid
automatic creation, 5 tells offline replicas (KIP-112), 7 leader epochs (KIP-320), 8 to 10
authorised operations (KIP-430), 9 is flexible, 10 knows topic ids (KIP-516), 12 can ask by topic id
alone.
"""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import BOOL, INT16, INT32, STRING, UUID, array, at, message, struct


@struct
class MetadataRequestTopic:
    topic_id: uuid.UUID = at(UUID, since=10, ignorable=True)
    name: str | None = at(STRING, nullable_since=10)


@message(api=ApiKey.METADATA, versions=(0, 12), flexible_from=9)
class MetadataRequest:
    topics: list[MetadataRequestTopic] | None = at(array(MetadataRequestTopic), nullable_since=1)
    allow_auto_topic_creation: bool = at(BOOL, since=4, default=True)
    include_cluster_authorized_operations: bool = at(BOOL, since=8, until=10)
    include_topic_authorized_operations: bool = at(BOOL, since=8)


@struct
class MetadataResponseBroker:
    node_id: int = at(INT32)
    host: str = at(STRING)
    port: int = at(INT32)
    rack: str | None = at(STRING, since=1, nullable=True, default=None, ignorable=True)


@struct
class MetadataResponsePartition:
    error_code: int = at(INT16)
    partition_index: int = at(INT32)
    leader_id: int = at(INT32)
    leader_epoch: int = at(INT32, since=7, default=-1, ignorable=True)
    replica_nodes: list[int] = at(array(INT32))
    isr_nodes: list[int] = at(array(INT32))
    offline_replicas: list[int] = at(array(INT32), since=5, ignorable=True)


@struct
class MetadataResponseTopic:
    error_code: int = at(INT16)
    name: str | None = at(STRING, nullable_since=12)
    topic_id: uuid.UUID = at(UUID, since=10, ignorable=True)
    is_internal: bool = at(BOOL, since=1, ignorable=True)
    partitions: list[MetadataResponsePartition] = at(array(MetadataResponsePartition))
    topic_authorized_operations: int = at(INT32, since=8, default=-2147483648)


@message(api=ApiKey.METADATA, versions=(0, 12), flexible_from=9)
class MetadataResponse:
    throttle_time_ms: int = at(INT32, since=3, ignorable=True)
    brokers: list[MetadataResponseBroker] = at(array(MetadataResponseBroker))
    cluster_id: str | None = at(STRING, since=2, nullable=True, default=None, ignorable=True)
    controller_id: int = at(INT32, since=1, default=-1, ignorable=True)
    topics: list[MetadataResponseTopic] = at(array(MetadataResponseTopic))
    cluster_authorized_operations: int = at(INT32, since=8, until=10, default=-2147483648)
