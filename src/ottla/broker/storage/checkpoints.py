"""Kafka's checkpoint files: small text files with a fact per partition of a log directory.

A line with the version 0, a line with the count of entries, one entry per line. In the files of a
log directory an entry is `<topic> <partition> <offset>`:

| file                               | offset                                                     |
|------------------------------------|------------------------------------------------------------|
| `recovery-point-offset-checkpoint` | everything below is on stable storage                      |
| `replication-offset-checkpoint`    | high watermark                                             |
| `log-start-offset-checkpoint`      | log start, where it is above the first segment's base      |
| `cleaner-offset-checkpoint`        | where the next compaction begins, for compacted logs       |
"""

from collections.abc import Iterable, Mapping

from ottla.broker.ids import TopicPartition

RECOVERY_POINTS = "recovery-point-offset-checkpoint"
CLEANER_OFFSETS = "cleaner-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
LOG_STARTS = "log-start-offset-checkpoint"

_VERSION = "0"


class MalformedCheckpoint(Exception):
    """The content is not that of a checkpoint file, or it is cut."""


def encode_lines(lines: Iterable[str]) -> bytes:
    entries = list(lines)
    return "".join(f"{line}\n" for line in (_VERSION, str(len(entries)), *entries)).encode()


def decode_lines(data: bytes) -> list[str]:
    """The entries. An empty file has none. MalformedCheckpoint."""
    if not data:
        return []
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise MalformedCheckpoint("not UTF-8") from None
    if lines[0] != _VERSION:
        raise MalformedCheckpoint(f"version {lines[0]!r}, not {_VERSION}")
    entries = lines[2:]
    if len(lines) > 1 and lines[1] != str(len(entries)):
        raise MalformedCheckpoint(f"{len(entries)} entries, not {lines[1]!r}")
    return entries


def encode_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    return encode_lines(f"{tp.topic} {tp.partition} {offset}" for tp, offset in offsets.items())


def decode_offsets(data: bytes) -> dict[TopicPartition, int]:
    """MalformedCheckpoint when `data` is not what `encode_offsets` writes."""
    offsets: dict[TopicPartition, int] = {}
    for line in decode_lines(data):
        try:
            topic, partition, offset = line.split()
            offsets[TopicPartition(topic, int(partition))] = int(offset)
        except ValueError:
            raise MalformedCheckpoint(f"no topic, partition and offset: {line!r}") from None
    return offsets


__all__ = [
    "CLEANER_OFFSETS",
    "HIGH_WATERMARKS",
    "LOG_STARTS",
    "RECOVERY_POINTS",
    "MalformedCheckpoint",
    "decode_lines",
    "decode_offsets",
    "encode_lines",
    "encode_offsets",
]
