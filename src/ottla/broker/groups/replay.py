"""Reads a partition of the offsets topic and applies its records, as a new owner of its groups.

Transactional offsets count from their commit marker on. A record that makes no sense is left out
with an event: the others are worth more than a group home that does not start. So is a batch that
the disk damaged, if no replica in sync has it sound; if one has, that one becomes the home.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from ottla.broker.groups.group import Group
from ottla.broker.groups.records import GroupKey, OffsetKey, decode_group, decode_key, decode_offset
from ottla.broker.groups.seam import OffsetsPartition
from ottla.broker.storage.reading import FileRange
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import (
    COMMIT_MARKER,
    BatchHeader,
    CorruptRecord,
    Record,
    iter_headers,
    read_control_marker,
    read_records,
    validate_crc,
)
from ottla.runtime.interfaces import Events

_READS_MAX = 3
"""How often bytes are read that are wrong now and right when one looks again."""

_RECORDS_PER_TURN = 200
"""How many records are applied before other tasks get their turn: about a millisecond."""


class _ReadAgain(Exception):
    """The bytes on the disk are right, what was read was not."""


@dataclass(slots=True)
class Replay:
    """One pass over one log. `group_of` gives the group of an id, made when it is new."""

    partition: OffsetsPartition
    group_of: Callable[[str], Group]
    buffer_bytes: int
    events: Events
    records: int = 0
    reads: int = 0  # of the same bytes
    open_transactions: dict[int, dict[str, None]] = field(default_factory=dict)  # producer -> ids

    async def run(self) -> None:
        """Apply everything up to the log's end as of now. BrokerError, OSError of the log.

        CorruptLog: it is damaged, and the leadership moves to a replica that is not.
        """
        log = self.partition.log
        offset, end = log.log_start, log.log_end
        since_turn = 0
        while offset < end:
            found = log.read(offset, self.buffer_bytes, end=end, at_least_one=True).data
            if isinstance(found, bytes):
                break  # compaction took the end
            data = found.read()
            before = offset
            try:
                for position, header in iter_headers(data):
                    applied = self._apply_batch(found, data, position, header)
                    offset = header.last_offset + 1
                    since_turn += applied + 1
                    if since_turn >= _RECORDS_PER_TURN:
                        since_turn = 0
                        await trio.lowlevel.checkpoint()
                if offset == before:
                    raise CorruptRecord("its length is wrong")
                self.reads = 0
            except _ReadAgain:
                continue
            except CorruptRecord as error:
                if self._reads_right_now(found, offset):
                    continue
                self._skipped("groups.log_unreadable", offset, error)
                return
        await trio.lowlevel.checkpoint()

    def _reads_right_now(self, found: FileRange, offset: int) -> bool:
        """What to do about bytes that are no sound batches. CorruptLog, see `run`."""
        self.reads += 1
        return not self.partition.is_damaged(found, offset) and self.reads < _READS_MAX

    def _apply_batch(
        self, found: FileRange, data: bytes, position: int, header: BatchHeader
    ) -> int:
        try:
            validate_crc(data, position, header)
        except CorruptRecord as error:
            if self._reads_right_now(found, header.base_offset):
                raise _ReadAgain from None
            self._skipped("groups.batch_skipped", header.base_offset, error)
            return 1
        try:
            if header.is_control:
                marker = read_control_marker(data, position)
                if marker is not None:
                    self._end_transaction(header.producer_id, commit=marker.type == COMMIT_MARKER)
                return 1
            records = read_records(data, position)
        except DecodeError as error:
            self._skipped("groups.batch_skipped", header.base_offset, error)
            return 1
        for record in records:
            try:
                self._apply(record, header.producer_id if header.is_transactional else None)
            except DecodeError as error:
                self._skipped("groups.record_skipped", record.offset, error)
        self.records += len(records)
        return len(records)

    def _apply(self, record: Record, producer_id: int | None) -> None:
        if record.key is None:
            raise DecodeError("a record without a key")
        key, value = decode_key(record.key), record.value
        match key:
            case OffsetKey(group_id, tp):
                entry = None if value is None else decode_offset(value)
                offsets = self.group_of(group_id).offsets
                if producer_id is None:
                    offsets.apply(tp, entry, record.offset)
                else:
                    offsets.apply_transactional(producer_id, tp, entry, record.offset)
                    self.open_transactions.setdefault(producer_id, {})[group_id] = None
            case GroupKey(group_id):
                self.group_of(group_id).apply(None if value is None else decode_group(value))
            case None:
                self.events.debug(
                    "groups.key_ignored", partition=str(self.partition.tp), offset=record.offset
                )

    def _end_transaction(self, producer_id: int, *, commit: bool) -> None:
        for group_id in self.open_transactions.pop(producer_id, {}):
            self.group_of(group_id).offsets.apply_marker(producer_id, commit=commit)

    def _skipped(self, event: str, offset: int, error: DecodeError) -> None:
        self.events.error(event, partition=str(self.partition.tp), offset=offset, reason=str(error))


__all__ = ["Replay"]
