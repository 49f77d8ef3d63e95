"""The simulation finds bugs that are planted; the table of all is `docs/planted-bugs.md`."""

import pytest

from tests.simulation.world.planted import PLANTED, find, plant

pytestmark = pytest.mark.slow

QUICKLY_FOUND = (
    "ack_before_sync",
    "ephemerals_stay",
    "no_duplicate_check",
    "unclean_election",
    "epoch_not_raised",
)


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_planted_bug_is_found(name: str) -> None:
    assert find(name, seeds=range(1, 31), minutes=1.0) is not None, PLANTED[name][0]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_goes_again(name: str) -> None:
    _, make = PLANTED[name]
    before = [getattr(owner, attribute) for owner, attribute, _ in make()]
    with plant(name):
        pass
    assert [getattr(owner, attribute) for owner, attribute, _ in make()] == before
