"""Where the newest batches of a log begin: answers for readers near the end without touching the
disk.
"""

from array import array
from bisect import bisect_right

_KEPT = 1024


class Tail:
    """First offset and position of each of the last batches in the active segment, without gaps."""

    __slots__ = ("_offsets", "_positions")

    def __init__(self) -> None:
        self._offsets = array("q")
        self._positions = array("q")

    def append(self, first_offset: int, position: int) -> None:
        offsets = self._offsets
        offsets.append(first_offset)
        self._positions.append(position)
        if len(offsets) > 2 * _KEPT:
            del offsets[:_KEPT]
            del self._positions[:_KEPT]

    def extend(self, first_offsets: list[int], start: int, positions: list[int]) -> None:
        """As `append`, for positions that count from `start`."""
        if len(first_offsets) == 1:
            self.append(first_offsets[0], start + positions[0])
            return
        self._offsets.extend(first_offsets)
        self._positions.extend([start + position for position in positions])
        if len(self._offsets) > 2 * _KEPT:
            del self._offsets[:-_KEPT]
            del self._positions[:-_KEPT]

    def clear(self) -> None:
        self._offsets = array("q")
        self._positions = array("q")

    def covers(self, offset: int) -> bool:
        return bool(self._offsets) and self._offsets[0] <= offset

    def covers_position(self, position: int) -> bool:
        return bool(self._positions) and self._positions[0] <= position

    def batch_holding(self, offset: int) -> tuple[int, int]:
        """(first offset, position) of the last batch that begins at or below a covered offset."""
        slot = bisect_right(self._offsets, offset) - 1
        return self._offsets[slot], self._positions[slot]

    def batch_at_most(self, position: int) -> tuple[int, int]:
        """(first offset, position) of the last batch that begins at or before `position`."""
        slot = bisect_right(self._positions, position) - 1
        return self._offsets[slot], self._positions[slot]


__all__ = ["Tail"]
