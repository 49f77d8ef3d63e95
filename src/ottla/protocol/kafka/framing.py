"""Cuts a stream of bytes into frames: a length of 4 bytes, big-endian, then so many bytes.

    while count := await stream.receive_into(reader.buffer()):
        for frame in reader.received(count): ...

Frames are views into the one buffer that was received into, and hold until the next `buffer()`.
The buffer starts small. It grows with the bytes that arrive: twofold when a receive filled it, and
twofold while a frame does not fit, so that a length which is only claimed costs nothing, and a
large frame is copied about once while its buffer grows. Afterwards its size is kept up to
`KEPT_SIZE`; the memory itself is given back whenever nothing is expected (`rest`), to readers that
need some meanwhile.
"""

import struct
from typing import Final

from ottla.protocol.kafka.errors import FrameTooLarge, ProtocolError

FIRST_SIZE: Final = 16 * 1024
BUSY_SIZE: Final = 256 * 1024
KEPT_SIZE: Final = 2 * 1024 * 1024
SPARE_BYTES: Final = 4 * KEPT_SIZE

NOTHING: Final = memoryview(b"")
_LENGTH: Final = struct.Struct(">i").unpack_from

_HTTP_STARTS: Final = (
    b"GET ",
    b"POST",
    b"PUT ",
    b"HEAD",
    b"DELE",
    b"OPTI",
    b"CONN",
    b"PATC",
    b"PRI ",
)
# A ZooKeeper connect request: length, protocol version 0, zxid, timeout, session id, password of 16
# bytes and, since 3.4, a read-only flag.
_CONNECT_LENGTHS: Final = (44, 45)
_CONNECT_HEAD_SIZE: Final = 32
_PASSWORD_SIZE: Final = 16


class ForeignProtocol(ProtocolError):
    """The first bytes of a connection are not Kafka's; `guess` says what they look like."""

    def __init__(self, guess: str) -> None:
        super().__init__(f"not a Kafka client: {guess}")
        self.guess = guess


class SpareBuffers:
    """Memory that readers gave back, for whoever needs some next: the last given goes first, as it
    is warm. At most `SPARE_BYTES` are kept.
    """

    __slots__ = ("_spare", "size")

    def __init__(self) -> None:
        self._spare: list[memoryview] = []
        self.size = 0

    def take(self, size: int) -> memoryview:
        """`size` bytes or somewhat more, with anything in them."""
        spare = self._spare
        for at in range(len(spare) - 1, -1, -1):
            if size <= len(spare[at]) <= 4 * size:
                found = spare.pop(at)
                self.size -= len(found)
                return found
        return memoryview(bytearray(size))

    def give(self, memory: memoryview) -> None:
        if len(memory) <= KEPT_SIZE and self.size + len(memory) <= SPARE_BYTES:
            self._spare.append(memory)
            self.size += len(memory)


class FrameReader:
    """The receive buffer of one connection.

    0 <= start <= filled <= capacity; the bytes from start to filled have arrived and belong to no
    frame that was handed out. `limit` bounds the length of a frame. Without `spare`, memory is
    kept.
    """

    __slots__ = (
        "_capacity",
        "_failure",
        "_filled",
        "_limit",
        "_memory",
        "_new",
        "_spare",
        "_start",
        "_wider",
    )

    def __init__(self, max_bytes: int, spare: SpareBuffers | None = None) -> None:
        self._limit = max_bytes
        self._spare = spare
        self._capacity = FIRST_SIZE
        self._memory = memoryview(bytearray(FIRST_SIZE))
        self._start = 0
        self._filled = 0
        self._wider = (
            FIRST_SIZE  # the capacity to have once nothing is pending, or sooner if larger
        )
        self._new = True  # nothing was received so far
        self._failure: ProtocolError | None = None  # of what came behind good frames

    @property
    def pending(self) -> int:
        """Bytes that have arrived of a frame that is not complete."""
        return self._filled - self._start

    @property
    def begun(self) -> memoryview:
        """What has arrived of an incomplete frame, with its length; to be looked at now."""
        return self._memory[self._start : self._filled]

    def rest(self) -> None:
        """Nothing is expected for now: give back what is large. Ends the life of the frames.

        Nothing may be pending.
        """
        assert self._start == self._filled
        if self._capacity == FIRST_SIZE or self._spare is None:
            return
        if self._filled <= FIRST_SIZE // 2:
            self._wider = FIRST_SIZE  # its peer sends small requests, as far as one can tell
        self._spare.give(self._memory)
        self._memory = NOTHING
        self._capacity = self._start = self._filled = 0

    def buffer(self) -> memoryview:
        """Where to receive next, never empty. Ends the life of the frames handed out before.

        Raises the ProtocolError for what came behind the last good frame.
        """
        if self._failure is not None:
            raise self._failure
        if self._start == self._filled:
            self._start = self._filled = 0
            if self._wider > self._capacity or self._capacity > KEPT_SIZE:
                self._replace(self._wider)
            return self._memory
        if self._wider > self._capacity:
            self._replace(self._wider)
        else:
            self._make_room()
        return self._memory[self._filled :]

    def received(self, count: int) -> list[memoryview]:
        """The frames that are complete now that `count` bytes were received, without their length.

        Raises FrameTooLarge, or a ProtocolError for a negative length or a foreign protocol, once
        the good frames before it were handed out.
        """
        assert 0 <= count <= self._capacity - self._filled
        filled = self._filled + count
        self._filled = filled
        memory = self._memory
        if filled == self._capacity and filled < BUSY_SIZE:
            self._wider = 2 * filled
        if self._new:
            self._look_at_first(filled)
        start = self._start
        limit = self._limit
        frames: list[memoryview] = []
        while filled - start >= 4:
            length = _LENGTH(memory, start)[0]
            end = start + 4 + length
            if not 0 <= length <= limit:
                self._refuse(length, frames)
                break
            if end > filled:
                break
            frames.append(memory[start + 4 : end])
            start = end
        self._start = start
        return frames

    def _refuse(self, length: int, frames: list[memoryview]) -> None:
        if length < 0:
            self._failure = ProtocolError(f"a frame claims a length of {length}")
        else:
            self._failure = FrameTooLarge(self._limit, length)
        if not frames:
            raise self._failure

    def _look_at_first(self, filled: int) -> None:
        if filled < 4:
            return
        self._new = False
        guess = guess_protocol(bytes(self._memory[:64][:filled]))
        if guess:
            length: int = _LENGTH(self._memory)[0]
            foreign = FrameTooLarge(self._limit, length, guess) if length > self._limit else None
            self._failure = foreign or ForeignProtocol(guess)
            raise self._failure

    def _make_room(self) -> None:
        """Give the frame that has begun a place that it fits in, or twice what it has."""
        start, filled = self._start, self._filled
        pending = filled - start
        wanted = FIRST_SIZE
        if pending >= 4:
            wanted = 4 + int(_LENGTH(self._memory, start)[0])
        if start + wanted <= self._capacity and filled < self._capacity:
            return
        if wanted > self._capacity and pending * 2 > self._capacity:
            # Room in proportion to what came of this frame, and some for the next one's start.
            self._replace(min(wanted + FIRST_SIZE, 2 * self._capacity))
        elif start:
            self._memory[:pending] = self._memory[start:filled]
            self._start, self._filled = 0, pending

    def _replace(self, capacity: int) -> None:
        memory, spare = self._memory, self._spare
        begun = memory[self._start : self._filled]
        if spare is None or capacity == FIRST_SIZE:
            self._memory = memoryview(bytearray(capacity))
        else:
            self._memory = spare.take(capacity)
        self._memory[: len(begun)] = begun
        if spare is not None and self._capacity > FIRST_SIZE:
            spare.give(memory)
        self._capacity = len(self._memory)
        self._start, self._filled = 0, len(begun)
        self._wider = capacity if capacity <= KEPT_SIZE else BUSY_SIZE


def guess_protocol(start: bytes) -> str:
    """What other protocol the first bytes of a connection look like, or "" if none."""
    if start[0] == 0x16 and start[1] == 0x03:
        return "looks like TLS"
    if start[:4] in _HTTP_STARTS:
        return "looks like HTTP"
    if (
        len(start) >= _CONNECT_HEAD_SIZE
        and int.from_bytes(start[:4], "big") in _CONNECT_LENGTHS
        and start[4:8] == bytes(4)
        and int.from_bytes(start[28:32], "big") == _PASSWORD_SIZE
    ):
        return "looks like ZooKeeper"
    return ""
