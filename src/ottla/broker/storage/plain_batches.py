"""Appends that need no more than a look at a header: many of them become one write.

A *plain* batch is what most produce requests carry: one batch of a client, not transactional, whose
producer's sequence goes on where it was. Where `assign_plain` meets another, it stops; which error
that one deserves, if any, is for `batches.assign` to say.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from ottla.broker.errors import BrokerError
from ottla.broker.storage.batches import AppendedBatch
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Origin, Producers
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.crc import crc32c
from ottla.protocol.kafka.records import (
    CRC_FROM,
    HEADER_BYTES,
    HEADER_STRUCT,
    LENGTH_PREFIX_BYTES,
    MAGIC,
    SEQUENCE_MAX,
)

_PREFIX = struct.Struct(">qii").pack_into  # base offset, length, partition leader epoch
_BASE_OFFSET = struct.Struct(">q").pack_into
_HEADER = HEADER_STRUCT.unpack_from


class PlainRun(NamedTuple):
    """Batches with offsets, one behind the other; none: all lists are empty.

    timestamp: the youngest, of the batch that ends at `timestamp_offset`. first_last: the last
    offset of the first batch. of_producers: the batches that have sequences.
    """

    first_offsets: list[int]
    positions: list[int]
    size: int
    next_offset: int
    first_last: int
    timestamp: int
    timestamp_offset: int
    of_producers: list[AppendedBatch]


def assign_plain(
    parts: Sequence[memoryview],
    config: LogConfig,
    producers: Producers,
    *,
    next_offset: int,
    leader_epoch: int,
    now_ms: int,
) -> PlainRun:
    """Write offsets and epoch into as many of `parts` as are plain batches, from the first on."""
    size_max = config.max_message_bytes
    newest = now_ms + config.timestamp_after_max_ms
    first_offsets: list[int] = []
    positions: list[int] = []
    of_producers: list[AppendedBatch] = []
    position = 0
    first_last = timestamp_offset = -1
    timestamp = -(1 << 63)
    for part in parts:
        size = len(part)
        if size < HEADER_BYTES or size > size_max or part.readonly:
            break
        (
            given_offset,
            length,
            _,
            magic,
            crc,
            attributes,
            delta,
            _,
            batch_timestamp,
            producer_id,
            producer_epoch,
            sequence,
            count,
        ) = _HEADER(part)
        if (
            length != size - LENGTH_PREFIX_BYTES
            or given_offset
            or magic != MAGIC
            or not 0 <= attributes <= Codec.ZSTD  # nothing but the codec
            or count < 1
            or delta != count - 1
            or batch_timestamp > newest
            or crc32c(part[CRC_FROM:]) != crc
        ):
            break
        if producer_id >= 0:
            batch = AppendedBatch(
                producer_id,
                producer_epoch,
                sequence,
                (sequence + delta) & SEQUENCE_MAX,
                next_offset,
                next_offset + delta,
                batch_timestamp,
                False,
                None,
                leader_epoch,
                position,
                size,
            )
            if not _goes_on(batch, producers, of_producers):
                break
            of_producers.append(batch)
        _PREFIX(part, 0, next_offset, length, leader_epoch)
        first_offsets.append(next_offset)
        positions.append(position)
        position += size
        next_offset += count
        if batch_timestamp > timestamp:
            timestamp, timestamp_offset = batch_timestamp, next_offset - 1
        if first_last < 0:
            first_last = next_offset - 1
    return PlainRun(
        first_offsets,
        positions,
        position,
        next_offset,
        first_last,
        timestamp,
        timestamp_offset,
        of_producers,
    )


def _goes_on(batch: AppendedBatch, producers: Producers, run: Sequence[AppendedBatch]) -> bool:
    """Whether the batch is the next of its producer, of which the run has none so far."""
    if batch.first_sequence < 0:
        return False
    for other in run:
        if other.producer_id == batch.producer_id:
            return False
    if producers.duplicate_of(batch) is not None:
        return False
    try:
        producers.check(batch, Origin.CLIENT)
    except BrokerError:
        return False
    return True


def take_back(parts: Sequence[memoryview]) -> None:
    """Make batches what their clients sent, but for the leader epoch, which every append sets."""
    for part in parts:
        _BASE_OFFSET(part, 0, 0)


__all__ = ["PlainRun", "assign_plain", "take_back"]
