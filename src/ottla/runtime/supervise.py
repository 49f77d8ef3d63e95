"""The life of a daemon: signals, readiness, and what a failed start says.

The first SIGTERM or SIGINT sets the body's `stop` event; during the start, which then has nothing
to hand over, it cancels instead. A second one ends the process at once.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import trio

from ottla.runtime.interfaces import Events
from ottla.runtime.loop_lag import LoopLag

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_FAILED = 1


class CannotStart(Exception):
    """A daemon cannot start, for a reason that its user can remove; the text is one line."""


class Misconfigured(CannotStart):
    """The reason is its configuration, though only the rest of the cluster could show it."""


class Body(Protocol):
    """What a daemon does. `stop` set: hand over, close, return."""

    async def __call__(
        self, *, stop: trio.Event, task_status: trio.TaskStatus[object] = ...
    ) -> None: ...


class Progress:
    """How far a daemon came; tells a failed start from a failure while it ran."""

    def __init__(self) -> None:
        self.started = False
        self.signalled = False
        self.lag = LoopLag()


async def supervise(
    body: Body, events: Events, progress: Progress, on_started: Callable[[object], None]
) -> None:
    """Run `body` until it returns, with the signals of this process.

    `on_started` gets what the body reported as started.
    """
    stop = trio.Event()
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with trio.open_nursery() as helpers:
            start_scope = trio.CancelScope()
            helpers.start_soon(_heed, signals, stop, start_scope, progress, events)
            helpers.start_soon(progress.lag.watch, events)
            await _run(body, stop, start_scope, progress, on_started)
            helpers.cancel_scope.cancel()


async def _run(
    body: Body,
    stop: trio.Event,
    start_scope: trio.CancelScope,
    progress: Progress,
    on_started: Callable[[object], None],
) -> None:
    async with trio.open_nursery() as nursery:
        with start_scope:
            handle = await nursery.start(_call, body, stop)
        if start_scope.cancelled_caught:
            return
        progress.started = True
        on_started(handle)


async def _call(body: Body, stop: trio.Event, *, task_status: trio.TaskStatus[object]) -> None:
    await body(stop=stop, task_status=task_status)


async def _heed(
    signals: AsyncIterator[int],
    stop: trio.Event,
    start_scope: trio.CancelScope,
    progress: Progress,
    events: Events,
) -> None:
    async for number in signals:
        name = signal.Signals(number).name
        if progress.signalled:
            events.warning("daemon.aborted", signal=name)
            sys.stdout.flush()
            os._exit(EXIT_FAILED)
        progress.signalled = True
        events.info("daemon.stopping", signal=name)
        stop.set()
        if not progress.started:
            start_scope.cancel()


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group, in order; the exception itself when it is none."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


__all__ = ["EXIT_FAILED", "Body", "CannotStart", "Misconfigured", "Progress", "leaves", "supervise"]
