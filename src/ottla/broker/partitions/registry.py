"""Which partitions this broker holds: ids to partitions, nothing more."""

from collections.abc import Iterator

from ottla.broker.errors import (
    KafkaStorageError,
    NotLeader,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from ottla.broker.ids import TopicId, TopicPartition
from ottla.broker.partitions.partition import Partition


class PartitionRegistry:
    """All partitions with a replica here.

    Those that are offline, as their log was lost, are known by name only, and not iterated over.
    """

    __slots__ = ("_by_id", "_by_name", "_offline")

    def __init__(self) -> None:
        self._by_name: dict[TopicPartition, Partition] = {}
        self._by_id: dict[tuple[TopicId, int], Partition] = {}
        self._offline: set[TopicPartition] = set()

    def add(self, partition: Partition) -> None:
        assert partition.tp not in self._by_name
        self._by_name[partition.tp] = partition
        self._by_id[partition.topic_id, partition.tp.partition] = partition

    def remove(self, tp: TopicPartition) -> None:
        partition = self._by_name.pop(tp)
        del self._by_id[partition.topic_id, tp.partition]

    def take_offline(self, tp: TopicPartition) -> Partition | None:
        """The log of `tp` is lost; the partition as it was, if there was one."""
        self._offline.add(tp)
        partition = self._by_name.get(tp)
        if partition is not None:
            self.remove(tp)
        return partition

    def bring_online(self, tp: TopicPartition) -> None:
        """The log of `tp` is sound again; the next role that it is given makes the partition."""
        self._offline.discard(tp)

    def is_offline(self, tp: TopicPartition) -> bool:
        return tp in self._offline

    def _require_online(self, tp: TopicPartition) -> None:
        if tp in self._offline:
            raise KafkaStorageError(f"the log of {tp} is offline on this broker")

    def get(self, tp: TopicPartition) -> Partition | None:
        return self._by_name.get(tp)

    def require(self, tp: TopicPartition) -> Partition:
        """UnknownTopicOrPartition when there is no replica here; KafkaStorageError."""
        partition = self._by_name.get(tp)
        if partition is None:
            self._require_online(tp)
            raise UnknownTopicOrPartition(f"{tp} has no replica on this broker")
        return partition

    def require_leader(self, tp: TopicPartition, *, known: bool) -> Partition:
        """The partition, led by this broker.

        known: whether the cluster has this partition, which decides between NotLeader (go to
        another broker) and UnknownTopicOrPartition. KafkaStorageError when it is offline.
        """
        partition = self._by_name.get(tp)
        if partition is not None and partition.is_leader:
            return partition
        self._require_online(tp)
        if partition is not None or known:
            raise NotLeader(f"{tp} is not led by this broker")
        raise UnknownTopicOrPartition(f"{tp} does not exist")

    def by_topic_id(self, topic_id: TopicId, partition: int) -> Partition:
        """UnknownTopicId when there is no replica here."""
        found = self._by_id.get((topic_id, partition))
        if found is None:
            raise UnknownTopicId(f"topic id {topic_id} has no partition {partition} here")
        return found

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)
