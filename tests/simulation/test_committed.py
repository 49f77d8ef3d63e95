"""The check that all in-sync replicas hold what is committed, on made-up replicas."""

from types import SimpleNamespace

import pytest

from ottla.broker.ids import TopicPartition
from tests.simulation.world.committed import CommittedChecker
from tests.simulation.world.history import Violation

TP = TopicPartition("t", 0)


def copy(end: int, *, high_watermark: int = 0, epoch: int = 1, leads: bool = False):
    return SimpleNamespace(
        topic_id="id",
        is_leader=leads,
        leader_epoch=epoch,
        high_watermark=high_watermark,
        log=SimpleNamespace(log_end=end),
    )


def state(leader: int, isr: list[int], epoch: int = 1) -> dict:
    return {"leader": leader, "leader_epoch": epoch, "isr": isr}


def test_replica_in_sync_without_what_is_committed_is_a_violation() -> None:
    checker = CommittedChecker()
    copies = {1: copy(9, high_watermark=7, leads=True), 2: copy(7), 3: copy(5)}
    checker.check(TP, state(1, [1, 2]), copies, set())
    with pytest.raises(Violation, match="committed up to 7, but broker 3"):
        checker.check(TP, state(1, [1, 2, 3]), copies, set())
    checker.check(TP, state(1, [1, 2, 3]), copies, {3})


def test_what_was_committed_stays_so_under_a_later_leader() -> None:
    checker = CommittedChecker()
    checker.check(TP, state(1, [1]), {1: copy(9, high_watermark=7, leads=True)}, set())
    with pytest.raises(Violation, match="committed up to 7, but broker 2"):
        checker.check(TP, state(2, [2], epoch=2), {1: copy(9), 2: copy(6)}, set())


def test_what_was_acknowledged_is_committed_though_no_leader_is_seen_to_know_it() -> None:
    checker = CommittedChecker()
    copies = {1: copy(9, high_watermark=3, leads=True), 2: copy(5)}
    checker.note(TP, 5)
    checker.check(TP, state(1, [1, 2]), copies, set())
    checker.note(TP, 6)
    with pytest.raises(Violation, match="committed up to 6, but broker 2"):
        checker.check(TP, state(1, [1, 2]), copies, set())


def test_isr_grows_only_as_its_leader_asked() -> None:
    checker = CommittedChecker()
    leader = copy(9, leads=True)
    leader.leader = SimpleNamespace(pending=SimpleNamespace(added=(2,)))
    checker.check_growth(TP, state(1, [1]), state(1, [1, 2]), {1: leader})
    with pytest.raises(Violation, match="did not ask"):
        checker.check_growth(TP, state(1, [1]), state(1, [1, 3]), {1: leader})
    leader.leader.pending = None
    with pytest.raises(Violation, match="did not ask"):
        checker.check_growth(TP, state(1, [1]), state(1, [1, 2]), {1: leader})
    checker.check_growth(TP, state(1, [1]), state(2, [1, 2], epoch=2), {1: leader})


def test_deposed_leader_commits_nothing() -> None:
    checker = CommittedChecker()
    copies = {1: copy(9, high_watermark=9, leads=True), 2: copy(6)}
    checker.check(TP, state(2, [2], epoch=2), copies, set())
    checker.check(TP, state(1, [1, 2], epoch=2), copies, set())
