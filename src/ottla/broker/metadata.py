"""What this broker knows of the cluster: live brokers, topics, and who leads each partition.

The controller tells it with UpdateMetadata: every request names all live
brokers and those partitions that changed; a partition whose leader is -2 is gone. A broker that
starts is told everything once. The cache never asks anybody and may lag behind the controller.

Values are immutable and replaced one by one, so a reader never sees half of a partition's change.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import trio

from ottla.broker.ids import (
    NO_BROKER,
    ZERO_TOPIC_ID,
    BrokerId,
    ControllerEpoch,
    LeaderEpoch,
    TopicId,
    TopicPartition,
)
from ottla.protocol.kafka.messages.update_metadata import (
    UpdateMetadataPartitionState,
    UpdateMetadataRequest,
    UpdateMetadataTopicState,
)
from ottla.runtime.interfaces import Address

LEADER_DURING_DELETE = -2

# Clients of one kind ask the same; a cluster's dashboards and clients are a few dozen kinds.
ENCODINGS_MAX = 64

INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state"})


@dataclass(frozen=True, slots=True)
class BrokerNode:
    """A live broker: its advertised address per listener name, and its rack."""

    id: BrokerId
    endpoints: dict[str, Address]
    rack: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionImage:
    """One partition as the controller last described it; `leader` is NO_BROKER without a leader."""

    index: int
    leader: BrokerId
    leader_epoch: LeaderEpoch
    partition_epoch: int
    replicas: tuple[BrokerId, ...]
    isr: tuple[BrokerId, ...]
    offline: tuple[BrokerId, ...]
    controller_epoch: ControllerEpoch


@dataclass(slots=True)
class TopicImage:
    """A topic and its partitions by index."""

    name: str
    topic_id: TopicId
    partitions: dict[int, PartitionImage] = field(default_factory=dict)

    @property
    def is_internal(self) -> bool:
        return self.name in INTERNAL_TOPICS


class MetadataCache:
    """Owned by the broker; changed by `apply` only. `generation` grows with every change."""

    __slots__ = (
        "_brokers",
        "_changed",
        "_encodings",
        "_names",
        "_topics",
        "controller_epoch",
        "controller_id",
        "generation",
    )

    def __init__(self) -> None:
        self.controller_id: BrokerId = NO_BROKER
        self.controller_epoch = ControllerEpoch(-1)
        self.generation = 0
        self._brokers: dict[BrokerId, BrokerNode] = {}
        self._topics: dict[str, TopicImage] = {}
        self._names: dict[UUID, str] = {}
        self._encodings: dict[Hashable, bytes] = {}
        self._changed = trio.Event()

    @property
    def brokers(self) -> dict[BrokerId, BrokerNode]:
        """Live brokers by id, in the order of ids. Not to be changed."""
        return self._brokers

    @property
    def topics(self) -> dict[str, TopicImage]:
        """Topics by name. Not to be changed."""
        return self._topics

    def topic(self, name: str) -> TopicImage | None:
        return self._topics.get(name)

    def topic_by_id(self, topic_id: TopicId) -> TopicImage | None:
        name = self._names.get(topic_id)
        return None if name is None else self._topics[name]

    def topic_name(self, topic_id: TopicId) -> str | None:
        return self._names.get(topic_id)

    def topic_id(self, name: str) -> TopicId:
        """The id of a topic; ZERO_TOPIC_ID when the topic or its id is unknown."""
        topic = self._topics.get(name)
        return ZERO_TOPIC_ID if topic is None else topic.topic_id

    def partition(self, tp: TopicPartition) -> PartitionImage | None:
        topic = self._topics.get(tp.topic)
        return None if topic is None else topic.partitions.get(tp.partition)

    def partition_count(self, name: str) -> int:
        """How many partitions a topic has; 0 when it is unknown."""
        topic = self._topics.get(name)
        return 0 if topic is None else len(topic.partitions)

    def leader_of(self, tp: TopicPartition) -> PartitionImage | None:
        """The partition if it is known and has a live leader, which is then its `leader`."""
        image = self.partition(tp)
        return image if image is not None and image.leader in self._brokers else None

    def endpoint(self, broker: BrokerId, listener: str) -> Address | None:
        """Where a live broker can be reached by those who use a listener of that name."""
        node = self._brokers.get(broker)
        return None if node is None else node.endpoints.get(listener)

    def endpoints(self, listener: str) -> Iterator[tuple[BrokerNode, Address]]:
        """The live brokers that have a listener of that name, in the order of ids."""
        for node in self._brokers.values():
            address = node.endpoints.get(listener)
            if address is not None:
                yield node, address

    async def wait_changed(self) -> None:
        """Wait for the next `apply`."""
        await self._changed.wait()

    def encoded(self, key: Hashable, encode: Callable[[], bytes]) -> bytes:
        """Bytes made from this cache; those of an earlier call with `key` while nothing changed."""
        found = self._encodings.get(key)
        if found is None:
            found = encode()
            if len(self._encodings) >= ENCODINGS_MAX:
                del self._encodings[next(iter(self._encodings))]
            self._encodings[key] = found
        return found

    def apply(self, request: UpdateMetadataRequest) -> list[TopicPartition]:
        """Take over what the controller says; the partitions that are gone by it.

        Fencing of old controllers is the caller's.
        """
        self.controller_id = BrokerId(max(request.controller_id, -1))
        self.controller_epoch = ControllerEpoch(request.controller_epoch)
        self._brokers = {
            BrokerId(broker.id): BrokerNode(
                BrokerId(broker.id),
                {each.listener: Address(each.host, each.port) for each in broker.endpoints},
                broker.rack,
            )
            for broker in sorted(request.live_brokers, key=lambda broker: broker.id)
        }
        gone: list[TopicPartition] = []
        for topic_state in request.topic_states:
            self._apply_topic(topic_state, gone)
        self.generation += 1
        self._encodings.clear()
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        return gone

    def _apply_topic(self, state: UpdateMetadataTopicState, gone: list[TopicPartition]) -> None:
        topic = self._topics.get(state.topic_name)
        if topic is not None and topic.topic_id != state.topic_id:
            # The name was deleted and taken again: nothing of the old topic is true any more.
            self._names.pop(topic.topic_id, None)
            topic = None
        if topic is None:
            topic = TopicImage(state.topic_name, state.topic_id)
        partitions = dict(topic.partitions)
        for partition in state.partition_states:
            if partition.leader == LEADER_DURING_DELETE:
                partitions.pop(partition.partition_index, None)
                gone.append(TopicPartition(state.topic_name, partition.partition_index))
            else:
                partitions[partition.partition_index] = partition_image(partition)
        if not partitions:
            self._topics.pop(state.topic_name, None)
            self._names.pop(state.topic_id, None)
            return
        topic.partitions = dict(sorted(partitions.items()))
        self._topics[state.topic_name] = topic
        if state.topic_id != ZERO_TOPIC_ID:
            self._names[state.topic_id] = state.topic_name

    def check(self) -> None:
        """Assert what always holds between the indexes."""
        for topic_id, name in self._names.items():
            assert self._topics[name].topic_id == topic_id
        for name, topic in self._topics.items():
            assert topic.name == name
            assert topic.partitions
            assert topic.topic_id == ZERO_TOPIC_ID or self._names[topic.topic_id] == name
            assert all(index == image.index for index, image in topic.partitions.items())
        assert list(self._brokers) == sorted(self._brokers)


def partition_image(state: UpdateMetadataPartitionState) -> PartitionImage:
    return PartitionImage(
        index=state.partition_index,
        leader=BrokerId(state.leader),
        leader_epoch=LeaderEpoch(state.leader_epoch),
        partition_epoch=state.zk_version,
        replicas=tuple(map(BrokerId, state.replicas)),
        isr=tuple(map(BrokerId, state.isr)),
        offline=tuple(map(BrokerId, state.offline_replicas)),
        controller_epoch=ControllerEpoch(state.controller_epoch),
    )


__all__ = [
    "INTERNAL_TOPICS",
    "BrokerNode",
    "MetadataCache",
    "PartitionImage",
    "TopicImage",
]
