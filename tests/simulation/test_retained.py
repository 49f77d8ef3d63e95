"""What `RetainedHistory` takes for a right log start, and what for a loss."""

import pytest

from ottla.broker.ids import TopicPartition
from tests.simulation.world.history import Violation
from tests.simulation.world.retained import CLOCKS_APART_MS, RetainedHistory

TP = TopicPartition("brief", 0)
NOW_MS = 1_700_000_000_000


def history(size: int = -1, age_ms: int = -1, *, clocks_jump: bool = False) -> RetainedHistory:
    """Ten acknowledged batches of two records and 100 bytes, a second apart."""
    facts = RetainedHistory(size, age_ms, clocks_jump=clocks_jump)
    for at in range(10):
        facts.sending(TP, 100)
        values = [b"%d" % (2 * at), b"%d" % (2 * at + 1)]
        facts.acknowledged(TP, values, 2 * at, 100, NOW_MS + 1000 * at)
    return facts


def test_nothing_may_go_without_a_reason() -> None:
    facts = history()
    facts.check_start(TP, 0, NOW_MS, "broker 1")
    with pytest.raises(Violation, match="nobody asked for more than 0"):
        facts.check_start(TP, 2, NOW_MS + 10**9, "broker 1")


def test_what_somebody_asked_for_may_go_and_no_more() -> None:
    facts = history()
    facts.asking(TP, 6)
    facts.check_start(TP, 6, NOW_MS, "broker 1")
    with pytest.raises(Violation, match="begins at 8"):
        facts.check_start(TP, 8, NOW_MS, "broker 1")


def test_what_is_kept_is_as_large_as_it_has_to_be() -> None:
    facts = history(size=500)
    facts.check_start(TP, 10, NOW_MS, "broker 1")
    with pytest.raises(Violation, match="neither too much"):
        facts.check_start(TP, 12, NOW_MS, "broker 1")
    facts.sending(TP, 100)  # it may be in the log already
    facts.check_start(TP, 12, NOW_MS, "broker 1")


@pytest.mark.parametrize("clocks_jump", [False, True])
def test_what_goes_is_old_as_far_as_clocks_tell(clocks_jump: bool) -> None:
    facts = history(age_ms=20_000, clocks_jump=clocks_jump)
    old_ms = NOW_MS + 3_000 + 20_001 - CLOCKS_APART_MS
    facts.check_start(TP, 8, old_ms, "broker 1")
    if clocks_jump:
        facts.check_start(TP, 10, old_ms, "broker 1")
    else:
        with pytest.raises(Violation, match="nor too old"):
            facts.check_start(TP, 10, old_ms, "broker 1")


def test_a_pass_has_to_show_what_is_acknowledged_above_the_log_start() -> None:
    facts = history()
    seen = {b"%d" % at for at in range(4, 20)}
    assert facts.end(TP) == 20
    assert facts.check_pass(TP, 4, 20, seen) == 16
    with pytest.raises(Violation, match="is lost"):
        facts.check_pass(TP, 3, 20, seen)
