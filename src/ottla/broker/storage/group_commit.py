"""Group commit: `flush.messages` without a sync for each append.

An append that has to be on stable storage before it is acknowledged asks for a flush of its log and
goes on. One task per log that was asked for flushes it off the loop; whatever is appended meanwhile
shares the next flush. Who has to wait holds a `Settling`. A few tasks that are done wait for
another log, which costs less than a new task for each flush.
"""

from collections import deque
from typing import Protocol

import trio

from ottla.broker.errors import KafkaStorageError

FREE_MAX = 16


class Signal:
    """Something that happens again and again; costs nothing while nobody waits for it."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: trio.Event | None = None

    def next(self) -> trio.Event:
        """Set at the next `wake`."""
        if self._event is None:
            self._event = trio.Event()
        return self._event

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None


class FlushedLog(Protocol):
    """A log as seen from here; `Log` has it."""

    settled_end: int
    """Appends below may be acknowledged: what `flush.messages` asks for is done."""

    flush_error: KafkaStorageError | None
    """Why the last flush failed; None once one succeeded."""

    settlings: Signal
    """Woken when `settled_end`, `flush_error`, `is_closed` or `truncations` change."""

    @property
    def directory(self) -> str: ...

    @property
    def is_closed(self) -> bool: ...

    @property
    def truncations(self) -> int: ...

    @property
    def wants_flush(self) -> bool: ...

    async def flush_async(self) -> None: ...


class Settling:
    """What was appended below `end`, on its way to stable storage."""

    __slots__ = ("_end", "_log", "_truncations")

    def __init__(self, log: FlushedLog, end: int) -> None:
        self._log = log
        self._end = end
        self._truncations = log.truncations

    @property
    def is_done(self) -> bool:
        log = self._log
        return log.settled_end >= self._end and log.truncations == self._truncations

    async def wait(self) -> None:
        """KafkaStorageError when it will not get there."""
        log = self._log
        while not self.is_done:
            if log.is_closed:
                raise KafkaStorageError(f"{log.directory} was closed before it was flushed")
            if log.truncations != self._truncations:
                raise KafkaStorageError(f"{log.directory} was cut before it was flushed")
            if log.flush_error is not None:
                raise log.flush_error
            await log.settlings.next().wait()


class GroupCommit:
    """The tasks that flush logs for those who wait. Without `run`, nobody does."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._flushing: set[FlushedLog] = set()
        self._free = trio.lowlevel.ParkingLot()  # tasks that are done
        self._given: deque[FlushedLog] = deque()  # what those of them that were woken do next

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the tasks until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                # At once: a role that comes while the broker stops finds nobody, not a closed door.
                self._nursery = None

    def want(self, log: FlushedLog) -> bool:
        """Flush `log` soon; False when nobody is there to do it."""
        if self._nursery is None:
            return False
        if log not in self._flushing:
            self._flushing.add(log)
            if len(self._free):
                self._given.append(log)
                self._free.unpark()
            else:
                self._nursery.start_soon(self._work, log)
        return True

    async def _work(self, log: FlushedLog) -> None:
        """Flush one log after the other."""
        await self._flush(log)
        while len(self._free) < FREE_MAX:
            await self._free.park()
            await self._flush(self._given.popleft())

    async def _flush(self, log: FlushedLog) -> None:
        try:
            while log.wants_flush and not log.is_closed:
                await log.flush_async()
        except KafkaStorageError:
            pass  # an event already, and those who wait have it from the log
        finally:
            self._flushing.discard(log)


__all__ = ["FlushedLog", "GroupCommit", "Settling", "Signal"]
