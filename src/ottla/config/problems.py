"""What is wrong with a configuration: every finding has its file, line, key and value.

All findings of one file are collected, so that one start shows them all.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written. Line 0: not in a file (an override, a tool's request)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding, complete in one line."""

    place: Place
    key: str
    value: str | None  # None: nothing was set, or a secret
    text: str

    def __str__(self) -> str:
        subject = self.key if self.value is None else f"{self.key}={self.value}"
        return f"{self.place}: {subject}: {self.text}"


class ConfigError(ValueError):
    """A configuration that cannot be used; `problems` are all of its faults."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        assert self.problems, "an error without a problem"
        super().__init__("\n".join(str(problem) for problem in self.problems))


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is probably a slip of the finger from; None when none is near.

    One edit for about every six letters: `num.partition` is near `num.partitions`, while a key of
    somebody's plug-in is near nothing.
    """
    allowed = max(1, min(4, len(name) // 6))
    best: tuple[int, str] | None = None
    folded = _plain(name)
    for candidate in known:
        if abs(len(candidate) - len(name)) > allowed + 1:
            continue
        distance = _distance(folded, _plain(candidate), allowed)
        if distance is not None and (best is None or (distance, candidate) < best):
            best = (distance, candidate)
    return best[1] if best else None


def _plain(name: str) -> str:
    return name.lower().replace("_", ".").replace("-", ".")


def _distance(one: str, two: str, limit: int) -> int | None:
    """Edits between two texts, a swap of neighbours being one; None above `limit`."""
    before: list[int] = []
    row = list(range(len(two) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(two, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == two[j - 2] and one[i - 2] == other:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return None
    return row[-1] if row[-1] <= limit else None


__all__ = ["ConfigError", "Place", "Problem", "closest"]
