"""Each seed in a process of its own, forked off one that has everything imported and compiled.

A process that ends needs not take the run's world apart, object by object, and no collection has
to look for what is dead in it: together a fifth of what a run costs. What one imports or compiles
when it first needs it, those that come after it have from the start.
"""

import gc
import signal
from collections.abc import Generator
from contextlib import closing
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tests.simulation.world.determinism import GC_THRESHOLDS
from tests.simulation.world.experience import experience, learn
from tests.simulation.world.seeds import Attempt, attempt

_REHEARSAL = (1, 0.2)
"""A seed and its minutes that use most of what is imported late or compiled when first used."""

_FORK = get_context("fork")


def attempts(seeds: range, minutes: float, processes: int) -> Generator[Attempt]:
    """Run `seeds`, so many at once; what came of them as they end.

    An interrupt is for the caller alone, and ends the others.
    """
    attempt(_REHEARSAL)  # were it to fail, so would others
    gc.collect()
    gc.freeze()
    left = iter(seeds)
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        for seed in islice(left, processes):
            running.update([_start(seed, minutes)])
        while running:
            for answer in wait(list(running)):
                seed, process = running.pop(answer)
                yield _result(seed, process, answer)
                running.update(_start(another, minutes) for another in islice(left, 1))
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()
        gc.unfreeze()


def _start(seed: int, minutes: float) -> tuple[Connection, tuple[int, BaseProcess]]:
    answer, theirs = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_run, args=(seed, minutes, theirs), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # for the child, for good
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return answer, (seed, process)


def _run(seed: int, minutes: float, answer: Connection) -> None:
    gc.set_threshold(*GC_THRESHOLDS)  # or there would be a collection at the end
    before = experience()
    result = attempt((seed, minutes))
    answer.send((result, experience() - before))


def _result(seed: int, process: BaseProcess, answer: Connection) -> Attempt:
    with closing(answer):
        try:
            result, news = answer.recv()
        except EOFError:
            process.join()
            return seed, f"its process ended with {process.exitcode}", 0.0
    process.join()
    learn(news)
    return result


__all__ = ["attempts"]
