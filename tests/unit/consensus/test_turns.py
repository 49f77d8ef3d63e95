"""When a member takes its turns and syncs (`coordinator.turns`)."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from ottla.coordinator.turns import Turns
from ottla.runtime.readiness import Readers


class Member:
    """Turns that only count; a sync lasts until `end_sync`."""

    def __init__(self, *, is_alone: bool) -> None:
        self.turns = Turns(self._turn, self._sync, self._sync_here, is_alone=is_alone)
        self.may_hold = False
        self.synced_here = 0
        self.taken = 0
        self.synced = 0
        self.to_write = 0  # turns that will write something
        self.fails = False
        self.to_go_on = 0  # turns that will leave something for the next
        self._ended = trio.Event()

    def _turn(self) -> None:
        self.turns.began()
        self.taken += 1
        if self.fails:
            raise OSError("the disk is gone")
        while self.to_write:
            self.to_write -= 1
            if not self.turns.sync_at_once():
                break
        if self.to_go_on:
            self.to_go_on -= 1
            self.turns.want()

    async def _sync(self) -> None:
        await self._ended.wait()
        self._ended = trio.Event()
        self.synced += 1

    def _sync_here(self) -> bool:
        self.synced_here += self.may_hold
        return self.may_hold

    def end_sync(self) -> None:
        self._ended.set()


@contextlib.asynccontextmanager
async def running(member: Member) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.turns.run)
        nursery.start_soon(member.turns.run_beside)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def syncing(member: Member) -> None:
    """Make it wait for a sync, behind its first turn."""
    member.to_write = 1
    member.turns.want_gathered()
    await wait_all_tasks_blocked()
    assert (member.taken, member.synced) == (1, 0)


async def test_requests_of_one_member_alone_gather_until_a_sync_has_ended() -> None:
    member = Member(is_alone=True)
    async with running(member):
        await syncing(member)
        for _ in range(3):
            member.turns.want_gathered()
        await wait_all_tasks_blocked()
        assert member.taken == 1
        member.end_sync()
        await wait_all_tasks_blocked()
        assert (member.taken, member.synced) == (2, 1)


async def test_what_others_wait_for_is_not_held_up_by_a_sync() -> None:
    member = Member(is_alone=False)
    async with running(member):
        await syncing(member)
        member.turns.want_gathered()
        member.turns.want_gathered()
        await wait_all_tasks_blocked()
        assert (member.taken, member.synced) == (2, 0)


async def test_a_turn_that_is_wanted_at_once_takes_along_what_has_gathered() -> None:
    member = Member(is_alone=True)
    async with running(member):
        await syncing(member)
        member.turns.want_gathered()
        member.turns.want()
        await wait_all_tasks_blocked()
        assert (member.taken, member.synced) == (2, 0)


@pytest.mark.parametrize("is_syncing", [False, True])
async def test_turns_follow_until_nothing_is_left(is_syncing: bool) -> None:
    member = Member(is_alone=True)
    async with running(member):
        if is_syncing:
            await syncing(member)
        before = member.taken
        member.to_go_on = 5
        member.turns.want()
        await wait_all_tasks_blocked()
        assert member.taken == before + 6


async def test_what_is_written_during_a_sync_gets_one_of_its_own() -> None:
    member = Member(is_alone=False)
    async with running(member):
        await syncing(member)
        member.to_write = 1
        member.turns.want_gathered()
        await wait_all_tasks_blocked()
        member.end_sync()
        await wait_all_tasks_blocked()
        assert member.synced == 1
        member.end_sync()
        await wait_all_tasks_blocked()
        assert (member.taken, member.synced) == (4, 2)


async def test_a_member_alone_syncs_where_it_stands_when_it_may() -> None:
    member = Member(is_alone=True)
    member.may_hold = True
    async with running(member):
        member.to_write = 2
        member.turns.want_gathered()
        await wait_all_tasks_blocked()
        assert (member.synced_here, member.synced, member.taken) == (2, 0, 1)
        member.may_hold = False
        member.to_write = 1
        member.turns.want_gathered()
        await wait_all_tasks_blocked()
        member.end_sync()
        await wait_all_tasks_blocked()
        assert (member.synced_here, member.synced, member.taken) == (2, 1, 3)


async def readers_that_bring(count: int, bring: Callable[[], None]) -> None:
    """So many sockets that are ready together; `bring` is called for each, with no task between."""
    async with trio.open_nursery() as nursery:
        pairs = [socket.socketpair() for _ in range(count)]
        for ours, _ in pairs:
            ours.setblocking(False)

            def ready(ours: socket.socket = ours) -> bool:
                ours.recv(1)
                bring()
                return True

            nursery.start_soon(Readers.of_this_run().wait, ours.fileno(), ready, None)
        await wait_all_tasks_blocked()
        for _, theirs in pairs:
            theirs.send(b"x")
    for both in pairs:
        for each in both:
            each.close()


async def test_what_ready_sockets_brought_is_one_turn_behind_the_last_of_them() -> None:
    member = Member(is_alone=True)
    member.may_hold = True
    taken = []

    def bring() -> None:
        member.turns.want_gathered()
        taken.append(member.taken)

    async with running(member):
        member.to_write = 1
        await readers_that_bring(5, bring)
        assert taken == [0] * 5
        assert (member.taken, member.synced_here) == (1, 1)


async def test_a_turn_behind_a_look_that_fails_ends_the_member_and_not_the_loop() -> None:
    member = Member(is_alone=True)
    member.fails = True
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="the disk is gone")):
        async with running(member):
            await readers_that_bring(2, member.turns.want_gathered)
            await trio.sleep_forever()
    assert member.taken == 1


async def test_what_came_from_others_is_synced_without_a_switch() -> None:
    member = Member(is_alone=False)
    member.may_hold = True
    async with running(member):
        member.to_write = 1
        member.turns.take_at_once()
        assert (member.synced_here, member.taken) == (1, 1)
        member.may_hold = False
        member.to_write = 1
        member.turns.take_at_once()
        await wait_all_tasks_blocked()
        member.end_sync()
        await wait_all_tasks_blocked()
        assert (member.synced_here, member.synced, member.taken) == (1, 1, 3)


async def test_what_may_wait_is_done_by_one_turn_a_moment_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    member = Member(is_alone=False)
    async with running(member), trio.open_nursery() as nursery:
        nursery.start_soon(member.turns.run_later, 0.5)
        await wait_all_tasks_blocked()
        for _ in range(3):
            member.turns.want_later()
        assert member.taken == 0
        await trio.sleep(0.6)
        assert member.taken == 1
        member.turns.want_later()
        await trio.sleep(2)
        assert member.taken == 2
        nursery.cancel_scope.cancel()
