"""A segment's `.log` file, line by line as Kafka 3.9's `DumpLogSegments` prints it."""

from dataclasses import dataclass
from pathlib import Path

from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    DELETE_HORIZON_BIT,
    BatchHeader,
    ControlMarker,
    CorruptRecord,
    Record,
    last_sequence,
    read_control_marker,
    read_header,
    read_records,
    validate_crc,
)
from ottla.runtime.interfaces import BytesLike
from ottla.scripts.dump.contents import Parser
from ottla.scripts.dump.mapped import mapped

EVERYTHING = 0x7FFFFFFF
_TIMES = {-1: "NoTimestampType", 0: "CreateTime", 1: "LogAppendTime"}
_MARKERS = {ABORT_MARKER: "ABORT", COMMIT_MARKER: "COMMIT"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a `.log` file is printed. `deep`: its records; `parser`: keys and payloads too."""

    deep: bool = False
    parser: Parser | None = None
    skip_record_metadata: bool = False
    max_bytes: int = EVERYTHING


def dump_batches(path: Path, wanted: Wanted) -> list[str]:
    """Print a `.log` file; what is wrong with it, a line each. OSError."""
    with mapped(path) as data:
        return _Dump(path, data, wanted).run()


class _Dump:
    def __init__(self, path: Path, data: BytesLike, wanted: Wanted) -> None:
        self._path = path
        self._data = data
        self._wanted = wanted
        self._last_offset = -1
        self._gaps: list[str] = []
        self._damages: list[str] = []

    def run(self) -> list[str]:
        print(f"Log starting offset: {int(self._path.stem)}")
        data, position = self._data, 0
        end = min(len(data), self._wanted.max_bytes)
        while position < end:
            try:
                header = read_header(data, position)
            except CorruptRecord as error:
                self._damages.append(f"at position {position}: {error}")
                break
            if position + header.size > end:
                break
            self._batch(position, header)
            position += header.size
        if position < len(data) and self._wanted.max_bytes == EVERYTHING:
            print(f"Found {len(data) - position} invalid bytes at the end of {self._path.name}")
            self._damages.append(f"{len(data) - position} bytes from position {position} on")
        faults = []
        if self._damages:
            faults += [f"Damage in {self._path.absolute()}", *self._damages]
        if self._gaps:
            faults += [f"Non-consecutive offsets in {self._path.absolute()}", *self._gaps[::-1]]
        return faults

    def _batch(self, position: int, header: BatchHeader) -> None:
        is_valid = True
        try:
            validate_crc(self._data, position, header)
        except CorruptRecord as error:
            is_valid = False
            self._damages.append(f"at position {position}: {error}")
        print(_batch_line(position, header, is_valid=is_valid))
        if not self._wanted.deep:
            return
        at = memoryview(self._data)[position : position + header.size]
        try:
            records = read_records(at)
            marker = read_control_marker(at) if header.is_control else None
        except DecodeError as error:
            self._damages.append(f"at position {position}: {error}")
            return
        finally:
            at.release()
        for record in records:
            self._record(header, record, marker)

    def _record(self, header: BatchHeader, record: Record, marker: ControlMarker | None) -> None:
        if self._last_offset >= 0 and record.offset != self._last_offset + 1:
            self._gaps.append(f"{self._last_offset} is followed by {record.offset}")
        self._last_offset = record.offset
        wanted = self._wanted
        line, before_key = "", "| "
        if not wanted.skip_record_metadata:
            line, before_key = f"| {_record_words(header, record)}", " "
            if marker is not None and marker.type in _MARKERS:
                line += f" endTxnMarker: {_MARKERS[marker.type]}"
                line += f" coordinatorEpoch: {marker.home_epoch}"
        if wanted.parser is not None and not header.is_control:
            key, payload = wanted.parser(record)
            line += "" if key is None else f"{before_key}key: {key}"
            line += "" if payload is None else f" payload: {payload}"
        print(line)


def _batch_line(position: int, header: BatchHeader, *, is_valid: bool) -> str:
    horizon = "OptionalLong.empty"
    if header.attributes & DELETE_HORIZON_BIT:
        horizon = f"OptionalLong[{header.base_timestamp}]"
    words = {
        "baseOffset": header.base_offset,
        "lastOffset": header.last_offset,
        "count": header.record_count,
        "baseSequence": header.base_sequence,
        "lastSequence": header.last_sequence,
        "producerId": header.producer_id,
        "producerEpoch": header.producer_epoch,
        "partitionLeaderEpoch": header.partition_leader_epoch,
        "isTransactional": _bool(header.is_transactional),
        "isControl": _bool(header.is_control),
        "deleteHorizonMs": horizon,
        "position": position,
        _TIMES[header.timestamp_type]: header.max_timestamp,
        "size": header.size,
        "magic": header.magic,
        "compresscodec": _codec(header),
        "crc": header.crc,
        "isvalid": _bool(is_valid),
    }
    return " ".join(f"{name}: {value}" for name, value in words.items())


def _record_words(header: BatchHeader, record: Record) -> str:
    sequence = last_sequence(header.base_sequence, record.offset - header.base_offset)
    words = {
        "offset": record.offset,
        _TIMES[header.timestamp_type]: record.timestamp,
        "keySize": _size(record.key),
        "valueSize": _size(record.value),
        "sequence": sequence,
        "headerKeys": "[" + ",".join(name for name, _ in record.headers) + "]",
    }
    return " ".join(f"{name}: {value}" for name, value in words.items())


def _codec(header: BatchHeader) -> str:
    try:
        return header.codec.name.lower()
    except CorruptRecord as error:
        return str(error)


def _size(data: bytes | None) -> int:
    return -1 if data is None else len(data)


def _bool(value: bool) -> str:
    return "true" if value else "false"


__all__ = ["EVERYTHING", "Wanted", "dump_batches"]
