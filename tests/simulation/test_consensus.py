"""Seeds of the consensus world. A failure names its seed: `World(seed, members).run(seconds)`."""

import pytest

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.newcomer import Newcomer
from tests.simulation.consensus_world import World

SEEDS_PER_TEST = 10
PLANTED_SEEDS = 40
"""Within which a planted bug has to be found; one in ten finds it."""


@pytest.mark.slow
@pytest.mark.parametrize("group", range(14))
def test_three_members_keep_raft_promises(group):
    for seed in range(group * SEEDS_PER_TEST, (group + 1) * SEEDS_PER_TEST):
        try:
            World(seed, 3).run(10)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, 3 members: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize("group", range(6))
def test_five_members_keep_raft_promises(group):
    for seed in range(group * SEEDS_PER_TEST, (group + 1) * SEEDS_PER_TEST):
        try:
            World(seed, 5).run(6)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, 5 members: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize("group", range(5))
def test_members_with_observers_keep_raft_promises(group):
    for seed in range(group * SEEDS_PER_TEST, (group + 1) * SEEDS_PER_TEST):
        try:
            World(seed, 3, observers=1 + seed % 2).run(8)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, 3 members and observers: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize("group", range(12))
def test_members_that_change_and_lose_disks_keep_raft_promises(group):
    """Joint changes of several members, roles, learners, and empty disks one at a time."""
    for seed in range(group * SEEDS_PER_TEST, (group + 1) * SEEDS_PER_TEST):
        members, observers, spares = ((3, 0, 2), (3, 1, 3), (5, 0, 2), (3, 0, 3))[seed % 4]
        try:
            World(seed, members, observers, spares=spares).run(7)
        except AssertionError as error:
            sizes = f"{members} members, {observers} observers, {spares} spares"
            raise AssertionError(f"seed {seed}, {sizes}: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize("group", range(6))
def test_ensembles_that_a_majority_founds_keep_raft_promises(group):
    """One or two voters start for the first time at the end; until then disks are not lost."""
    began = 0
    for seed in range(group * SEEDS_PER_TEST, (group + 1) * SEEDS_PER_TEST):
        members, spares, absent = ((3, 0, 1), (3, 2, 1), (5, 0, 1), (5, 2, 2))[seed % 4]
        world = World(seed, members, spares=spares, absent=absent)
        try:
            world.run_until(world.now + 8)
            began += bool(world.committed)
            world.run(2)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {absent} of {members} absent: {error}") from error
    assert began > SEEDS_PER_TEST / 4, "a majority founds next to never"


def what_is_found() -> str:
    """What the first seed says in which anything is wrong; empty: none of them does."""
    for seed in range(PLANTED_SEEDS):
        try:
            World(seed, 3, spares=2).run(8)
        except AssertionError as error:
            return str(error)
    return ""


def test_world_finds_a_member_that_votes_with_an_empty_disk(monkeypatch):
    """Planted: every empty disk is taken for a new one's."""
    start = Consensus.__init__

    def trusting(self, *arguments, **named):
        start(self, *arguments, **named | {"is_founder": True})

    monkeypatch.setattr(Consensus, "__init__", trusting)
    assert "a committed entry is missing" in what_is_found()


def test_world_finds_a_member_that_founds_without_asking_what_there_was(monkeypatch):
    """Planted: after the grace every empty disk is taken for a new one's."""
    careful = Newcomer.founding_epoch

    def hasty(self, voters, others, *, is_grace_over):
        return 0 if is_grace_over else careful(self, voters, others, is_grace_over=False)

    monkeypatch.setattr(Newcomer, "founding_epoch", hasty)
    found = what_is_found()
    assert "a committed entry is missing" in found or "two leaders in an epoch" in found


def test_one_seed_gives_one_history():
    """Replaying a seed must show the same run, or a failure could not be looked at."""
    first, second = World(1, 3), World(1, 3)
    first.run(3)
    second.run(3)
    assert first.committed == second.committed
    assert first.leaders == second.leaders
