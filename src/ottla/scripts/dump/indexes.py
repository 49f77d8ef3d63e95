"""What lies beside a segment's `.log`: its indexes and the producers' snapshot.

Printed as Kafka 3.9's `DumpLogSegments` does, entries held against the `.log` file.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ottla.broker.storage.producers import CorruptSnapshot, decode_snapshot
from ottla.protocol.kafka.records import BatchHeader, CorruptRecord, iter_headers, read_header
from ottla.runtime.interfaces import BytesLike
from ottla.scripts.dump.mapped import mapped

_OFFSET_ENTRY = struct.Struct(">ii")
_TIME_ENTRY = struct.Struct(">qi")
_TXN_ENTRY = struct.Struct(">hqqqq")


@dataclass(frozen=True, slots=True)
class Check:
    """`sanity_only`: whether a start would keep the file; `verify_only`: print no entries."""

    sanity_only: bool = False
    verify_only: bool = False


def dump_offset_index(path: Path, check: Check) -> list[str]:
    """Print an `.index` file; what is wrong with it, a line each. OSError."""
    base = int(path.stem)
    with mapped(path) as index, mapped(path.with_suffix(".log")) as log:
        if len(index) < _OFFSET_ENTRY.size:
            print(f"{path} is empty.")
            return []
        entries = list(_offset_entries(index, base))
        if check.sanity_only:
            return _sanity(path, len(index), _OFFSET_ENTRY.size, entries[-1][0] >= base)
        mismatches = []
        for offset, position in entries:
            found = _last_offset_at(log, position)
            if found != offset:
                mismatches.append(f"Index offset: {offset}, log offset: {found}")
            if not check.verify_only:
                print(f"offset: {offset} position: {position}")
    return [f"Mismatches in :{path.absolute()}", *mismatches[::-1]] if mismatches else []


def dump_time_index(path: Path, check: Check) -> list[str]:
    """Print a `.timeindex` file; what is wrong with it, a line each. OSError."""
    base = int(path.stem)
    with mapped(path) as index, mapped(path.with_suffix(".log")) as log:
        entries = list(_time_entries(index, base))
        if check.sanity_only:
            rises = entries == sorted(entries)
            return _sanity(path, len(index), _TIME_ENTRY.size, rises)
        batches = _batches(log)
        header: BatchHeader | None = None
        before, wrong, disordered, absent = -1, [], [], []
        for timestamp, offset in entries:
            while header is None or header.last_offset < offset:
                header = next(batches, None)
                if header is None:
                    break
            if header is None or header.last_offset != offset:
                found = -1 if header is None else header.last_offset
                absent.append(f"Indexed offset: {offset}, found log offset: {found}")
            else:
                if header.max_timestamp != timestamp:
                    stands = f"log timestamp: {header.max_timestamp}"
                    wrong.append(f"Index timestamp: {timestamp}, {stands}")
                if before >= timestamp:
                    earlier = f"Previously indexed timestamp: {before}"
                    disordered.append(f"Index timestamp: {timestamp}, {earlier}")
            if not check.verify_only:
                print(f"timestamp: {timestamp} offset: {offset}")
            before = timestamp
    faults = []
    if wrong:
        faults += [f"Found timestamp mismatch in :{path.absolute()}", *wrong]
    if disordered:
        faults += [f"Found out of order timestamp in :{path.absolute()}", *disordered]
    if absent:
        faults += ["The following indexed offsets are not found in the log.", *absent]
    return faults


def dump_txn_index(path: Path) -> list[str]:
    """Print a `.txnindex` file. OSError."""
    with mapped(path) as data:
        whole = len(data) - len(data) % _TXN_ENTRY.size
        for version, *rest in _TXN_ENTRY.iter_unpack(data[:whole]):
            producer_id, first, last, stable = rest
            print(f"version: {version} producerId: {producer_id} firstOffset: {first} "
                  f"lastOffset: {last} lastStableOffset: {stable}")  # fmt: skip
        if whole != len(data):
            return [f"Damage in {path.absolute()}", f"{len(data) - whole} bytes are no entry"]
    return []


def dump_producers(path: Path) -> list[str]:
    """Print a producers' `.snapshot`. OSError."""
    try:
        producers = decode_snapshot(path.read_bytes())
    except CorruptSnapshot as error:
        return [f"Damage in {path.absolute()}", str(error)]
    for producer in producers:
        first = producer.txn_first_offset
        line = (
            f"producerId: {producer.producer_id} producerEpoch: {producer.epoch} "
            f"coordinatorEpoch: {producer.home_epoch} currentTxnFirstOffset: "
            f"{'OptionalLong.empty' if first < 0 else f'OptionalLong[{first}]'} "
            f"lastTimestamp: {producer.timestamp} "
        )
        for mark in producer.batches:
            line += (
                f"firstSequence: {mark.first_sequence} lastSequence: {mark.last_sequence} "
                f"lastOffset: {mark.last_offset} offsetDelta: "
                f"{mark.last_offset - mark.first_offset} timestamp: {mark.timestamp}"
            )
        print(line)
    return []


def _offset_entries(index: BytesLike, base: int) -> Iterator[tuple[int, int]]:
    """(offset, position). A file that was not cut after a crash ends in zeros."""
    whole = len(index) - len(index) % _OFFSET_ENTRY.size
    for number, (relative, position) in enumerate(_OFFSET_ENTRY.iter_unpack(index[:whole])):
        if relative == 0 and number:
            return
        yield base + relative, position


def _time_entries(index: BytesLike, base: int) -> Iterator[tuple[int, int]]:
    """(timestamp, offset)"""
    whole = len(index) - len(index) % _TIME_ENTRY.size
    for number, (timestamp, relative) in enumerate(_TIME_ENTRY.iter_unpack(index[:whole])):
        if relative == 0 and number:
            return
        yield timestamp, base + relative


def _sanity(path: Path, size: int, entry_bytes: int, is_sane: bool) -> list[str]:
    if size % entry_bytes or not is_sane:
        problem = f"{size} bytes of {entry_bytes} each" if size % entry_bytes else "it falls"
        return [f"Index file {path.absolute()} is corrupt:", problem]
    print(f"{path} passed sanity check.")
    return []


def _last_offset_at(log: BytesLike, position: int) -> int:
    try:
        return read_header(log, position).last_offset
    except CorruptRecord:
        return -1


def _batches(log: BytesLike) -> Iterator[BatchHeader]:
    try:
        for _, header in iter_headers(log):
            yield header
    except CorruptRecord:
        return


__all__ = ["Check", "dump_offset_index", "dump_producers", "dump_time_index", "dump_txn_index"]
