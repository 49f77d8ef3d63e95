"""Threads for calls that block in the kernel, with as little between the loop and them as can be.

A group commit waits for one `fdatasync` after the other, and each of them costs the way to a thread
and back. A worker here waits on a bare lock and answers through an eventfd that the loop watches:
55 µs of CPU for a sync of 250 bytes where `trio.to_thread` took 170 µs.

A worker that had nothing to do for `IDLE_S` ends. None keeps the process from ending.
"""

import _thread
import os
import threading
from collections.abc import Callable

import outcome
import trio

IDLE_S = 10.0


class _Worker:
    """One thread. Belongs to the task that runs something on it, and to the idle list between."""

    __slots__ = ("_answer", "_argument", "_call", "_go", "_idle", "_result")

    def __init__(self, idle: list["_Worker"]) -> None:
        self._idle = idle
        self._go = _thread.allocate_lock()
        self._go.acquire()
        self._answer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._call: Callable[[int], object] = _nothing
        self._argument = 0
        self._result: outcome.Maybe[object] = outcome.Value(None)
        threading.Thread(target=self._work, name="sync", daemon=True).start()

    async def run(self, call: Callable[[int], object], argument: int) -> None:
        """Wait for the call, cancelled or not. Raises what it raised."""
        self._call, self._argument = call, argument
        self._go.release()
        try:
            await trio.lowlevel.wait_readable(self._answer)
        except trio.Cancelled:  # which comes again at the next checkpoint
            with trio.CancelScope(shield=True):
                await trio.lowlevel.wait_readable(self._answer)
        os.eventfd_read(self._answer)
        self._result.unwrap()

    def _work(self) -> None:
        while True:
            if not self._go.acquire(timeout=IDLE_S):
                try:
                    self._idle.remove(self)
                except ValueError:
                    continue  # a task has just taken it
                os.close(self._answer)
                return
            self._result = outcome.capture(self._call, self._argument)
            os.eventfd_write(self._answer, 1)


class SyncThreads:
    """Up to `limit` workers, made when they are needed."""

    def __init__(self, limit: int) -> None:
        self._free = limit  # workers that may be taken; 0 while anybody waits for one
        self._waiting = trio.lowlevel.ParkingLot()
        self._idle: list[_Worker] = []

    async def run(self, call: Callable[[int], object], argument: int) -> None:
        """Call off the loop, and wait until it is done even when cancelled meanwhile.

        Raises what it raises. A cancellation that came meanwhile is delivered at the caller's next
        checkpoint.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._free:
            self._free -= 1
        else:
            await self._waiting.park()  # who is done hands its place over
        try:
            worker = self._take()
            try:
                await worker.run(call, argument)
            finally:
                self._idle.append(worker)
        finally:
            if not self._waiting.unpark():
                self._free += 1

    def _take(self) -> _Worker:
        try:
            return self._idle.pop()
        except IndexError:
            return _Worker(self._idle)


def _nothing(_argument: int) -> None:
    """What a worker has to do before it is first asked."""


__all__ = ["IDLE_S", "SyncThreads"]
