"""What the broker's configuration says about groups."""

from dataclasses import dataclass

OFFSETS_TOPIC = "__consumer_offsets"


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """One slice of the configuration; defaults are Kafka's. The comment names each key."""

    session_ms_min: int = 6_000  # group.min.session.timeout.ms
    session_ms_max: int = 1_800_000  # group.max.session.timeout.ms
    initial_rebalance_delay_ms: int = 3_000  # group.initial.rebalance.delay.ms
    size_max: int = 2**31 - 1  # group.max.size
    offset_metadata_max: int = 4_096  # offset.metadata.max.bytes
    offsets_retention_ms: int = 7 * 24 * 60 * 60_000  # offsets.retention.minutes
    retention_check_interval_ms: int = 600_000  # offsets.retention.check.interval.ms
    commit_timeout_ms: int = 5_000  # offsets.commit.timeout.ms
    load_buffer_bytes: int = 5 * 1024 * 1024  # offsets.load.buffer.size
    topic_partitions: int = 50  # offsets.topic.num.partitions
    topic_codec: int = 0  # offsets.topic.compression.codec, a Codec


__all__ = ["OFFSETS_TOPIC", "GroupSettings"]
