"""Metadata as a controller would send it, for tests."""

from uuid import UUID

from ottla.protocol.kafka.messages.update_metadata import (
    UpdateMetadataBroker,
    UpdateMetadataEndpoint,
    UpdateMetadataPartitionState,
    UpdateMetadataRequest,
    UpdateMetadataTopicState,
)


def broker(broker_id: int, *listeners: str, rack: str | None = None) -> UpdateMetadataBroker:
    """A live broker at `host<id>`, port 9000 + id, on each listener (PLAINTEXT by default)."""
    return UpdateMetadataBroker(
        id=broker_id,
        rack=rack,
        endpoints=[
            UpdateMetadataEndpoint(
                port=9000 + broker_id, host=f"host{broker_id}", listener=name, security_protocol=0
            )
            for name in listeners or ("PLAINTEXT",)
        ],
    )


def partition(
    index: int,
    leader: int,
    *,
    epoch: int = 5,
    replicas: tuple[int, ...] = (1, 2, 3),
    isr: tuple[int, ...] | None = None,
) -> UpdateMetadataPartitionState:
    return UpdateMetadataPartitionState(
        partition_index=index,
        controller_epoch=1,
        leader=leader,
        leader_epoch=epoch,
        isr=list(isr or replicas),
        zk_version=3,
        replicas=list(replicas),
    )


def topic(
    name: str, topic_id: int, *partitions: UpdateMetadataPartitionState
) -> UpdateMetadataTopicState:
    return UpdateMetadataTopicState(
        topic_name=name, topic_id=UUID(int=topic_id), partition_states=list(partitions)
    )


def update(
    *topics: UpdateMetadataTopicState,
    brokers: tuple[UpdateMetadataBroker, ...] | None = None,
    controller: int = 1,
) -> UpdateMetadataRequest:
    """UpdateMetadata in controller epoch 1, with brokers 1 to 3 alive unless told otherwise."""
    return UpdateMetadataRequest(
        controller_id=controller,
        controller_epoch=1,
        broker_epoch=-1,
        topic_states=list(topics),
        live_brokers=list((broker(1), broker(2), broker(3)) if brokers is None else brokers),
    )
