"""Trio's loop and its traps, as runs under virtual time need them: nothing polls, nothing waits.

Trio's own loop asks for input, output and instruments in each turn, and boxes what it hands to a
task; nearly every turn of a simulation runs one task for some microseconds, so that was a sixth of
a run. What a task may notice stays as it is: cancellation, deadlines, nurseries, the order of a
batch, which comes from a seeded generator. This is the only module that replaces trio's inside, for
the time of a run; it knows the versions that `pyproject.toml` allows.
"""

import random
import types
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from heapq import heappop
from math import inf
from operator import attrgetter
from typing import Any, Protocol

import trio
from outcome import Error, Outcome, Value
from trio import _core as trio_core
from trio._core import _run as trio_run
from trio._core import _traps as trio_traps
from trio._core._ki import enable_ki_protection

_TURNS_BETWEEN_LOOKS = 4096
_COUNTER = attrgetter("_counter")
_CHECKPOINT = trio_traps.CancelShieldedCheckpoint


class Clock(Protocol):
    """What moves time on when no task can run."""

    now: float
    queue: Any

    def current_time(self) -> float: ...

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Do what comes next, up to `deadline`. Not 0 when nothing can come but a signal."""


def turns(clock: Clock, rng: random.Random, look: Callable[[], None]) -> Callable:
    """What replaces `trio._core._run.unrolled_run`; `look` is called every few thousand turns."""

    @enable_ki_protection
    def unrolled_run(
        runner: Any, async_fn: Callable, args: tuple, host_uses_signal_set_wakeup_fd: bool = False
    ) -> Generator[float, Any, None]:
        assert not host_uses_signal_set_wakeup_fd
        context = trio_run.GLOBAL_RUN_CONTEXT
        queue = runner.runq = clock.queue
        runner.instruments = {}  # there are none; a plain dict is asked at less cost
        try:
            runner.entry_queue.wakeup.wakeup_on_signals()
            runner.init_task = runner.spawn_impl(
                runner.init, (async_fn, args), None, "<init>", system_task=True
            )
            turns_left = _TURNS_BETWEEN_LOOKS
            while runner.tasks:
                turns_left -= 1
                if not turns_left:
                    turns_left = _TURNS_BETWEEN_LOOKS
                    look()
                    runner.io_manager.process_events((yield 0))
                    if runner.ki_pending:
                        runner._deliver_ki_cb()
                if not queue:
                    wait_s = clock.deadline_to_sleep_time(_next_deadline(runner.deadlines))
                    if wait_s:
                        runner.io_manager.process_events((yield wait_s))
                heap = runner.deadlines._heap
                if heap and heap[0][0] <= clock.now:
                    runner.deadlines.expire(clock.now)
                if len(queue) < 2:
                    if queue:
                        context.task = queue.popleft()
                        _step(runner, context.task)
                    continue
                batch = sorted(queue, key=_COUNTER)
                queue.clear()
                rng.shuffle(batch)
                for task in reversed(batch):
                    context.task = task
                    _step(runner, task)
        except trio.TrioInternalError:
            raise
        except BaseException as error:
            raise trio.TrioInternalError("internal error in the simulation's loop") from error
        finally:
            runner.close()
            context.__dict__.clear()
            if runner.ki_pending:
                runner.main_task_outcome = Error(KeyboardInterrupt())

    return unrolled_run


def _next_deadline(deadlines: Any) -> float:
    heap = deadlines._heap
    while heap:
        deadline, _, scope = heap[0]
        if deadline == scope._registered_deadline:
            return deadline
        heappop(heap)  # it was left, or moved
    return inf


def _step(runner: Any, task: Any) -> None:
    """Run `task` until it waits or ends."""
    result = task._next_send
    task._next_send_fn = task._next_send = None
    try:
        trap = task.context.run(task.coro.send, result)
    except StopIteration as stop:
        final: Outcome = Value(stop.value)
    except BaseException as error:
        # Without the frames of this loop, as trio has it.
        seen = error.__traceback__
        final = Error(error.with_traceback(seen.tb_next if seen is not None else None))
    else:
        if trap is _CHECKPOINT:
            task._next_send_fn = _READY
            runner.runq.append(task)
        else:
            task._abort_func = trap
            if task._cancel_status.effectively_cancelled:
                task._attempt_delivery_of_any_pending_cancel()
        return
    runner.task_exited(task, final)


def _READY() -> None:  # noqa: N802 - a mark, in place of what trio would call
    """In `_next_send_fn`: the task is in the queue."""


def reschedule(task: Any, next_send: Any = None) -> None:
    """`trio.lowlevel.reschedule` of a run: no outcome means None."""
    assert task._next_send_fn is None
    task._next_send_fn = _READY
    task._next_send = next_send
    task._abort_func = None
    task.custom_sleep_data = None
    task._runner.runq.append(task)


def _reschedule_of_runner(_runner: Any, task: Any, next_send: Any = None) -> None:
    reschedule(task, next_send)


@types.coroutine
def wait_task_rescheduled(abort: Callable) -> Generator[Callable, Outcome | None, Any]:
    """`trio.lowlevel.wait_task_rescheduled` of a run."""
    result = yield abort
    return None if result is None else result.unwrap()


@types.coroutine
def _cancel_shielded_checkpoint() -> Generator[type, None, None]:
    yield _CHECKPOINT


@types.coroutine
def checkpoint() -> Generator[object, object, None]:
    """`trio.lowlevel.checkpoint`, for what is no coroutine itself."""
    yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105


class _DeadlineChange:
    """What `CancelScope._might_change_registered_deadline` makes a generator for."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        return

    def __exit__(self, *_error: object) -> None:
        scope = self._scope
        old = scope._registered_deadline
        over = scope._cancel_status is None or scope._cancel_called
        new = inf if over else scope._deadline
        if old != new:
            scope._registered_deadline = new
            deadlines = trio_run.GLOBAL_RUN_CONTEXT.runner.deadlines
            if old != inf:
                deadlines.remove(old, scope)
            if new != inf:
                deadlines.add(new, scope)


def _change_deadline(scope: Any) -> _DeadlineChange:
    return _DeadlineChange(scope)


_enter = trio_run.CancelScope.__enter__
_close = trio_run.CancelScope._close
_new_status = trio_run.CancelStatus.__new__


def _enter_scope(scope: Any) -> Any:
    """`CancelScope.__enter__`, without the detours where nothing is cancelled or over."""
    context = trio_run.GLOBAL_RUN_CONTEXT
    task, now = context.task, context.runner.clock.now
    parent = task._cancel_status
    deadline = min(scope._deadline, now + scope._relative_deadline)
    if parent is None or parent.effectively_cancelled or not now < deadline:
        return _enter(scope)
    if scope._cancel_called or scope._has_been_entered:
        return _enter(scope)
    scope._has_been_entered = True
    scope._deadline, scope._relative_deadline = deadline, inf
    scope._cancel_status = status = _new_status(trio_run.CancelStatus)
    status._scope = scope
    status._parent = parent
    status._children = set()
    status._tasks = {task}
    status.effectively_cancelled = status.abandoned_by_misnesting = False
    parent._children.add(status)
    parent._tasks.remove(task)
    task._cancel_status = status
    if deadline != inf:
        scope._registered_deadline = deadline
        context.runner.deadlines.add(deadline, scope)
    return scope


def _close_scope(scope: Any, error: BaseException | None) -> BaseException | None:
    """`CancelScope._close`, without the detours where it ends in peace and in order."""
    context = trio_run.GLOBAL_RUN_CONTEXT
    status, task = scope._cancel_status, context.task
    if error is not None or status is None or status is not task._cancel_status:
        return _close(scope, error)
    parent = status._parent
    if parent is None or parent.effectively_cancelled or status._children or len(status._tasks) > 1:
        return _close(scope, error)
    parent._tasks.add(task)
    parent._children.remove(status)
    task._cancel_status = parent
    status._tasks.clear()
    status._parent = scope._cancel_status = None
    if scope._registered_deadline != inf:
        context.runner.deadlines.remove(scope._registered_deadline, scope)
        scope._registered_deadline = inf
    return None


@contextmanager
def instead_of_trios(clock: Clock, rng: random.Random, look: Callable[[], None]) -> Iterator[None]:
    """Within this `trio.run` runs under `clock`, and `rng` decides the order of each batch."""
    replaced: list[tuple[Any, str, Any]] = [
        (trio_run, "unrolled_run", turns(clock, rng, look)),
        (trio_run.Runner, "reschedule", _reschedule_of_runner),
        (trio_run.CancelScope, "_might_change_registered_deadline", _change_deadline),
        (trio_run.CancelScope, "__enter__", _enter_scope),
        (trio_run.CancelScope, "_close", _close_scope),
    ]
    for name, new in (
        ("wait_task_rescheduled", wait_task_rescheduled),
        ("cancel_shielded_checkpoint", _cancel_shielded_checkpoint),
        ("reschedule", reschedule),
        ("current_time", clock.current_time),
    ):
        modules = (trio, trio.lowlevel, trio_core, trio_traps, trio_run)
        replaced += [(module, name, new) for module in modules if hasattr(module, name)]
    before = [(where, name, getattr(where, name)) for where, name, _ in replaced]
    try:
        for where, name, new in replaced:
            setattr(where, name, new)
        yield
    finally:
        for where, name, old in before:
            setattr(where, name, old)


__all__ = ["Clock", "checkpoint", "instead_of_trios", "reschedule", "wait_task_rescheduled"]
