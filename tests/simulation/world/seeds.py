"""One seed, for runs over many."""

import faulthandler
import time
import traceback

from tests.simulation.world.world import Outcome, run_seed

_REAL_S_MAX = 600  # a seed that takes longer than this hangs


Attempt = tuple[int, Outcome | str, float]
"""Seed, outcome or what went wrong, seconds of one core."""


def attempt(job: tuple[int, float]) -> Attempt:
    """Run (seed, minutes)."""
    seed, minutes = job
    began = time.process_time()
    faulthandler.dump_traceback_later(_REAL_S_MAX, exit=True)
    try:
        result: Outcome | str = run_seed(seed, minutes=minutes)
    except BaseException as error:
        result = "".join(traceback.format_exception(error, limit=-6))
    faulthandler.cancel_dump_traceback_later()
    return seed, result, time.process_time() - began
