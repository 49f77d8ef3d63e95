"""Many sockets that wait for bytes, looked at together: one wake-up of the loop serves them all.

A task that waits for each receive costs the loop a registration, a wake-up and a switch for each
request. Here each socket stays registered with a poller of this module's own. One system task waits
for that poller, and calls what each ready socket's owner left: a plain function that takes the
bytes. Only when that function has to wait, fails, or meets the peer's end, the owner's task is
woken.

A turn serves what is ready and, as long as it is few, what became ready meanwhile: at most `BATCH`
sockets before other tasks run, and fewer while each of them takes long, as with requests of a
megabyte. What owners put off is settled at the end of each look, so that what came on many sockets
can be done together.
"""

import select
from collections.abc import Callable
from typing import Final

import outcome
import trio

from ottla.runtime.interfaces import Stream

BATCH = 32
LOOKS = 4  # at the poller, in one turn
TURN_S = 0.002  # after which other tasks run, whoever else is ready

# What a ready socket's function answers: whether the peer goes on (True) or has ended (False),
# which is told to the waiting task; or one of these, and it is called again.
Ready = bool | str
WAITS: Final = "waits"  # for more bytes
SETTLES: Final = "settles"  # the same, and something was put off

_READERS: "trio.lowlevel.RunVar[Readers | None]" = trio.lowlevel.RunVar("readers", None)
_Waiting = tuple[trio.lowlevel.Task, Callable[[], Ready], Callable[[], bool] | None]


class Readers:
    """The sockets of one run of the loop that wait for bytes. Invariant: a descriptor is registered
    with the poller exactly while it is in `_waiting`."""

    __slots__ = ("_after", "_behind", "_is_looking", "_is_serving", "_poller", "_waiting")

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._is_looking = self._is_serving = False
        self._after: list[Callable[[], None]] = []
        self._behind: list[Callable[[], None]] = []
        self._waiting: dict[int, _Waiting] = {}

    @classmethod
    def of_this_run(cls) -> "Readers":
        """Those of the loop that runs; made and started at the first call."""
        readers = _READERS.get()
        if readers is None:
            readers = cls()
            _READERS.set(readers)
            trio.lowlevel.spawn_system_task(readers._serve, name="readers")
        return readers

    async def wait(
        self, fd: int, ready: Callable[[], Ready], settle: Callable[[], bool] | None
    ) -> bool:
        """Call `ready` whenever there is something to read, until it gives a bool or raises.

        After `SETTLES`, `settle` is called before any task runs; False ends the wait with True.
        Both run outside of the task that waits, and must not wait themselves.
        """
        task = trio.lowlevel.current_task()
        assert fd not in self._waiting
        self._waiting[fd] = task, ready, settle
        self._poller.register(fd, select.EPOLLIN)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._forget(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        result: bool = await trio.lowlevel.wait_task_rescheduled(abort)
        return result

    @classmethod
    def closing(cls, fd: int) -> None:
        """The descriptor is about to be closed: its reader gets `trio.ClosedResourceError`."""
        readers = _READERS.get()
        if readers is not None:
            readers.close(fd)

    def close(self, fd: int) -> None:
        found = self._waiting.get(fd)
        if found is not None:
            self._end(fd, found, outcome.Error(trio.ClosedResourceError("closed by another task")))

    def _forget(self, fd: int) -> None:
        self._poller.unregister(fd)
        del self._waiting[fd]

    def _end(self, fd: int, found: _Waiting, result: outcome.Outcome[bool]) -> None:
        if self._waiting.get(fd) is found:  # else it was closed or cancelled meanwhile
            self._forget(fd)
            trio.lowlevel.reschedule(found[0], result)

    async def _serve(self) -> None:
        poller = self._poller
        batch = BATCH
        try:
            while True:
                await trio.lowlevel.wait_readable(poller.fileno())
                began = trio.current_time()
                served = 0
                self._is_serving = True
                for _ in range(LOOKS):
                    # Those that are left out are the first of the next look.
                    events = poller.poll(0, batch - served)
                    if not events:
                        break
                    self._is_looking = True
                    self._look_at(events)
                    while self._after:
                        self._after.pop(0)()
                    self._is_looking = False
                    served += len(events)
                    took = trio.current_time() - began
                    if took > TURN_S:
                        batch = max(int(served * TURN_S / took), 1)
                        break
                    if served >= batch:
                        batch = min(2 * batch, BATCH)
                        break
                    if len(events) == 1:
                        break  # one alone is served as well by the next turn
                while self._behind:
                    self._behind.pop(0)()
                self._is_serving = False
        finally:
            poller.close()

    def call_after_look(self, function: Callable[[], None]) -> bool:
        """See `after_look`."""
        if self._is_looking:
            self._after.append(function)
        return self._is_looking

    def call_behind_looks(self, function: Callable[[], None]) -> bool:
        """See `behind_looks`."""
        if self._is_serving:
            self._behind.append(function)
        return self._is_serving

    def _look_at(self, events: list[tuple[int, int]]) -> None:
        """Serve ready sockets, then settle what their owners put off."""
        waiting = self._waiting
        unsettled: list[tuple[int, _Waiting]] = []
        for fd, _ in events:
            found = waiting.get(fd)
            if found is None:
                continue  # closed or cancelled by one before it
            try:
                result = found[1]()
            except BaseException as error:  # noqa: BLE001  it is raised in the task that waits
                self._end(fd, found, outcome.Error(error))
                continue
            if result is WAITS:
                continue
            if result is SETTLES:
                unsettled.append((fd, found))
                continue
            assert isinstance(result, bool)
            self._end(fd, found, outcome.Value(result))
        for fd, found in unsettled:
            settle = found[2]
            if settle is None or waiting.get(fd) is not found:
                continue
            try:
                content = settle()
            except BaseException as error:  # noqa: BLE001  as above
                self._end(fd, found, outcome.Error(error))
                continue
            if not content:
                self._end(fd, found, outcome.Value(True))


def after_look(function: Callable[[], None]) -> bool:
    """Have `function` called when the sockets that are ready now are served and settled.

    False where no look is under way: then it will not be called.
    """
    readers = _READERS.get()
    return readers is not None and readers.call_after_look(function)


def behind_looks(function: Callable[[], None]) -> bool:
    """As `after_look`, but once for all looks before other tasks run. It must not raise."""
    readers = _READERS.get()
    return readers is not None and readers.call_behind_looks(function)


async def receive_each(
    stream: Stream,
    buffer: Callable[[], memoryview],
    take: Callable[[int], bool | None],
    settle: Callable[[], bool] | None = None,
) -> bool:
    """`Stream.receive_while` of a stream that has nothing better."""
    while count := await stream.receive_into(buffer()):
        content = take(count)
        if content is None:
            content = settle is None or settle()
        if not content:
            return True
    return False


__all__ = [
    "BATCH",
    "LOOKS",
    "SETTLES",
    "TURN_S",
    "WAITS",
    "Readers",
    "Ready",
    "after_look",
    "behind_looks",
    "receive_each",
]
