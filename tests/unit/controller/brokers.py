"""Brokers that record what their controller tells them and answer as asked."""

import uuid

from ottla.broker.ensemble.values import BrokerInfo, Endpoint
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.codec import decode
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.framing import FrameReader
from ottla.protocol.kafka.headers import decode_request_header, encode_response_frame
from ottla.protocol.kafka.messages.leader_and_isr import (
    LeaderAndIsrPartitionError,
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    LeaderAndIsrTopicError,
)
from ottla.protocol.kafka.messages.stop_replica import (
    StopReplicaPartitionError,
    StopReplicaRequest,
    StopReplicaResponse,
)
from ottla.protocol.kafka.messages.update_metadata import (
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)
from ottla.runtime.interfaces import ConnectionLost

_REQUESTS = {
    ApiKey.LEADER_AND_ISR: LeaderAndIsrRequest,
    ApiKey.STOP_REPLICA: StopReplicaRequest,
    ApiKey.UPDATE_METADATA: UpdateMetadataRequest,
}


def info(broker_id: int, *, epoch: int = 1, rack: str | None = None) -> BrokerInfo:
    endpoints = (Endpoint("PLAINTEXT", f"broker-{broker_id}", 9092),)
    return BrokerInfo(BrokerId(broker_id), endpoints, rack, epoch)


class RecordingBroker:
    """A broker's port for controllers; keeps every request and what they add up to."""

    def __init__(self) -> None:
        self.requests: list[object] = []
        self.roles: dict[TopicPartition, tuple[int, int, tuple[int, ...]]] = {}
        self.leaders: dict[TopicPartition, int] = {}
        self.live: list[int] = []
        self.topic_ids: dict[str, uuid.UUID] = {}
        self.stopped: dict[TopicPartition, bool] = {}
        self.broken: set[TopicPartition] = set()
        self.cannot_delete = False
        self.reachable = True  # False: connections are closed without an answer
        self.epochs: list[int] = []

    async def serve(self, listener) -> None:
        while True:
            stream = await listener.accept()
            frames = FrameReader(1 << 24)
            try:
                while self.reachable and (count := await stream.receive_into(frames.buffer())):
                    for frame in frames.received(count):
                        if self.reachable:
                            await stream.send_all(self._answer(frame))
            except ConnectionLost:
                pass
            stream.close()

    def _answer(self, frame) -> bytes:
        header = decode_request_header(frame)
        request = _REQUESTS[ApiKey(header.api_key)]
        message = decode(request, header.api_version, frame, header.body_offset)
        parts = encode_response_frame(
            header.api_key, header.api_version, header.correlation_id, self._handle(message)
        )
        return b"".join(parts)

    def _handle(self, message):
        self.requests.append(message)
        self.epochs.append(message.broker_epoch)
        match message:
            case LeaderAndIsrRequest():
                return self._take_roles(message)
            case StopReplicaRequest():
                return self._stop(message)
            case UpdateMetadataRequest():
                return self._learn(message)
        raise AssertionError(message)

    def of(self, kind) -> list:
        return [each for each in self.requests if isinstance(each, kind)]

    def _take_roles(self, message):
        topics = []
        for topic in message.topic_states:
            errors = []
            for state in topic.partition_states:
                tp = TopicPartition(topic.topic_name, state.partition_index)
                code = ErrorCode.KAFKA_STORAGE_ERROR if tp in self.broken else ErrorCode.NONE
                errors.append(
                    LeaderAndIsrPartitionError(partition_index=tp.partition, error_code=code)
                )
                if not code:
                    self.roles[tp] = (state.leader, state.leader_epoch, tuple(state.isr))
            topics.append(LeaderAndIsrTopicError(topic_id=topic.topic_id, partition_errors=errors))
        return LeaderAndIsrResponse(topics=topics)

    def _stop(self, message):
        errors = []
        for topic in message.topic_states:
            for state in topic.partition_states:
                tp = TopicPartition(topic.topic_name, state.partition_index)
                failed = state.delete_partition and self.cannot_delete
                code = ErrorCode.KAFKA_STORAGE_ERROR if failed else ErrorCode.NONE
                errors.append(
                    StopReplicaPartitionError(
                        topic_name=tp.topic, partition_index=tp.partition, error_code=code
                    )
                )
                if not code:
                    self.stopped[tp] = state.delete_partition
                    self.roles.pop(tp, None)
        return StopReplicaResponse(partition_errors=errors)

    def _learn(self, message):
        self.live = [each.id for each in message.live_brokers]
        for topic in message.topic_states:
            self.topic_ids[topic.topic_name] = topic.topic_id
            for state in topic.partition_states:
                tp = TopicPartition(topic.topic_name, state.partition_index)
                if state.leader == -2:
                    self.leaders.pop(tp, None)
                else:
                    self.leaders[tp] = state.leader
        return UpdateMetadataResponse()
