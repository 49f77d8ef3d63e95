"""Znode data as Kafka 3.9 writes it: compact JSON, keys in the order of its own nodes.

Readers accept every order, unknown keys and what older releases wrote; whatever cannot be
understood raises MalformedZnode, never anything else.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from ottla.broker.ensemble.values import (
    Assignment,
    BrokerInfo,
    Endpoint,
    PartitionState,
    TopicAssignment,
)
from ottla.broker.ids import (
    BrokerId,
    ControllerEpoch,
    LeaderEpoch,
    PartitionEpoch,
    TopicPartition,
)

PRODUCER_ID_BLOCK_SIZE = 1000
_ENDPOINT = re.compile(
    r"(?P<listener>[^:/]+)://(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:]*)):(?P<port>\d+)\Z"
)
_PROTOCOLS = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}
_Json = dict[str, Any]
_Value = TypeVar("_Value")


class MalformedZnode(ValueError):
    """A znode holds something that is not what belongs there; a person has to look."""


@dataclass(frozen=True, slots=True)
class ProducerIdBlock:
    """A run of producer ids handed to one broker; `last` is inclusive, as in the znode."""

    broker: BrokerId
    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def _dump(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _read(what: str, data: bytes | None, build: Callable[[Any], _Value]) -> _Value:
    try:
        return build(json.loads(data or b""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        shown = (data or b"")[:200].decode(errors="replace")
        raise MalformedZnode(f"{what} is malformed ({error!r}): {shown}") from error


# --- ids -----------------------------------------------------------------------------------


def encode_uuid(value: UUID) -> str:
    """22 characters of URL-safe base64, how Kafka prints topic ids and cluster ids."""
    return base64.urlsafe_b64encode(value.bytes).rstrip(b"=").decode()


def decode_uuid(text: str) -> UUID:
    """Raises ValueError."""
    try:
        return UUID(bytes=base64.urlsafe_b64decode(text + "=="))
    except binascii.Error as error:
        raise ValueError(f"not a base64 id: {text!r}") from error


# --- brokers -------------------------------------------------------------------------------


def encode_broker(broker: BrokerInfo, *, timestamp_ms: int) -> bytes:
    """`host` and `port` are those of the first PLAINTEXT endpoint, for old clients."""
    plain = next((point for point in broker.endpoints if point.protocol == "PLAINTEXT"), None)
    node: dict[str, object] = {
        "features": {},
        "listener_security_protocol_map": {
            point.listener: point.protocol for point in broker.endpoints
        },
        "endpoints": [str(point) for point in broker.endpoints],
        "jmx_port": -1,
        "port": plain.port if plain else -1,
        "host": plain.host if plain else None,
        "version": 5,
        "timestamp": str(timestamp_ms),
    }
    if broker.rack is not None:
        node["rack"] = broker.rack
    return _dump(node)


def decode_broker(broker_id: BrokerId, data: bytes | None, *, epoch: int) -> BrokerInfo:
    """`epoch` is the znode's czxid."""

    def build(node: _Json) -> BrokerInfo:
        if node["version"] < 2:
            endpoints = [Endpoint("PLAINTEXT", str(node["host"]), int(node["port"]))]
        else:
            protocols = node.get("listener_security_protocol_map") or {}
            endpoints = [_endpoint(text, protocols) for text in node["endpoints"]]
        rack = node.get("rack")
        return BrokerInfo(broker_id, tuple(endpoints), None if rack is None else str(rack), epoch)

    return _read(f"/brokers/ids/{broker_id}", data, build)


def _endpoint(text: str, protocols: Mapping[str, str]) -> Endpoint:
    match = _ENDPOINT.match(text)
    if match is None:
        raise ValueError(f"endpoint {text!r}")
    listener = match["listener"]
    protocol = protocols.get(listener, listener)
    if protocol not in _PROTOCOLS:
        raise ValueError(f"security protocol {protocol!r} of listener {listener}")
    return Endpoint(listener, match["v6"] or match["host"], int(match["port"]), protocol)


# --- topics and partitions -----------------------------------------------------------------


def encode_topic(topic: TopicAssignment) -> bytes:
    node: dict[str, object] = {
        "removing_replicas": _lists({at: a.removing for at, a in topic.partitions.items()}),
        "partitions": {str(at): list(a.replicas) for at, a in sorted(topic.partitions.items())},
    }
    if topic.topic_id is not None:
        node["topic_id"] = encode_uuid(topic.topic_id)
    node["adding_replicas"] = _lists({at: a.adding for at, a in topic.partitions.items()})
    node["version"] = 3
    return _dump(node)


def _lists(replicas: Mapping[int, tuple[BrokerId, ...]]) -> dict[str, list[BrokerId]]:
    return {str(at): list(brokers) for at, brokers in sorted(replicas.items()) if brokers}


def decode_topic(name: str, data: bytes | None) -> TopicAssignment:
    def build(node: _Json) -> TopicAssignment:
        topic_id = node.get("topic_id")
        adding = node.get("adding_replicas") or {}
        removing = node.get("removing_replicas") or {}
        partitions = {
            int(at): Assignment(
                _brokers(replicas), _brokers(adding.get(at, ())), _brokers(removing.get(at, ()))
            )
            for at, replicas in (node.get("partitions") or {}).items()
        }
        return TopicAssignment(None if topic_id is None else decode_uuid(topic_id), partitions)

    return _read(f"/brokers/topics/{name}", data, build)


def _brokers(ids: Iterable[Any]) -> tuple[BrokerId, ...]:
    return tuple([BrokerId(int(each)) for each in ids])


def encode_reassignments(wishes: Mapping[TopicPartition, Sequence[BrokerId]]) -> bytes:
    """`/admin/reassign_partitions`."""
    named = [
        {"topic": tp.topic, "partition": tp.partition, "replicas": list(replicas)}
        for tp, replicas in wishes.items()
    ]
    return _dump({"version": 1, "partitions": named})


def decode_reassignments(data: bytes | None) -> dict[TopicPartition, tuple[BrokerId, ...]]:
    """MalformedZnode."""

    def build(node: _Json) -> dict[TopicPartition, tuple[BrokerId, ...]]:
        return {
            TopicPartition(str(each["topic"]), int(each["partition"])): _brokers(each["replicas"])
            for each in node["partitions"]
        }

    return _read("/admin/reassign_partitions", data, build)


def encode_partition_state(state: PartitionState) -> bytes:
    node: dict[str, object] = {
        "controller_epoch": state.controller_epoch,
        "leader": state.leader,
        "version": 1,
        "leader_epoch": state.leader_epoch,
        "isr": list(state.isr),
    }
    if state.recovering:
        node["leader_recovery_state"] = 1
    return _dump(node)


def decode_partition_state(tp: TopicPartition, data: bytes | None, version: int) -> PartitionState:
    """`version` is the znode's, which is the partition epoch."""

    def build(node: _Json) -> PartitionState:
        return PartitionState(
            leader=BrokerId(int(node["leader"])),
            leader_epoch=LeaderEpoch(int(node["leader_epoch"])),
            isr=_brokers(node["isr"]),
            controller_epoch=ControllerEpoch(int(node["controller_epoch"])),
            partition_epoch=PartitionEpoch(version),
            recovering=int(node.get("leader_recovery_state", 0)) == 1,
        )

    return _read(f"the state of {tp}", data, build)


# --- the controller ------------------------------------------------------------------------


def encode_controller(broker_id: BrokerId, *, timestamp_ms: int) -> bytes:
    return _dump(
        {
            "version": 2,
            "brokerid": broker_id,
            "timestamp": str(timestamp_ms),
            "kraftControllerEpoch": -1,
        }
    )


def decode_controller(data: bytes | None) -> BrokerId:
    return _read("/controller", data, lambda node: BrokerId(int(node["brokerid"])))


def encode_controller_epoch(epoch: ControllerEpoch) -> bytes:
    return str(epoch).encode()


def decode_controller_epoch(data: bytes | None) -> ControllerEpoch:
    return _read("/controller_epoch", data, lambda node: ControllerEpoch(int(node)))


def encode_producer_id_block(block: ProducerIdBlock) -> bytes:
    return _dump(
        {
            "version": 1,
            "broker": block.broker,
            "block_start": str(block.first),
            "block_end": str(block.last),
        }
    )


def decode_producer_id_block(data: bytes | None) -> ProducerIdBlock | None:
    """None: the znode is still empty, no block was handed out yet."""
    if not data:
        return None
    return _read(
        "/latest_producer_id_block",
        data,
        lambda node: ProducerIdBlock(
            BrokerId(int(node["broker"])), int(node["block_start"]), int(node["block_end"])
        ),
    )


# --- configuration and notifications -------------------------------------------------------


def encode_config(config: Mapping[str, str]) -> bytes:
    return _dump({"version": 1, "config": dict(config)})


def decode_config(what: str, data: bytes | None) -> dict[str, str]:
    """Overrides by key. Empty data means none."""
    if not data:
        return {}
    return _read(
        what, data, lambda node: {str(key): str(value) for key, value in node["config"].items()}
    )


def encode_config_change(entity_path: str) -> bytes:
    """`entity_path` is e.g. `topics/t` or `users/alice/clients/app`."""
    return _dump({"version": 2, "entity_path": entity_path})


def decode_config_change(data: bytes | None) -> tuple[str, str]:
    """(entity type, entity name), e.g. ("topics", "t"); version 1 named them apart."""

    def build(node: _Json) -> tuple[str, str]:
        if node["version"] == 1:
            return str(node["entity_type"]), str(node["entity_name"])
        kind, _, name = str(node["entity_path"]).partition("/")
        if not kind or not name:
            raise ValueError("entity_path")
        return kind, name

    return _read("a configuration change", data, build)


def encode_partitions(partitions: Iterable[TopicPartition]) -> bytes:
    """Data of a preferred replica election, and of an ISR change notification."""
    named = [{"topic": tp.topic, "partition": tp.partition} for tp in partitions]
    return _dump({"version": 1, "partitions": named})


def decode_partitions(what: str, data: bytes | None) -> list[TopicPartition]:
    return _read(
        what,
        data,
        lambda node: [
            TopicPartition(str(each["topic"]), int(each["partition"]))
            for each in node["partitions"]
        ],
    )


def encode_log_dir_event(broker_id: BrokerId) -> bytes:
    """Event 1 is the only one: a log directory failed."""
    return _dump({"version": 1, "broker": broker_id, "event": 1})


def decode_log_dir_event(data: bytes | None) -> BrokerId:
    return _read("a log directory event", data, lambda node: BrokerId(int(node["broker"])))


def encode_cluster_id(cluster_id: str) -> bytes:
    return _dump({"version": "1", "id": cluster_id})


def decode_cluster_id(data: bytes | None) -> str:
    return _read("/cluster/id", data, lambda node: str(node["id"]))


def encode_features() -> bytes:
    """Feature versioning is on (status 1) and nothing is finalized."""
    return _dump({"features": {}, "version": 2, "status": 1})
