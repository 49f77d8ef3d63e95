"""Runs in which partitions move: between brokers, between directories; and reads from followers.

`planted.moves` has the mistakes that their checks are for.
"""

import random

import pytest

from tests.simulation.world.plan import Plan
from tests.simulation.world.world import Outcome, run_seed

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


@pytest.mark.parametrize("seed", [9206])
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
