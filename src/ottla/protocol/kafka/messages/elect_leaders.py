"""ElectLeaders (key 43): starts an election for partitions (KIP-183).

Version 0 knows preferred elections only, 1 also unclean ones (KIP-460), 2 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT8, INT16, INT32, STRING, array, at, message, struct


@struct
class TopicPartitions:
    topic: str = at(STRING)
    partitions: list[int] = at(array(INT32))


@message(api=ApiKey.ELECT_LEADERS, versions=(0, 2), flexible_from=2)
class ElectLeadersRequest:
    election_type: int = at(INT8, since=1)
    topic_partitions: list[TopicPartitions] | None = at(array(TopicPartitions), nullable=True)
    timeout_ms: int = at(INT32, default=60000)


@struct
class PartitionResult:
    partition_id: int = at(INT32)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, nullable=True)


@struct
class ReplicaElectionResult:
    topic: str = at(STRING)
    partition_result: list[PartitionResult] = at(array(PartitionResult))


@message(api=ApiKey.ELECT_LEADERS, versions=(0, 2), flexible_from=2)
class ElectLeadersResponse:
    throttle_time_ms: int = at(INT32)
    error_code: int = at(INT16, since=1)
    replica_election_results: list[ReplicaElectionResult] = at(array(ReplicaElectionResult))
