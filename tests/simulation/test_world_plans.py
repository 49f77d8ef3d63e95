"""Runs with chosen faults, which plans that are drawn have rarely or diluted."""

import random

import pytest

from ottla.broker.storage.compaction_records import LatestOffsets
from tests.simulation.world.history import Violation
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


@pytest.mark.parametrize("seed", [6001, 6003])
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


def test_compaction_that_drops_the_newest_of_a_key_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the test above can see at all."""
    sound = LatestOffsets.is_superseded

    def is_superseded(self: LatestOffsets, key: bytes, offset: int) -> bool:
        return sound(self, key, offset) or (offset % 7 == 0 and offset in self.offsets.values())

    monkeypatch.setattr(LatestOffsets, "is_superseded", is_superseded)
    chosen = plan(7002)
    chosen.make_compacted(random.Random(7002))
    with pytest.raises(BaseExceptionGroup) as raised:
        run(chosen)
    assert raised.group_contains(Violation, match="acknowledged is|is lost", depth=None)


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
