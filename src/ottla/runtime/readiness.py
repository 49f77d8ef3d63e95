"""Many sockets that wait for bytes, looked at together: one wake-up of the loop serves them all.

A task that waits for each receive costs the loop a registration, a wake-up and a switch for each
request. Here each socket stays registered with a poller of this module's own. One system task waits
for that poller, and calls what each ready socket's owner left: a plain function that takes the
bytes. Only when that function has to wait, fails, or meets the peer's end, the owner's task is
woken.

At most `BATCH` sockets are served before other tasks get their turn.
"""

import select
from collections.abc import Callable
from typing import TypeVar

import outcome
import trio

from ottla.runtime.interfaces import Stream

BATCH = 32

_READERS: "trio.lowlevel.RunVar[Readers | None]" = trio.lowlevel.RunVar("readers", None)
T = TypeVar("T")


class Readers:
    """The sockets of one run of the loop that wait for bytes. Invariant: a descriptor is registered
    with the poller exactly while it is in `_waiting`."""

    __slots__ = ("_poller", "_waiting")

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._waiting: dict[int, tuple[trio.lowlevel.Task, Callable[[], object]]] = {}

    @classmethod
    def of_this_run(cls) -> "Readers":
        """Those of the loop that runs; made and started at the first call."""
        readers = _READERS.get()
        if readers is None:
            readers = cls()
            _READERS.set(readers)
            trio.lowlevel.spawn_system_task(readers._serve, name="readers")
        return readers

    async def wait(self, fd: int, ready: Callable[[], T | None]) -> T:
        """Call `ready` whenever there is something to read, until it gives a result or raises.

        It runs outside of the task that waits, and must not wait itself.
        """
        task = trio.lowlevel.current_task()
        assert fd not in self._waiting
        self._waiting[fd] = task, ready
        self._poller.register(fd, select.EPOLLIN)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._forget(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        result: T = await trio.lowlevel.wait_task_rescheduled(abort)
        return result

    @classmethod
    def closing(cls, fd: int) -> None:
        """The descriptor is about to be closed: its reader gets `trio.ClosedResourceError`."""
        readers = _READERS.get()
        if readers is not None:
            readers.close(fd)

    def close(self, fd: int) -> None:
        if fd in self._waiting:
            task, _ = self._forget(fd)
            error = trio.ClosedResourceError("closed by another task")
            trio.lowlevel.reschedule(task, outcome.Error(error))

    def _forget(self, fd: int) -> tuple[trio.lowlevel.Task, Callable[[], object]]:
        self._poller.unregister(fd)
        return self._waiting.pop(fd)

    async def _serve(self) -> None:
        poller = self._poller
        waiting = self._waiting
        try:
            while True:
                await trio.lowlevel.wait_readable(poller.fileno())
                for fd, _ in poller.poll(0, BATCH):
                    found = waiting.get(fd)
                    if found is None:
                        continue  # closed or cancelled by one before it
                    result = outcome.capture(found[1])
                    if type(result) is outcome.Value and result.value is None:
                        continue
                    if waiting.get(fd) is found:
                        self._forget(fd)
                        trio.lowlevel.reschedule(found[0], result)
        finally:
            poller.close()


async def receive_each(
    stream: Stream, buffer: Callable[[], memoryview], take: Callable[[int], bool]
) -> bool:
    """`Stream.receive_while` of a stream that has nothing better."""
    while count := await stream.receive_into(buffer()):
        if not take(count):
            return True
    return False


__all__ = ["BATCH", "Readers", "receive_each"]
