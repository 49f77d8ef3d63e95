"""A state's chunks as pieces of one size, for snapshot files and for the wire.

The stream of pieces is each chunk with its length (u32, big endian) in front, cut every
`PIECE_BYTES`. So neither a huge chunk nor thousands of small ones trouble a peer or the disk.
"""

from collections.abc import Iterable, Iterator

PIECE_BYTES = 512 * 1024


def pieces_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut chunks into pieces; at least one piece. b"" now and then: nothing yet, breathe."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += len(chunk).to_bytes(4, "big")
        buffer += chunk
        if len(buffer) < PIECE_BYTES:
            yield b""
        while len(buffer) >= PIECE_BYTES:
            yield bytes(buffer[:PIECE_BYTES])
            del buffer[:PIECE_BYTES]
    if buffer:
        yield bytes(buffer)


def chunks_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks again. ValueError when the last one is cut."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        position = 0
        while len(buffer) - position >= 4:
            end = position + 4 + int.from_bytes(buffer[position : position + 4], "big")
            if end > len(buffer):
                break
            yield bytes(buffer[position + 4 : end])
            position = end
        del buffer[:position]
    if buffer:
        raise ValueError("the state ends inside a chunk")


__all__ = ["PIECE_BYTES", "chunks_of", "pieces_of"]
