"""When parked replies are polled, and what is kept of those that are answered."""

import math

import trio

from ottla.broker.server.wakeups import STALE_MAX, Wakeups


class Parked:
    """A connection that parks one reply after the other."""

    def __init__(self, wakeups: Wakeups) -> None:
        self.parked_until = math.inf
        self.polled: list[float] = []
        self._wakeups = wakeups

    def park(self, seconds: float) -> None:
        self.parked_until = trio.current_time() + seconds
        self._wakeups.wake_at(self.parked_until, self)

    def answer(self) -> None:
        self.parked_until = math.inf

    def poll(self) -> None:
        self.polled.append(trio.current_time())
        self.answer()


async def test_answered_replies_are_not_kept_until_their_time_is_over():
    """A consumer may wait for a day for each record, and have many in a second."""
    wakeups = Wakeups()
    parked = Parked(wakeups)
    for seconds in range(1000):
        parked.park(86_400 + seconds)
        parked.answer()
    assert len(wakeups) == 1


async def test_connections_that_ended_are_not_kept():
    wakeups = Wakeups()
    for _ in range(1000):
        parked = Parked(wakeups)
        parked.park(86_400)
        wakeups.forget(parked)
    assert len(wakeups) <= STALE_MAX + 1


async def test_each_is_polled_at_its_own_time_once(autojump_clock):
    wakeups = Wakeups()
    later, sooner, same = (Parked(wakeups) for _ in range(3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wakeups.run)
        later.park(5)
        sooner.park(10)
        await trio.sleep(1)
        for each, seconds in ((later, 7), (sooner, 2)):
            each.answer()
            each.park(seconds)
        same.park(7)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert (later.polled, sooner.polled, same.polled) == ([8], [3], [8])


async def test_a_reply_that_was_answered_is_not_polled(autojump_clock):
    wakeups = Wakeups()
    parked = Parked(wakeups)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wakeups.run)
        parked.park(1)
        parked.answer()
        await trio.sleep(2)
        assert not parked.polled
        parked.park(3)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert parked.polled == [5]
