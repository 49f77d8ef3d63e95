"""When a task that keeps time looks: at what it was told last, and at nothing else."""

import math

import trio

from ottla.runtime.timekeeper import Timekeeper


class Due:
    """What is due when, and when somebody looked; seconds since the start."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)
        self.looks: list[float] = []
        self.keeper = Timekeeper()
        self.began = trio.current_time()
        self.in_look: float | None = None  # what the next look finds out itself

    def look(self) -> float:
        now = round(trio.current_time() - self.began, 6)
        self.looks.append(now)
        if self.in_look is not None:
            self.add(self.in_look)
            self.in_look = None
        self.times = [when for when in self.times if when > now]
        return self.began + min(self.times, default=math.inf)

    def add(self, when: float) -> None:
        self.times.append(when)
        self.keeper.look_before(self.began + when)


async def test_it_looks_when_something_is_due_and_only_then(autojump_clock):
    due = Due(2, 5)
    with trio.move_on_after(100):
        await due.keeper.run(due.look)
    assert due.looks == [0, 2, 5]


async def test_what_is_due_before_ends_the_sleep(autojump_clock):
    due = Due(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(due.keeper.run, due.look)
        await trio.sleep(0.5)
        for when in (3, 4, 20):
            due.add(when)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert due.looks == [0, 0.5, 3, 4, 10, 20]


async def test_it_goes_on_after_its_sleep_was_ended(autojump_clock):
    due = Due()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(due.keeper.run, due.look)
        await trio.sleep(0.5)
        for when in (3, 9):
            due.add(when)
            await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert due.looks == [0, 0.5, 3, 5.5, 9]


async def test_what_a_look_itself_finds_out_costs_no_other_look(autojump_clock):
    due = Due(2)
    due.in_look = 4
    with trio.move_on_after(100):
        await due.keeper.run(due.look)
    assert due.looks == [0, 2, 4]
