"""Sending to clients, everything that waits for a connection at once.

The answers to what was received together leave as soon as all of it was looked at (`send_now`),
those to entries that were applied together right behind the last of them (`flush`), and whatever
else there is once per turn of the loop.

A connection whose socket is full gets a task of its own until it has taken everything.
"""

import trio

from ottla.coordinator.client_port.connection import Connection
from ottla.runtime.interfaces import ConnectionLost, Stream
from ottla.runtime.tls import TlsStream


class Sending:
    """Owned by the client port; `run` lives as long as the port."""

    def __init__(self) -> None:
        self._dirty: dict[Connection, None] = {}
        self._wake = trio.Event()
        self._gathering = False  # `flush` is sure to be called
        self._nursery: trio.Nursery | None = None

    def mark_dirty(self, connection: Connection) -> None:
        """It has something to send, or is to be closed once it has sent everything."""
        self._dirty[connection] = None
        if not self._gathering:
            self._wake.set()

    def gather(self) -> None:
        """Wake nobody for what comes now: `flush` follows in the same step of the same task."""
        self._gathering = True

    def flush(self) -> None:
        """Send for every connection that has something."""
        self._gathering = False
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            now = trio.current_time()
            for connection in dirty:
                self._flush(connection, now)

    def send_now(self, connection: Connection, now: float) -> None:
        self._dirty.pop(connection, None)
        self._flush(connection, now)

    def forget(self, connection: Connection) -> None:
        self._dirty.pop(connection, None)

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                self.flush()

    def _flush(self, connection: Connection, now: float) -> None:
        if connection.closed or connection.sending:
            return
        data = connection.take_out(now)
        try:
            sent = connection.stream.send_nowait(data) if data else 0
        except ConnectionLost:
            connection.close("connection lost")
            return
        connection.out_bytes -= sent
        if sent < len(data) or _has_pending(connection.stream):
            connection.unsent = data[sent:]
            connection.sending = True
            assert self._nursery is not None
            self._nursery.start_soon(self._send_slowly, connection)
        elif connection.finishing:
            connection.close(connection.close_reason)

    async def _send_slowly(self, connection: Connection) -> None:
        """Until its socket has taken everything; meanwhile `_flush` leaves it alone."""
        stream = connection.stream
        try:
            while (data := connection.take_out(trio.current_time())) or _has_pending(stream):
                await stream.send_all(data)
                connection.out_bytes -= len(data)
                connection.wake_reader()
        except ConnectionLost:
            connection.close("connection lost")
        connection.sending = False
        if connection.finishing:
            connection.close(connection.close_reason)


def _has_pending(stream: Stream) -> bool:
    return isinstance(stream, TlsStream) and stream.has_pending


__all__ = ["Sending"]
