"""Which log to compact, and what of it: segments and settings in, offsets and bytes out.

This is a core; the rules are those of Kafka's cleaner manager.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ottla.broker.storage.log_config import FOREVER, LogConfig


class SealedSegment(Protocol):
    """What is asked of a segment; the timestamps may cost a read, so only where they matter."""

    @property
    def base(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def max_timestamp(self) -> int: ...
    @property
    def first_timestamp(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Dirt:
    """The part of a log that a compaction would look at: keys from `first_dirty` on, up to `end`.

    `end` is the base of a segment; nothing from there on may be touched. `overdue`: a record there
    is older than `max.compaction.lag.ms`.
    """

    first_dirty: int
    end: int
    clean_bytes: int
    dirty_bytes: int
    overdue: bool

    @property
    def ratio(self) -> float:
        total = self.clean_bytes + self.dirty_bytes
        return self.dirty_bytes / total if total else 0.0

    def is_worth(self, config: LogConfig) -> bool:
        """Whether the log is due for a compaction."""
        if not self.dirty_bytes:
            return False
        return self.overdue or self.ratio > config.min_cleanable_ratio


def first_dirty_offset(cleaned_end: int, *, log_start: int, log_end: int) -> int:
    """Where the last compaction came to; the log's start if that makes no sense."""
    return cleaned_end if log_start <= cleaned_end <= log_end else log_start


def measure(
    sealed: Sequence[SealedSegment],
    config: LogConfig,
    *,
    first_dirty: int,
    sealed_end: int,
    stable_end: int,
    now_ms: int,
) -> Dirt:
    """What of the `sealed` segments, the last of which ends at `sealed_end`, may be compacted.

    `stable_end`: records below are replicated and in no open transaction.
    """
    ends = [*[segment.base for segment in sealed[1:]], sealed_end][: len(sealed)]
    dirty = [segment for segment, end in zip(sealed, ends, strict=True) if end > first_dirty]
    end = max(min(stable_end, sealed_end), first_dirty)
    if config.min_compaction_lag_ms > 0:
        youngest_ms = now_ms - config.min_compaction_lag_ms
        fresh = next((one.base for one in dirty if one.max_timestamp > youngest_ms), end)
        end = max(min(end, fresh), first_dirty)
    # Segments go as a whole: down to the base of the one that holds the end.
    holding = [segment.base for segment in sealed if segment.base <= end] or [end]
    end = sealed_end if end >= sealed_end else holding[-1]
    start = min(first_dirty, end)
    dirty_bytes = sum(segment.size for segment in dirty if segment.base < end and start < end)
    clean_bytes = sum(segment.size for segment in sealed if segment.base < first_dirty)
    return Dirt(first_dirty, end, clean_bytes, dirty_bytes, _is_overdue(dirty, config, now_ms))


def _is_overdue(dirty: Sequence[SealedSegment], config: LogConfig, now_ms: int) -> bool:
    if config.max_compaction_lag_ms == FOREVER:
        return False
    oldest_ms = now_ms - max(config.max_compaction_lag_ms, 0)
    return any(0 < segment.first_timestamp < oldest_ms for segment in dirty)


__all__ = ["Dirt", "SealedSegment", "first_dirty_offset", "measure"]
