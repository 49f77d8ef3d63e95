"""When a leader says that it lives: as seldom as it may, and never too late for anybody."""

import pytest

from ottla.protocol.peer.messages import AppendRequest
from tests.unit.consensus.cores import TIMING, Table, core_of


@pytest.fixture
def table() -> Table:
    table = Table([core_of(me, (1, 2, 3)) for me in (1, 2, 3)])
    table.elect(1)
    table.heartbeat(1)
    return table


def heartbeats(table: Table) -> list[int]:
    """To whom the leader says now that it lives."""
    table.cores[1].tick(table.now)
    sent = table.cores[1].actions(table.now).send
    return [to for to, message in sent if isinstance(message, AppendRequest)]


def write(table: Table, among: tuple[int, ...] = (1, 2, 3)) -> None:
    table.cores[1].propose([b"x"])
    table.settle(1, among)


def test_entries_that_all_have_answered_put_the_next_heartbeat_off(table):
    for _ in range(10):
        table.now += 0.8 * TIMING.heartbeat_s
        write(table)
        answered = table.now
        table.now += 0.4 * TIMING.heartbeat_s
        assert heartbeats(table) == []
        assert table.cores[1].deadline == pytest.approx(answered + TIMING.heartbeat_s)
        assert table.cores[1].lease_end() == pytest.approx(answered + TIMING.lease_s)


def test_a_heartbeat_follows_the_last_answered_entry_by_one_period(table):
    table.now += 0.5 * TIMING.heartbeat_s
    write(table)
    table.now += 0.6 * TIMING.heartbeat_s
    assert heartbeats(table) == []
    table.now += 0.4 * TIMING.heartbeat_s
    assert heartbeats(table) == [2, 3]


def test_one_member_that_answers_nothing_keeps_the_pace_for_all(table):
    """Its connection may be slow, or what was sent to it lost: it must hear of its leader."""
    table.now += 0.5 * TIMING.heartbeat_s
    write(table, among=(1, 2))
    table.now += 0.5 * TIMING.heartbeat_s
    assert heartbeats(table) == [2, 3]
    table.now += TIMING.heartbeat_s
    assert heartbeats(table) == [2, 3]


def test_an_entry_whose_answer_is_still_to_come_puts_nothing_off(table):
    """A disk that takes longer than the lease must not end it."""
    table.now += 0.5 * TIMING.heartbeat_s
    table.cores[1].propose([b"x"])
    table.drain(1)
    table.now += 0.6 * TIMING.heartbeat_s
    assert heartbeats(table) == [2, 3]


def test_heartbeats_repeat_a_probe_though_everybody_answers(table):
    table.now += 0.9 * TIMING.heartbeat_s
    write(table)
    table.cores[1].unreachable(3)
    table.now += 0.2 * TIMING.heartbeat_s
    assert 3 in heartbeats(table)
