"""Connections between simulated hosts: links, the two flows of a connection, ends, listeners."""

import errno
import os
import types
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import trio

from ottla.runtime.interfaces import Address, ConnectionLost
from tests.simulation.world import loop

if TYPE_CHECKING:
    from tests.simulation.world.network import Fabric

BUFFER_BYTES = 128 * 1024
DATA, FIN, RST = range(3)


class Link:
    """One direction between two hosts."""

    __slots__ = ("bytes_per_s", "cut_since", "delay_s", "healed", "jitter_s", "target", "waiting")

    def __init__(self, target: str, delay_s: float, jitter_s: float) -> None:
        self.target = target  # the host where it ends
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self.bytes_per_s = 0.0  # 0: no limit
        self.cut_since: float | None = None
        self.healed = trio.Event()
        self.waiting: dict[Flow, None] = {}


class Flow:
    """One direction of a connection: in flight, then arrived, then read."""

    __slots__ = (
        "arrived",
        "back",
        "clear_at",
        "closed",
        "deaf",
        "ended",
        "flying",
        "last_due",
        "link",
        "queued",
        "reader",
        "reset",
        "writer",
    )

    def __init__(self, link: Link) -> None:
        self.link = link
        self.flying: deque[list] = deque()  # [due, kind, data]
        self.queued = 0  # bytes in flight
        self.arrived = bytearray()
        self.ended = False  # FIN arrived
        self.reset = False  # RST arrived at the reader, or both ends were torn down
        self.closed = False  # the reader closed its end
        self.deaf = False  # the reader's host lost its power with this connection
        self.last_due = 0.0
        self.clear_at = 0.0  # when a slow link has sent all it was given
        self.reader: trio.lowlevel.Task | None = None
        self.writer: trio.lowlevel.Task | None = None
        self.back: Flow = self

    @property
    def room(self) -> int:
        return BUFFER_BYTES - self.queued - len(self.arrived)

    def wake_reader(self) -> None:
        task = self.reader
        if task is not None:
            self.reader = None
            loop.reschedule(task)

    def wake_writer(self) -> None:
        task = self.writer
        if task is not None:
            self.writer = None
            loop.reschedule(task)

    async def wait_writable(self) -> None:
        """Until something is different for the writer."""
        assert self.writer is None, "two tasks wait to write to one end"
        self.writer = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_writer)

    def abort_reader(self, _raise: Callable) -> trio.lowlevel.Abort:
        self.reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _abort_writer(self, _raise: Callable) -> trio.lowlevel.Abort:
        self.writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    def break_off(self) -> None:
        """The reader's end learns of a reset, and whoever writes there."""
        self.reset = True
        self.arrived.clear()
        self.wake_reader()
        self.back.wake_writer()


class SimStream:
    """One end of a connection; see `Stream`."""

    __slots__ = ("_closed", "_fabric", "_incoming", "_local", "_outgoing", "_peer")

    def __init__(
        self, fabric: "Fabric", local: Address, peer: Address, incoming: Flow, outgoing: Flow
    ) -> None:
        self._fabric = fabric
        self._local = local
        self._peer = peer
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    @property
    def local(self) -> Address:
        return self._local

    @property
    def peer(self) -> Address:
        return self._peer

    @types.coroutine
    def receive_into(self, buffer: memoryview) -> Generator[object, object, int]:
        flow = self._incoming
        if flow.arrived or flow.reset or flow.ended or self._closed:
            yield from loop.checkpoint()  # otherwise it waits anyway
        while True:
            if self._closed:
                self._require_open()
            arrived = flow.arrived
            if arrived:
                count = len(arrived)
                if count <= len(buffer):
                    buffer[:count] = arrived
                    arrived.clear()
                else:
                    count = len(buffer)
                    buffer[:] = arrived[:count]
                    del arrived[:count]
                if flow.writer is not None:
                    flow.wake_writer()
                return count
            if flow.reset:
                raise self._lost()
            if flow.ended:
                return 0
            assert flow.reader is None, "two tasks read one end"
            flow.reader = trio.lowlevel.current_task()
            yield from loop.wait_task_rescheduled(flow.abort_reader)

    @types.coroutine
    def receive_while(
        self,
        buffer: Callable[[], memoryview],
        take: Callable[[int], bool | None],
        settle: Callable[[], bool] | None = None,
    ) -> Generator[object, object, bool]:
        while count := (yield from self.receive_into(buffer())):
            content = take(count)
            if content is None:
                content = settle is None or settle()
            if not content:
                return True
        return False

    def send_nowait(self, data) -> int:
        if self._closed:
            self._require_open()
        if self._incoming.reset:
            raise self._lost()
        flow, count = self._outgoing, len(data)
        room = BUFFER_BYTES - flow.queued - len(flow.arrived)
        if count > room or type(data) is not bytes:
            count = min(count, max(room, 0))
            data = bytes(memoryview(data)[:count])
        if count:
            self._fabric.send(flow, data)
        return count

    def send_file_nowait(self, file, offset: int, count: int) -> int:
        room = self._outgoing.room
        if room <= 0 and not self._closed and not self._incoming.reset:
            return 0
        data = file.read_at(offset, min(count, max(room, 1)))
        if not data:
            raise ConnectionLost(errno.EIO, f"the file ends before byte {offset}; reply cut off")
        return self.send_nowait(data)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        flow = self._outgoing
        while True:
            self._require_open()
            if self._incoming.reset:
                raise self._lost()
            if flow.room > 0:
                return
            await flow.wait_writable()

    async def send_all(self, data) -> None:
        view = memoryview(data)
        sent = self.send_nowait(view)
        while sent < len(view):
            await self.wait_writable()
            sent += self.send_nowait(view[sent:])

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        incoming, outgoing = self._incoming, self._outgoing
        incoming.closed = True
        self._fabric.streams.pop(self, None)
        if not incoming.reset:
            kind = RST if incoming.arrived else FIN
            self._fabric.send(outgoing, b"", kind)
        incoming.arrived.clear()
        incoming.wake_reader()
        outgoing.wake_writer()

    def forget(self) -> None:
        """The host of this end lost its power."""
        self._closed = True
        self._incoming.closed = self._incoming.deaf = True
        self._incoming.arrived.clear()
        self._outgoing.flying.clear()
        self._fabric.streams.pop(self, None)
        self._incoming.wake_reader()
        self._outgoing.wake_writer()

    def break_both(self) -> None:
        """Something on the way resets the connection."""
        for flow in (self._incoming, self._outgoing):
            flow.flying.clear()
            flow.queued = 0
            if not flow.closed:
                flow.break_off()

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectionLost(errno.EBADF, f"the connection with {self._peer} was closed here")

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(errno.ECONNRESET, f"{os.strerror(errno.ECONNRESET)} ({self._peer})")

    def __repr__(self) -> str:
        return f"<{self._local} - {self._peer}>"


class SimListener:
    def __init__(self, fabric: "Fabric", address: Address, backlog: int) -> None:
        self._fabric = fabric
        self._address = address
        self._backlog = backlog
        self._waiting: deque[SimStream] = deque()
        self._arrived = trio.Event()
        self._closed = False

    @property
    def address(self) -> Address:
        return self._address

    async def accept(self) -> SimStream:
        if self._waiting or self._closed:
            await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise ConnectionLost(errno.EBADF, f"the listener on {self._address} was closed")
            if self._waiting:
                return self._waiting.popleft()
            await self._arrived.wait()

    def offer(self, stream: SimStream) -> bool:
        if len(self._waiting) >= self._backlog:
            return False
        self._waiting.append(stream)
        self._wake()
        return True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._fabric.listeners.pop(self._address, None)
        for stream in self._waiting:
            stream.close()
        self._waiting.clear()
        self._wake()

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, trio.Event()
        arrived.set()
