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
import os
import random
import socket
from collections import deque
from math import ceil
from zlib import crc32

import trio

from ottla.runtime.interfaces import Address
from tests.simulation.world.determinism import SimClock
from tests.simulation.world.streams import DATA, FIN, RST, Flow, Link, SimListener, SimStream

_PER_S = 2048
GRID_S = 1 / _PER_S
"""Deliveries happen on this grid, so that those close together share a turn of the loop."""
CONNECT_TIMEOUT_S = 60.0
_OWN_NAMES = {"", "localhost", "127.0.0.1", "0.0.0.0"}


class Fabric:
    """All hosts and links. What is sent is delivered by the agenda of `clock`."""

    def __init__(
        self,
        rng: random.Random,
        clock: SimClock,
        *,
        delay_s: float = 0.001,
        jitter_s: float = 0.002,
    ) -> None:
        self.rng = rng
        self._clock = clock
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self.hosts: dict[str, bool] = {}  # name -> has power
        self.listeners: dict[Address, SimListener] = {}
        self.streams: dict[SimStream, str] = {}  # open ends -> their host, oldest first
        self.links: dict[tuple[str, str], Link] = {}
        self.reset_after_cut = 0.3
        self.delivered = 0
        self.digest = 0
        self._next_port = 49_152

    def at(self, host: str) -> "SimNetwork":
        self.hosts.setdefault(host, True)
        return SimNetwork(self, host)

    def link(self, source: str, target: str) -> Link:
        found = self.links.get((source, target))
        if found is None:
            found = self.links[source, target] = Link(target, self.delay_s, self.jitter_s)
        return found

    # Sending and delivering

    def send(self, flow: Flow, data: bytes, kind: int = DATA) -> None:
        link = flow.link
        now = self._clock.now
        start = now
        if link.bytes_per_s:
            start = max(now, flow.clear_at) + len(data) / link.bytes_per_s
            flow.clear_at = start
        due = start + link.delay_s
        if link.jitter_s:
            due += link.jitter_s * self.rng.random() ** 4
        due = ceil(due * _PER_S) / _PER_S
        if due < flow.last_due:
            due = flow.last_due
        else:
            flow.last_due = due
        flow.queued += len(data)
        flying = flow.flying
        if flying and kind == DATA and flying[-1][1] == DATA and flying[-1][0] == due:
            flying[-1][2] += data
            return
        flying.append([due, kind, data])
        self._clock.at(due, self._deliver, flow)

    def _deliver(self, flow: Flow) -> None:
        now = self._clock.now
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
            if kind == DATA:
                if flow.closed:
                    if not flow.back.closed:
                        self.send(flow.back, b"", RST)
                elif not flow.reset:
                    flow.arrived += data
                    self.delivered += 1
                    self.digest = crc32(data, self.digest ^ int(now * _PER_S) & 0xFFFFFFFF)
                    if flow.reader is not None:
                        flow.wake_reader()
            elif kind == FIN:
                flow.ended = True
                flow.wake_reader()
            elif not flow.closed:
                flow.break_off()

    def _answer_stale(self, flow: Flow) -> None:
        """Something was sent to a connection that the other host forgot."""
        flow.flying.clear()  # it stays in the sender's buffer: `queued` is not given back
        if self.hosts[flow.link.target] and not flow.back.closed:
            self.send(flow.back, b"", RST)

    # Faults

    def cut(self, source: str, target: str) -> None:
        link = self.link(source, target)
        if link.cut_since is None:
            link.cut_since = self._clock.now

    def heal(self, source: str, target: str) -> None:
        link = self.link(source, target)
        if link.cut_since is None:
            return
        now = self._clock.now
        long = now - link.cut_since > 5.0
        link.cut_since = None
        healed, link.healed = link.healed, trio.Event()
        healed.set()
        waiting, link.waiting = link.waiting, {}
        for flow in waiting:
            if not flow.flying:
                continue
            again = now + 0.02 + self.rng.random() * (1.0 if long else 0.2)
            again = ceil(again / GRID_S) * GRID_S
            if long and self.rng.random() < self.reset_after_cut:
                flow.flying = deque([[again, RST, b""]])
                if not flow.back.closed:
                    self.send(flow.back, b"", RST)
            for segment in flow.flying:
                segment[0] = max(segment[0], again)
            flow.last_due = flow.flying[-1][0]
            for due in sorted({segment[0] for segment in flow.flying}):
                self._clock.at(due, self._deliver, flow)

    def quicken(self, link: Link) -> None:
        """A slow link is as the others again, also for what waits before it."""
        link.bytes_per_s, link.delay_s = 0.0, self.delay_s
        soon = ceil((self._clock.now + self.delay_s) / GRID_S) * GRID_S
        for stream in self.streams:
            flow = stream._outgoing
            if flow.link is link and flow.flying and flow.flying[-1][0] > soon:
                for segment in flow.flying:
                    segment[0] = min(segment[0], soon)
                flow.last_due = flow.clear_at = soon
                self._clock.at(soon, self._deliver, flow)

    def heal_all(self) -> None:
        for (source, target), link in self.links.items():
            self.heal(source, target)
            if link.bytes_per_s or link.delay_s != self.delay_s:
                self.quicken(link)

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
                self.send(flow.back, b"", RST)

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
        again_s = 0.25
        while True:
            await trio.sleep(_round_trip(out, back, fabric.rng))
            if out.cut_since is None and back.cut_since is None and fabric.hosts[there]:
                break
            if trio.current_time() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"{os.strerror(errno.ETIMEDOUT)} ({address})")
            await trio.sleep(again_s)  # a lost SYN is sent again, less and less often
            again_s = min(again_s * 2, 4.0)
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

    async def listen(
        self,
        address: Address,
        *,
        backlog: int = 1024,
        send_buffer_bytes: int | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> SimListener:
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
    return ceil((out.delay_s + back.delay_s + jitter) / GRID_S) * GRID_S
