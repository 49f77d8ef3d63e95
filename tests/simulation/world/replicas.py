"""Whether replicas of one partition hold the same, as bytes or, once compacted, as records.

Each broker compacts its copy by itself (KIP-58 and before), so copies of a compacted partition
differ in bytes. What they may not differ in: an offset that both still have holds the same record,
and what one has as the newest value of a key the other has too, or a newer one. Values of aborted
transactions count for nothing, and a key without a value may be there or not.
"""

from ottla.broker.storage.log import Log
from ottla.protocol.kafka.records import (
    COMMIT_MARKER,
    Record,
    iter_headers,
    read_all_records,
    read_control_marker,
)

_READ_BYTES = 1 << 20
Keyed = dict[bytes, Record]


def batches(log: Log, start: int, end: int) -> bytes:
    """The batches of `log` from the one with `start` to the one before `end`."""
    parts = []
    while start < end:
        info = log.read(start, _READ_BYTES, end=end, at_least_one=True)
        data = info.data.read() if info.data else b""
        if not data:
            break
        parts.append(data)
        last = -1
        for _, header in iter_headers(data):
            last = header.last_offset
        assert last >= start, (last, start)
        start = last + 1
    return b"".join(parts)


def known_end(log: Log, high_watermark: int) -> int:
    """Below which offset this copy of a compacted partition is to be read.

    After a start a follower's high watermark may be old until its leader tells it the present one,
    while its former life has compacted every sealed segment: what replaces a record may be beyond.
    """
    return max(high_watermark, log.sealed_segments()[1])


def compacted_difference(
    left: bytes, right: bytes, end: int, *, tombstones_go: bool = False
) -> str | None:
    """What contradicts itself in two copies, given as batches; None when nothing does.

    Offsets below `end` are committed in both; each may go on beyond it. With `tombstones_go` a
    deleted key may be known to nobody, or to a replica that was away while the others forgot it.
    """
    mine, theirs = _by_offset(left), _by_offset(right)
    for offset in mine.keys() & theirs.keys():
        if offset < end and mine[offset] != theirs[offset]:
            return f"offset {offset} is {mine[offset]} and {theirs[offset]}"
    for name, one, other in (("second", left, right), ("first", right, left)):
        whole = _newest(other)
        for key, record in _newest(one, end).items():
            if record.value is None or (tombstones_go and key not in whole):
                continue
            if key not in whole or whole[key].offset < record.offset:
                return f"{record} is lost in the {name}, which has {whole.get(key)}"
    return None


def _by_offset(data: bytes) -> dict[int, Record]:
    return {record.offset: record for _, records in read_all_records(data) for record in records}


def _newest(data: bytes, end: int | None = None) -> Keyed:
    """The last decided record of each key below `end`."""
    newest: Keyed = {}
    undecided: dict[int, list[Record]] = {}  # producer id -> what its open transaction wrote
    position = 0
    for header, records in read_all_records(data):
        if end is not None and header.base_offset >= end:
            break
        if header.is_control:
            marker = read_control_marker(data, position)
            written = undecided.pop(header.producer_id, [])
            if marker is not None and marker.type == COMMIT_MARKER:
                _take(newest, written)
        elif header.is_transactional:
            undecided.setdefault(header.producer_id, []).extend(records)
        else:
            _take(newest, records)
        position += header.size
    return newest


def _take(newest: Keyed, records: list[Record]) -> None:
    """A transaction is decided after its records were written: the higher offset wins."""
    for record in records:
        if record.key is not None:
            known = newest.get(record.key)
            if known is None or known.offset < record.offset:
                newest[record.key] = record
