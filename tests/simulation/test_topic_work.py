"""Runs in which topics change under those who use them, and what else plans draw for a part."""

import random

import pytest

from tests.simulation.world.plan import Plan
from tests.simulation.world.world import Outcome, run_seed

pytestmark = pytest.mark.slow


def plan(seed: int, **faults: float) -> Plan:
    """A minute with these faults only; values are mean seconds between two."""
    made = Plan.of(seed, 1.0)
    made.faults = faults
    made.brokers = made.members = 3
    made.grows, made.retained, made.unclean, made.configures_brokers = False, None, 0, False
    return made


def run(chosen: Plan) -> Outcome:
    return run_seed(chosen.seed, plan=chosen)


@pytest.mark.parametrize("kind", ["static", "cooperative"])
def test_topics_grow_while_producers_readers_and_groups_use_them(kind: str) -> None:
    chosen = plan(9301, kill_broker=20.0, reset=15.0)
    chosen.grows, chosen.group_kind = True, kind
    chosen.groups, chosen.group_members = 1, 3
    outcome = run(chosen)
    assert outcome.counts["partitions added while in use"]
    assert outcome.counts["groups that took in new partitions"]


@pytest.mark.parametrize("seed", [9311])
def test_what_retention_and_deletions_leave_is_all_there(seed: int) -> None:
    chosen = plan(seed, kill_broker=20.0, isolate=20.0, reset=15.0)
    chosen.make_retained(random.Random(seed))
    outcome = run(chosen)
    assert outcome.counts["retained records found"] > 10
    assert outcome.counts["records to delete: none"]
    assert outcome.counts["positions that retention has passed"]


@pytest.mark.parametrize("seed", [9321])
def test_replicas_agree_after_unclean_leaders(seed: int) -> None:
    chosen = plan(seed)
    chosen.make_unclean(random.Random(seed))
    outcome = run(chosen)
    assert outcome.counts["unclean leaders"] > 1
    assert outcome.counts["batches of unclean partitions compared"] > 10
    assert outcome.counts["acknowledged records found"]


def test_brokers_go_by_their_own_configuration() -> None:
    chosen = plan(9331, kill_broker=15.0, cut_pair=20.0)
    chosen.configures_brokers = True
    outcome = run(chosen)
    assert outcome.counts["configuration changes: none"] > 5
    assert outcome.counts["configurations compared"]


def test_connections_stall_and_drain_slowly() -> None:
    outcome = run(plan(9341, stall=3.0, slow_drain=3.0))
    assert outcome.faults["stall"]
    assert outcome.faults["slow_drain"]


@pytest.mark.parametrize(("members", "brokers"), [(1, 3), (5, 4)])
def test_clusters_of_other_sizes_hold(members: int, brokers: int) -> None:
    chosen = plan(9351, kill_broker=20.0, kill_member=20.0, power_member=25.0, cut_pair=20.0)
    chosen.members, chosen.brokers = members, brokers
    assert run(chosen).counts["acknowledged records found"]
