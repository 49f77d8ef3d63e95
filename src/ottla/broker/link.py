"""The client side of the Kafka protocol between brokers: one connection to one other broker.

Requests are pipelined: any number of tasks may wait in `request` at the same time, each gets the
answer with its correlation id. The link has no task of its own. Of the tasks that wait for an
answer one reads the stream for all of them, and hands the reading over when it has its own answer;
so a link needs no nursery, and nobody reads on a link that nobody waits on.

A request that runs out of time closes the connection, as the order of what follows would be unknown
to the caller otherwise; one that is cancelled leaves it open, and its late answer is dropped.
"""

from typing import Any

import trio

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ProtocolError
from ottla.protocol.kafka.framing import FrameReader
from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.protocol.kafka.schema import schema_of
from ottla.runtime.interfaces import Address, ConnectionLost, Network, Stream

Message = Any  # any request or response class; they share no base class

FIRST_BACKOFF_S = 0.05
LAST_BACKOFF_S = 1.0


class LinkLost(OSError):
    """The other broker cannot be reached, went away, or did not answer in time.

    Whether it acted on the request is unknown.
    """


class _Waiting:
    """One request that waits for its answer."""

    __slots__ = ("answer", "api", "failure", "version", "wake")

    def __init__(self, api: ApiKey, version: int) -> None:
        self.api = api
        self.version = version
        self.wake: trio.Event | None = None  # while it waits and another one reads
        self.answer: Message = None
        self.failure: str | None = None

    def rouse(self) -> None:
        if self.wake is not None:
            self.wake.set()

    async def roused(self) -> None:
        self.wake = trio.Event()
        await self.wake.wait()
        self.wake = None


class _Connection:
    """One life of the link's TCP connection."""

    __slots__ = ("abandoned", "frames", "next_id", "reading", "sending", "stream", "waiting")

    def __init__(self, stream: Stream, max_frame: int) -> None:
        self.stream = stream
        self.frames = FrameReader(max_frame)
        self.next_id = 0
        self.waiting: dict[int, _Waiting] = {}
        self.abandoned: set[int] = set()
        self.sending = trio.Lock()
        self.reading = False

    def fail(self, reason: str) -> None:
        """Close, and tell everybody who waits."""
        self.stream.close()
        waiting, self.waiting = self.waiting, {}
        for each in waiting.values():
            each.failure = reason
            each.rouse()

    def hand_over(self) -> None:
        """Let somebody who waits do the reading, unless somebody does."""
        if self.reading:
            return
        for each in self.waiting.values():
            each.rouse()
            return


class BrokerLink:
    """A lazily opened, pipelined connection to another broker.

    network, address: where to connect; again after each loss, the pauses between attempts grow.
    client_id: goes into each request's header.
    max_frame: an answer longer than this many bytes is not taken and the connection closes.
    """

    def __init__(self, network: Network, address: Address, client_id: str, max_frame: int) -> None:
        self.address = address
        self._network = network
        self._client_id = client_id
        self._max_frame = max_frame
        self._connection: _Connection | None = None
        self._connecting = trio.Lock()
        self._backoff_s = 0.0
        self._next_attempt = float("-inf")
        self._closed = False
        self._ended = 0  # how often somebody disconnected it

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def request(self, message: Message, *, version: int, timeout_s: float) -> Message:
        """Send `message` and wait for its response message.

        LinkLost when there is no answer within `timeout_s`, connecting included. The answer's
        records fields may be views into the link's buffer: use them before the next await.
        """
        deadline = trio.current_time() + timeout_s
        connection: _Connection | None = None
        with trio.move_on_at(deadline) as scope:
            connection = self._connection or await self._connected()
            return await self._exchange(connection, message, version)
        assert scope.cancelled_caught
        if connection is not None:
            self._lose(connection, "a request ran out of time")
        raise LinkLost(f"{self.address} did not answer within {timeout_s:g} s")

    async def request_unbounded(self, message: Message, version: int) -> Message:
        """As `request`, for a caller that bounds the time itself and calls `disconnect` then.

        One timer for many requests costs much less than one for each.
        """
        connection = self._connection
        if connection is None:
            ended = self._ended
            connection = await self._connected()
            if ended != self._ended:
                raise LinkLost(f"{self.address}: disconnected")
        return await self._exchange(connection, message, version)

    def close(self) -> None:
        """Close for good; waiting requests get LinkLost."""
        self._closed = True
        if self._connection is not None:
            self._lose(self._connection, "the link was closed")

    def disconnect(self) -> None:
        """Close the present connection, if any; the next request opens another.

        For a caller that no longer wants an answer which would hold up those behind it. Requests
        that wait get LinkLost, also those of `request_unbounded` that wait for a connection.
        """
        self._ended += 1
        if self._connection is not None:
            self._lose(self._connection, "disconnected")

    async def _connected(self) -> _Connection:
        if self._connection is not None:
            return self._connection
        async with self._connecting:
            if self._connection is not None:
                return self._connection
            await trio.sleep_until(self._next_attempt)
            if self._closed:
                raise LinkLost(f"the link to {self.address} is closed")
            self._backoff_s = min(max(2 * self._backoff_s, FIRST_BACKOFF_S), LAST_BACKOFF_S)
            try:
                stream = await self._network.connect(self.address)
            except OSError as error:
                raise LinkLost(f"cannot connect to {self.address}: {error}") from error
            finally:
                self._next_attempt = trio.current_time() + self._backoff_s
            self._connection = _Connection(stream, self._max_frame)
            return self._connection

    async def _exchange(self, connection: _Connection, message: Message, version: int) -> Message:
        correlation_id = connection.next_id
        connection.next_id = (correlation_id + 1) & 0x7FFFFFFF
        frame = encode_request_frame(message, version, correlation_id, self._client_id)
        waiting = _Waiting(_api_of(message), version)
        connection.waiting[correlation_id] = waiting
        try:
            await self._send(connection, frame)
            while waiting.answer is None and waiting.failure is None:
                if connection.reading:
                    await waiting.roused()
                else:
                    await self._read(connection, waiting)
        finally:
            if connection.waiting.pop(correlation_id, None) is not None:
                connection.abandoned.add(correlation_id)
            # Also by one that was woken to read and then cancelled.
            connection.hand_over()
        if waiting.failure is not None:
            raise LinkLost(f"{self.address}: {waiting.failure}")
        return waiting.answer

    async def _send(self, connection: _Connection, frame: bytes) -> None:
        """Send whole frames only: one that is cut short by a cancel ends the connection."""
        whole = False
        try:
            if not connection.sending.locked():
                sent = connection.stream.send_nowait(frame)
                if sent == len(frame):
                    whole = True
                    return
                connection.sending.acquire_nowait()
                rest = memoryview(frame)[sent:]
            else:
                try:
                    await connection.sending.acquire()
                except trio.Cancelled:
                    whole = True  # not a byte of it went
                    raise
                rest = memoryview(frame)
            try:
                await connection.stream.send_all(rest)
                whole = True
            finally:
                connection.sending.release()
        except ConnectionLost as error:
            self._lose(connection, str(error) or "the connection was lost")
            whole = True
        finally:
            if not whole:
                self._lose(connection, "a request was cut short")

    async def _read(self, connection: _Connection, mine: _Waiting) -> None:
        """Read for everybody until `mine` is answered."""
        connection.reading = True
        frames = connection.frames
        try:
            while mine.answer is None and mine.failure is None:
                count = await connection.stream.receive_into(frames.buffer())
                if count == 0:
                    self._lose(connection, "closed by the other broker")
                    return
                for frame in frames.received(count):
                    self._take(connection, frame, mine)
        except ConnectionLost as error:
            self._lose(connection, str(error) or "the connection was lost")
        except ProtocolError as error:
            self._lose(connection, f"broke the protocol: {error}")
        finally:
            connection.reading = False

    def _take(self, connection: _Connection, frame: memoryview, mine: _Waiting) -> None:
        correlation_id = int.from_bytes(frame[:4], "big", signed=True)
        waiting = connection.waiting.get(correlation_id)
        if waiting is None:
            if correlation_id not in connection.abandoned:
                raise ProtocolError(f"an answer to a request never sent ({correlation_id})")
            connection.abandoned.remove(correlation_id)
            return
        # The buffer may be received into again before another task looks at its answer.
        data = frame if waiting is mine else memoryview(bytes(frame))
        _, answer = decode_response(waiting.api, waiting.version, data)
        del connection.waiting[correlation_id]
        self._backoff_s = 0.0
        waiting.answer = answer
        waiting.rouse()

    def _lose(self, connection: _Connection, reason: str) -> None:
        if self._connection is connection:
            self._connection = None
        connection.fail(reason)


def _api_of(message: Message) -> ApiKey:
    api = schema_of(type(message)).api
    assert api is not None, "only requests are sent"
    return api


__all__ = ["BrokerLink", "LinkLost"]
