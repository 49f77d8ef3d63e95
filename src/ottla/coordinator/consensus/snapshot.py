"""Gathering the pieces of a snapshot that a leader sends (chapter 5 of Ongaro's dissertation)."""

from ottla.coordinator.consensus.values import Position, Snapshot


class IncomingSnapshot:
    """Pieces 0..wanted-1 of one snapshot; pieces out of order are ignored and asked for again."""

    __slots__ = ("_chunks", "_membership", "at")

    def __init__(self, at: Position, membership: bytes) -> None:
        self.at = at
        self._membership = membership
        self._chunks: list[bytes] = []

    @property
    def wanted(self) -> int:
        """The ordinal of the next piece."""
        return len(self._chunks)

    def add(self, ordinal: int, data: bytes, *, last: bool) -> Snapshot | None:
        """Take a piece; the whole snapshot once the last one is here."""
        if ordinal != len(self._chunks):
            return None
        self._chunks.append(data)
        return Snapshot(self.at, self._chunks, self._membership) if last else None


__all__ = ["IncomingSnapshot"]
