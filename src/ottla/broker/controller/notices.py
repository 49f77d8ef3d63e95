"""What brokers have to be told: a set of facts to send, not the messages themselves.

A notice names partitions; the message is built from the controller's state when its broker is
ready for it. So a slow broker gets the newest state once, and what waits for it is bounded by the
number of partitions.
"""

from collections.abc import Iterable

from ottla.broker.ids import BrokerId, TopicPartition


class Notices:
    """Facts for brokers, gathered while one event is handled.

    `leader_and_isr[broker][tp]` is whether the partition is new; `stop[broker][tp]` whether its
    data is to be deleted. `metadata` goes to every live broker, also when it is empty and
    `announce` is set (the list of brokers changed). Brokers in `full` get everything.
    """

    __slots__ = ("announce", "full", "leader_and_isr", "metadata", "stop")

    def __init__(self) -> None:
        self.leader_and_isr: dict[BrokerId, dict[TopicPartition, bool]] = {}
        self.stop: dict[BrokerId, dict[TopicPartition, bool]] = {}
        self.metadata: dict[TopicPartition, None] = {}
        self.full: dict[BrokerId, None] = {}
        self.announce = False

    def tell_replicas(
        self, brokers: Iterable[BrokerId], tp: TopicPartition, *, is_new: bool = False
    ) -> None:
        """LeaderAndIsr for `tp` to these brokers, and its metadata to all."""
        for broker in brokers:
            partitions = self.leader_and_isr.setdefault(broker, {})
            partitions[tp] = partitions.get(tp, False) or is_new
        self.metadata[tp] = None

    def tell_to_stop(self, broker: BrokerId, tp: TopicPartition, *, delete: bool) -> None:
        partitions = self.stop.setdefault(broker, {})
        partitions[tp] = partitions.get(tp, False) or delete

    def merge(self, other: "Notices") -> None:
        """Add all that `other` says."""
        for broker, told in other.leader_and_isr.items():
            mine = self.leader_and_isr.setdefault(broker, {})
            for tp, is_new in told.items():
                mine[tp] = mine.get(tp, False) or is_new
        for broker, stopped in other.stop.items():
            for tp, delete in stopped.items():
                self.tell_to_stop(broker, tp, delete=delete)
        self.metadata.update(other.metadata)
        self.full.update(other.full)
        self.announce = self.announce or other.announce

    def __bool__(self) -> bool:
        return bool(self.leader_and_isr or self.stop or self.metadata or self.full or self.announce)
