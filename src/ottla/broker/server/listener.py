"""The broker's listeners: accept connections, bound their number, close those that are idle.

Children of `serve`'s nursery: one accepting task per listener, one task per connection, one for
idle connections. Cancelling `serve` closes everything; nothing else ends it but a bug.
"""

from dataclasses import dataclass, replace

import trio

from ottla.broker.api.api import ConnectionContext, Services
from ottla.broker.api.dispatch import Dispatcher
from ottla.broker.server.connection import Connection, ConnectionLimits
from ottla.broker.server.idle import IdleBuckets
from ottla.broker.server.request_memory import RequestMemory, RequestShare
from ottla.broker.server.wakeups import Wakeups
from ottla.protocol.kafka.framing import SpareBuffers
from ottla.runtime.interfaces import (
    Address,
    ConnectionLost,
    Events,
    Listener,
    Network,
    Stream,
)

# At most one event about refused connections in this many seconds, with the number of them.
REFUSAL_EVENT_S = 5.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`listeners`: where to bind, by listener name. max_idle_s: `connections.max.idle.ms`.

    max_connections, max_connections_per_address: over all listeners. send_buffer_bytes,
    receive_buffer_bytes: of each socket; None is the system's choice. request_bytes_max:
    `queued.max.request.bytes`; None is no bound. unbounded_listener: what is outside of that bound.
    """

    listeners: dict[str, Address]
    limits: ConnectionLimits
    max_idle_s: float
    max_connections: int
    max_connections_per_address: int
    send_buffer_bytes: int | None = None
    receive_buffer_bytes: int | None = None
    request_bytes_max: int | None = None
    unbounded_listener: str | None = None


class Server:
    """Binds with `open`, then serves with `serve`, each once."""

    def __init__(
        self,
        settings: ServerSettings,
        network: Network,
        dispatcher: Dispatcher,
        services: Services,
        events: Events,
    ) -> None:
        self._settings = settings
        self._network = network
        self._dispatcher = dispatcher
        self._services = services
        self._events = events
        self._listeners: dict[str, Listener] = {}
        self._connections: dict[str, int] = {}  # per peer host
        self._connection_count = 0
        self._idle: IdleBuckets[Connection] = IdleBuckets(settings.max_idle_s)
        self._refused = 0
        self._refusal_event_at = float("-inf")
        bound = settings.request_bytes_max
        self._spare = SpareBuffers()
        self._wakeups = Wakeups()
        self._request_memory = None if bound is None else RequestMemory(bound)

    @property
    def addresses(self) -> dict[str, Address]:
        """Where each listener is bound, with the real port where port 0 was asked for."""
        return {name: listener.address for name, listener in self._listeners.items()}

    @property
    def connection_count(self) -> int:
        return self._connection_count

    @property
    def request_memory(self) -> RequestMemory | None:
        """The bound on requests that are not answered yet; None where there is none."""
        return self._request_memory

    def limit_connections(self, count_max: int, count_max_per_address: int) -> None:
        """New limits for connections to come; those that are there stay."""
        self._settings = replace(
            self._settings,
            max_connections=count_max,
            max_connections_per_address=count_max_per_address,
        )

    async def open(self) -> dict[str, Address]:
        """Bind all listeners; `addresses`. OSError names the address; then none stays bound."""
        settings = self._settings
        try:
            for name, address in settings.listeners.items():
                self._listeners[name] = await self._network.listen(
                    address,
                    send_buffer_bytes=settings.send_buffer_bytes,
                    receive_buffer_bytes=settings.receive_buffer_bytes,
                )
        except OSError:
            self.close()
            raise
        return self.addresses

    def close(self) -> None:
        """Accept no more; connections that exist go on."""
        for listener in self._listeners.values():
            listener.close()

    async def serve(self) -> None:
        """Accept and serve until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._close_idle)
                nursery.start_soon(self._wakeups.run)
                for name, listener in self._listeners.items():
                    nursery.start_soon(self._accept, name, listener, nursery)
        finally:
            self.close()

    async def _accept(self, name: str, listener: Listener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except ConnectionLost:
                return  # closed here
            if self._take(stream):
                nursery.start_soon(self._serve_connection, name, stream)
            else:
                stream.close()

    def _take(self, stream: Stream) -> bool:
        """Count a new connection; False when it is one too many."""
        host = stream.peer.host
        of_host = self._connections.get(host, 0)
        settings = self._settings
        if (
            self._connection_count >= settings.max_connections
            or of_host >= settings.max_connections_per_address
        ):
            self._refused += 1
            now = trio.current_time()
            if now >= self._refusal_event_at:
                self._refusal_event_at = now + REFUSAL_EVENT_S
                self._events.warning(
                    "connections.refused",
                    peer=str(stream.peer),
                    count=self._refused,
                    open=self._connection_count,
                    open_from_host=of_host,
                )
                self._refused = 0
            return False
        self._connection_count += 1
        self._connections[host] = of_host + 1
        return True

    async def _serve_connection(self, name: str, stream: Stream) -> None:
        context = ConnectionContext(self._services, name, stream.peer)
        settings = self._settings
        share = None
        if self._request_memory is not None and name != settings.unbounded_listener:
            share = RequestShare(self._request_memory)
        connection = Connection(
            stream,
            self._dispatcher,
            context,
            settings.limits,
            self._events,
            share=share,
            spare=self._spare,
            wakeups=self._wakeups,
        )
        self._idle.add(connection, connection.last_active)
        try:
            await connection.serve()
        finally:
            self._idle.discard(connection)
            self._connection_count -= 1
            host = stream.peer.host
            self._connections[host] -= 1
            if not self._connections[host]:
                del self._connections[host]

    async def _close_idle(self) -> None:
        if self._settings.max_idle_s <= 0:
            return  # never
        while True:
            now = trio.current_time()
            for connection in self._idle.due(now):
                if connection.is_waiting:
                    self._idle.add(connection, now)
                elif connection.last_active + self._settings.max_idle_s > now:
                    self._idle.add(connection, connection.last_active)
                else:
                    connection.close("idle for too long")
            await trio.sleep(self._idle.width_s)


__all__ = ["Server", "ServerSettings"]
