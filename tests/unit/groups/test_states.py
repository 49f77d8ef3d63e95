"""The table in words and the table in code say the same."""

import re

from ottla.broker.groups.group import Group
from ottla.broker.groups.states import TRANSITIONS, GroupState


def documented() -> dict[str, set[str]]:
    table: dict[str, set[str]] = {}
    state = ""
    for line in (GroupState.__doc__ or "").splitlines():
        if head := re.match(r" {4}([A-Z_]+): ", line):
            state = head[1]
            table[state] = set()
        elif move := re.match(r" {8}-> ([A-Z_]+): ", line):
            table[state].add(move[1])
    return table


def test_docstring_and_transitions_agree() -> None:
    assert documented() == {
        state.name: {target.name for target in targets} for state, targets in TRANSITIONS.items()
    }


def test_every_state_has_its_transitions() -> None:
    assert set(Group.TRANSITIONS) == set(GroupState)


def test_names_on_the_wire() -> None:
    """ListGroups filters by them, tools compare them."""
    assert [state.value for state in GroupState] == [
        "Empty",
        "PreparingRebalance",
        "CompletingRebalance",
        "Stable",
        "Dead",
    ]
