"""The two sparse indexes of a segment, in Kafka's file formats.

Offset index, 8 bytes per entry: int32 offset relative to the segment's base, int32 position in the
`.log` file. The batch at that position has the entry's offset as its last one; every batch before
it ends below. Time index, 12 bytes per entry: int64 timestamp, int32 relative offset: no record up
to that offset, the batch at its offset included, is younger than the timestamp. All big endian,
rising.

Indexes are caches: they may be deleted at any time and are built anew from the `.log` file. The
newest entries live in memory until `save`, which a flush, a roll and a close call. A sealed
segment's entries are read when they are asked for and dropped by `unload`.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable

from ottla.runtime.interfaces import Disk

RELATIVE_OFFSET_MAX = 0x7FFFFFFF
_SWAP = sys.byteorder == "little"
_OFFSET_ENTRY = 8
_TIME_ENTRY = 12
_CHECKED_WHOLE = 4096
_CHECKED_EVERY = 64


class InsaneIndex(Exception):
    """The file's content cannot be an index of this segment; it has to be built anew."""


class _IndexFile:
    """The file behind an index: which of the entries in memory it holds."""

    __slots__ = ("_disk", "is_exact", "is_synced", "path", "saved")

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self.path = path
        self.saved = 0  # entries in the file that are the same in memory
        self.is_exact = False  # the file holds these entries and not a byte more
        self.is_synced = True

    def keep(self, count: int) -> None:
        """Only the first `count` entries in memory are left."""
        if count < self.saved:
            self.saved = count
            self.is_exact = False

    def read(self) -> bytes | None:
        """The content; None when the file is missing."""
        try:
            return self._disk.read(self.path)
        except FileNotFoundError:
            return None

    def write(self, entries: bytes, entry_bytes: int) -> None:
        """Put `entries` behind the first `saved` ones, and nothing else."""
        if not entries and self.is_exact:
            return
        file = self._disk.open(self.path)
        try:
            if file.size() > self.saved * entry_bytes:
                file.truncate(self.saved * entry_bytes)
                # Entries that were cut must not come back to point into newer batches. Of entries
                # that were only added, any prefix will do, and zeros are told at the load.
                self.is_synced = False
            if entries:
                file.append(entries)
        finally:
            file.close()
        self.saved += len(entries) // entry_bytes
        self.is_exact = True

    def sync_now(self) -> None:
        file = self._disk.open(self.path)
        try:
            file.sync_now()
        finally:
            file.close()
        self.is_synced = True

    async def sync(self) -> None:
        """As `sync_now`, off the loop; entries saved meanwhile wait for the next one."""
        file = self._disk.open(self.path)
        self.is_synced = True
        try:
            await file.sync()
        except BaseException:
            self.is_synced = False
            raise
        finally:
            file.close()


class OffsetIndex:
    """Offset to position. Offsets and positions rise strictly; positions are below the log's
    size.
    """

    __slots__ = ("_base", "_offsets", "_positions", "_rebuild", "file", "is_loaded")

    def __init__(self, disk: Disk, path: str, base: int, rebuild: Callable[[], None]) -> None:
        self._base = base
        self._rebuild = rebuild  # what fills this index when its file is missing or insane
        self._offsets = array("i")
        self._positions = array("i")
        self.file = _IndexFile(disk, path)
        self.is_loaded = False

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, last_offset: int, position: int) -> None:
        self._offsets.append(last_offset - self._base)
        self._positions.append(position)

    def position_for(self, offset: int) -> int:
        """Where to start looking for `offset`: no batch before that position reaches it."""
        if not self.is_loaded:
            self._rebuild()
        slot = bisect_right(self._offsets, min(offset - self._base, RELATIVE_OFFSET_MAX)) - 1
        return self._positions[slot] if slot >= 0 else 0

    def boundary_at_most(self, position: int) -> int:
        """The last batch start known at or before `position`."""
        if not self.is_loaded:
            self._rebuild()
        slot = bisect_right(self._positions, min(position, RELATIVE_OFFSET_MAX)) - 1
        return self._positions[slot] if slot >= 0 else 0

    def last_position(self) -> int:
        return self._positions[-1] if self._positions else 0

    def last_offset(self) -> int:
        """Offset of the last entry; below the base when there is none."""
        return self._base + self._offsets[-1] if self._offsets else self._base - 1

    def load(self, log_size: int) -> None:
        """Read the file. InsaneIndex when it cannot belong to a log of `log_size` bytes."""
        data = self.file.read()
        if data is None:
            raise InsaneIndex("missing")
        if len(data) % _OFFSET_ENTRY:
            raise InsaneIndex(f"{len(data)} bytes are no whole number of entries")
        both = array("i", data)
        if _SWAP:
            both.byteswap()
        offsets, positions = both[0::2], both[1::2]
        if offsets and (
            offsets[0] < 0 or positions[0] < 0 or positions[-1] >= log_size or not _rises(offsets)
        ):
            raise InsaneIndex("offsets or positions out of order")
        if not _rises(positions):
            raise InsaneIndex("positions out of order")
        self._offsets, self._positions = offsets, positions
        self.file.saved = len(offsets)
        self.file.is_exact = True
        self.is_loaded = True

    def reset(self) -> None:
        """Forget all entries, to be filled anew."""
        self._offsets, self._positions = array("i"), array("i")
        self.file.saved = 0
        self.file.is_exact = False
        self.is_loaded = True

    def cut_position(self, position: int) -> None:
        """Drop the entries at `position` and beyond."""
        self._keep(bisect_left(self._positions, position))

    def _keep(self, count: int) -> None:
        del self._offsets[count:]
        del self._positions[count:]
        self.file.keep(count)

    def save(self) -> None:
        if not self.is_loaded:
            return
        saved = self.file.saved
        if saved == len(self._offsets) and self.file.is_exact:
            return
        both = array("i", bytes(_OFFSET_ENTRY * (len(self._offsets) - saved)))
        both[0::2] = self._offsets[saved:]
        both[1::2] = self._positions[saved:]
        if _SWAP:
            both.byteswap()
        self.file.write(both.tobytes(), _OFFSET_ENTRY)

    def unload(self) -> None:
        """Give the memory back; everything is in the file."""
        if not self.is_loaded:
            return
        assert self.file.saved == len(self._offsets), "unsaved entries"
        self._offsets, self._positions = array("i"), array("i")
        self.is_loaded = False


class TimeIndex:
    """Timestamp to offset. Timestamps rise strictly, offsets never fall."""

    __slots__ = ("_base", "_offsets", "_rebuild", "_timestamps", "file", "is_loaded")

    def __init__(self, disk: Disk, path: str, base: int, rebuild: Callable[[], None]) -> None:
        self._base = base
        self._rebuild = rebuild
        self._timestamps = array("q")
        self._offsets = array("i")
        self.file = _IndexFile(disk, path)
        self.is_loaded = False

    def __len__(self) -> int:
        return len(self._timestamps)

    def append(self, timestamp: int, offset: int) -> None:
        """Add an entry unless the last one says as much."""
        if timestamp > (self._timestamps[-1] if self._timestamps else -1):
            self._timestamps.append(timestamp)
            self._offsets.append(offset - self._base)

    def last(self) -> tuple[int, int]:
        """(timestamp, offset) of the last entry; (-1, base) when there is none."""
        if not self.is_loaded:
            self._rebuild()
        if not self._timestamps:
            return -1, self._base
        return self._timestamps[-1], self._base + self._offsets[-1]

    def offset_before(self, timestamp: int) -> int:
        """An offset up to which every record is older than `timestamp`; the base if none is
        known.
        """
        if not self.is_loaded:
            self._rebuild()
        slot = bisect_left(self._timestamps, timestamp) - 1
        return self._base + (self._offsets[slot] if slot >= 0 else 0)

    def load(self, log_size: int) -> None:
        """Read the file. InsaneIndex when it makes no sense beside a log of `log_size` bytes."""
        data = self.file.read()
        if data is None:
            raise InsaneIndex("missing")
        if len(data) % _TIME_ENTRY:
            raise InsaneIndex(f"{len(data)} bytes are no whole number of entries")
        timestamps = array("q", _columns(data, 0, 8))
        offsets = array("i", _columns(data, 8, 4))
        if _SWAP:
            timestamps.byteswap()
            offsets.byteswap()
        if timestamps and (not log_size or offsets[0] < 0 or not _rises(timestamps)):
            raise InsaneIndex("timestamps out of order")
        if offsets and not _never_falls(offsets):
            raise InsaneIndex("offsets out of order")
        self._timestamps, self._offsets = timestamps, offsets
        self.file.saved = len(timestamps)
        self.file.is_exact = True
        self.is_loaded = True

    def reset(self) -> None:
        self._timestamps, self._offsets = array("q"), array("i")
        self.file.saved = 0
        self.file.is_exact = False
        self.is_loaded = True

    def cut_offset(self, offset: int) -> None:
        """Drop the entries at `offset` and beyond."""
        count = bisect_left(self._offsets, offset - self._base)
        del self._timestamps[count:]
        del self._offsets[count:]
        self.file.keep(count)

    def save(self) -> None:
        if not self.is_loaded:
            return
        saved = self.file.saved
        if saved == len(self._timestamps) and self.file.is_exact:
            return
        timestamps, offsets = self._timestamps[saved:], self._offsets[saved:]
        if _SWAP:
            timestamps.byteswap()
            offsets.byteswap()
        entries = bytearray(_TIME_ENTRY * len(timestamps))
        _put_columns(entries, timestamps.tobytes(), 0, 8)
        _put_columns(entries, offsets.tobytes(), 8, 4)
        self.file.write(bytes(entries), _TIME_ENTRY)

    def unload(self) -> None:
        if not self.is_loaded:
            return
        assert self.file.saved == len(self._timestamps), "unsaved entries"
        self._timestamps, self._offsets = array("q"), array("i")
        self.is_loaded = False


def _columns(entries: bytes, start: int, width: int) -> bytearray:
    """Bytes `start` to `start + width` of each time index entry, byte by byte of all entries at
    once: an index may have a quarter of a million of them, and the loop waits."""
    found = bytearray(len(entries) // _TIME_ENTRY * width)
    for at in range(width):
        found[at::width] = entries[start + at :: _TIME_ENTRY]
    return found


def _put_columns(entries: bytearray, column: bytes, start: int, width: int) -> None:
    for at in range(width):
        entries[start + at :: _TIME_ENTRY] = column[at::width]


def _checked(values: "array[int]") -> list[int]:
    """All of a small index; of a large one enough to meet every page, as pages are what a power cut
    loses, to zeros."""
    if len(values) < _CHECKED_WHOLE:
        return values.tolist()
    return [*values[:-1:_CHECKED_EVERY], values[-1]]


def _never_falls(values: "array[int]") -> bool:
    checked = _checked(values)
    return checked == sorted(checked)


def _rises(values: "array[int]") -> bool:
    checked = _checked(values)
    return checked == sorted(set(checked))


__all__ = ["RELATIVE_OFFSET_MAX", "InsaneIndex", "OffsetIndex", "TimeIndex"]
