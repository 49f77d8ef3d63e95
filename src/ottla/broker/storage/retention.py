"""How many of a log's oldest segments are due to go: values in, a count out."""

from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.segments import Segments


def count_expired(
    segments: Segments, config: LogConfig, *, log_start: int, log_end: int, now_ms: int, limit: int
) -> int:
    """Oldest segments that are below the log start, or too much, or too old (the latter two where
    `cleanup.policy` has delete). None that reaches offset `limit`, the high watermark, counts.
    """
    count = sum(1 for base in segments.bases[1:] if base <= log_start)
    if "delete" in config.cleanup_policy:
        by_size = _count_by_size(segments, config.retention_bytes)
        count = max(count, by_size, _count_by_time(segments, config.retention_ms, now_ms))
    ends = [*segments.bases[1:], log_end]
    return min(count, sum(1 for end in ends if end <= limit))


def _count_by_size(segments: Segments, retention_bytes: int) -> int:
    """Segments without which the log still has `retention_bytes`."""
    if retention_bytes < 0:
        return 0
    excess = segments.size_bytes - retention_bytes
    count = 0
    for segment in segments.all:
        if segment.size > excess:
            break
        excess -= segment.size
        count += 1
    return count


def _count_by_time(segments: Segments, retention_ms: int, now_ms: int) -> int:
    """Segments whose youngest record is older than `retention_ms`."""
    if retention_ms < 0:
        return 0
    count = 0
    for segment in segments.all:
        youngest = segment.max_timestamp
        if now_ms - (youngest if youngest >= 0 else segment.created_ms) <= retention_ms:
            break
        count += 1
    return count


__all__ = ["count_expired"]
