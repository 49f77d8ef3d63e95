"""The scheduler of the simulated cluster: its agenda, its pauses, and runs that would not end."""

import itertools
import math
import random
import re
import time
from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio._core import _run as trio_run

from ottla.runtime.interfaces import Address
from tests.simulation.world import determinism
from tests.simulation.world.determinism import PROCESS, RunQueue, Stuck
from tests.simulation.world.history import Violation
from tests.simulation.world.network import Fabric
from tests.simulation.world.plan import Plan
from tests.simulation.world.world import World


def test_agenda_keeps_to_its_times_and_their_order() -> None:
    seen: list[tuple[str, float]] = []

    async def body(queue: RunQueue) -> None:
        clock = queue.clock
        for name, due in (("c", 2.0), ("a", 1.0), ("b", 1.0)):
            clock.at(due, lambda name: seen.append((name, clock.now)), name)
        await trio.sleep(1.5)
        seen.append(("task", trio.current_time()))
        await trio.sleep(1.0)

    determinism.run(1, body)
    assert seen == [("a", 1.0), ("b", 1.0), ("task", 1.5), ("c", 2.0)]


def test_time_does_not_run_on_for_what_is_left_on_the_agenda_at_the_end() -> None:
    clocks = []

    async def body(queue: RunQueue) -> None:
        clocks.append(queue.clock)
        queue.clock.at(1000.0, lambda _: None, None)
        await trio.sleep(1.0)

    determinism.run(1, body)
    assert clocks[0].now == 1.0


def test_sleep_of_a_run_is_cancelled_and_refuses_what_is_no_time() -> None:
    async def body(queue: RunQueue) -> None:
        with trio.move_on_after(1.0) as scope:
            await trio.sleep(5.0)
        assert scope.cancelled_caught
        assert trio.current_time() == 1.0
        with trio.move_on_after(1.0) as scope:
            await trio.sleep(math.inf)
        assert trio.current_time() == 2.0
        await trio.sleep_until(0.5)
        assert trio.current_time() == 2.0
        for wrong in (-1.0, math.nan):
            with pytest.raises(ValueError, match="not negative"):
                await trio.sleep(wrong)

    determinism.run(1, body)


def test_signal_is_waited_for_up_to_a_moment() -> None:
    seen: list[tuple[float, bool]] = []

    async def body(queue: RunQueue) -> None:
        signal = determinism.Signal()

        async def wait(seconds: float) -> None:
            is_set = await signal.wait(seconds)
            seen.append((trio.current_time(), is_set))

        async with trio.open_nursery() as nursery:
            for seconds in (0.0, 1.0, 5.0, math.inf):
                nursery.start_soon(wait, seconds)
            with trio.move_on_after(0.5):
                await signal.wait()
            await trio.sleep(2.5)
            signal.set()
        await wait(9.0)

    determinism.run(1, body)
    assert seen == [(0.0, False), (1.0, False), (3.0, True), (3.0, True), (3.0, True)]


def test_trio_is_its_own_again_after_a_run() -> None:
    def inside() -> tuple:
        return (
            *(trio.sleep, trio.sleep_until, trio_run.unrolled_run, trio_run.Runner.reschedule),
            *(trio.lowlevel.reschedule, trio.lowlevel.wait_task_rescheduled),
            *(trio.CancelScope.__enter__, trio.CancelScope._close),
        )

    before = inside()
    within: list[tuple] = []

    async def body(_queue: RunQueue) -> None:
        within.append(inside())

    determinism.run(1, body)
    assert inside() == before
    assert not set(within[0]) & set(before)


def test_cancel_scopes_are_entered_once_and_left_in_order() -> None:
    async def body(_queue: RunQueue) -> None:
        outer, inner = trio.CancelScope(), trio.CancelScope()
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="single 'with' block"):
            inner.__enter__()
        with pytest.raises(RuntimeError, match="still within its child"):
            outer.__exit__(None, None, None)

    determinism.run(1, body)


async def _converse(rng: random.Random, say: Callable[[object], None]) -> None:
    """Tasks that meet, time out, fail and are cancelled, in whatever order they are let."""
    lot, opened, lock = trio.lowlevel.ParkingLot(), trio.Event(), trio.Lock()
    give, take = trio.open_memory_channel[int](2)

    async def one(at: int) -> None:
        for turn in range(6):
            with trio.move_on_after(rng.choice((0.0, 0.1, 0.2))) as scope:
                async with lock:
                    await trio.sleep(rng.choice((0.0, 0.05, 0.15)))
                    lot.unpark()
                await (lot.park() if turn % 2 else opened.wait())
            say((at, turn, scope.cancelled_caught, trio.current_time()))
            await give.send(at)
            with trio.move_on_after(0.1) as outer, trio.CancelScope(shield=bool(turn % 3)):
                if turn == 4:
                    outer.cancel()
                await trio.sleep(rng.choice((0.0, 0.15)))
            say((at, outer.cancelled_caught, outer.cancel_called, trio.current_time()))
        if at == 3:
            raise ValueError(at)

    async def collect() -> None:
        async for at in take:
            say(at)
            if at == 2:
                opened.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            for at in range(5):
                nursery.start_soon(one, at)
    except* ValueError as errors:
        say(repr(errors))


async def _sleep(clock: determinism.SimClock, seconds: float) -> None:
    """By the agenda, with trio's own traps."""
    if seconds == 0:
        return await trio.lowlevel.checkpoint()
    waiting = [trio.lowlevel.current_task()]
    clock.at(clock.now + seconds, lambda _: waiting and trio.lowlevel.reschedule(*waiting), None)

    def abort(_raise: object) -> trio.lowlevel.Abort:
        waiting.clear()
        return trio.lowlevel.Abort.SUCCEEDED

    return await trio.lowlevel.wait_task_rescheduled(abort)


def test_run_goes_as_in_trios_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same seed, same order: what the loop leaves out, no task notices."""
    orders: list[list[object]] = [[], []]

    async def body(queue: RunQueue) -> None:
        await _converse(random.Random(9), orders[0].append)

    determinism.run(5, body)
    clock = determinism.SimClock()
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    monkeypatch.setattr(trio_run, "_r", random.Random(5))
    monkeypatch.setattr(trio, "sleep", partial(_sleep, clock))

    async def as_trio_does() -> None:
        clock.queue = trio_run.GLOBAL_RUN_CONTEXT.runner.runq
        await _converse(random.Random(9), orders[1].append)

    trio.run(as_trio_does, clock=clock)
    assert orders[0] == orders[1]
    assert len(orders[0]) > 30


def test_paused_task_goes_on_where_it_was_woken() -> None:
    times: list[float] = []

    async def process() -> None:
        PROCESS.set("p")
        while True:
            await trio.sleep(1.0)
            times.append(trio.current_time())

    async def body(queue: RunQueue) -> None:
        with trio.move_on_after(10.5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(process)
                await trio.sleep(2.5)
                queue.pause("p")
                await trio.sleep(5.0)
                queue.resume("p")
                await trio.sleep(100)

    determinism.run(1, body)
    assert times == [1.0, 2.0, 7.5, 8.5, 9.5, 10.5]


def test_run_without_an_end_in_virtual_time_names_what_stays() -> None:
    """A cancelled task that is paused can not end, and somebody goes on meanwhile."""
    told: list[str] = []

    async def paused() -> None:
        PROCESS.set("p")
        await trio.sleep(1.0)

    async def ticking(end: trio.CancelScope) -> None:
        with trio.CancelScope(shield=True), end:
            for _ in range(1_000_000):
                await trio.sleep(0.01)

    async def body(queue: RunQueue) -> None:
        end = trio.CancelScope()

        def on_stuck(stuck: Stuck) -> None:
            told.append(str(stuck))
            end.cancel()
            queue.end_pauses()

        queue.on_stuck(on_stuck)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(paused)
            nursery.start_soon(ticking, end)
            await trio.sleep(0.5)
            queue.pause("p")
            nursery.cancel_scope.cancel()

    determinism.run(1, body, virtual_seconds_max=50.0)
    (reason,) = told
    assert re.search(r"no end after 50 s of virtual time.*paused at test_determinism", reason)


@pytest.mark.slow
def test_run_without_an_end_is_told_to_end_first() -> None:
    told: list[Stuck] = []

    async def body(queue: RunQueue) -> None:
        with trio.CancelScope() as scope:

            def end(stuck: Stuck) -> None:
                told.append(stuck)
                scope.cancel()

            queue.on_stuck(end)
            while True:
                await trio.lowlevel.checkpoint()

    determinism.run(1, body)
    assert "without a moment passing" in str(told[0])


@pytest.mark.parametrize(("clock", "is_stuck"), [("monotonic", False), ("process_time", True)])
def test_run_is_bounded_by_the_time_that_it_had(
    monkeypatch: pytest.MonkeyPatch, clock: str, is_stuck: bool
) -> None:
    """A machine that is busy with something else makes no run fail."""
    told: list[str] = []

    async def body(queue: RunQueue) -> None:
        with trio.CancelScope() as scope:

            def end(stuck: Stuck) -> None:
                told.append(str(stuck))
                scope.cancel()

            queue.on_stuck(end)
            for _ in range(5000):
                await trio.sleep(0.001)

    moments = itertools.count(0.0, 1000.0)
    monkeypatch.setattr(time, clock, lambda: next(moments))
    determinism.run(1, body, cpu_seconds_max=300.0)
    monkeypatch.undo()
    assert ["300 s of CPU time" in each for each in told] == [True] * is_stuck


class _FailsWhilePaused(World):
    async def _sample(self) -> None:
        await trio.sleep(10.0)
        self._queue.pause("group-0-0")
        self.brokers[0].pause()
        raise Violation("this is wrong")


@pytest.mark.slow
def test_failure_while_a_client_and_a_broker_are_paused_ends_the_run() -> None:
    plan = Plan(5, 1.0, topics={"safe": (1, 3, 2)})
    world = _FailsWhilePaused(plan, None)
    determinism.run(5, world.run, virtual_seconds_max=300.0)
    with pytest.RaisesGroup(Violation, allow_unwrapped=True, flatten_subgroups=True):
        raise world.failure
    assert world.outcome.virtual_s < 60


def test_what_waits_before_a_slow_link_goes_once_it_is_no_longer_slow() -> None:
    took: list[float] = []

    async def body(queue: RunQueue) -> None:
        fabric = Fabric(random.Random(1), queue.clock)
        listener = await fabric.at("there").listen(Address("there", 9092))
        fabric.at("here")
        ours = await fabric.at("here").connect(Address("there", 9092))
        theirs = await listener.accept()
        link = fabric.link("here", "there")
        link.bytes_per_s = 500.0
        assert ours.send_nowait(bytes(20_000)) == 20_000
        await trio.sleep(2.0)
        fabric.quicken(link)
        began, got = trio.current_time(), 0
        while got < 20_000:
            got += await theirs.receive_into(memoryview(bytearray(65_536)))
        took.append(trio.current_time() - began)

    determinism.run(1, body)
    assert took[0] < 0.1
