"""UpdateMetadata (key 6): the controller gives every broker the image of the cluster.

All versions served here are flexible and group partitions by topic. Version 7 added topic ids
(KIP-516), 8 the mark of a KRaft controller (KIP-866).
"""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UUID,
    array,
    at,
    message,
    struct,
)


@struct
class UpdateMetadataPartitionState:
    partition_index: int = at(INT32)
    controller_epoch: int = at(INT32)
    leader: int = at(INT32)
    leader_epoch: int = at(INT32)
    isr: list[int] = at(array(INT32))
    zk_version: int = at(INT32)
    replicas: list[int] = at(array(INT32))
    offline_replicas: list[int] = at(array(INT32))


@struct
class UpdateMetadataTopicState:
    topic_name: str = at(STRING)
    topic_id: uuid.UUID = at(UUID, since=7, ignorable=True)
    partition_states: list[UpdateMetadataPartitionState] = at(array(UpdateMetadataPartitionState))


@struct
class UpdateMetadataEndpoint:
    port: int = at(INT32)
    host: str = at(STRING)
    listener: str = at(STRING)
    security_protocol: int = at(INT16)


@struct
class UpdateMetadataBroker:
    id: int = at(INT32)
    endpoints: list[UpdateMetadataEndpoint] = at(array(UpdateMetadataEndpoint))
    rack: str | None = at(STRING, nullable=True)


@message(api=ApiKey.UPDATE_METADATA, versions=(6, 8), flexible_from=6)
class UpdateMetadataRequest:
    controller_id: int = at(INT32)
    is_k_raft_controller: bool = at(BOOL, since=8)
    type: int = at(INT8, since=8, tag=0)
    controller_epoch: int = at(INT32)
    broker_epoch: int = at(INT64, default=-1)
    topic_states: list[UpdateMetadataTopicState] = at(array(UpdateMetadataTopicState))
    live_brokers: list[UpdateMetadataBroker] = at(array(UpdateMetadataBroker))


@message(api=ApiKey.UPDATE_METADATA, versions=(6, 8), flexible_from=6)
class UpdateMetadataResponse:
    error_code: int = at(INT16)
