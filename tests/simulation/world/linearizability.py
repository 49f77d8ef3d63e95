"""Whether what clients saw of one znode could have happened one call after the other.

Linearizability (Herlihy and Wing, 1990): there is an order of all calls, in which each gives the
result that it gave, and no call stands after one that began when it was already over. The search is
Wing and Gong's with Lowe's two additions (Testing for linearizability, 2017): a call is placed no
sooner than the return of some call requires it, and a state that was reached in two ways is
followed once. Znodes are checked one by one, which is enough: linearizability is local.

A call whose connection broke has the result LOST: it happened once in its interval, or never. Its
interval ends when the session's next connection is granted, since the ensemble takes nothing from
an older one after that; `Ledger.settle` says so. Two things keep what was lost from multiplying the
orders to try, and lose no explanation:

* Of lost calls with the same effect, the one whose interval ends first is taken first: in an order
  that takes another one before it, the two can change places. Data that nobody read are all alike.
* A state that was reached with fewer of the lost calls needs no second look with more of them:
  these can still happen, or never.

The register is a znode with its version: absent, or (version, data).
"""

import math
from bisect import insort
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
    search = _Search(calls, {(initial, 0)})
    for _, is_return, at in sorted(_edges(calls)):
        if not is_return:
            search.begun(at)
            continue
        before = search.configurations
        search.returned(at)
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


Configuration = tuple[State, int]  # and which of the pending calls have happened, a bit for each


class _Search:
    """All that may have happened so far. `pending`: calls that have begun and not returned.

    Of these, `_lost` has what is lost by its effect, each with those first that end first.
    """

    def __init__(self, calls: Sequence[Call], configurations: set[Configuration]) -> None:
        self._calls = calls
        self.configurations = configurations
        self.pending: dict[int, None] = {}
        self._answered: dict[int, None] = {}
        self._lost: dict[object, list[int]] = {}
        self._lost_bits = 0
        self._followed = 0
        shown = (call.result for call in calls if call.operation.kind is Kind.READ)
        self._seen = {state[1] for state in shown if isinstance(state, tuple)}

    def begun(self, at: int) -> None:
        self.pending[at] = None
        call = self._calls[at]
        if call.is_lost:
            alike = self._lost.setdefault(self._effect(call), [])
            insort(alike, at, key=lambda other: self._calls[other].returned)
            self._lost_bits |= 1 << at
        else:
            self._answered[at] = None

    def _effect(self, call: Call) -> object:
        kind, data, version = call.operation
        return kind, version, data if data in self._seen else None

    def returned(self, at: int) -> None:
        """Call `at` is over: it has happened by now; if it is lost, it may also never happen."""
        call, bit = self._calls[at], 1 << at
        can_shrink = any(self._calls[other].operation.kind is Kind.DELETE for other in self.pending)
        found: set[Configuration] = set()
        todo = list(self.configurations)
        if call.is_lost:
            found.update(each for each in todo if not each[1] & bit)
        known = set(todo)
        while todo:
            state, done = todo.pop()
            if done & bit:
                found.add((state, done ^ bit))
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
        del self.pending[at]
        if call.is_lost:
            alike = self._lost[self._effect(call)]
            alike.remove(at)
            if not alike:
                del self._lost[self._effect(call)]
        else:
            del self._answered[at]
        self.configurations = self._fewest(found) if self._lost_bits else found

    def _following(self, state: State, done: int) -> list[Configuration]:
        """With one call more. What changes nothing is placed as soon as it fits, all of it."""
        same = 0
        changed: list[Configuration] = []
        for at in self._answered:
            bit = 1 << at
            if done & bit:
                continue
            call = self._calls[at]
            after, result = step(state, call.operation)
            if call.result != result:
                continue
            if after != state:
                changed.append((after, done | bit))
            else:
                same |= bit
        if same:
            return [(state, done | same)]
        for alike in self._lost.values():
            at = next((each for each in alike if not done >> each & 1), -1)
            if at >= 0:
                after, _ = step(state, self._calls[at].operation)
                if after != state:
                    changed.append((after, done | 1 << at))
        return changed

    def _fewest(self, found: set[Configuration]) -> set[Configuration]:
        """Without those that have the same state as another, and more of the lost calls done."""
        lost_bits = self._lost_bits
        alike: dict[Configuration, list[int]] = {}
        for state, done in found:
            alike.setdefault((state, done & ~lost_bits), []).append(done)
        return {
            (state, done)
            for (state, _), several in alike.items()
            for done in several
            if not any(other & done == other and other != done for other in several)
        }


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
