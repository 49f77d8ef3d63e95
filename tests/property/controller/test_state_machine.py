"""Random lives of a small cluster keep what must hold for every partition.

Brokers come, go and shut down, leaders change their ISRs, disks fail, topics grow and vanish, and
some writes lose. After each step: a leader is in its ISR, the ISR within the replicas, epochs only
grow, a leader comes from the last ISR unless the topic allows otherwise.
"""

from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ottla.broker.controller import alter_partition, decisions, reassignment
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.placement import Refused
from ottla.broker.controller.state import ControllerState, StateWrite
from ottla.broker.ensemble.values import Assignment
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
    BrokerState,
)
from tests.unit.controller.brokers import info

BROKERS = (1, 2, 3, 4)
broker_ids = st.sampled_from(BROKERS)
TOPICS = {"clean": UUID(int=1), "unclean": UUID(int=2)}
ASSIGNMENTS = ((1, 2, 3), (2, 3, 4), (3, 1), (4,))


class ClusterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = ControllerState(1, 1, 1)
        self.cluster.unclean = {"clean": False, "unclean": True}
        self.znodes = {}  # what the ensemble holds: the last state written
        self.seen = {}
        self.next_epoch = 1

    def commit(self, decide, tps, *, losing=False):
        """As the shell: write, apply; what lost is read again and decided again."""
        writes = decide(tps)
        if losing and writes:
            # Somebody else wrote the same state first: the version moved on.
            for write in writes:
                current = self.znodes.get(write.tp)
                self.cluster.put_partition(write.tp, current)
            writes = decide([write.tp for write in writes])
        notices = Notices()
        for write in writes:
            held = self.znodes.get(write.tp)
            assert write.state.partition_epoch == (-1 if held is None else held.partition_epoch)
            if write.state.leader >= 0 and held is not None and write.tp.topic == "clean":
                assert write.state.leader in held.isr, "a clean leader comes from the ISR"
            self.cluster.applied(write, write.state.partition_epoch + 1, notices)
            self.znodes[write.tp] = self.cluster.partitions[write.tp]
        for told in notices.leader_and_isr:
            assert told in self.cluster.brokers
        assert decide([write.tp for write in writes]) == [], "a decision is taken once"

    def liveness(self, tps, *, losing=False):
        self.commit(lambda todo: decisions.decide_liveness(self.cluster, todo), tps, losing=losing)

    @initialize()
    def cluster_is_whole(self):
        for broker in BROKERS:
            self.broker_comes(broker, losing=False)
        for topic in TOPICS:
            self.topic_appears_or_grows(topic, 3)

    @rule(broker=broker_ids, losing=st.booleans())
    def broker_comes(self, broker, losing):
        if broker not in self.cluster.brokers:
            self.next_epoch += 1
            tps, _ = self.cluster.on_brokers_came([info(broker, epoch=self.next_epoch)])
            self.liveness(tps, losing=losing)

    @rule(brokers=st.sets(broker_ids, min_size=1, max_size=2), losing=st.booleans())
    def brokers_go(self, brokers, losing):
        gone = sorted(each for each in brokers if each in self.cluster.brokers)
        self.liveness(self.cluster.on_brokers_gone(gone), losing=losing)

    @rule(broker=broker_ids)
    def broker_shuts_down(self, broker):
        if broker in self.cluster.brokers:
            tps, _ = self.cluster.on_controlled_shutdown(broker)
            self.commit(
                lambda todo: decisions.decide_controlled_shutdown(self.cluster, broker, todo), tps
            )
            for tp in self.cluster.led_by(broker):
                others = set(self.cluster.partitions[tp].isr) - self.cluster.shutting_down
                assert not [each for each in others if self.cluster.is_serving(each, tp)]

    @rule(topic=st.sampled_from(sorted(TOPICS)), count=st.integers(1, 4))
    def topic_appears_or_grows(self, topic, count):
        known = self.cluster.topics.get(topic)
        if topic in self.cluster.deleting or (known and len(known.assignments) > count):
            return
        assignments = {
            at: (known and known.assignments.get(at)) or Assignment(ASSIGNMENTS[at])
            for at in range(count)
        }
        self.liveness(self.cluster.put_topic(topic, TOPICS[topic], assignments))

    @rule(topic=st.sampled_from(sorted(TOPICS)))
    def topic_goes(self, topic):
        self.cluster.on_topic_deletion([topic])
        for broker in self.cluster.brokers:
            self.cluster.on_replicas_deleted(broker, self.cluster.partitions_of(topic))
        for gone in self.cluster.deleted_topics():
            for tp in self.cluster.partitions_of(gone):
                self.znodes.pop(tp, None)
                self.seen.pop(tp, None)
            rule_kept = self.cluster.unclean[gone]
            self.cluster.forget_topic(gone)
            self.cluster.unclean[gone] = rule_kept

    @rule(data=st.data())
    def leader_changes_its_isr(self, data):
        led = [tp for tp, state in self.cluster.partitions.items() if state.leader >= 0]
        if not led:
            return
        tp = data.draw(st.sampled_from(sorted(led)))
        state = self.cluster.partitions[tp]
        leader = self.cluster.brokers.get(state.leader)
        if leader is None:
            return
        isr = data.draw(st.lists(broker_ids, min_size=1, max_size=3))
        lag = data.draw(st.sampled_from([0, 0, 0, 1]))
        wish = AlterPartitionRequestPartitionData(
            partition_index=tp.partition,
            leader_epoch=state.leader_epoch,
            partition_epoch=state.partition_epoch - lag,
            new_isr_with_epochs=[BrokerState(broker_id=each) for each in isr],
        )
        request = AlterPartitionRequest(
            broker_id=leader.id,
            broker_epoch=leader.epoch,
            topics=[AlterPartitionRequestTopicData(topic_id=TOPICS[tp.topic], partitions=[wish])],
        )
        judgement = alter_partition.judge(self.cluster, request)
        for write in judgement.writes:
            assert lag == 0
            self.cluster.applied(
                write, write.state.partition_epoch + 1, Notices(), tell_replicas=False
            )
            self.znodes[tp] = self.cluster.partitions[tp]
        response = alter_partition.answer(self.cluster, request, judgement, {})
        [answered] = response.topics[0].partitions
        if answered.error_code == ErrorCode.NONE:
            assert set(answered.isr) == set(isr)
        else:
            assert self.cluster.partitions[tp] == state

    @rule(broker=broker_ids, data=st.data())
    def disk_fails_or_heals(self, broker, data):
        held = self.cluster.partitions_on(broker)
        if broker in self.cluster.brokers and held:
            broken = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True))
            healthy = [tp for tp in held if tp not in broken]
            fresh, mended = self.cluster.on_replicas_broken(broker, broken, healthy)
            self.liveness([*fresh, *mended])

    def take_step(self, step):
        """As the shell: assignment and state in one transaction."""
        topic = self.cluster.topics[step.tp.topic]
        if step.state is not None:
            held = self.znodes[step.tp]
            assert step.state.partition_epoch == held.partition_epoch
            assert set(step.state.isr) <= set(held.isr), "a step makes nobody in sync"
            assert step.state.leader < 0 or step.state.leader in held.isr
        self.cluster.put_topic(step.tp.topic, topic.topic_id, {step.tp.partition: step.assignment})
        if step.state is not None:
            write = StateWrite(step.tp, step.state, ())
            self.cluster.applied(write, step.state.partition_epoch + 1, Notices())
            self.znodes[step.tp] = self.cluster.partitions[step.tp]
        self.liveness([step.tp])

    @rule(data=st.data())
    def partition_is_moved(self, data):
        tps = [tp for tp in self.cluster.all_partitions() if tp.topic not in self.cluster.deleting]
        if not tps:
            return
        tp = data.draw(st.sampled_from(sorted(tps)))
        target = data.draw(
            st.none() | st.lists(broker_ids, min_size=1, max_size=3, unique=True).map(tuple)
        )
        try:
            wanted = reassignment.judge(self.cluster, tp, target)
        except Refused:
            return
        step = reassignment.beginning(self.cluster, tp, wanted)
        if step is not None:
            self.take_step(step)

    @rule()
    def moves_end(self):
        for tp in list(self.cluster.reassigning):
            target = self.cluster.assignment(tp).target
            step = reassignment.completion(self.cluster, tp)
            if step is not None:
                assert set(step.state.isr) == set(target)
                self.take_step(step)
                assert tp not in self.cluster.reassigning

    @rule()
    def preferred_leaders_are_elected(self):
        self.commit(
            lambda todo: decisions.decide_preferred(self.cluster, todo),
            self.cluster.all_partitions(),
        )
        assert decisions.imbalanced(self.cluster, 0) == []

    @invariant()
    def everything_holds(self):
        self.cluster.check()
        for tp, state in self.cluster.partitions.items():
            before = self.seen.get(tp)
            if before is not None and before != state:
                assert state.partition_epoch > before.partition_epoch
                assert state.leader_epoch >= before.leader_epoch
                if state.leader != before.leader:
                    assert state.leader_epoch > before.leader_epoch
            self.seen[tp] = state

    @invariant()
    def nobody_gone_stays_in_the_isr_of_a_live_leader(self):
        for tp, state in self.cluster.partitions.items():
            if tp.topic not in self.cluster.deleting and state.leader >= 0:
                assert all(self.cluster.is_serving(each, tp) for each in state.isr)

    @invariant()
    def whoever_can_lead_does(self):
        """No partition is left without a leader while an ISR member is online."""
        for tp, state in self.cluster.partitions.items():
            if tp.topic not in self.cluster.deleting and state.leader < 0:
                assert not [each for each in state.isr if self.cluster.is_online(each, tp)]


TestClusterMachine = pytest.mark.slow(ClusterMachine.TestCase)
TestClusterMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
