"""Cutting a byte stream into frames: a 4-byte big-endian length, then that many bytes.

The receiver's buffer grows with the bytes that arrived, never with a length that was only claimed.
"""

import struct
from collections.abc import Sequence

from ottla.protocol.zookeeper.errors import FrameTooLarge

JUTE_MAX_BUFFER = 0xFFFFF
_IDLE_SIZE = 4 * 1024  # most connections of most members say little
_BUSY_SIZE = 32 * 1024
_LENGTH = struct.Struct(">i")
_REPLY = struct.Struct(">iiqi")
_REPLY_HEADER_SIZE = 16


class FrameReader:
    """One connection's receive buffer.

    Receive into `buffer()`, tell `received(n)` how much came, and use the frames it returns before
    the next call of `buffer()`, which may move the bytes under them.
    """

    __slots__ = ("_end", "_limit", "_start", "_store", "_view")

    def __init__(self, max_bytes: int = JUTE_MAX_BUFFER) -> None:
        self._limit = max_bytes
        self._store = bytearray(_IDLE_SIZE)
        self._view = memoryview(self._store)
        self._start = 0  # first byte not yet given out; <= _end
        self._end = 0  # end of the received bytes

    def buffer(self) -> memoryview:
        start, end = self._start, self._end
        held = end - start
        size = len(self._store)
        if end == size:  # the last receive filled it: there may be more where that came from
            self._move_to(max(_BUSY_SIZE, 2 * held))
        elif not held:
            self._start = self._end = 0
            if size > _BUSY_SIZE:
                self._move_to(_BUSY_SIZE)
        elif start and held * 2 < size:
            self._view[:held] = bytes(self._view[start:end])
            self._start, self._end = 0, held
        return self._view[self._end :]

    def received(self, count: int) -> Sequence[memoryview]:
        """All complete frames, without their length prefixes. Raises FrameTooLarge."""
        view = self._view
        start = self._start
        end = self._end = self._end + count
        frames: list[memoryview] = []
        while end - start >= 4:
            length: int = _LENGTH.unpack_from(view, start)[0]
            if not 0 <= length <= self._limit:
                if frames:  # they came before the fault and are still good; the fault stays
                    break
                raise FrameTooLarge(length, self._limit, bytes(view[start : min(end, start + 64)]))
            body = start + 4
            if end - body < length:
                break
            start = body + length
            frames.append(view[body:start])
        self._start = start
        return frames

    def _move_to(self, size: int) -> None:
        # A new store, since frames given out may still hold views of the old one.
        held = self._end - self._start
        store = bytearray(size)
        store[:held] = self._view[self._start : self._end]
        self._store = store
        self._view = memoryview(store)
        self._start, self._end = 0, held


def frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def reply_frame(xid: int, zxid: int, error: int, body: bytes = b"") -> bytes:
    """A whole reply: length, ReplyHeader, body."""
    return _REPLY.pack(_REPLY_HEADER_SIZE + len(body), xid, zxid, error) + body


__all__ = ["JUTE_MAX_BUFFER", "FrameReader", "frame", "reply_frame"]
