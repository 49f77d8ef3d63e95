"""What the controller knows of the cluster, and what it decides from that.

A core: no I/O, no clock. Observed facts (a broker came or went, a topic appeared) change the state
at once. A leader or an ISR changes in two steps: `decisions` reads the state and returns
`StateWrite`s, which the shell writes to the ensemble as compare-and-set; `applied` takes over each
one that succeeded and adds what brokers must be told. A write that lost is re-read with
`put_partition` and decided again, so every decision may be repeated.

Every replica of a partition is, for this core, *online* (its broker is registered, is not shutting
down and has not reported its log directory broken), *serving* (as online, but may be shutting
down) or gone.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from ottla.broker.controller.notices import Notices
from ottla.broker.ensemble.values import Assignment, BrokerInfo, PartitionState
from ottla.broker.ids import BrokerId, ControllerEpoch, PartitionEpoch, TopicPartition

NOT_WRITTEN = PartitionEpoch(-1)


@dataclass(frozen=True, slots=True)
class StateWrite:
    """A partition state to write if its znode still has the version `state.partition_epoch`.

    NOT_WRITTEN there means that the znode must not exist yet. `recipients` are the brokers that
    learn of it by LeaderAndIsr.
    """

    tp: TopicPartition
    state: PartitionState
    recipients: tuple[BrokerId, ...]

    @property
    def creates(self) -> bool:
        return self.state.partition_epoch == NOT_WRITTEN


@dataclass(slots=True)
class TopicState:
    """A topic as its znode describes it."""

    topic_id: UUID
    assignments: dict[int, Assignment] = field(default_factory=dict)


class ControllerState:
    """The controller's image of the cluster during one controller epoch. One task owns it."""

    def __init__(
        self,
        controller_id: BrokerId,
        epoch: ControllerEpoch,
        epoch_version: int,
        *,
        unclean_by_default: bool = False,
    ) -> None:
        self.controller_id = controller_id
        self.epoch = epoch
        self.epoch_version = epoch_version
        self.unclean_by_default = unclean_by_default
        self.unclean: dict[str, bool] = {}
        self.brokers: dict[BrokerId, BrokerInfo] = {}
        self.shutting_down: set[BrokerId] = set()
        self.broken: dict[BrokerId, set[TopicPartition]] = {}
        self.topics: dict[str, TopicState] = {}
        self.names: dict[UUID, str] = {}
        self.partitions: dict[TopicPartition, PartitionState] = {}
        self.deleting: dict[str, dict[tuple[TopicPartition, BrokerId], None]] = {}
        self.reassigning: dict[TopicPartition, None] = {}
        self.due_moves: dict[TopicPartition, None] = {}  # of these, what may have come far enough
        self._by_broker: dict[BrokerId, dict[TopicPartition, None]] = {}

    # --- questions -------------------------------------------------------------------------

    def assignment(self, tp: TopicPartition) -> Assignment | None:
        topic = self.topics.get(tp.topic)
        return None if topic is None else topic.assignments.get(tp.partition)

    def replicas(self, tp: TopicPartition) -> tuple[BrokerId, ...]:
        assignment = self.assignment(tp)
        return () if assignment is None else assignment.replicas

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        state = self.topics.get(topic)
        return [] if state is None else [TopicPartition(topic, at) for at in state.assignments]

    def partitions_on(self, broker: BrokerId) -> list[TopicPartition]:
        return list(self._by_broker.get(broker, ()))

    def all_partitions(self) -> list[TopicPartition]:
        return [
            TopicPartition(name, at)
            for name, topic in self.topics.items()
            for at in topic.assignments
        ]

    def is_serving(self, broker: BrokerId, tp: TopicPartition) -> bool:
        return broker in self.brokers and tp not in self.broken.get(broker, ())

    def is_online(self, broker: BrokerId, tp: TopicPartition) -> bool:
        return self.is_serving(broker, tp) and broker not in self.shutting_down

    def online_replicas(self, tp: TopicPartition) -> list[BrokerId]:
        return [replica for replica in self.replicas(tp) if self.is_online(replica, tp)]

    def serving_replicas(self, tp: TopicPartition) -> list[BrokerId]:
        return [replica for replica in self.replicas(tp) if self.is_serving(replica, tp)]

    def offline_replicas(self, tp: TopicPartition) -> list[BrokerId]:
        return [replica for replica in self.replicas(tp) if not self.is_online(replica, tp)]

    def led_by(self, broker: BrokerId) -> list[TopicPartition]:
        """Replicated partitions that `broker` leads, but not those being deleted."""
        return [
            tp
            for tp in self._by_broker.get(broker, ())
            if tp.topic not in self.deleting
            and len(self.replicas(tp)) > 1
            and (state := self.partitions.get(tp)) is not None
            and state.leader == broker
        ]

    def leaderless(self) -> list[TopicPartition]:
        """Partitions that have no serving leader, new ones included."""
        return [
            tp
            for tp in self.all_partitions()
            if tp.topic not in self.deleting
            and (
                (state := self.partitions.get(tp)) is None or not self.is_serving(state.leader, tp)
            )
        ]

    def without_online_isr(self, tps: Iterable[TopicPartition]) -> set[str]:
        """Topics whose rule on unclean election matters for one of these partitions."""
        return {
            tp.topic
            for tp in tps
            if (state := self.partitions.get(tp)) is not None
            and not any(self.is_online(replica, tp) for replica in state.isr)
        }

    # --- observed facts --------------------------------------------------------------------

    def put_topic(
        self, name: str, topic_id: UUID, assignments: Mapping[int, Assignment]
    ) -> list[TopicPartition]:
        """Take over a topic's znode; returns the partitions that are new in it."""
        topic = self.topics.setdefault(name, TopicState(topic_id))
        assert topic.topic_id == topic_id, f"topic {name} changed its id"
        self.names[topic_id] = name
        added = [TopicPartition(name, at) for at in sorted(assignments.keys() - topic.assignments)]
        for at, assignment in sorted(assignments.items()):
            tp = TopicPartition(name, at)
            for replica in self.replicas(tp):
                self._by_broker[replica].pop(tp, None)
                if replica not in assignment.replicas and replica in self.broken:
                    # Should it be given one again, that is another replica.
                    self.broken[replica].discard(tp)
            topic.assignments[at] = assignment
            if assignment.is_being_reassigned:
                self.reassigning[tp] = None
                self.due_moves[tp] = None
            else:
                self.reassigning.pop(tp, None)
            for replica in assignment.replicas:
                self._by_broker.setdefault(replica, {})[tp] = None
        return added

    def put_partition(self, tp: TopicPartition, state: PartitionState | None) -> None:
        """Take over what the ensemble says of a partition; None: there is no state znode."""
        if state is None:
            self.partitions.pop(tp, None)
        else:
            self.partitions[tp] = state
            self._note_move(tp)

    def _note_move(self, tp: TopicPartition) -> None:
        if tp in self.reassigning:
            self.due_moves[tp] = None

    def take_due_moves(self) -> list[TopicPartition]:
        """The reassigned partitions to look at, each once until something about it changes."""
        due, self.due_moves = self.due_moves, {}
        return [tp for tp in due if tp in self.reassigning]

    def forget_topic(self, name: str) -> None:
        """The topic's znode is gone."""
        topic = self.topics.pop(name, None)
        self.deleting.pop(name, None)
        self.unclean.pop(name, None)
        if topic is None:
            return
        self.names.pop(topic.topic_id, None)
        for at, assignment in topic.assignments.items():
            tp = TopicPartition(name, at)
            self.partitions.pop(tp, None)
            self.reassigning.pop(tp, None)
            for replica in assignment.replicas:
                self._by_broker[replica].pop(tp, None)
            for broken in self.broken.values():
                broken.discard(tp)

    def on_brokers_gone(self, brokers: Iterable[BrokerId]) -> list[TopicPartition]:
        """Brokers lost their registration; returns the partitions to decide about."""
        touched: dict[TopicPartition, None] = {}
        for broker in brokers:
            self.brokers.pop(broker, None)
            self.shutting_down.discard(broker)
            self.broken.pop(broker, None)
            touched.update(self._by_broker.get(broker, {}))
        return list(touched)

    def on_brokers_came(
        self, brokers: Iterable[BrokerInfo]
    ) -> tuple[list[TopicPartition], Notices]:
        """Brokers registered; they get the whole picture, the others their endpoints."""
        notices = Notices()
        self.due_moves.update(self.reassigning)
        for broker in brokers:
            assert broker.id not in self.brokers, "a restarted broker has to go first"
            self.brokers[broker.id] = broker
            notices.full[broker.id] = None
            for pending in self.deleting.values():
                for tp, holder in pending:
                    if holder == broker.id:
                        notices.tell_to_stop(holder, tp, delete=True)
        notices.announce = True
        return self.leaderless(), notices

    def on_broker_changed(self, broker: BrokerInfo) -> Notices:
        """A registered broker rewrote its znode within the same session."""
        assert broker.id in self.brokers
        self.brokers[broker.id] = broker
        notices = Notices()
        notices.announce = True
        return notices

    def on_replicas_broken(
        self, broker: BrokerId, broken: Iterable[TopicPartition], healthy: Iterable[TopicPartition]
    ) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """What a LeaderAndIsr response said of log directories; returns partitions to decide.

        The first are newly broken there, the second are sound again: they may have no leader, and
        the broker was not told what was decided while they were broken.
        """
        if broker not in self.brokers:
            return [], []
        known = self.broken.setdefault(broker, set())
        mended = [tp for tp in healthy if tp in known]
        known.difference_update(mended)
        for tp in mended:
            self._note_move(tp)
        fresh = [tp for tp in broken if tp not in known and broker in self.replicas(tp)]
        known.update(fresh)
        return fresh, [tp for tp in mended if broker in self.replicas(tp)]

    def on_controlled_shutdown(self, broker: BrokerId) -> tuple[list[TopicPartition], Notices]:
        """A broker asks to stop: what to decide about, and which followers it may stop already."""
        assert broker in self.brokers
        self.shutting_down.add(broker)
        notices = Notices()
        tps = self.partitions_on(broker)
        for tp in tps:
            state = self.partitions.get(tp)
            if state is None or state.leader == broker or tp.topic in self.deleting:
                continue
            if len(self.replicas(tp)) > 1:
                notices.tell_to_stop(broker, tp, delete=False)
        return tps, notices

    # --- decisions taken ---------------------------------------------------------------

    def applied(
        self, write: StateWrite, version: int, notices: Notices, *, tell_replicas: bool = True
    ) -> None:
        """`write` succeeded and its znode now has `version`."""
        before = self.partitions.get(write.tp)
        state = replace(write.state, partition_epoch=PartitionEpoch(version))
        assert before is None or state.leader_epoch >= before.leader_epoch
        assert before is None or state.partition_epoch > before.partition_epoch
        self.partitions[write.tp] = state
        self._note_move(write.tp)
        if tell_replicas:
            recipients = [broker for broker in write.recipients if broker in self.brokers]
            notices.tell_replicas(recipients, write.tp, is_new=write.creates)
        else:
            notices.metadata[write.tp] = None

    # --- deletion --------------------------------------------------------------------------

    def on_topic_deletion(self, topics: Iterable[str]) -> Notices:
        """Begin to delete topics: brokers forget them and remove their replicas' data."""
        notices = Notices()
        for topic in topics:
            if topic in self.deleting or topic not in self.topics:
                continue
            pending: dict[tuple[TopicPartition, BrokerId], None] = {}
            self.deleting[topic] = pending
            for tp in self.partitions_of(topic):
                notices.metadata[tp] = None
                for replica in self.replicas(tp):
                    pending[tp, replica] = None
        notices.merge(self.retry_deletions())
        return notices

    def retry_deletions(self) -> Notices:
        """StopReplica again for each live broker's replica that has not been confirmed gone."""
        notices = Notices()
        for pending in self.deleting.values():
            for tp, replica in pending:
                if replica in self.brokers:
                    notices.tell_to_stop(replica, tp, delete=True)
        return notices

    def on_replicas_deleted(self, broker: BrokerId, tps: Iterable[TopicPartition]) -> None:
        for tp in tps:
            pending = self.deleting.get(tp.topic)
            if pending is not None:
                pending.pop((tp, broker), None)

    def deleted_topics(self) -> list[str]:
        """Topics whose znodes can go: no replica is left anywhere."""
        return [topic for topic, pending in self.deleting.items() if not pending]

    def deletion_awaits_only_the_dead(self, topic: str) -> bool:
        """Whether no live broker has a replica any more, but one that is down has."""
        pending = self.deleting.get(topic)
        if not pending:
            return False
        return not any(replica in self.brokers for _, replica in pending)

    # --- invariants ------------------------------------------------------------------------

    def check(self) -> None:
        """Assert what must hold after every event."""
        assert self.shutting_down <= self.brokers.keys()
        assert self.broken.keys() <= self.brokers.keys()
        assert self.deleting.keys() <= self.topics.keys()
        for tp in self.reassigning:
            moving = self.assignment(tp)
            assert moving is not None
            assert moving.is_being_reassigned
        for tp, state in self.partitions.items():
            assignment = self.assignment(tp)
            assert assignment is not None, f"{tp} has a state but no assignment"
            check_partition(state, assignment.replicas, self.epoch)
        indexed = sum(len(tps) for tps in self._by_broker.values())
        assigned = sum(
            len(set(assignment.replicas))
            for topic in self.topics.values()
            for assignment in topic.assignments.values()
        )
        assert indexed == assigned


def check_partition(
    state: PartitionState, replicas: Collection[BrokerId], epoch: ControllerEpoch
) -> None:
    """Assert the relations inside one partition's state."""
    assert state.isr, "an ISR is never empty"
    assert len(set(state.isr)) == len(state.isr)
    assert set(state.isr) <= set(replicas)
    assert state.leader < 0 or state.leader in state.isr, "a leader is in its ISR"
    assert state.controller_epoch <= epoch
    assert state.partition_epoch >= 0
