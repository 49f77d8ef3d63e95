"""The simulation finds bugs that are planted; the table of all is `docs/planted-bugs.md`."""

import os
from inspect import getattr_static

import pytest

from tests.simulation.world.planted import PLANTED, SEEDS, Catch, patched, plant, search, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def caught() -> dict[str, Catch | None]:
    """All of them, looked for at once on all cores; None where no seed finds one."""
    found: dict[str, Catch | None] = {}
    search(
        PLANTED,
        range(1, SEEDS + 1),
        jobs=os.cpu_count() or 1,
        on_result=found.__setitem__,
        on_progress=lambda _line: None,
        on_surprise=lambda _name, _caught: None,
    )
    return found


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bug_is_found(caught: dict[str, Catch | None], name: str) -> None:
    assert caught[name] is not None, PLANTED[name].what


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_goes_again(name: str) -> None:
    make = PLANTED[name].make
    before = [getattr_static(owner, attribute) for owner, attribute, _ in make()]
    with plant(name):
        planted = [getattr_static(owner, attribute) for owner, attribute, _ in make()]
    assert [getattr_static(owner, attribute) for owner, attribute, _ in make()] == before
    assert all(bad is not good for bad, good in zip(planted, before, strict=True))


def test_what_a_bug_needs_goes_again_too() -> None:
    given = [patch for bug in PLANTED.values() for patch in bug.given]
    before = [getattr_static(owner, attribute) for owner, attribute, _ in given]
    with patched(given):
        for owner, attribute, value in given:
            assert getattr_static(owner, attribute) is value
    assert [getattr_static(owner, attribute) for owner, attribute, _ in given] == before
    assert all(bool(bug.given) == bool(bug.given_what) for bug in PLANTED.values())


def test_table_keeps_rows_of_bugs_that_were_not_searched_for() -> None:
    seeds = range(1, 61)
    first = table({"lost_watch": (Catch(7, "checks: it", "what | it <said>"), seeds)}, "")
    both = table({"no_truncation": (None, seeds)}, first)
    [row] = [line for line in both.splitlines() if line.startswith("| `lost_watch`")]
    assert row.endswith("| 7 | `checks: it` | what / it &lt;said> |")
    assert f"1 of {len(PLANTED)} are found." in both
    assert "NOT FOUND in 1 to 60" in both
    assert table({"lost_watch": (None, seeds)}, both).count("NOT FOUND") == 2
