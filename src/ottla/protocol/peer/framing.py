"""Cutting the peer protocol's frames out of a byte stream.

Nothing is allocated for a length that was only claimed: the buffer grows with bytes that arrived.
"""

from ottla.protocol.peer.codec import FRAME_BYTES_MAX
from ottla.protocol.peer.errors import ProtocolError

_RECEIVE_BYTES = 64 * 1024


class FrameReader:
    """Owned by the one task that reads a connection; `buffer`, receive into it, `received`."""

    __slots__ = ("_data", "_filled", "_later_limit", "_limit")

    def __init__(self, limit: int = FRAME_BYTES_MAX, *, first_limit: int | None = None) -> None:
        """`first_limit` bounds the first frame: who has not said its name may not say much."""
        self._data = bytearray(2 * _RECEIVE_BYTES)
        self._filled = 0  # bytes of _data that hold an unfinished frame; <= len(_data)
        self._limit = limit if first_limit is None else first_limit
        self._later_limit = limit

    def buffer(self) -> memoryview:
        """Where the next bytes may be received."""
        if len(self._data) - self._filled < _RECEIVE_BYTES:
            self._data = bytearray(self._data[: self._filled]) + bytearray(
                max(self._filled, _RECEIVE_BYTES)
            )
        return memoryview(self._data)[self._filled :]

    def received(self, count: int) -> list[bytes]:
        """Bodies of the frames that `count` more bytes complete. ProtocolError: over the limit."""
        self._filled += count
        assert self._filled <= len(self._data)
        frames: list[bytes] = []
        position = 0
        data, filled = self._data, self._filled
        while filled - position >= 4:
            length = int.from_bytes(data[position : position + 4], "big")
            if length > self._limit:
                raise ProtocolError(f"a frame of {length} bytes is over the limit of {self._limit}")
            end = position + 4 + length
            if end > filled:
                break
            frames.append(bytes(memoryview(data)[position + 4 : end]))
            position = end
            self._limit = self._later_limit
        if position:
            rest = filled - position
            data[:rest] = data[position:filled]
            self._filled = rest
        return frames


__all__ = ["FrameReader"]
