"""Looking for planted bugs: seed after seed, until one fails with the bug and holds without."""

import queue
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import trio

from tests.simulation.world.history import Violation
from tests.simulation.world.planted.bugs import PLANTED, Bug, patched, plant
from tests.simulation.world.world import NotConverged, run_seed

SEEDS = 60
"""How many are tried for a bug unless told otherwise."""

_ENSEMBLE = {"ensemble", "facts", "linearizability", "locks", "registers", "sessions", "wanderers"}
_HERE = Path(__file__).parent
_PATCH = "patch"
_PROJECT = tuple(str(_HERE.parents[3] / name) for name in ("src", "tests"))


@dataclass(frozen=True)
class Catch:
    """A run that failed. `surprise` says why that is no find; "": it is one."""

    seed: int
    checker: str
    said: str
    surprise: str = ""


def attempt(name: str, seed: int) -> Catch | None:
    """One seed with a bug; if it fails, also without. None: the bug went unnoticed."""
    bug = PLANTED[name]
    with plant(name):
        failure = _failure(bug, seed)
    if failure is None:
        return None
    if failure[0] == _PATCH:
        return Catch(seed, *failure, surprise=f"fails by its patch: {failure[1]}")
    sound = _failure(bug, seed)
    if sound is None and _is_elsewhere(bug, failure[0]):
        return Catch(seed, *failure, surprise=f"has nothing to do with it: {failure}")
    return Catch(seed, *failure, surprise=f"fails without it too: {sound}" if sound else "")


def _is_elsewhere(bug: Bug, checker: str) -> bool:
    """Whether clients of the ensemble complain about a bug of brokers, which they cannot see."""
    return not bug.make.__module__.endswith(".ensemble") and checker.partition(":")[0] in _ENSEMBLE


def _failure(bug: Bug, seed: int) -> tuple[str, str] | None:
    try:
        with patched(bug.given):
            run_seed(seed, minutes=bug.minutes, plan=bug.plan(seed))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return describe(error)
    return None


def describe(error: BaseException) -> tuple[str, str]:
    """(who noticed, what it said) of the innermost reason; nobody noticed a patch that fails."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TrioInternalError) and error.__cause__ is not None:
        error = error.__cause__
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [code.co_filename for code in codes if code.co_filename.startswith(_PROJECT)]
    if Path(ours[-1]).parent == _HERE or isinstance(error, AttributeError | TypeError):
        return _PATCH, f"{type(error).__name__}: {error}"
    code = codes[-1]
    where = f"{Path(code.co_filename).stem}: {code.co_qualname}"
    said = str(error) or traceback.extract_tb(error.__traceback__)[-1].line or ""
    if not isinstance(error, Violation | NotConverged):
        said = f"{type(error).__name__}: {said}"
    return where, said


def _work(job: tuple[str, int]) -> tuple[str, int, Catch | None]:
    name, seed = job
    return name, seed, attempt(name, seed)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def search(
    names: Iterable[str],
    seeds: range,
    *,
    jobs: int,
    on_result: Callable[[str, Catch | None], None],
    on_progress: Callable[[str], None],
    on_surprise: Callable[[str, Catch], None],
) -> None:
    """Look for all bugs at once, a seed for each in turn; results as they come.

    `on_surprise` hears of seeds that fail, but not by the bug. KeyboardInterrupt ends it at once.
    """
    waiting = deque((name, seeds.start) for name in names)
    under_way = 0
    answers: queue.SimpleQueue = queue.SimpleQueue()
    with get_context("spawn").Pool(jobs, _leave_interrupts_to_the_parent) as pool:

        def start(name: str, seed: int) -> None:
            pool.apply_async(
                _work, ((name, seed),), callback=answers.put, error_callback=answers.put
            )

        while waiting or under_way:
            while waiting and under_way < jobs:
                start(*waiting.popleft())
                under_way += 1
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            name, seed, caught = answer
            under_way -= 1
            if caught is not None and caught.surprise:
                on_surprise(name, caught)
                caught = None
            if caught is None and seed + 1 < seeds.stop:
                on_progress(f"{name}: {seed - seeds.start + 1} of {len(seeds)} seeds")
                waiting.append((name, seed + 1))
            else:
                on_result(name, caught)


__all__ = ["SEEDS", "Catch", "attempt", "describe", "search"]
