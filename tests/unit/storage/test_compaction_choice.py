"""Which part of a log may be compacted, and when that is worth it: Kafka's cleaner manager."""

from dataclasses import dataclass

import pytest

from ottla.broker.storage.compaction_choice import Dirt, first_dirty_offset, measure
from ottla.broker.storage.log_config import LogConfig

NOW_MS = 1_000_000


@dataclass
class Sealed:
    base: int
    size: int = 100
    max_timestamp: int = NOW_MS - 1000
    first_timestamp: int = NOW_MS - 1000


SEGMENTS = [Sealed(0), Sealed(10), Sealed(20), Sealed(30)]
COMPACT = frozenset({"compact"})


def dirt(
    first_dirty: int = 0, stable_end: int = 100, segments: list[Sealed] = SEGMENTS, **config: int
) -> Dirt:
    return measure(
        segments,
        LogConfig(cleanup_policy=COMPACT, **config),  # type: ignore[arg-type]
        first_dirty=first_dirty,
        sealed_end=40,
        stable_end=stable_end,
        now_ms=NOW_MS,
    )


@pytest.mark.parametrize(
    ("cleaned_end", "expected"), [(0, 5), (4, 5), (5, 5), (12, 12), (20, 20), (21, 5)]
)
def test_where_the_last_compaction_came_to_counts_if_it_is_in_the_log(
    cleaned_end: int, expected: int
) -> None:
    assert first_dirty_offset(cleaned_end, log_start=5, log_end=20) == expected


@pytest.mark.parametrize(
    ("first_dirty", "stable_end", "end", "clean_bytes", "dirty_bytes"),
    [
        (0, 100, 40, 0, 400),
        (0, 40, 40, 0, 400),
        (0, 39, 30, 0, 300),
        (0, 30, 30, 0, 300),
        (0, 9, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (20, 100, 40, 200, 200),
        (25, 100, 40, 300, 200),
        (40, 100, 40, 400, 0),
        (20, 15, 20, 200, 0),
        (25, 15, 20, 300, 0),
    ],
)
def test_segments_that_hold_anything_undecided_are_left_alone(
    first_dirty: int, stable_end: int, end: int, clean_bytes: int, dirty_bytes: int
) -> None:
    found = dirt(first_dirty, stable_end)
    assert (found.end, found.clean_bytes, found.dirty_bytes) == (end, clean_bytes, dirty_bytes)


def test_nothing_sealed_is_nothing_to_do() -> None:
    found = dirt(0, 0, [])
    assert (found.dirty_bytes, found.ratio) == (0, 0.0)
    assert not found.is_worth(LogConfig(cleanup_policy=COMPACT))


def test_ratio_has_to_be_above_the_topics() -> None:
    config = LogConfig(cleanup_policy=COMPACT, min_cleanable_ratio=0.5)
    assert not dirt(20).is_worth(config)
    assert dirt(19).is_worth(config)
    assert not dirt(40).is_worth(LogConfig(cleanup_policy=COMPACT, min_cleanable_ratio=0.0))


def test_min_compaction_lag_protects_from_the_first_young_segment_on() -> None:
    segments = [Sealed(0), Sealed(10, max_timestamp=NOW_MS - 10), Sealed(20), Sealed(30)]
    assert dirt(segments=segments, min_compaction_lag_ms=100).end == 10
    assert dirt(segments=segments, min_compaction_lag_ms=10).end == 40
    # Where the log was compacted already, that is over.
    assert dirt(20, segments=segments, min_compaction_lag_ms=100).end == 40


def test_max_compaction_lag_makes_a_clean_log_worth_it() -> None:
    config = LogConfig(cleanup_policy=COMPACT)
    segments = [*SEGMENTS[:3], Sealed(30, first_timestamp=NOW_MS - 5000)]
    assert not dirt(30, segments=segments).is_worth(config)
    assert not dirt(30, segments=segments, max_compaction_lag_ms=5000).is_worth(config)
    assert dirt(30, segments=segments, max_compaction_lag_ms=4999).is_worth(config)
    assert not dirt(40, segments=segments, max_compaction_lag_ms=1).is_worth(config)
    assert not dirt(30, 10, segments=segments, max_compaction_lag_ms=1).is_worth(config)


def test_max_compaction_lag_closes_segments() -> None:
    assert LogConfig(segment_ms=900, max_compaction_lag_ms=50).roll_ms == 900
    assert LogConfig(segment_ms=900, max_compaction_lag_ms=50, cleanup_policy=COMPACT).roll_ms == 50
    assert LogConfig(segment_ms=900, cleanup_policy=COMPACT).roll_ms == 900
