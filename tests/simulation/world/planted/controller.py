"""Planted bugs of the controller."""

from dataclasses import replace

from ottla.broker.controller import alter_partition, decisions, elections
from ottla.broker.controller.ledger import Ledger
from ottla.broker.controller.observer import Observer
from ottla.broker.controller.state import ControllerState
from ottla.broker.ensemble import paths
from ottla.broker.ensemble.client import check_op
from ottla.broker.ids import TopicPartition
from tests.simulation.world.planted.bugs import Patch, planted

_ANY_VERSION = -1


@planted("a replica outside of the ISR may lead")
def _unclean_election() -> list[Patch]:
    original = elections.elect_offline

    def elect(state, replicas, live, *, unclean: bool):
        return original(state, replicas, live, unclean=True)

    return [(elections, "elect_offline", elect)]


@planted("a new leader keeps the old leader's epoch")
def _epoch_not_raised() -> list[Patch]:
    original = decisions._write

    def write(cluster, tp, state, recipients):
        before = cluster.partitions.get(tp)
        if before is not None and state.leader != before.leader:
            state = replace(state, leader_epoch=before.leader_epoch)
        return original(cluster, tp, state, recipients)

    return [(decisions, "_write", write)]


@planted(
    "an ISR change is taken from a leader that was deposed",
    faults={"pause": 2.0, "kill_broker": 15.0},
    settings={"zookeeper.session.timeout.ms": "2000", "replica.lag.time.max.ms": "4000"},
    changes={"records_per_s": 8.0, "tick_ms": 1000},
)
def _isr_change_not_fenced() -> list[Patch]:
    original = alter_partition._judge_partition

    def judge(cluster, tp, leader, wish):
        state = cluster.partitions.get(tp)
        if state is not None:
            wish.partition_epoch = state.partition_epoch
            wish.leader_epoch = state.leader_epoch
            leader = state.leader
        return original(cluster, tp, leader, wish)

    return [(alter_partition, "_judge_partition", judge)]


@planted(
    "a controller that was deposed goes on writing",
    faults={"move_controller": 3.0, "pause": 5.0, "kill_broker": 6.0, "slow_disk": 5.0},
)
def _controller_not_fenced() -> list[Patch]:
    def start(self, operations):
        check = check_op(paths.CONTROLLER_EPOCH, _ANY_VERSION)
        return self._client.start_multi([check, *operations])

    return [(Ledger, "start", start)]


@planted(
    "a controller speaks before it has put right what happened before it",
    faults={"power_broker": 2.5, "move_controller": 1.0, "slow_disk": 2.0},
    settings={"zookeeper.session.timeout.ms": "24000", "replica.lag.time.max.ms": "30000"},
    changes={"records_per_s": 20.0, "delay_s": 0.02, "jitter_s": 0.1, "tick_ms": 4000},
)
def _controller_speaks_early() -> list[Patch]:
    original = Observer._take_states

    def take(self, dated):
        restarted = original(self, dated)
        self._reign.channels._holding = False
        self._reign.channels.speak = lambda: None
        return restarted

    return [(Observer, "_take_states", take)]


@planted("brokers that restarted unseen stay in their ISRs")
def _restarts_unseen() -> list[Patch]:
    original = Observer._take_states

    def take(self, dated):
        original(self, dated)
        return {}

    return [(Observer, "_take_states", take)]


@planted("the controller counts a topic that is gone among what its brokers have")
def _gone_topics_counted() -> list[Patch]:
    original = ControllerState.forget_topic

    def forget(self, name: str) -> None:
        topic = self.topics.get(name)
        original(self, name)
        for at, assignment in topic.assignments.items() if topic is not None else ():
            for replica in assignment.replicas:
                self._by_broker[replica][TopicPartition(name, at)] = None

    return [(ControllerState, "forget_topic", forget)]
