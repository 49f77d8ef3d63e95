"""Runs in which partitions move: between brokers, between directories; and reads from followers.

Each of their checks is shown to fail where the product has the mistake that it is for.
"""

import random
import re

import pytest

from ottla.broker.controller import reassigning, reassignment
from ottla.broker.controller.controller import Controller
from ottla.broker.partitions import partition
from ottla.broker.partitions.log_moves import LogMoves
from ottla.broker.partitions.replica_set import ReplicaSet
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.history import Violation
from tests.simulation.world.plan import Plan
from tests.simulation.world.planted.search import describe
from tests.simulation.world.world import NotConverged, Outcome, run_seed

pytestmark = pytest.mark.slow


def moving(seed: int) -> Plan:
    plan = Plan.of(seed, 1.0)
    plan.faults = {"kill_broker": 12.0, "move_controller": 10.0, "power_broker": 30.0}
    plan.make_moving(random.Random(seed))
    return plan


def with_two_dirs(seed: int) -> Plan:
    plan = Plan.of(seed, 1.0)
    plan.faults = {"kill_broker": 15.0, "power_broker": 20.0, "full_broker": 20.0}
    plan.make_two_dirs()
    return plan


def with_racks(seed: int) -> Plan:
    plan = Plan.of(seed, 1.0)
    plan.faults = {"kill_broker": 20.0, "cut_pair": 20.0, "reset": 15.0, "pause": 6.0}
    plan.make_racks(random.Random(seed))
    return plan


def run(plan: Plan) -> Outcome:
    return run_seed(plan.seed, plan=plan)


@pytest.mark.parametrize("seed", [9201])
def test_partitions_end_where_they_were_moved_to(seed: int) -> None:
    outcome = run(moving(seed))
    assert outcome.counts["moves ended"] > 2
    assert outcome.counts["partitions where they were moved to"] > 2
    assert outcome.counts["preferred elections: none"]


@pytest.mark.parametrize("seed", [9211])
def test_logs_end_in_the_directory_that_was_asked_for(seed: int) -> None:
    outcome = run(with_two_dirs(seed))
    assert outcome.counts["logs where they were told to go"] > 2
    assert outcome.events["log.moved"] > 5


@pytest.mark.parametrize("seed", [9221])
def test_followers_give_consumers_what_is_committed(seed: int) -> None:
    assert run(with_racks(seed)).counts["records read from followers"] > 20


def test_all_of_it_at_once() -> None:
    plan = moving(9231)
    plan.make_two_dirs()
    plan.make_racks(random.Random(1))
    outcome = run(plan)
    assert outcome.counts["moves ended"] > 2
    assert outcome.counts["records read from followers"]


# What these checks can see at all


def _nobody_leaves(*_args: object) -> None:
    return None


def _ends_early(cluster, tp):
    state = cluster.partitions.get(tp)
    assignment = cluster.assignment(tp)
    if state is None or assignment is None or not assignment.is_being_reassigned:
        return None
    target = assignment.target
    isr = tuple(each for each in state.isr if each in target)
    if not isr or state.leader not in target:
        return None
    ended = state.with_election(state.leader, isr)
    return reassignment.Step(
        tp, reassignment.Assignment(target), ended, (), assignment.removing, is_last=True
    )


async def _forgotten(_reign, wishes):
    return dict.fromkeys(wishes, (ErrorCode.NONE, None))


async def _elected_by_word_alone(_self, partitions, *, unclean: bool):
    del unclean
    return dict.fromkeys(partitions or (), (ErrorCode.NONE, None))


BUGS = {
    "a_broker_keeps_what_moved_away": (
        moving, (9202, 9203, 9204), ReplicaSet, "drop_moved_away", _nobody_leaves,
        "which moved away",
    ),
    "a_move_ends_before_all_are_in_sync": (
        moving, (9201,), reassignment, "completion", _ends_early, "ended as .* with the ISR",
    ),
    "an_acknowledged_move_is_forgotten": (
        moving, (9201,), reassigning, "alter", _forgotten, "was to end on",
    ),
    "preferred_leaders_are_not_elected": (
        moving, (9201,), Controller, "elect_leaders", _elected_by_word_alone,
        "not led by the preferred",
    ),
    "a_log_stays_where_it_was": (
        with_two_dirs, (9211,), LogMoves, "alter", _nobody_leaves, "was to go to",
    ),
    "a_follower_calls_all_it_has_committed": (
        with_racks, (9221, 9222), partition, "follower_high_watermark",
        lambda _leader, log_end: log_end, "committed up to|is lost|was .* and is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_mistake_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_of, seeds, owner, attribute, mistake, said = BUGS[name]
    monkeypatch.setattr(owner, attribute, mistake)
    for seed in seeds:
        plan = plan_of(seed)
        plan.broker_settings["auto.leader.rebalance.enable"] = "false"
        try:
            run(plan)
        except (Violation, NotConverged, BaseExceptionGroup) as failed:
            found = describe(failed)
            assert re.search(said, found[1]), found
            return
    pytest.fail(f"not found in {seeds}")
