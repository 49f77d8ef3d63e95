"""AlterPartition (key 56): a leader asks the controller for another ISR (KIP-497).

Version 2 uses topic ids and may carry a leader recovery state (KIP-704), 3 gives the broker epoch
of every ISR member (KIP-903).
"""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT8, INT16, INT32, INT64, UUID, array, at, message, struct


@struct
class BrokerState:
    broker_id: int = at(INT32)
    broker_epoch: int = at(INT64, default=-1)


@struct
class AlterPartitionRequestPartitionData:
    partition_index: int = at(INT32)
    leader_epoch: int = at(INT32)
    new_isr: list[int] = at(array(INT32), until=2)
    new_isr_with_epochs: list[BrokerState] = at(array(BrokerState), since=3)
    leader_recovery_state: int = at(INT8)
    partition_epoch: int = at(INT32)


@struct
class AlterPartitionRequestTopicData:
    topic_id: uuid.UUID = at(UUID)
    partitions: list[AlterPartitionRequestPartitionData] = at(
        array(AlterPartitionRequestPartitionData)
    )


@message(api=ApiKey.ALTER_PARTITION, versions=(2, 3), flexible_from=0)
class AlterPartitionRequest:
    broker_id: int = at(INT32)
    broker_epoch: int = at(INT64, default=-1)
    topics: list[AlterPartitionRequestTopicData] = at(array(AlterPartitionRequestTopicData))


@struct
class AlterPartitionResponsePartitionData:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)
    leader_id: int = at(INT32)
    leader_epoch: int = at(INT32)
    isr: list[int] = at(array(INT32))
    leader_recovery_state: int = at(INT8)
    partition_epoch: int = at(INT32)


@struct
class AlterPartitionResponseTopicData:
    topic_id: uuid.UUID = at(UUID)
    partitions: list[AlterPartitionResponsePartitionData] = at(
        array(AlterPartitionResponsePartitionData)
    )


@message(api=ApiKey.ALTER_PARTITION, versions=(2, 3), flexible_from=0)
class AlterPartitionResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16)
    topics: list[AlterPartitionResponseTopicData] = at(array(AlterPartitionResponseTopicData))
