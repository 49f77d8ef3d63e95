"""Everything that makes a run of trio a function of its seed. Nothing else touches trio's inside.

* Time is virtual and jumps to the next deadline as soon as no task can run: there is no input or
  output that it could overtake.
* The order of the tasks that can run together comes from the seed. Trio has a switch for that,
  which hypothesis sets, and a private generator.
* A paused process is a set of tasks that are kept from running; everything that wakes them
  meanwhile is delivered when it goes on, as after a long stop of a real process.
"""

import contextvars
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

import trio
from trio._core import _run as trio_run

PROCESS: contextvars.ContextVar[str] = contextvars.ContextVar("PROCESS", default="")
"""Which simulated process a task belongs to; tasks inherit it from who starts them."""

_IDLE_MAX = 300
_STEPS_PER_INSTANT_MAX = 200_000


class Stuck(AssertionError):
    """Tasks ran on and on while virtual time stood still, or nothing was left to wait for."""


class SimClock(trio.abc.Clock):
    """Seconds since the start of the run."""

    def __init__(self) -> None:
        self.now = 0.0
        self._idle = 0

    def start_clock(self) -> None:
        return

    def current_time(self) -> float:
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Called when no task can run: be at `deadline`."""
        if deadline == math.inf:
            # Trio itself waits for its own wake-up call at the end of a run, and nothing else.
            self._idle += 1
            if self._idle > _IDLE_MAX:
                raise Stuck("every task waits for something that can not come")
            return 0.01
        self._idle = 0
        self.now = max(self.now, deadline)
        return 0.0


class _Shuffler(random.Random):
    """Trio's generator: most batches have one or two tasks."""

    def shuffle(self, batch):
        size = len(batch)
        if size < 2:
            return
        if size == 2:
            if self.random() < 0.5:
                batch.reverse()
            return
        super().shuffle(batch)


class RunQueue(deque):
    """Trio's queue of tasks that can run, without those of paused processes."""

    def __init__(self, clock: SimClock, real_seconds_max: float) -> None:
        super().__init__()
        self._clock = clock
        self._real_seconds_max = real_seconds_max
        self._give_up_at = time.monotonic() + real_seconds_max
        self._held: dict[str, list[trio.lowlevel.Task]] = {}
        self._steps = 0
        self._instant = -1.0

    def append(self, task) -> None:
        if self._held:
            held = self._held.get(task.context.get(PROCESS, ""))
            if held is not None:
                held.append(task)
                return
        self._steps += 1
        if self._steps > _STEPS_PER_INSTANT_MAX:
            if self._clock.now == self._instant:
                raise Stuck(f"{self._steps} steps without a moment passing, last {task.name}")
            if time.monotonic() > self._give_up_at:
                raise Stuck(
                    f"no end after {self._real_seconds_max:g} s, at {self._clock.now:.1f} s"
                )
            self._steps, self._instant = 0, self._clock.now
        super().append(task)

    def pause(self, process: str) -> None:
        self._held.setdefault(process, [])

    def resume(self, process: str) -> None:
        for task in self._held.pop(process, ()):
            super().append(task)

    def resume_all(self) -> None:
        for process in list(self._held):
            self.resume(process)


def run(
    seed: int, body: Callable[[RunQueue], Awaitable[object]], *, real_seconds_max: float = 300.0
) -> None:
    """Run `body` under virtual time with the scheduler seeded. Stuck when it does not end."""
    clock = SimClock()

    async def main() -> None:
        queue = RunQueue(clock, real_seconds_max)
        runner = trio_run.GLOBAL_RUN_CONTEXT.runner
        queue.extend(runner.runq)
        runner.runq = queue
        await body(queue)

    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r = _Shuffler(seed)
    try:
        trio.run(main, clock=clock)
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r = before
