"""One client connection: bytes in, requests to the dispatcher, replies out in request order.

The reader handles every frame of one receive in a row and sends their replies together. As long as
nothing is owed, it sends them itself. What it cannot send at once goes to the queue, which the
writer empties in order: replies that are not there yet (`Later`), all replies behind those, and
bytes that the peer has not taken. The queue is bounded in replies and in bytes; a full queue stops
the reading, so a client that does not read its replies makes only itself wait.

The reader and the writer end together: at the peer's end, a lost connection, a broken protocol.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import length_hint

import trio

from ottla.broker.api.api import ConnectionContext, HangUp
from ottla.broker.api.dispatch import Dispatcher, Later, Parts
from ottla.broker.api.plain_produce import PutOff
from ottla.broker.server.request_memory import RequestShare
from ottla.broker.server.wakeups import Wakeups
from ottla.protocol.kafka.errors import FrameTooLarge, ProtocolError
from ottla.protocol.kafka.framing import NOTHING, FrameReader, SpareBuffers
from ottla.runtime.interfaces import ConnectionLost, Events, File, Stream

# A file's bytes are copied into the send they belong to when they are few, which saves a system
# call and a packet; above this, `sendfile` wins.
INLINE_FILE_BYTES = 16 * 1024

# Replies collected in one turn of the reader before they are sent.
FLUSH_BYTES = 256 * 1024

# Requests of one connection that are handled before other connections get their turn.
TURN_REQUESTS = 16


# What a part may be besides a range of a file, which has `file`, `offset`, a length and `read()`.
_BYTES_LIKE = (bytes, memoryview, bytearray)


class _RestOfRange:
    """What was not sent of a range of a file."""

    __slots__ = ("_size", "file", "offset")

    def __init__(self, file: File, offset: int, size: int) -> None:
        self.file = file
        self.offset = offset
        self._size = size

    def __len__(self) -> int:
        return self._size

    def read(self) -> bytes:
        return self.file.read_at(self.offset, self._size)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """max_frame: `socket.request.max.bytes`. max_queued, max_queued_bytes: replies owed."""

    max_frame: int
    max_queued: int
    max_queued_bytes: int = 1024 * 1024


class Connection:
    """Owned by the task that calls `serve`, which closes the stream at its end.

    last_active: `trio.current_time()` when bytes last came or went. share: its part of the bound on
    requests of all connections; None where there is no such bound. spare: where memory comes from
    and goes to that is only needed for a while.
    """

    __slots__ = (
        "_armed",
        "_awaited",
        "_broken",
        "_context",
        "_dispatcher",
        "_events",
        "_flush_bytes",
        "_frames",
        "_idle",
        "_limits",
        "_put_off",
        "_queue",
        "_queued_bytes",
        "_room",
        "_running",
        "_scope",
        "_share",
        "_start",
        "_stream",
        "_todo",
        "_wakeups",
        "_writer_started",
        "_writing",
        "last_active",
    )

    def __init__(
        self,
        stream: Stream,
        dispatcher: Dispatcher,
        context: ConnectionContext,
        limits: ConnectionLimits,
        events: Events,
        *,
        share: RequestShare | None = None,
        spare: SpareBuffers | None = None,
        wakeups: Wakeups | None = None,
    ) -> None:
        self._stream = stream
        self._dispatcher = dispatcher
        self._context = context
        self._limits = limits
        self._flush_bytes = min(FLUSH_BYTES, limits.max_queued_bytes)
        self._events = events
        self._frames = FrameReader(limits.max_frame, spare)
        self._queue: deque[Parts | Later] = deque()
        self._queued_bytes = 0
        self._idle = trio.lowlevel.ParkingLot()  # the writer, when nothing is queued
        self._room = trio.lowlevel.ParkingLot()  # the reader, when too much is
        self._todo: Iterator[memoryview | PutOff] = iter(())  # frames of the last receive
        self._put_off: list[PutOff] = []  # of them; behind those that are answered
        self._awaited: Later | None = None  # what the reader waits for before the next of them
        self._start: Callable[..., None] = _cannot_start
        self._running = 0  # replies that a handler is working on
        self._scope = trio.CancelScope()
        self._share = share
        self._wakeups = wakeups
        self._armed: Later | None = None  # the queue's first, which `poll` answers
        self._broken: AssertionError | None = None
        self._writer_started = False
        self._writing = False
        self.last_active = trio.current_time()

    @property
    def is_waiting(self) -> bool:
        """Whether this side makes the peer wait: a request of its is being worked on."""
        is_working = self._running > 0 or self._armed is not None
        return is_working or (self._share is not None and self._share.is_stopped)

    def close(self, reason: str) -> None:
        """End it from outside, e.g. when it was idle for too long."""
        self._events.debug("connection.closed", peer=str(self._stream.peer), reason=reason)
        self._scope.cancel()

    async def serve(self) -> None:
        """Serve the peer until the connection ends, for whatever reason."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    try:
                        await self._read(nursery.start_soon)
                    finally:
                        # Who is polled between here and the end finds a nursery that is closed.
                        self._start = _too_late
                        self._disarm()
                    nursery.cancel_scope.cancel()
            if self._broken is not None:
                raise self._broken
        finally:
            self._disarm()
            self._stream.close()
            self._dispatcher.forget(self._context)
            if self._share is not None:
                self._share.close()

    async def _read(self, start: Callable[..., None]) -> None:
        try:
            await self._read_frames(start)
        except ConnectionLost as lost:
            self._events.debug("connection.lost", peer=str(self._stream.peer), reason=str(lost))
        except HangUp as wanted:
            self._events.debug("connection.closed", peer=str(self._stream.peer), reason=str(wanted))
        except OSError as error:
            self._report_unreadable(error)
        except ProtocolError as error:
            limit = error.limit if isinstance(error, FrameTooLarge) else self._limits.max_frame
            self._refuse(str(error), getattr(error, "guess", ""), limit)

    def _report_unreadable(self, error: OSError) -> None:
        """A segment's bytes that were promised cannot be read: the reply ends in its middle."""
        self._events.error(
            "connection.file_unreadable", peer=str(self._stream.peer), reason=str(error)
        )
        if error.filename is not None:
            self._context.services.log_manager.note_unreadable(error)

    def _refuse(self, reason: str, guess: str, limit: int) -> None:
        self._events.warning(
            "connection.peer_refused",
            peer=str(self._stream.peer),
            listener=self._context.listener_name,
            reason=reason,
            guess=guess or "unknown",
            limit=limit,
        )

    async def _read_frames(self, start: Callable[..., None]) -> None:
        self._start = start
        receive_while = self._stream.receive_while
        while await receive_while(self._frames.buffer, self._take, self._settle):
            await self._wait_and_handle()
            if not self._frames.pending:
                self._frames.rest()
        if self._frames.pending:
            self._refuse("closed in the middle of a request", "", self._limits.max_frame)

    def _take(self, count: int) -> bool | None:
        """Handle the frames that came; False when it takes waiting before more can be read.

        None: it does not, but some were put off and are for `_settle`.
        """
        frames = self._frames.received(count)
        self._todo = iter(frames)
        share = self._share
        if share is not None and frames:
            share.completed()
        self.last_active = trio.current_time()
        try:
            may_go_on = self._handle()
        except BaseException:
            self._dispatcher.append_put_off(self.last_active)  # nothing stays behind
            raise
        if not self._put_off:
            return may_go_on and self._may_read()
        if may_go_on:
            return None
        self._append_put_off()
        return False

    def _settle(self) -> bool:
        """Answer what was put off; False when it takes waiting before more can be read."""
        self._append_put_off()
        return self._handle() and self._may_read()

    def _may_read(self) -> bool:
        """Whether to read on. If nothing is pending, memory that only the last frames needed goes.

        The frames of the last receive are handled.
        """
        frames, share = self._frames, self._share
        if frames.pending:
            return share is None or share.may_read(frames.begun)
        frames.rest()
        return share is None or share.may_read(NOTHING)

    def _append_put_off(self) -> None:
        """Do what was put off, and have it answered next."""
        self._dispatcher.append_put_off(self.last_active)
        done, self._put_off = self._put_off, []
        self._todo = iter([*done, *self._todo])

    async def _wait_and_handle(self) -> None:
        """Wait for what the reader waits for, then handle the other frames of that receive."""
        share = self._share
        if share is None:
            await self._handle_rest()
            return
        rest = list(self._todo)
        self._todo = iter(rest)
        size = sum(map(len, rest))
        share.owe(size)
        await self._handle_rest()
        share.settle(size)
        while not share.may_read(self._frames.begun):
            await share.wait_change()

    async def _handle_rest(self) -> None:
        while True:
            later, self._awaited = self._awaited, None
            if later is not None:
                await self._finish_now(later)
            elif self._has_room():
                await trio.lowlevel.checkpoint()  # its turn was over
            await self._wait_room()
            self.last_active = trio.current_time()
            is_done = self._handle()
            if self._put_off:
                self._append_put_off()
            elif is_done:
                return

    def _handle(self) -> bool:
        """Handle frames until all are; False when it takes waiting, or others have their turn."""
        dispatcher = self._dispatcher
        put_off = dispatcher.put_off
        context = self._context
        now = self.last_active
        out: Parts = []
        out_bytes = 0
        left = TURN_REQUESTS
        try:
            while left and (item := next(self._todo, None)) is not None:
                if type(item) is PutOff:
                    answer = dispatcher.settle(item, context, now)
                else:
                    left -= 1
                    frame: memoryview = item  # type: ignore[assignment]  # it is no PutOff
                    request = put_off(frame)
                    if request is not None:
                        self._put_off.append(request)
                        continue
                    if self._put_off:
                        # It must find what the requests before it did.
                        self._todo = iter([frame, *self._todo])
                        self._append_put_off()
                        continue
                    answer = dispatcher.call(frame, context, now)
                if answer is None:
                    continue
                if type(answer) is list:
                    out += answer
                    out_bytes += len(answer[0])
                    if out_bytes < self._flush_bytes:
                        continue
                self._send_or_queue(out)
                out, out_bytes = [], 0
                if type(answer) is Later and not self._park(answer, len(item)):
                    return False
                if not self._has_room():
                    return False
        except (HangUp, ProtocolError):
            self._send_or_queue(out)  # what was asked before is answered
            raise
        if out:
            self._send_or_queue(out)
        return self._has_room() and not length_hint(self._todo)

    def _park(self, later: Later, size: int) -> bool:
        """A reply that is not there yet; False when the next request has to wait for it."""
        if self._share is not None:
            later.size = size
            self._share.owe(size)
        if later.must_wait:
            self._awaited = later
            return False
        self._enqueue(later)
        return True

    def _has_room(self) -> bool:
        limits = self._limits
        return (
            len(self._queue) < limits.max_queued and self._queued_bytes <= limits.max_queued_bytes
        )

    async def _wait_room(self) -> None:
        """Wait until the peer has taken enough of the replies it is owed."""
        while not self._has_room():
            await self._room.park()

    async def _finish_now(self, later: Later) -> None:
        self._running += 1
        parts = await later.finish()
        self._running -= 1
        self.last_active = trio.current_time()
        if type(parts) is Later:
            parts.size = later.size  # which stays owed
            assert not parts.must_wait
            self._enqueue(parts)
            return
        if self._share is not None:
            self._share.settle(later.size)
        if parts is not None:
            assert type(parts) is list
            self._send_or_queue(parts)

    def _send_or_queue(self, parts: Parts) -> None:
        """Send replies when nothing is owed before them, else put them behind it."""
        if not parts:
            return
        if not self._writing and not self._queue:
            part = parts[0]
            if len(parts) == 1 and type(part) is bytes:
                sent = self._stream.send_nowait(part)
                if sent == len(part):
                    return
                parts = [memoryview(part)[sent:]]
            else:
                parts = self._send_nowait(_joined(parts))
        else:
            parts = _joined(parts)
        if parts:
            self._queued_bytes += _memory(parts)
            self._enqueue(parts)

    def _enqueue(self, item: "Parts | Later") -> None:
        queue = self._queue
        queue.append(item)
        if self._armed is not None:
            return  # they go when that one is answered
        if type(item) is Later and len(queue) == 1 and self._arm(item):
            return
        self._start_writing()

    def _start_writing(self) -> None:
        if not self._writer_started:
            self._writer_started = True
            self._start(self._write)
        else:
            self._idle.unpark()

    # A parked reply that nothing is owed before needs no task.

    def _arm(self, later: Later) -> bool:
        pollable = later.pollable
        if pollable is None or self._wakeups is None or self._writing:
            return False
        self._armed = later
        self._wakeups.wake_at(pollable.deadline, self)
        pollable.arm(self._wake)
        return True

    def _disarm(self) -> None:
        if self._armed is not None and (pollable := self._armed.pollable):
            pollable.disarm()
        self._armed = None
        if self._wakeups is not None:
            self._wakeups.forget(self)

    def _wake(self) -> None:
        assert self._wakeups is not None
        self._wakeups.wake(self)

    @property
    def parked_until(self) -> float:
        later = self._armed
        return math.inf if later is None or later.pollable is None else later.pollable.deadline

    def poll(self) -> None:
        """Answer the parked request that was woken, if it can be answered now."""
        later = self._armed
        if later is None:
            return
        now = trio.current_time()
        try:
            parts = later.poll(now)
            if parts is None:
                assert later.pollable is not None
                later.pollable.arm(self._wake)
                return
            self._armed = None
            self._queue.popleft()
            if self._share is not None:
                self._share.settle(later.size)
            self.last_active = now
            if self._queue:
                self._queued_bytes += _memory(parts)
                self._queue.appendleft(parts)
                self._start_writing()
            else:
                self._send_or_queue(parts)
            self._room.unpark()
        except AssertionError as error:
            self._broken = error  # raised by `serve`
            self._scope.cancel()
        except (HangUp, OSError) as error:
            self._end(error)

    def _end(self, error: HangUp | OSError) -> None:
        """A reply could not be sent, or must not be."""
        if isinstance(error, HangUp):
            self.close(str(error))
            return
        if isinstance(error, ConnectionLost):
            self._events.debug("connection.lost", peer=str(self._stream.peer), reason=str(error))
        else:
            self._report_unreadable(error)
        self._scope.cancel()

    def _send_nowait(self, parts: Parts) -> Parts:
        """Send what goes without waiting; what is left. Parts are bytes-like or ranges."""
        stream = self._stream
        for index, part in enumerate(parts):
            size = len(part)
            if type(part) in _BYTES_LIKE:
                sent = stream.send_nowait(part)
                if sent != size:
                    return [memoryview(part)[sent:], *parts[index + 1 :]]
            else:
                sent = stream.send_file_nowait(part.file, part.offset, size)
                if sent != size:
                    rest = _RestOfRange(part.file, part.offset + sent, size - sent)
                    return [rest, *parts[index + 1 :]]
        return []

    async def _write(self) -> None:
        """The writer: empties the queue in order, for as long as the connection lives."""
        try:
            while True:
                self._writing = True
                while self._queue:
                    parts = await self._next_replies()
                    await self._write_parts(_joined(parts))
                    self._queued_bytes -= _memory(parts)
                    assert self._queued_bytes >= 0
                    self._room.unpark()
                self._writing = False
                await self._idle.park()
        except (HangUp, OSError) as error:
            self._end(error)

    async def _next_replies(self) -> Parts:
        """The queue's first reply, once it is there, and those behind it that need no waiting."""
        queue = self._queue
        replies: Parts = []
        size = 0
        while True:
            item = queue.popleft()
            if type(item) is Later:
                self._running += 1
                parts = await item.finish() or []
                assert type(parts) is list, "only what the reader waits for comes in two steps"
                self._running -= 1
                if self._share is not None:
                    self._share.settle(item.size)
                # It was not there yet when its size would have counted.
                self._queued_bytes += _memory(parts)
            else:
                assert type(item) is list
                parts = item
            replies += parts
            size += sum(map(len, parts))
            if not queue or size >= FLUSH_BYTES:
                return replies
            after = queue[0]
            if type(after) is Later and not after.is_ready:
                return replies

    async def _write_parts(self, parts: Parts) -> None:
        while parts := self._send_nowait(parts):
            await self._stream.wait_writable()
            self.last_active = trio.current_time()
        self.last_active = trio.current_time()


def _cannot_start(*_: object) -> None:
    raise AssertionError("nothing is read yet")


def _too_late(*_: object) -> None:
    """What would be started is for a peer that is gone."""


def _joined(parts: Parts) -> Parts:
    """Neighbouring bytes as one piece each; small file ranges become bytes."""
    if len(parts) == 1 and type(parts[0]) is bytes:
        return parts
    out: Parts = []
    run: Parts = []
    for part in parts:
        if type(part) in _BYTES_LIKE:
            run.append(part)
        elif len(part) <= INLINE_FILE_BYTES:
            run.append(part.read())
        else:
            if run:
                out.append(b"".join(run))
                run = []
            out.append(part)
    if run:
        out.append(b"".join(run))
    return out


def _memory(parts: Parts) -> int:
    """Bytes of memory that queued parts hold on to."""
    return sum(len(part) for part in parts if type(part) in _BYTES_LIKE)


__all__ = ["Connection", "ConnectionLimits"]
