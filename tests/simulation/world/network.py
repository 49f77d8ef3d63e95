"""TCP between simulated hosts, with the faults that TCP shows.

A directed link between two hosts has a delay, a rate and may be cut. A connection is two flows of
segments; a segment is delivered after its link's delay, in order, or it waits for the cut to heal,
or the whole connection breaks. The middle of a stream is never lost.

* Cut link: what is under way stays; new connections wait. At the end of the cut each flow goes on
  after a retransmission, or the connection is reset, as after too many retransmissions.
* A killed process: its kernel sends what was handed over, then FIN; RST where bytes were unread.
* A host without power: nothing comes any more, not even an end. When it is back, a peer that has
  sent or sends something gets RST; one that only listens hears nothing.
"""

import errno
import heapq
import math
import os
import random
import socket
import zlib
from collections import deque

import trio

from ottla.runtime.interfaces import Address, ConnectionLost

BUFFER_BYTES = 128 * 1024
GRID_S = 1 / 2048
"""Deliveries happen on this grid, so that those close together share a turn of the loop."""
CONNECT_TIMEOUT_S = 60.0
_DATA, _FIN, _RST = range(3)
_OWN_NAMES = {"", "localhost", "127.0.0.1", "0.0.0.0"}


class Link:
    """One direction between two hosts."""

    __slots__ = ("bytes_per_s", "cut_since", "delay_s", "healed", "jitter_s", "waiting")

    def __init__(self, delay_s: float, jitter_s: float) -> None:
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
        task, self.reader = self.reader, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def wake_writer(self) -> None:
        task, self.writer = self.writer, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def break_off(self) -> None:
        """The reader's end learns of a reset, and whoever writes there."""
        self.reset = True
        self.arrived.clear()
        self.wake_reader()
        self.back.wake_writer()


async def _wait(flow: Flow, slot: str) -> None:
    assert getattr(flow, slot) is None, "two tasks wait on one end"
    setattr(flow, slot, trio.lowlevel.current_task())

    def abort(_raise) -> trio.lowlevel.Abort:
        setattr(flow, slot, None)
        return trio.lowlevel.Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(abort)


class SimStream:
    """One end of a connection; see `Stream`."""

    __slots__ = ("_closed", "_fabric", "_incoming", "_local", "_outgoing", "_peer")

    def __init__(self, fabric, local, peer, incoming: Flow, outgoing: Flow) -> None:
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

    async def receive_into(self, buffer: memoryview) -> int:
        assert len(buffer) > 0
        flow = self._incoming
        await trio.lowlevel.checkpoint()
        while True:
            self._require_open()
            arrived = flow.arrived
            if arrived:
                count = min(len(buffer), len(arrived))
                buffer[:count] = arrived[:count]
                del arrived[:count]
                flow.wake_writer()
                return count
            if flow.reset:
                raise self._lost()
            if flow.ended:
                return 0
            await _wait(flow, "reader")

    def send_nowait(self, data) -> int:
        self._require_open()
        if self._incoming.reset:
            raise self._lost()
        count = min(len(data), self._outgoing.room)
        if count > 0:
            self._fabric.send(self._outgoing, bytes(memoryview(data)[:count]))
            return count
        return 0

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
            await _wait(flow, "writer")

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
            kind = _RST if incoming.arrived else _FIN
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


class Fabric:
    """All hosts and links. `run` delivers."""

    def __init__(self, rng: random.Random, *, delay_s: float = 0.001, jitter_s: float = 0.002):
        self.rng = rng
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self.hosts: dict[str, bool] = {}  # name -> has power
        self.listeners: dict[Address, SimListener] = {}
        self.streams: dict[SimStream, str] = {}  # open ends -> their host, oldest first
        self.links: dict[tuple[str, str], Link] = {}
        self.reset_after_cut = 0.3
        self.delivered = 0
        self.digest = 0
        self._heap: list[tuple[float, int, Flow]] = []
        self._counter = 0
        self._next_port = 49_152
        self._sleeping: trio.CancelScope | None = None

    def at(self, host: str) -> "SimNetwork":
        self.hosts.setdefault(host, True)
        return SimNetwork(self, host)

    def link(self, source: str, target: str) -> Link:
        found = self.links.get((source, target))
        if found is None:
            found = self.links[source, target] = Link(self.delay_s, self.jitter_s)
        return found

    # Sending and delivering

    def send(self, flow: Flow, data: bytes, kind: int = _DATA) -> None:
        link = flow.link
        now = trio.current_time()
        start = now
        if link.bytes_per_s:
            start = max(now, flow.clear_at) + len(data) / link.bytes_per_s
            flow.clear_at = start
        due = start + link.delay_s + link.jitter_s * self.rng.random() ** 4
        due = max(flow.last_due, math.ceil(due / GRID_S) * GRID_S)
        flow.last_due = due
        flow.queued += len(data)
        flying = flow.flying
        if flying and kind == _DATA and flying[-1][1] == _DATA and flying[-1][0] == due:
            flying[-1][2] += data
            return
        flying.append([due, kind, data])
        self._schedule(due, flow)

    def _schedule(self, due: float, flow: Flow) -> None:
        self._counter += 1
        heapq.heappush(self._heap, (due, self._counter, flow))
        if self._sleeping is not None and due < self._sleeping.deadline:
            self._sleeping.deadline = due

    async def run(self) -> None:
        """Deliver for ever."""
        heap = self._heap
        while True:
            now = trio.current_time()
            while heap and heap[0][0] <= now:
                self._deliver(heapq.heappop(heap)[2], now)
            with trio.CancelScope(deadline=heap[0][0] if heap else math.inf) as scope:
                self._sleeping = scope
                await trio.sleep_forever()
            self._sleeping = None

    def _deliver(self, flow: Flow, now: float) -> None:
        flying = flow.flying
        if not flying:
            return
        if flow.link.cut_since is not None:
            flow.link.waiting[flow] = None
            return
        while flying and flying[0][0] <= now:
            _, kind, data = flying.popleft()
            if flow.deaf:
                self._answer_stale(flow)
                return
            flow.queued -= len(data)
            if kind == _DATA:
                if flow.closed:
                    if not flow.back.closed:
                        self.send(flow.back, b"", _RST)
                elif not flow.reset:
                    flow.arrived += data
                    self.delivered += 1
                    self.digest = zlib.crc32(data, self.digest ^ int(now * 2048) & 0xFFFFFFFF)
                    flow.wake_reader()
            elif kind == _FIN:
                flow.ended = True
                flow.wake_reader()
            elif not flow.closed:
                flow.break_off()

    def _answer_stale(self, flow: Flow) -> None:
        """Something was sent to a connection that the other host forgot."""
        flow.flying.clear()  # it stays in the sender's buffer: `queued` is not given back
        if self.hosts[self._host_of(flow)] and not flow.back.closed:
            self.send(flow.back, b"", _RST)

    def _host_of(self, flow: Flow) -> str:
        return next(target for (_, target), link in self.links.items() if link is flow.link)

    # Faults

    def cut(self, source: str, target: str) -> None:
        link = self.link(source, target)
        if link.cut_since is None:
            link.cut_since = trio.current_time()

    def heal(self, source: str, target: str) -> None:
        link = self.link(source, target)
        if link.cut_since is None:
            return
        now = trio.current_time()
        long = now - link.cut_since > 5.0
        link.cut_since = None
        healed, link.healed = link.healed, trio.Event()
        healed.set()
        waiting, link.waiting = link.waiting, {}
        for flow in waiting:
            if not flow.flying:
                continue
            again = now + 0.02 + self.rng.random() * (1.0 if long else 0.2)
            again = math.ceil(again / GRID_S) * GRID_S
            if long and self.rng.random() < self.reset_after_cut:
                flow.flying = deque([[again, _RST, b""]])
                if not flow.back.closed:
                    self.send(flow.back, b"", _RST)
            for segment in flow.flying:
                segment[0] = max(segment[0], again)
            flow.last_due = flow.flying[-1][0]
            for due in sorted({segment[0] for segment in flow.flying}):
                self._schedule(due, flow)

    def heal_all(self) -> None:
        for (source, target), link in self.links.items():
            self.heal(source, target)
            link.bytes_per_s = 0.0

    def close_host(self, host: str) -> None:
        """The process on `host` was killed; its kernel goes on."""
        for listener in [each for each in self.listeners.values() if each.address.host == host]:
            listener.close()
        for stream in [each for each, owner in self.streams.items() if owner == host]:
            stream.close()

    def power_off(self, host: str) -> None:
        self.hosts[host] = False
        for listener in [each for each in self.listeners.values() if each.address.host == host]:
            del self.listeners[listener.address]
            listener._closed = True
            for stream in listener._waiting:
                stream.forget()
        for stream in [each for each, owner in self.streams.items() if owner == host]:
            stream.forget()

    def power_on(self, host: str) -> None:
        self.hosts[host] = True
        for stream in list(self.streams):
            flow = stream._outgoing
            if flow.deaf and flow.queued and not stream._closed:
                flow.flying.clear()
                self.send(flow.back, b"", _RST)

    def free_port(self) -> int:
        port = self._next_port
        self._next_port = port + 1 if port < 65_535 else 49_152
        return port


class SimNetwork:
    """The network as one host sees it; see `Network`."""

    def __init__(self, fabric: Fabric, host: str) -> None:
        self.fabric = fabric
        self.host = host

    def host_name(self) -> str:
        return self.host

    async def connect(self, address: Address) -> SimStream:
        fabric = self.fabric
        there = self.host if address.host in _OWN_NAMES else address.host
        if there not in fabric.hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"no host is named {there}")
        out, back = fabric.link(self.host, there), fabric.link(there, self.host)
        deadline = trio.current_time() + CONNECT_TIMEOUT_S
        while True:
            await trio.sleep(_round_trip(out, back, fabric.rng))
            if out.cut_since is None and back.cut_since is None and fabric.hosts[there]:
                break
            if trio.current_time() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"{os.strerror(errno.ETIMEDOUT)} ({address})")
            await trio.sleep(0.25)  # a lost SYN is sent again
        listener = fabric.listeners.get(Address(there, address.port))
        if listener is None:
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"{os.strerror(errno.ECONNREFUSED)} ({address})"
            )
        mine = Address(self.host, fabric.free_port())
        to_there, to_here = Flow(out), Flow(back)
        to_there.back, to_here.back = to_here, to_there
        theirs = SimStream(fabric, listener.address, mine, to_there, to_here)
        if not listener.offer(theirs):
            raise TimeoutError(errno.ETIMEDOUT, f"{os.strerror(errno.ETIMEDOUT)} ({address})")
        ours = SimStream(fabric, mine, address, to_here, to_there)
        fabric.streams[theirs] = there
        fabric.streams[ours] = self.host
        return ours

    async def listen(self, address: Address, *, backlog: int = 1024) -> SimListener:
        await trio.lowlevel.checkpoint()
        host = self.host if address.host in _OWN_NAMES else address.host
        if host != self.host:
            raise OSError(errno.EADDRNOTAVAIL, f"{os.strerror(errno.EADDRNOTAVAIL)} ({address})")
        bound = Address(host, address.port or self.fabric.free_port())
        if bound in self.fabric.listeners:
            raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)} ({address})")
        listener = SimListener(self.fabric, bound, backlog)
        self.fabric.listeners[bound] = listener
        return listener


def _round_trip(out: Link, back: Link, rng: random.Random) -> float:
    jitter = (out.jitter_s + back.jitter_s) * rng.random() ** 4
    return math.ceil((out.delay_s + back.delay_s + jitter) / GRID_S) * GRID_S
