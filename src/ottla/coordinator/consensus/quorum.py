"""Counting majorities: pure functions. A joint configuration has two groups and needs both."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

_Ordered = TypeVar("_Ordered", int, float)


def majority(members: int) -> int:
    """How many of `members` make a majority."""
    assert members > 0
    return members // 2 + 1


def reached_by_majority(values: Sequence[_Ordered]) -> _Ordered:
    """The greatest value that a majority of the members (one value each) has reached."""
    if len(values) == 1:
        return values[0]
    return sorted(values, reverse=True)[majority(len(values)) - 1]


def tally(members: Iterable[int], granted: dict[int, bool]) -> bool | None:
    """True: a majority granted; False: a majority can no longer be won; None: still open."""
    everyone = list(members)
    need = majority(len(everyone))
    yes = sum(1 for member in everyone if granted.get(member) is True)
    no = sum(1 for member in everyone if granted.get(member) is False)
    if yes >= need:
        return True
    return False if no > len(everyone) - need else None


def tally_groups(groups: Iterable[Iterable[int]], granted: dict[int, bool]) -> bool | None:
    """As `tally`, where every group's majority is needed."""
    verdicts = [tally(group, granted) for group in groups]
    if False in verdicts:
        return False
    return None if None in verdicts else True


__all__ = ["majority", "reached_by_majority", "tally", "tally_groups"]
