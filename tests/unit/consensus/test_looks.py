"""When a member looks at the time: as seldom as it may, and never too late."""

import math

import pytest

from ottla.coordinator.looks import next_look
from tests.unit.consensus.cores import TIMING, Table, core_of


@pytest.fixture
def table() -> Table:
    table = Table([core_of(me, (1, 2, 3)) for me in (1, 2, 3)])
    table.elect(1)
    table.heartbeat(1)
    return table


def look(table: Table, me: int, report_at: float = math.inf) -> float:
    """Seconds from now."""
    return next_look(table.cores[me], None, table.now, report_at) - table.now


def test_follower_that_hears_its_leader_sleeps_as_long_as_no_election_can_be_due(table):
    """3.4: each message draws the timeout anew, and so may bring it nearer than it was."""
    for _ in range(50):
        table.heartbeat(1)
        planned = table.now + look(table, 2)
        assert planned - table.now == pytest.approx(TIMING.election_min_s)
        for _ in range(3):
            table.heartbeat(1)
        assert table.cores[2].deadline >= planned


def test_follower_looks_when_its_patience_ends(table):
    table.now += 0.9 * TIMING.election_min_s
    assert look(table, 2) == pytest.approx(table.cores[2].deadline - table.now)


def test_signs_of_life_are_reported_in_time(table):
    assert look(table, 2, report_at=table.now + 0.2) == pytest.approx(0.2)


def test_leader_looks_at_each_heartbeat_and_when_its_lease_ends(table):
    assert look(table, 1) == pytest.approx(TIMING.heartbeat_s)
    table.now += TIMING.lease_s - 0.05
    assert table.cores[1].lease_end() - table.now == pytest.approx(0.05)
    table.cores[1].leadership.next_heartbeat = table.now + TIMING.heartbeat_s
    assert look(table, 1) == pytest.approx(0.05)


def test_member_that_leads_alone_looks_for_its_sessions_only():
    core = core_of(1, [1])
    table = Table([core])
    table.elect(1)
    assert look(table, 1) == pytest.approx(TIMING.election_min_s / 2)


def test_member_without_a_leader_looks_often_as_answers_bring_the_election_nearer(table):
    table.now += 2
    table.cores[2].tick(table.now)
    assert look(table, 2) <= TIMING.election_min_s / 10 + 1e-9
