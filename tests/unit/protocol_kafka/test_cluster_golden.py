"""Messages between brokers against bytes derived by hand: see tests/golden/kafka/README.md."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
    RemainingPartition,
)
from ottla.protocol.kafka.messages.leader_and_isr import (
    LeaderAndIsrLiveLeader,
    LeaderAndIsrPartitionError,
    LeaderAndIsrPartitionState,
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    LeaderAndIsrTopicError,
    LeaderAndIsrTopicState,
)
from ottla.protocol.kafka.messages.stop_replica import (
    StopReplicaPartitionError,
    StopReplicaPartitionState,
    StopReplicaRequest,
    StopReplicaResponse,
    StopReplicaTopicState,
    StopReplicaTopicV1,
)
from ottla.protocol.kafka.messages.update_metadata import (
    UpdateMetadataBroker,
    UpdateMetadataEndpoint,
    UpdateMetadataPartitionState,
    UpdateMetadataRequest,
    UpdateMetadataResponse,
    UpdateMetadataTopicState,
)
from tests.support.kafka_values import versions_of

GOLDEN = Path(__file__).parents[2] / "golden" / "kafka"
TOPIC_ID = uuid.UUID(bytes=bytes(range(16)))


def leader_and_isr_request(version: int) -> LeaderAndIsrRequest:
    state = LeaderAndIsrPartitionState(
        partition_index=1,
        controller_epoch=5,
        leader=2,
        leader_epoch=7,
        isr=[2, 3],
        partition_epoch=9,
        replicas=[2, 3],
        adding_replicas=[4],
        is_new=True,
        leader_recovery_state=1 if version >= 6 else 0,
    )
    topic = LeaderAndIsrTopicState(topic_name="t", partition_states=[state])
    if version >= 5:
        topic.topic_id = TOPIC_ID
    return LeaderAndIsrRequest(
        controller_id=1,
        controller_epoch=5,
        broker_epoch=258,
        type=2 if version >= 5 else 0,
        topic_states=[topic],
        live_leaders=[LeaderAndIsrLiveLeader(broker_id=2, host_name="h", port=9092)],
    )


def leader_and_isr_response(version: int) -> LeaderAndIsrResponse:
    error = LeaderAndIsrPartitionError(partition_index=1, error_code=77)
    if version == 4:
        error.topic_name = "t"
        return LeaderAndIsrResponse(partition_errors=[error])
    topic = LeaderAndIsrTopicError(topic_id=TOPIC_ID, partition_errors=[error])
    return LeaderAndIsrResponse(topics=[topic])


def stop_replica_request(version: int) -> StopReplicaRequest:
    request = StopReplicaRequest(controller_id=1, controller_epoch=5, broker_epoch=258)
    if version == 2:
        request.delete_partitions = True
        request.topics = [StopReplicaTopicV1(name="t", partition_indexes=[1])]
    else:
        state = StopReplicaPartitionState(partition_index=1, leader_epoch=7, delete_partition=True)
        request.topic_states = [StopReplicaTopicState(topic_name="t", partition_states=[state])]
    return request


def stop_replica_response(_version: int) -> StopReplicaResponse:
    error = StopReplicaPartitionError(topic_name="t", partition_index=1, error_code=74)
    return StopReplicaResponse(partition_errors=[error])


def update_metadata_request(version: int) -> UpdateMetadataRequest:
    state = UpdateMetadataPartitionState(
        partition_index=1,
        controller_epoch=5,
        leader=-2,
        leader_epoch=7,
        isr=[2, 3],
        zk_version=9,
        replicas=[2, 3],
        offline_replicas=[3],
    )
    topic = UpdateMetadataTopicState(topic_name="t", partition_states=[state])
    if version >= 7:
        topic.topic_id = TOPIC_ID
    endpoints = [
        UpdateMetadataEndpoint(port=9092, host="h", listener="P", security_protocol=0),
        UpdateMetadataEndpoint(port=9093, host="h", listener="S", security_protocol=1),
    ]
    return UpdateMetadataRequest(
        controller_id=1,
        controller_epoch=5,
        broker_epoch=258,
        type=1 if version >= 8 else 0,
        topic_states=[topic],
        live_brokers=[UpdateMetadataBroker(id=2, endpoints=endpoints, rack=None)],
    )


def update_metadata_response(_version: int) -> UpdateMetadataResponse:
    return UpdateMetadataResponse(error_code=77)


def controlled_shutdown_request(version: int) -> ControlledShutdownRequest:
    return ControlledShutdownRequest(broker_id=2, broker_epoch=258 if version >= 2 else -1)


def controlled_shutdown_response(_version: int) -> ControlledShutdownResponse:
    return ControlledShutdownResponse(
        remaining_partitions=[
            RemainingPartition(topic_name="t", partition_index=1),
            RemainingPartition(topic_name="uv", partition_index=0),
        ]
    )


BUILDERS = [
    leader_and_isr_request,
    leader_and_isr_response,
    stop_replica_request,
    stop_replica_response,
    update_metadata_request,
    update_metadata_response,
    controlled_shutdown_request,
    controlled_shutdown_response,
]


def golden_bytes(name: str, version: int) -> bytes:
    """The pieces of a golden file that a version has."""
    data = b""
    for line in (GOLDEN / f"{name}.hex").read_text().splitlines():
        versions, _, digits = line.split("#")[0].strip().partition(" ")
        if versions and _has(versions, version):
            data += bytes.fromhex(digits)
    return data


def _has(versions: str, version: int) -> bool:
    if versions == "all":
        return True
    if versions.endswith("+"):
        return version >= int(versions[:-1])
    first, _, last = versions.partition("-")
    return int(first) <= version <= int(last or first)


CASES = [
    (builder, version)
    for builder in BUILDERS
    for version in versions_of(builder.__annotations__["return"])
]


@pytest.mark.parametrize(
    ("builder", "version"), CASES, ids=[f"{b.__name__}-{version}" for b, version in CASES]
)
def test_messages_between_brokers_have_the_bytes_of_the_schema(builder: Any, version: int):
    message, data = builder(version), golden_bytes(builder.__name__, version)
    assert codec.encode(message, version).hex(" ") == data.hex(" ")
    assert codec.decode(type(message), version, data) == message
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            codec.decode(type(message), version, data[:cut])
    with pytest.raises(DecodeError):
        codec.decode(type(message), version, data + b"\0")
