"""Workers that are no processes: each step is done on the loop by the task that asks for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Generic

import trio

from ottla.runtime.interfaces import Disk, Request, Result, Worker, Workers


class InlineSteps(Generic[Result]):
    """See `Steps`."""

    def __init__(self, results: Iterator[Result]) -> None:
        self._results = results

    async def next(self) -> Result | None:
        await trio.lowlevel.checkpoint()
        return next(self._results, None)


class InlineWorker:
    """See `Worker`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def start(
        self, work: Callable[[Disk, Request], Iterator[Result]], request: Request
    ) -> InlineSteps[Result]:
        return InlineSteps(work(self._disk, request))

    def rest(self) -> None:
        """It costs nothing."""


class InlineWorkers:
    """See `Workers`. They work on the disk that is given."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @asynccontextmanager
    async def hire(self) -> AsyncIterator[Worker]:
        yield InlineWorker(self._disk)


def _conforms(workers: InlineWorkers) -> Workers:
    return workers


__all__ = ["InlineWorkers"]
