"""Names of the files in a partition's directory, as Kafka gives them.

`<base>` is the offset of a segment's first record in 20 decimal digits.

| name                      | what                                                             |
|---------------------------|------------------------------------------------------------------|
| `<base>.log`              | record batches, one after the other                              |
| `<base>.index`            | offset index (`indexes.OffsetIndex`)                             |
| `<base>.timeindex`        | time index (`indexes.TimeIndex`)                                 |
| `<base>.txnindex`         | aborted transactions (`txn_index.TxnIndex`), if there are any    |
| `<offset>.snapshot`       | producers as of that offset (`producers`)                        |
| `leader-epoch-checkpoint` | leader epochs and where each starts (`epochs`)                   |
| `partition.metadata`      | the topic id                                                     |
| `*.deleted`               | on its way out; removed after `file.delete.delay.ms` or at start |
| `*.cleaned`               | half a compaction; removed at start                              |
| `*.swap`                  | a whole compaction that has yet to take its name                 |
| `*.tmp`                   | a checkpoint that has yet to take its name; removed at start     |
"""

from typing import Final
from uuid import UUID

from ottla.broker.ids import TopicId

LOG: Final = ".log"
INDEX: Final = ".index"
TIME_INDEX: Final = ".timeindex"
TXN_INDEX: Final = ".txnindex"
SNAPSHOT: Final = ".snapshot"
DELETED: Final = ".deleted"
CLEANED: Final = ".cleaned"
SWAP: Final = ".swap"
UNFINISHED: Final = ".tmp"
SEGMENT_SUFFIXES: Final = (LOG, INDEX, TIME_INDEX, TXN_INDEX)

LEADER_EPOCHS: Final = "leader-epoch-checkpoint"
PARTITION_METADATA: Final = "partition.metadata"

_DIGITS = 20


def stem(offset: int) -> str:
    return f"{offset:020d}"


def offset_of(name: str, suffix: str) -> int | None:
    """The offset in `<offset><suffix>`; None when `name` is something else."""
    digits = name[: -len(suffix)]
    if not name.endswith(suffix) or len(digits) != _DIGITS:
        return None
    return int(digits) if digits.isascii() and digits.isdecimal() else None


def encode_partition_metadata(topic_id: TopicId) -> bytes:
    return f"version: 0\ntopic_id: {encode_topic_id(topic_id)}".encode()


def decode_partition_metadata(data: bytes) -> TopicId | None:
    """The topic id; None when the file is empty or half written."""
    fields = dict(
        line.split(": ", 1) for line in data.decode("ascii", "replace").splitlines() if ": " in line
    )
    if fields.get("version") != "0":
        return None
    return decode_topic_id(fields.get("topic_id", ""))


def encode_topic_id(topic_id: TopicId) -> str:
    """22 characters of URL-safe base64, the form that Kafka prints and stores."""
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")


def decode_topic_id(text: str) -> TopicId | None:
    from base64 import urlsafe_b64decode

    try:
        raw = urlsafe_b64decode(text + "==")
    except ValueError:
        return None
    return UUID(bytes=raw) if len(raw) == 16 and len(text) == 22 else None
