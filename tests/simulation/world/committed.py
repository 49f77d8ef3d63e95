"""What is committed is on every replica in sync, all the time: the promise behind acks=all.

The high watermark of a rightful leader (the one that the partition's znode names, in the epoch that
it names) says what is committed, and so does each acknowledgement with acks=all; it stays so under
every later leader. Whoever is in sync has it, else electing that replica would lose it. Looking at
logs finds at once what histories of clients only show when such an election comes.
"""

from collections.abc import Mapping

from ottla.broker.ids import TopicPartition
from ottla.broker.partitions.partition import Partition
from tests.simulation.world.history import Violation


class CommittedChecker:
    """Per partition, how far it was ever seen to be committed."""

    def __init__(self) -> None:
        self._ends: dict[tuple[object, TopicPartition], int] = {}
        self._acked: dict[TopicPartition, int] = {}

    def note(self, tp: TopicPartition, end: int) -> None:
        """Everything before `end` was acknowledged, in a topic that is never deleted."""
        self._acked[tp] = max(self._acked.get(tp, 0), end)

    def check(
        self,
        tp: TopicPartition,
        state: Mapping,
        copies: Mapping[int, Partition],
        unsafe: set[int],
    ) -> None:
        """`copies`: of the brokers that run. `unsafe`: replicas that lost power while in sync."""
        leader = copies.get(state["leader"])
        if leader is None:
            return
        key = leader.topic_id, tp
        if leader.is_leader and leader.leader_epoch == state["leader_epoch"]:
            self._ends[key] = max(self._ends.get(key, 0), leader.high_watermark)
        for broker, copy in copies.items():
            if (
                broker not in unsafe
                and not copy.is_leader
                and copy.topic_id == leader.topic_id
                and copy.leader_epoch == state["leader_epoch"]
            ):  # consumers read from followers too
                self._ends[key] = max(self._ends.get(key, 0), copy.high_watermark)
        end = max(self._ends.get(key, 0), self._acked.get(tp, 0))
        for broker in state["isr"]:
            copy = copies.get(broker)
            if copy is None or copy.topic_id != leader.topic_id or broker in unsafe:
                continue
            if copy.log.log_end < end:
                raise Violation(
                    f"{tp}: committed up to {end}, but broker {broker}, which is in sync"
                    f" ({state}), ends at {copy.log.log_end}"
                )

    def check_growth(
        self, tp: TopicPartition, before: Mapping, state: Mapping, copies: Mapping[int, Partition]
    ) -> None:
        """Only the present leader knows who has what is committed; nobody else adds to the ISR."""
        added = set(state["isr"]) - set(before["isr"])
        leader = copies.get(state["leader"])
        if (
            not added
            or before["leader_epoch"] != state["leader_epoch"]
            or leader is None
            or not leader.is_leader
            or leader.leader_epoch != state["leader_epoch"]
        ):
            return
        pending = leader.leader.pending
        if pending is None or not added <= set(pending.added):
            raise Violation(
                f"{tp}: {sorted(added)} came into the ISR ({state}), its leader did not ask for it"
            )


__all__ = ["CommittedChecker"]
