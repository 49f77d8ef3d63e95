"""The leader core under any order of appends, fetches, ISR proposals and answers."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ottla.broker.ids import BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch
from ottla.broker.replication.leader import LeaderReplica

LAG_MAX = 30.0
FOLLOWERS = [BrokerId(2), BrokerId(3), BrokerId(4)]


class LeaderMachine(RuleBasedStateMachine):
    """Keeps what each follower really has, and which ISR the controller really committed."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.ends = dict.fromkeys(FOLLOWERS, 0)
        self.controller_isr = frozenset((BrokerId(1), *FOLLOWERS))
        self.controller_epoch = 0
        self.promised = 0
        self.answer_lost = False
        self.leader = LeaderReplica(
            BrokerId(1),
            log_end=Offset(0),
            high_watermark=Offset(0),
            lag_max=LAG_MAX,
            min_isr=2,
            eligible=lambda _: True,
        )
        self.leader.lead(
            leader_epoch=LeaderEpoch(1),
            partition_epoch=PartitionEpoch(0),
            replicas=(BrokerId(1), *FOLLOWERS),
            isr=self.controller_isr,
            now=self.now,
        )

    @rule(count=st.integers(1, 5))
    def append(self, count):
        self.leader.on_local_append(Offset(self.leader.log_end + count), self.now)

    @rule(who=st.sampled_from(FOLLOWERS), gain=st.integers(0, 8))
    def fetch(self, who, gain):
        self.ends[who] = min(self.ends[who] + gain, self.leader.log_end)
        self.leader.on_follower_fetch(
            who,
            at=Offset(self.ends[who]),
            log_start=Offset(0),
            broker_epoch=BrokerEpoch(1),
            now=self.now,
        )
        self.leader.wanted_expansion(who)

    @rule(seconds=st.floats(0.1, 40))
    def time_passes(self, seconds):
        self.now += seconds
        self.leader.wanted_shrink(self.now)

    @precondition(lambda self: self.leader.pending is not None and not self.answer_lost)
    @rule(outcome=st.sampled_from(["made", "refused", "made, answer lost"]))
    def controller_decides(self, outcome):
        change = self.leader.pending
        if outcome == "refused":
            self.leader.on_isr_rejected()
            return
        self.controller_isr = frozenset(broker for broker, _ in change.isr)
        self.controller_epoch += 1
        if outcome == "made":
            self.tell_leader()
        else:
            self.answer_lost = True

    @precondition(lambda self: self.answer_lost)
    @rule()
    def leader_learns_what_the_controller_made(self):
        self.tell_leader()

    def tell_leader(self):
        self.answer_lost = False
        self.leader.on_isr_committed(
            self.controller_isr, PartitionEpoch(self.controller_epoch), self.now
        )

    @invariant()
    def committed_records_are_on_every_replica_that_may_be_elected(self):
        """Whoever the controller may elect (its ISR) has all that was ever committed."""
        for follower in self.controller_isr - {BrokerId(1)}:
            assert self.ends[follower] >= self.leader.high_watermark

    @invariant()
    def core_holds_its_own_invariants(self):
        self.leader.check()
        assert self.leader.high_watermark >= self.promised
        self.promised = self.leader.high_watermark


LeaderMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLeaderMachine = LeaderMachine.TestCase
