"""The messages a controller sends to brokers, built from its state at the moment of sending.

Pure. LeaderAndIsr version 7, StopReplica 4, UpdateMetadata 8.
"""

from collections.abc import Iterable, Mapping

from ottla.broker.controller.state import ControllerState
from ottla.broker.ensemble.values import EPOCH_DURING_DELETE, LEADER_DURING_DELETE
from ottla.broker.ids import ZERO_TOPIC_ID, BrokerId, TopicPartition
from ottla.protocol.kafka.messages.leader_and_isr import (
    LeaderAndIsrLiveLeader,
    LeaderAndIsrPartitionState,
    LeaderAndIsrRequest,
    LeaderAndIsrTopicState,
)
from ottla.protocol.kafka.messages.stop_replica import (
    StopReplicaPartitionState,
    StopReplicaRequest,
    StopReplicaTopicState,
)
from ottla.protocol.kafka.messages.update_metadata import (
    UpdateMetadataBroker,
    UpdateMetadataEndpoint,
    UpdateMetadataPartitionState,
    UpdateMetadataRequest,
    UpdateMetadataTopicState,
)

LEADER_AND_ISR_VERSION = 7
STOP_REPLICA_VERSION = 4
UPDATE_METADATA_VERSION = 8

INCREMENTAL = 1
FULL = 2
_SECURITY_PROTOCOLS = {"PLAINTEXT": 0, "SSL": 1, "SASL_PLAINTEXT": 2, "SASL_SSL": 3}


def leader_and_isr(
    cluster: ControllerState,
    broker: BrokerId,
    partitions: Mapping[TopicPartition, bool],
    listener: str,
    *,
    full: bool,
) -> LeaderAndIsrRequest:
    """The roles of `partitions` (to whether each is new) that still exist, for one broker.

    `full` says that these are all that the broker should hold. `listener` is the one brokers use
    among themselves: the leaders' addresses are those of its endpoints.
    """
    topics: dict[str, LeaderAndIsrTopicState] = {}
    leaders: dict[BrokerId, None] = {}
    for tp, is_new in partitions.items():
        state = cluster.partitions.get(tp)
        assignment = cluster.assignment(tp)
        if state is None or assignment is None or tp.topic in cluster.deleting:
            continue
        leaders[state.leader] = None
        topic = topics.get(tp.topic)
        if topic is None:
            topic = topics[tp.topic] = LeaderAndIsrTopicState(
                topic_name=tp.topic, topic_id=cluster.topics[tp.topic].topic_id
            )
        topic.partition_states.append(
            LeaderAndIsrPartitionState(
                partition_index=tp.partition,
                controller_epoch=state.controller_epoch,
                leader=state.leader,
                leader_epoch=state.leader_epoch,
                isr=list(state.isr),
                partition_epoch=state.partition_epoch,
                replicas=list(assignment.replicas),
                adding_replicas=list(assignment.adding),
                removing_replicas=list(assignment.removing),
                is_new=is_new,
                leader_recovery_state=int(state.recovering),
            )
        )
    return LeaderAndIsrRequest(
        controller_id=cluster.controller_id,
        controller_epoch=cluster.epoch,
        broker_epoch=cluster.brokers[broker].epoch,
        type=FULL if full else INCREMENTAL,
        topic_states=list(topics.values()),
        live_leaders=[
            LeaderAndIsrLiveLeader(broker_id=leader, host_name=point.host, port=point.port)
            for leader in sorted(leaders)
            if (info := cluster.brokers.get(leader)) is not None
            and (point := info.endpoint(listener)) is not None
        ],
    )


def stop_replica(
    cluster: ControllerState, broker: BrokerId, partitions: Mapping[TopicPartition, bool]
) -> StopReplicaRequest:
    """Stop `partitions` (to whether their data goes too) on one broker."""
    topics: dict[str, StopReplicaTopicState] = {}
    for tp, delete in partitions.items():
        topic = topics.setdefault(tp.topic, StopReplicaTopicState(topic_name=tp.topic))
        topic.partition_states.append(
            StopReplicaPartitionState(
                partition_index=tp.partition,
                leader_epoch=_epoch_for_stop(cluster, tp),
                delete_partition=delete,
            )
        )
    return StopReplicaRequest(
        controller_id=cluster.controller_id,
        controller_epoch=cluster.epoch,
        broker_epoch=cluster.brokers[broker].epoch,
        topic_states=list(topics.values()),
    )


def _epoch_for_stop(cluster: ControllerState, tp: TopicPartition) -> int:
    state = cluster.partitions.get(tp)
    if tp.topic in cluster.deleting or tp.topic not in cluster.topics:
        return EPOCH_DURING_DELETE
    return -1 if state is None else state.leader_epoch


def update_metadata(
    cluster: ControllerState,
    broker: BrokerId,
    partitions: Iterable[TopicPartition],
    *,
    full: bool,
) -> UpdateMetadataRequest:
    """All live brokers, and what is known of `partitions`; `full` says that these are all."""
    topics: dict[str, UpdateMetadataTopicState] = {}
    for tp in partitions:
        described = _describe(cluster, tp)
        if described is None:
            continue
        topic = topics.get(tp.topic)
        if topic is None:
            known = cluster.topics.get(tp.topic)
            topic = topics[tp.topic] = UpdateMetadataTopicState(
                topic_name=tp.topic, topic_id=known.topic_id if known else ZERO_TOPIC_ID
            )
        topic.partition_states.append(described)
    return UpdateMetadataRequest(
        controller_id=cluster.controller_id,
        type=FULL if full else INCREMENTAL,
        controller_epoch=cluster.epoch,
        broker_epoch=cluster.brokers[broker].epoch,
        topic_states=list(topics.values()),
        live_brokers=live_brokers(cluster),
    )


def _describe(cluster: ControllerState, tp: TopicPartition) -> UpdateMetadataPartitionState | None:
    if tp.topic in cluster.deleting or cluster.assignment(tp) is None:
        return UpdateMetadataPartitionState(
            partition_index=tp.partition,
            controller_epoch=cluster.epoch,
            leader=LEADER_DURING_DELETE,
        )
    state = cluster.partitions.get(tp)
    if state is None:
        return None
    return UpdateMetadataPartitionState(
        partition_index=tp.partition,
        controller_epoch=state.controller_epoch,
        leader=state.leader,
        leader_epoch=state.leader_epoch,
        isr=list(state.isr),
        zk_version=state.partition_epoch,
        replicas=list(cluster.replicas(tp)),
        offline_replicas=list(cluster.offline_replicas(tp)),
    )


def live_brokers(cluster: ControllerState) -> list[UpdateMetadataBroker]:
    """Every registered broker with all its endpoints, those that are shutting down included."""
    return [
        UpdateMetadataBroker(
            id=info.id,
            endpoints=[
                UpdateMetadataEndpoint(
                    port=point.port,
                    host=point.host,
                    listener=point.listener,
                    security_protocol=_SECURITY_PROTOCOLS[point.protocol],
                )
                for point in info.endpoints
            ],
            rack=info.rack,
        )
        for _, info in sorted(cluster.brokers.items())
    ]
