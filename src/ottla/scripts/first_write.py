"""Waits until a cluster takes a write: makes a replicated topic, writes with acks=all, deletes it.

Speaks the protocol through our own codec over plain blocking sockets: nothing else is imported, so
that a start is over as soon as the cluster is.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.protocol.kafka.messages.create_topics import CreatableTopic, CreateTopicsRequest
from ottla.protocol.kafka.messages.delete_topics import DeleteTopicsRequest
from ottla.protocol.kafka.messages.metadata import MetadataRequest, MetadataRequestTopic
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch

_TOPIC = "cluster-start-check"
_PAUSE_S = 0.02
_CALL_S = 5.0
_METADATA, _CREATE, _PRODUCE, _DELETE = (3, 9), (19, 5), (0, 9), (20, 4)


class NotYet(Exception):
    """The cluster is not there yet; the text says what is missing."""


def wait_first_write(brokers: Sequence[tuple[str, int]], replicas: int, deadline: float) -> None:
    """Return when a write to a topic with `replicas` replicas was acknowledged by all in sync.

    `deadline` is on the scale of `time.monotonic`. NotYet with the last obstacle when it passes.
    """
    with contextlib.ExitStack() as stack:
        calls = _Calls(stack, brokers)
        while True:
            try:
                _attempt(calls, replicas)
                return
            except (NotYet, OSError, EOFError) as error:
                if time.monotonic() >= deadline:
                    raise NotYet(str(error) or type(error).__name__) from None
                calls.drop()
            time.sleep(_PAUSE_S)


def _attempt(calls: "_Calls", replicas: int) -> None:
    request = MetadataRequest(
        topics=[MetadataRequestTopic(name=_TOPIC)], allow_auto_topic_creation=False
    )
    answer = calls.call(calls.any_broker(), _METADATA, request)
    calls.learn({broker.node_id: (broker.host, broker.port) for broker in answer.brokers})
    if len(answer.brokers) < replicas:
        raise NotYet(f"{len(answer.brokers)} of {replicas} brokers have joined")
    if answer.controller_id < 0:
        raise NotYet("no broker is the controller yet")
    topic = answer.topics[0]
    if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
        _create(calls, answer.controller_id, replicas)
        raise NotYet("the topic for the check was just created")
    _require(topic.error_code, "metadata of the topic for the check")
    if not topic.partitions or topic.partitions[0].leader_id < 0:
        raise NotYet("the topic for the check has no leader yet")
    partition = topic.partitions[0]
    if len(partition.isr_nodes) < replicas:
        raise NotYet(f"{len(partition.isr_nodes)} of {replicas} replicas are in sync")
    _write(calls, partition.leader_id)
    delete = DeleteTopicsRequest(topic_names=[_TOPIC], timeout_ms=0)
    # The write was what counted; a topic that is left is found and used by the next start.
    with contextlib.suppress(OSError, EOFError):
        calls.call(answer.controller_id, _DELETE, delete)


def _create(calls: "_Calls", controller: int, replicas: int) -> None:
    topic = CreatableTopic(name=_TOPIC, num_partitions=1, replication_factor=replicas)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=int(_CALL_S * 1000))
    answer = calls.call(controller, _CREATE, request)
    code = answer.topics[0].error_code
    if code != ErrorCode.TOPIC_ALREADY_EXISTS:
        _require(code, "creating the topic for the check")


def _write(calls: "_Calls", leader: int) -> None:
    batch = build_batch([(None, b"ready", time.time_ns() // 1_000_000, [])])
    data = TopicProduceData(
        name=_TOPIC, partition_data=[PartitionProduceData(index=0, records=batch)]
    )
    request = ProduceRequest(acks=-1, timeout_ms=int(_CALL_S * 1000), topic_data=[data])
    answer = calls.call(leader, _PRODUCE, request)
    _require(answer.responses[0].partition_responses[0].error_code, "the write")


def _require(code: int, what: str) -> None:
    if code != ErrorCode.NONE:
        raise NotYet(f"{what}: {ErrorCode(code).name}")


class _Calls:
    """One connection per broker, one request at a time."""

    def __init__(self, stack: contextlib.ExitStack, brokers: Sequence[tuple[str, int]]) -> None:
        self._stack = stack
        self._bootstrap = list(brokers)
        self._addresses: dict[int, tuple[str, int]] = {}
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._turn = 0
        stack.callback(self.drop)

    def any_broker(self) -> tuple[str, int]:
        """The bootstrap brokers in turns."""
        self._turn += 1
        return self._bootstrap[self._turn % len(self._bootstrap)]

    def learn(self, addresses: dict[int, tuple[str, int]]) -> None:
        self._addresses = addresses

    def call(self, broker: int | tuple[str, int], api: tuple[int, int], message: object) -> Any:  # noqa: ANN401
        """Send a request and wait for its answer. OSError, EOFError, NotYet."""
        key, version = api
        if isinstance(broker, int):
            if broker not in self._addresses:
                raise NotYet(f"broker {broker} is not in the cluster's metadata yet")
            broker = self._addresses[broker]
        sock = self._sockets.get(broker)
        if sock is None:
            sock = socket.create_connection(broker, timeout=_CALL_S)
            self._sockets[broker] = sock
        sock.sendall(encode_request_frame(message, version, 0, "cluster-start"))
        (size,) = struct.unpack(">i", _receive(sock, 4))
        _, answer = decode_response(key, version, _receive(sock, size))
        return answer

    def drop(self) -> None:
        """Close all connections; the next call opens what it needs."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def _receive(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise EOFError("a broker closed the connection")
        parts += part
    return bytes(parts)


__all__ = ["NotYet", "wait_first_write"]
