"""Builders for tests of the partition log: a log in memory, batches for it, its whole content."""

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.protocol.kafka.records import Record, build_batch, read_all_records
from ottla.runtime.interfaces import Disk
from ottla.runtime.memory import MemoryDisk, RecordingEvents

NOW_MS = 1_700_000_000_000
TP = TopicPartition("t", 0)
DIRECTORY = "/data/t-0"


def open_log(
    disk: Disk | None = None,
    config: LogConfig | None = None,
    *,
    clean: bool = True,
    recovery_point: int = 0,
    log_start: int = 0,
    events: RecordingEvents | None = None,
    now_ms: int = NOW_MS,
) -> Log:
    return Log.open(
        disk or MemoryDisk(),
        DIRECTORY,
        TP,
        config or LogConfig(),
        now_ms=now_ms,
        clean=clean,
        recovery_point=recovery_point,
        log_start=log_start,
        events=events or RecordingEvents(),
    )


def batch(*values: bytes, timestamp: int = NOW_MS, **fields: int) -> bytes:
    """A produced batch with keyed records; `fields` as for `build_batch`."""
    return build_batch([(b"k", value, timestamp, ()) for value in values], **fields)  # type: ignore[arg-type]


def sequenced(sequence: int, *, count: int = 1, producer_id: int = 7, epoch: int = 0) -> bytes:
    """A batch of an idempotent producer."""
    return batch(
        *[b"v"] * count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence
    )


def append(log: Log, data: bytes, *, epoch: int = 0, now_ms: int = NOW_MS) -> int:
    """Append as leader; the first offset."""
    return log.append_as_leader(data, leader_epoch=epoch, now_ms=now_ms).first_offset


def records_of(log: Log) -> list[Record]:
    """All records from the log's start to its end."""
    found: list[Record] = []
    offset = log.log_start
    while offset < log.log_end:
        info = log.read(offset, 1 << 20, end=log.log_end, at_least_one=True)
        assert not isinstance(info.data, bytes), f"nothing at {offset}"
        for header, records in read_all_records(info.data.read()):
            found += [record for record in records if record.offset >= offset]
            offset = header.last_offset + 1
    return found
