import gc
import weakref
from collections.abc import Iterator

import pytest

from ottla.runtime import collector


class Ring:
    """A cycle of one."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_survived_a_full_collection_is_looked_at_no_more() -> None:
    collector.begin_start()
    collector.end_start()
    kept = [[each] for each in range(10_000)]
    gc.collect()
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < 1000
    assert kept


def test_cycles_among_new_objects_go() -> None:
    collector.end_start()
    ring = weakref.ref(Ring())
    gc.collect()
    assert ring() is None


def test_cycles_among_objects_set_aside_go_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    collector.end_start()
    made = Ring()
    ring = weakref.ref(made)
    gc.collect()
    del made
    gc.collect()
    assert ring() is not None
    monkeypatch.setattr(collector, "_FULL_BETWEEN_ALL", 1)
    gc.collect()
    assert ring() is None
