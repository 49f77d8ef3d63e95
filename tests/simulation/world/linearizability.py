"""Whether what clients saw of one znode could have happened one call after the other.

Linearizability (Herlihy and Wing, 1990): there is an order of all calls, in which each gives the
result that it gave, and no call stands after one that began when it was already over. The search is
Wing and Gong's with Lowe's two additions (Testing for linearizability, 2017): a call is placed no
sooner than the return of some call requires it, and a state that was reached in two ways is
followed once. Znodes are checked one by one, which is enough: linearizability is local.

A call whose connection broke has the result LOST: it happened once in its interval, or never. Its
interval ends when the session's next connection is granted, since the ensemble takes nothing from
an older one after that; `Ledger.settle` says so.

The register is a znode with its version: absent, or (version, data).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import NamedTuple

from tests.simulation.world.history import Violation

CONFIGURATIONS_MAX = 50_000
ANY_VERSION = -1
State = tuple[int, bytes] | None


class Outcome(Enum):
    """What a call that gives no value answers; LOST: nobody knows."""

    DONE = "done"
    NO_NODE = "no node"
    NODE_EXISTS = "node exists"
    BAD_VERSION = "bad version"
    LOST = "lost"

    def __repr__(self) -> str:
        return self.value


class Kind(Enum):
    CREATE = "create"
    DELETE = "delete"
    SET = "set"
    READ = "read"


class Operation(NamedTuple):
    """What a call asked for. `version` is the expected one, for DELETE and SET."""

    kind: Kind
    data: bytes = b""
    version: int = ANY_VERSION


@dataclass(slots=True, eq=False)
class Call:
    """One call. `invoked` and `returned` are places in the order of all that clients saw.

    `result` is the state for READ, the new version for SET, else an Outcome. `ends` is the latest
    moment of its effect, if that is known before it returns.
    """

    who: str
    operation: Operation
    invoked: float
    returned: float = math.inf
    result: object = Outcome.LOST
    ends: float = math.inf

    @property
    def is_lost(self) -> bool:
        return self.result is Outcome.LOST

    def __str__(self) -> str:
        kind, data, version = self.operation
        wanted = "" if version == ANY_VERSION else f" if {version}"
        return (
            f"{self.who}: {kind.value}{f' {data!r}' if data else ''}{wanted} -> {self.result!r}"
            f" [{self.invoked:g}, {self.returned:g}]"
        )


class Undecided(Exception):
    """Too many orders to try."""


def step(state: State, operation: Operation) -> tuple[State, object]:
    """The register: its next state and what it answers."""
    kind, data, version = operation
    match kind:
        case Kind.READ:
            return state, state
        case Kind.CREATE:
            return (state, Outcome.NODE_EXISTS) if state is not None else ((0, data), Outcome.DONE)
    if state is None:
        return None, Outcome.NO_NODE
    if version not in {ANY_VERSION, state[0]}:
        return state, Outcome.BAD_VERSION
    if kind is Kind.DELETE:
        return None, Outcome.DONE
    return (state[0] + 1, data), state[0] + 1


def contradiction(calls: Sequence[Call], *, initial: State = None) -> str | None:
    """Why no order of `calls` explains their results; None when one does. Undecided."""
    search = _Search(calls, {(initial, frozenset())})
    for _, is_return, at in sorted(_edges(calls)):
        if not is_return:
            search.pending[at] = None
            continue
        before = search.configurations
        search.returned(at)
        del search.pending[at]
        if not search.configurations:
            return _explain(calls, at, before, search.pending)
    return None


def _edges(calls: Sequence[Call]) -> Iterator[tuple[float, bool, int]]:
    for at, call in enumerate(calls):
        if call.is_lost and call.operation.kind is Kind.READ:
            continue
        yield call.invoked, False, at
        if call.returned < math.inf:
            yield call.returned, True, at


def _explain(
    calls: Sequence[Call], at: int, before: set["Configuration"], pending: Iterable[int]
) -> str:
    states = ", ".join(sorted({repr(state) for state, _ in before})[:5])
    others = "; ".join(str(calls[other]) for other in pending)
    return f"{calls[at]} cannot be: the state could be {states}; meanwhile: {others or 'nothing'}"


Configuration = tuple[State, frozenset[int]]  # and which of the pending calls have happened


class _Search:
    """All that may have happened so far. `pending`: calls that have begun and not returned."""

    def __init__(self, calls: Sequence[Call], configurations: set[Configuration]) -> None:
        self._calls = calls
        self.configurations = configurations
        self.pending: dict[int, None] = {}
        self._followed = 0

    def returned(self, at: int) -> None:
        """Call `at` is over: it has happened by now; if it is lost, it may also never happen."""
        call = self._calls[at]
        can_shrink = any(self._calls[other].operation.kind is Kind.DELETE for other in self.pending)
        found: set[Configuration] = set()
        todo = list(self.configurations)
        if call.is_lost:
            found.update((state, done) for state, done in todo if at not in done)
        known = set(todo)
        while todo:
            state, done = todo.pop()
            if at in done:
                found.add((state, done - {at}))
                continue
            if not can_shrink and _is_beyond(state, call):
                continue
            for following in self._following(state, done):
                if following not in known:
                    known.add(following)
                    todo.append(following)
                    self._followed += 1
            if self._followed > CONFIGURATIONS_MAX:
                raise Undecided(f"more than {CONFIGURATIONS_MAX} configurations")
        self.configurations = found

    def _following(self, state: State, done: frozenset[int]) -> list[Configuration]:
        """With one call more. What changes nothing is placed as soon as it fits, all of it."""
        same: list[int] = []
        changed: list[Configuration] = []
        for at in self.pending:
            if at in done:
                continue
            call = self._calls[at]
            after, result = step(state, call.operation)
            if after != state:
                if call.is_lost or call.result == result:
                    changed.append((after, done | {at}))
            elif call.result == result:
                same.append(at)
        return [(state, done.union(same))] if same else changed


def _is_beyond(state: State, call: Call) -> bool:
    """Whether a version that only grows has passed what `call` says it met."""
    if state is None:
        return False
    kind, _, version = call.operation
    if kind is Kind.READ and isinstance(call.result, tuple):
        return state[0] > call.result[0]
    if kind is Kind.SET and isinstance(call.result, int):
        return state[0] >= call.result
    return kind is Kind.DELETE and call.result is Outcome.DONE and -1 < version < state[0]


@dataclass
class Ledger:
    """The calls of all clients, by path, as they happen."""

    calls: dict[str, list[Call]] = field(default_factory=dict)
    undecided: int = 0
    _clock: Iterator[int] = field(default_factory=count)
    _unsettled: dict[str, list[Call]] = field(default_factory=dict)

    def begin(self, who: str, path: str, operation: Operation) -> Call:
        call = Call(who, operation, next(self._clock))
        self.calls.setdefault(path, []).append(call)
        return call

    def end(self, call: Call, result: object) -> None:
        call.returned, call.result = min(next(self._clock), call.ends), result

    def lose(self, call: Call) -> None:
        """The connection broke before the answer."""
        if call.ends < math.inf:
            call.returned = call.ends
        else:
            self._unsettled.setdefault(call.who, []).append(call)

    def settle(self, who: str, under_way: Iterable[Call] = ()) -> None:
        """A new connection was granted: what was lost before has happened by now, or never will.

        So it is with what is `under_way` on older connections, whether its answer comes or not.
        """
        now = next(self._clock)
        for call in self._unsettled.pop(who, ()):
            call.returned = now
        for call in under_way:
            call.ends = min(call.ends, now)

    def check(self) -> int:
        """Check each path; how many calls there were. Violation."""
        for path, calls in self.calls.items():
            try:
                reason = contradiction(calls)
            except Undecided:
                self.undecided += 1
                continue
            if reason is not None:
                raise Violation(f"{path} is not linearizable: {reason}")
        return sum(map(len, self.calls.values()))


__all__ = ["Call", "Kind", "Ledger", "Operation", "Outcome", "Undecided", "contradiction", "step"]
