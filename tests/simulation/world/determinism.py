"""Everything that makes a run of trio a function of its seed. Nothing else touches trio's inside.

* Time is virtual and jumps to whatever comes next as soon as no task can run: there is no input or
  output that it could overtake.
* The order of the tasks that can run together comes from the seed. Trio has a switch for that,
  which hypothesis sets, and a private generator.
* A paused process is a set of tasks that are kept from running; everything that wakes them
  meanwhile is delivered when it goes on, as after a long stop of a real process.
* What only has to happen at some time needs no task: the clock has an agenda (`SimClock.at`). So
  does `trio.sleep` during a run, where trio itself would raise a cancellation at every wake-up.
"""

import contextvars
import gc
import heapq
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import trio
from trio._core import _run as trio_run

from tests.simulation.world import loop

PROCESS: contextvars.ContextVar[str] = contextvars.ContextVar("PROCESS", default="")
"""Which simulated process a task belongs to; tasks inherit it from who starts them."""

_OWN = {Path(__file__), Path(loop.__file__)}
_IDLE_MAX = 300
_LOOKS_PER_INSTANT_MAX = 12
GC_THRESHOLDS = (1_000_000, 20, 100)
"""A run of some minutes needs no collection, which would cost a tenth of it; a long one is kept
from growing and growing."""


class Stuck(AssertionError):
    """A run that would not end: time stands still, or there is no end to it."""


class SimClock(trio.abc.Clock):
    """Seconds since the start of the run, and what is to happen when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue: deque = deque()  # the tasks that can run
        self.give_up: Callable[[str], None] = _raise_stuck
        self._agenda: list[tuple[float, int, Callable, object]] = []
        self._count = 0
        self._idle = 0

    def start_clock(self) -> None:
        return

    def current_time(self) -> float:
        return self.now

    def at(self, due: float, call: Callable, argument: object) -> None:
        """Do `call(argument)` at `due`, before any task runs then. It must not block or raise."""
        self._count += 1
        heapq.heappush(self._agenda, (due, self._count, call, argument))

    def forget_agenda(self) -> None:
        """Nobody is left for whom something could happen, and time is not to run on for it."""
        self._agenda.clear()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Called when no task can run: be at `deadline`, or where the agenda wakes one before."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= deadline:
            now = self.now = max(self.now, agenda[0][0])
            while agenda and agenda[0][0] <= now:
                _, _, call, argument = heapq.heappop(agenda)
                call(argument)
            if self.queue:
                return 0.0
        if deadline == math.inf:
            # Trio itself waits for its own wake-up call at the end of a run, and nothing else.
            self._idle += 1
            if self._idle > _IDLE_MAX:
                self._idle = 0
                self.give_up("every task waits for something that can not come")
            return 0.01
        self._idle = 0
        self.now = max(self.now, deadline)
        return 0.0

    async def sleep_until(self, deadline: float) -> None:
        """What `trio.sleep_until` is during a run."""
        if deadline > self.now:
            await _Alarm(self).wait(deadline)
        else:
            await trio.lowlevel.checkpoint()

    async def sleep(self, seconds: float) -> None:
        """What `trio.sleep` is during a run."""
        if not seconds >= 0:
            raise ValueError("`seconds` must be a number that is not negative")
        deadline = self.now + seconds
        if deadline > self.now:
            await _Alarm(self).wait(deadline)
        else:
            await trio.lowlevel.checkpoint()


class _Alarm:
    """Wakes the task that made it, once."""

    __slots__ = ("_clock", "_task")

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._task = trio_run.GLOBAL_RUN_CONTEXT.task

    def wait(self, deadline: float) -> Generator:
        """To be awaited: until `ring`, or until `deadline`."""
        if deadline < math.inf:
            self._clock.at(deadline, _Alarm.ring, self)
        return loop.wait_task_rescheduled(self._abort)

    def ring(self) -> None:
        task = self._task
        if task is not None:
            self._task = None
            loop.reschedule(task)

    def _abort(self, _raise: Callable) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Signal:
    """A `trio.Event` of one run that can be waited for up to a moment, without a cancel scope."""

    def __init__(self) -> None:
        self._is_set = False
        self._alarms: dict[_Alarm, None] = {}

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for alarm in self._alarms:
            alarm.ring()

    async def wait(self, seconds: float = math.inf) -> bool:
        """Until it is set, but no longer than `seconds`; whether it is set."""
        clock = trio.lowlevel.current_clock()
        if self._is_set or not seconds > 0:
            await trio.lowlevel.checkpoint()
        else:
            alarm = _Alarm(clock)
            self._alarms[alarm] = None
            try:
                await alarm.wait(clock.now + seconds)
            finally:
                del self._alarms[alarm]
        return self._is_set


def _raise_stuck(reason: str) -> None:
    raise Stuck(reason)


class _Patience:
    """Watches over a run. The first time that it lasts too long it is told to end; then it ends.

    Nothing in a run waits for anything real, so that CPU time says it, however busy the machine is.
    """

    def __init__(self, clock: SimClock, cpu_s: float, virtual_s: float) -> None:
        self.on_stuck: Callable[[Stuck], None] | None = None
        self._clock = clock
        self._cpu_s = cpu_s
        self._virtual_s = virtual_s
        self._cpu_end = time.process_time() + cpu_s
        self._virtual_end = virtual_s
        self._instant = -1.0
        self._looks = 0
        self._told = False

    def look(self) -> None:
        """Called now and then."""
        now = self._clock.now
        self._looks = self._looks + 1 if now == self._instant else 0
        self._instant = now
        if self._looks > _LOOKS_PER_INSTANT_MAX:
            self._looks = 0
            self.give_up("tasks run and run without a moment passing")
        elif now > self._virtual_end:
            self._virtual_end = now + self._virtual_s
            self.give_up(f"no end after {self._virtual_s:g} s of virtual time")
        elif time.process_time() > self._cpu_end:
            self._cpu_end += self._cpu_s
            self.give_up(f"no end after {self._cpu_s:g} s of CPU time")

    def give_up(self, reason: str) -> None:
        stuck = Stuck(f"{reason}, at {self._clock.now:.1f} s; {_what_stays()}")
        if self._told or self.on_stuck is None:
            raise stuck
        self._told = True
        self.on_stuck(stuck)


def _what_stays() -> str:
    """Where the tasks are that were cancelled and have not ended."""
    places = []
    nurseries = list(trio_run.GLOBAL_RUN_CONTEXT.runner.main_task.child_nurseries)
    while nurseries:
        for task in nurseries.pop().child_tasks:
            nurseries += task.child_nurseries
            if task._cancel_status.effectively_cancelled and not task.child_nurseries:
                places.append(f"{task.name} at {_place(task.coro)}")
    return (
        f"cancelled, but not ended: {'; '.join(sorted(places))}" if places else "nobody is to end"
    )


def _place(coroutine) -> str:
    """The innermost line that is neither trio's nor of this module."""
    place = "its start"
    while coroutine is not None and getattr(coroutine, "cr_frame", None) is not None:
        path = Path(coroutine.cr_code.co_filename)
        if "trio" not in path.parts and path not in _OWN:
            place = f"{path.name}:{coroutine.cr_frame.f_lineno}"
        coroutine = coroutine.cr_await
    return place


class RunQueue(deque):
    """Trio's queue of tasks that can run, without those of paused processes."""

    def __init__(self, clock: SimClock, patience: _Patience) -> None:
        super().__init__()
        self.clock = clock
        self._patience = patience
        self._held: dict[str, list[trio.lowlevel.Task]] = {}
        self._pauses_over = False

    def on_stuck(self, call: Callable[[Stuck], None]) -> None:
        """Who ends a run that would not end, before it is torn down."""
        self._patience.on_stuck = call

    def _append_or_hold(self, task) -> None:
        held = self._held.get(task.context.get(PROCESS, ""))
        if held is not None:
            held.append(task)
        else:
            super().append(task)

    def pause(self, process: str) -> None:
        if self._pauses_over:
            return
        self._held.setdefault(process, [])
        self.append = self._append_or_hold  # the plain one is faster, and pauses are rare

    def resume(self, process: str) -> None:
        held = self._held.pop(process, ())
        if not self._held:
            self.__dict__.pop("append", None)
        for task in held:
            super().append(task)

    def resume_all(self) -> None:
        for process in list(self._held):
            self.resume(process)

    def end_pauses(self) -> None:
        """Whatever is paused goes on, and nothing is paused again: its tasks have to end."""
        self._pauses_over = True
        self.resume_all()


def run(
    seed: int,
    body: Callable[[RunQueue], Awaitable[object]],
    *,
    cpu_seconds_max: float = 300.0,
    virtual_seconds_max: float = math.inf,
) -> None:
    """Run `body` under virtual time with the scheduler seeded. Stuck when it does not end."""
    clock = SimClock()
    patience = _Patience(clock, cpu_seconds_max, virtual_seconds_max)
    clock.give_up = patience.give_up
    queue = clock.queue = RunQueue(clock, patience)

    async def main() -> None:
        try:
            await body(queue)
        finally:
            clock.forget_agenda()

    sleeps = trio.sleep, trio.sleep_until
    thresholds = gc.get_threshold()
    trio.sleep, trio.sleep_until = clock.sleep, clock.sleep_until
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with loop.instead_of_trios(clock, random.Random(seed), patience.look):
            trio.run(main, clock=clock)
    finally:
        gc.set_threshold(*thresholds)
        trio.sleep, trio.sleep_until = sleeps
