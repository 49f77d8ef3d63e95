"""Python's collector of cycles, so that its pauses do not grow with what a daemon holds.

A full collection looks at every container object there is: a third of a second for a million
znodes, in which nobody is answered. What survived one full collection is set aside (`gc.freeze`),
so the next looks at what is new. Objects set aside still go when their last reference does; only
cycles among them would stay, so from time to time all are looked at again.
"""

import gc
from collections.abc import Mapping
from itertools import count

_START_THRESHOLDS = (100_000, 50, 1000)
_THRESHOLDS = (2_000, 5, 5)
_FULL_BETWEEN_ALL = 500
"""Full collections, each after some 70 000 new containers, until everything is looked at again."""

_full = count(1)


def begin_start() -> None:
    """While a state is read there is next to no garbage: look for it rarely."""
    gc.set_threshold(*_START_THRESHOLDS)


def end_start() -> None:
    """From now on pauses are to be short."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    if _collected not in gc.callbacks:
        gc.callbacks.append(_collected)


def _collected(phase: str, info: Mapping[str, int]) -> None:
    if info["generation"] < 2:
        return
    if phase == "stop":
        gc.freeze()
    elif next(_full) % _FULL_BETWEEN_ALL == 0:
        gc.unfreeze()


__all__ = ["begin_start", "end_start"]
