"""What one partition log is told by its topic's configuration."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from ottla.broker.errors import InvalidConfig
from ottla.protocol.kafka.compression import Codec

FOREVER: Final = (1 << 63) - 1
"""The configuration's way to say never, in ms or messages."""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

_LZ4_FAST: Final = 9
_CODECS: Final = {
    "producer": None,
    "uncompressed": Codec.NONE,
    "gzip": Codec.GZIP,
    "snappy": Codec.SNAPPY,
    "lz4": Codec.LZ4,
    "zstd": Codec.ZSTD,
}


class TimestampType(Enum):
    """`message.timestamp.type`: whose clock a record's timestamp comes from."""

    CREATE_TIME = "CreateTime"
    LOG_APPEND_TIME = "LogAppendTime"


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The resolved topic configuration, by the names of its keys. InvalidConfig on bad values.

    Times are in ms. -1 for the retentions and `FOREVER` for the rest mean no limit.
    """

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * _DAY_MS
    segment_jitter_ms: int = 0
    segment_index_bytes: int = 10 << 20
    index_interval_bytes: int = 4096
    retention_ms: int = 7 * _DAY_MS
    retention_bytes: int = -1
    max_message_bytes: int = (1 << 20) + 12
    flush_messages: int = FOREVER
    flush_ms: int = FOREVER
    cleanup_policy: frozenset[str] = frozenset({"delete"})
    timestamp_type: TimestampType = TimestampType.CREATE_TIME
    timestamp_before_max_ms: int = FOREVER
    timestamp_after_max_ms: int = _HOUR_MS
    file_delete_delay_ms: int = 60_000
    producer_id_expiration_ms: int = _DAY_MS
    compression_type: str = "producer"
    gzip_level: int = -1
    lz4_level: int = 9
    zstd_level: int = 3
    delete_retention_ms: int = _DAY_MS
    min_cleanable_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = FOREVER

    codec: Codec | None = field(init=False, default=None)
    """The codec that batches are brought to; None leaves each as its producer made it."""
    codec_level: int | None = field(init=False, default=None)
    """The level to pack with, where the codec has levels and it is not the codec's own choice."""
    is_compacted: bool = field(init=False, default=False)
    roll_ms: int = field(init=False, default=0)
    """Age at which a segment is closed: what `max.compaction.lag.ms` allows, if that is less."""
    stamps: bool = field(init=False, default=False)
    """Whether the broker's clock replaces the producers' timestamps."""
    takes_runs: bool = field(init=False, default=False)
    """Whether a plain batch is appended as it is, and acknowledged without a flush."""
    offset_index_entries_max: int = field(init=False, default=0)
    time_index_entries_max: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.compression_type not in _CODECS:
            raise InvalidConfig(
                f"compression.type is {self.compression_type!r}, not one of {', '.join(_CODECS)}"
            )
        if not self.cleanup_policy <= {"delete", "compact"}:
            raise InvalidConfig("cleanup.policy takes delete and compact only")
        for name, lowest in (("segment_bytes", 14), ("segment_ms", 1), ("segment_index_bytes", 4)):
            if getattr(self, name) < lowest:
                raise InvalidConfig(f"{name.replace('_', '.')} is below {lowest}")
        derive = object.__setattr__  # the one time that a frozen object is not yet finished
        derive(self, "codec", _CODECS[self.compression_type])
        levels = {
            Codec.GZIP: None if self.gzip_level == -1 else self.gzip_level,
            # As in Kafka, the default is the fast way, and any other level the thorough one.
            Codec.LZ4: None if self.lz4_level == _LZ4_FAST else self.lz4_level,
            Codec.ZSTD: self.zstd_level,
        }
        derive(self, "codec_level", None if self.codec is None else levels.get(self.codec))
        derive(self, "is_compacted", "compact" in self.cleanup_policy)
        is_bounded = self.is_compacted and self.max_compaction_lag_ms > 0
        lag_ms = self.max_compaction_lag_ms if is_bounded else FOREVER
        derive(self, "roll_ms", min(self.segment_ms, lag_ms))
        derive(self, "stamps", self.timestamp_type is TimestampType.LOG_APPEND_TIME)
        takes_runs = self.codec is None and not self.is_compacted and not self.stamps
        takes_runs = takes_runs and self.timestamp_before_max_ms == self.flush_messages == FOREVER
        derive(self, "takes_runs", takes_runs)
        derive(self, "offset_index_entries_max", self.segment_index_bytes // 8)
        # One slot stays free for the entry that a roll adds.
        derive(self, "time_index_entries_max", self.segment_index_bytes // 12 - 1)


__all__ = ["FOREVER", "LogConfig", "TimestampType"]
