"""StopReplica (key 5): the controller makes a broker stop, and maybe delete, replicas.

All versions served here are flexible. Versions 0 to 2 had one flag for all partitions of a request;
3 has the flag and the leader epoch per partition (KIP-570), 4 the mark of a KRaft controller.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class StopReplicaTopicV1:
    name: str = at(STRING)
    partition_indexes: list[int] = at(array(INT32))


@struct
class StopReplicaPartitionState:
    partition_index: int = at(INT32)
    leader_epoch: int = at(INT32, default=-1)
    delete_partition: bool = at(BOOL)


@struct
class StopReplicaTopicState:
    topic_name: str = at(STRING)
    partition_states: list[StopReplicaPartitionState] = at(array(StopReplicaPartitionState))


@message(api=ApiKey.STOP_REPLICA, versions=(2, 4), flexible_from=2)
class StopReplicaRequest:
    controller_id: int = at(INT32)
    is_k_raft_controller: bool = at(BOOL, since=4)
    controller_epoch: int = at(INT32)
    broker_epoch: int = at(INT64, default=-1)
    delete_partitions: bool = at(BOOL, until=2)
    topics: list[StopReplicaTopicV1] = at(array(StopReplicaTopicV1), until=2)
    topic_states: list[StopReplicaTopicState] = at(array(StopReplicaTopicState), since=3)


@struct
class StopReplicaPartitionError:
    topic_name: str = at(STRING)
    partition_index: int = at(INT32)
    error_code: int = at(INT16)


@message(api=ApiKey.STOP_REPLICA, versions=(2, 4), flexible_from=2)
class StopReplicaResponse:
    error_code: int = at(INT16)
    partition_errors: list[StopReplicaPartitionError] = at(array(StopReplicaPartitionError))
