"""LeaderAndIsr (key 4): the controller tells a broker which partitions it leads or follows.

All versions served here are flexible and group partitions by topic. Version 5 added topic ids and
the mark of a request that names all partitions (KIP-516), 6 the leader recovery state (KIP-704), 7
the mark of a KRaft controller (KIP-866).
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
class LeaderAndIsrPartitionState:
    partition_index: int = at(INT32)
    controller_epoch: int = at(INT32)
    leader: int = at(INT32)
    leader_epoch: int = at(INT32)
    isr: list[int] = at(array(INT32))
    partition_epoch: int = at(INT32)
    replicas: list[int] = at(array(INT32))
    adding_replicas: list[int] = at(array(INT32))
    removing_replicas: list[int] = at(array(INT32))
    is_new: bool = at(BOOL)
    leader_recovery_state: int = at(INT8, since=6)


@struct
class LeaderAndIsrTopicState:
    topic_name: str = at(STRING)
    topic_id: uuid.UUID = at(UUID, since=5, ignorable=True)
    partition_states: list[LeaderAndIsrPartitionState] = at(array(LeaderAndIsrPartitionState))


@struct
class LeaderAndIsrLiveLeader:
    broker_id: int = at(INT32)
    host_name: str = at(STRING)
    port: int = at(INT32)


@message(api=ApiKey.LEADER_AND_ISR, versions=(4, 7), flexible_from=4)
class LeaderAndIsrRequest:
    controller_id: int = at(INT32)
    is_k_raft_controller: bool = at(BOOL, since=7)
    controller_epoch: int = at(INT32)
    broker_epoch: int = at(INT64, default=-1)
    type: int = at(INT8, since=5)
    topic_states: list[LeaderAndIsrTopicState] = at(array(LeaderAndIsrTopicState))
    live_leaders: list[LeaderAndIsrLiveLeader] = at(array(LeaderAndIsrLiveLeader))


@struct
class LeaderAndIsrPartitionError:
    topic_name: str = at(STRING, until=4, ignorable=True)
    partition_index: int = at(INT32)
    error_code: int = at(INT16)


@struct
class LeaderAndIsrTopicError:
    topic_id: uuid.UUID = at(UUID)
    partition_errors: list[LeaderAndIsrPartitionError] = at(array(LeaderAndIsrPartitionError))


@message(api=ApiKey.LEADER_AND_ISR, versions=(4, 7), flexible_from=4)
class LeaderAndIsrResponse:
    error_code: int = at(INT16)
    partition_errors: list[LeaderAndIsrPartitionError] = at(
        array(LeaderAndIsrPartitionError), until=4
    )
    topics: list[LeaderAndIsrTopicError] = at(array(LeaderAndIsrTopicError), since=5)
