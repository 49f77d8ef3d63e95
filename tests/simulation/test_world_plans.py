"""Runs with chosen faults, which plans that are drawn have rarely or diluted."""

import random

import pytest

from tests.simulation.world.plan import Plan
from tests.simulation.world.world import Outcome, run_seed

pytestmark = pytest.mark.slow


def plan(seed: int, **faults: float) -> Plan:
    """A minute and a half with these faults only; values are mean seconds between two."""
    made = Plan.of(seed, 1.5)
    made.faults = faults
    return made


def run(chosen: Plan) -> Outcome:
    return run_seed(chosen.seed, plan=chosen)


@pytest.mark.parametrize("seed", [6001, 6003, 6005])
def test_nothing_is_lost_in_power_cuts_of_all_brokers_where_each_batch_is_synced(seed: int) -> None:
    chosen = plan(seed)
    chosen.make_durable(random.Random(seed))
    chosen.faults = {"power_brokers": 20.0, "power_leader": 15.0, "kill_broker": 20.0}
    outcome = run(chosen)
    assert outcome.faults["power_brokers"]
    assert outcome.counts["acknowledged records found"]
    assert not outcome.counts.get("partitions excused")


def test_such_power_cuts_are_found_to_lose_records_where_batches_are_not_synced() -> None:
    """What the test above can see at all."""
    chosen = plan(6001)
    chosen.make_durable(random.Random(6001))
    del chosen.broker_settings["log.flush.interval.messages"]
    chosen.faults = {"power_brokers": 20.0, "power_leader": 15.0}
    with pytest.raises(BaseExceptionGroup):
        run(chosen)


@pytest.mark.parametrize("seed", [7002, 7003])
def test_compaction_leaves_the_newest_of_each_key_whatever_happens(seed: int) -> None:
    chosen = plan(seed, power_broker=25.0, kill_broker=20.0, stop_broker=40.0, full_broker=20.0)
    chosen.make_compacted(random.Random(seed))
    outcome = run(chosen)
    assert outcome.counts["records compacted away"]
    assert outcome.counts["passes over compacted partitions"] > 20
    assert outcome.events["log.compacted"]


@pytest.mark.parametrize("seed", [7008, 7010])
def test_requests_in_flight_stay_in_order_when_leaders_come_and_go(seed: int) -> None:
    chosen = plan(seed, kill_broker=15.0, reset=10.0, pause=20.0, cut_pair=20.0)
    chosen.pipelined, chosen.records_per_s = True, 8.0
    outcome = run(chosen)
    assert outcome.counts["batches sent again in a pipeline"]


@pytest.mark.parametrize("seed", [8003, 8005])
def test_configurations_settle_and_topics_that_are_made_again_are_new(seed: int) -> None:
    chosen = plan(seed, kill_broker=20.0, kill_member=20.0, cut_pair=20.0, reset=15.0)
    chosen.configures = chosen.recreates = True
    outcome = run(chosen)
    assert outcome.counts["configurations compared"]
    assert outcome.counts["configuration changes: none"] > 10
    assert outcome.counts["topics made again and read"]


@pytest.mark.parametrize(
    ("kind", "seed", "proof"),
    [
        ("cooperative", 9001, "partitions kept through a rebalance"),
        ("static", 9103, "offsets committed"),
    ],
)
def test_groups_of_each_kind_keep_their_owners_apart(kind: str, seed: int, proof: str) -> None:
    chosen = plan(seed, kill_broker=20.0, pause_client=15.0, reset=15.0)
    chosen.group_kind, chosen.groups, chosen.group_members = kind, 2, 3
    outcome = run(chosen)
    assert outcome.counts["group generations joined"] > 6
    assert outcome.counts[proof]
