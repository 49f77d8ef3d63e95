"""Produce requests of the usual shape, recognised by their bytes and handled together.

Most requests on a busy broker are alike: one topic, one partition, one batch, all from the same few
clients. Behind the correlation id such a request begins with bytes that are the same each time:

    client id, no tags | no transactional id, acks, timeout | 1 topic: name | 1 partition: index

When a request with an unknown beginning has that shape, it is decoded once in the usual way, and
what was found is kept under these bytes, with the response's bytes but for three numbers in them.
The next one with the same beginning needs no decoding: what follows are the records and their
length, and nothing behind them.

Such requests are put off until the end of the loop's turn. All that came for one partition
meanwhile, from whatever connection, is appended with one write (`Log.append_plain`). What cannot be
appended that way is handled like any other request, in its place among those of its connection.
"""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ottla.broker.api import produce
from ottla.broker.api.api import Services
from ottla.broker.api.produce import ADMIN_CLIENT_ID, ALL
from ottla.broker.ids import TopicPartition
from ottla.broker.metadata import INTERNAL_TOPICS
from ottla.protocol.kafka import codec
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.errors import ProtocolError
from ottla.protocol.kafka.headers import decode_request_header
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)

if TYPE_CHECKING:
    from ottla.broker.partitions.partition import Partition

FIRST_VERSION, LAST_VERSION = produce.API.versions
SHAPES_MAX: Final = 4096  # beginnings that are remembered, of each version

_HEAD: Final = struct.Struct(">hhih").unpack_from  # api key, version, correlation id, client id
_INT32: Final = struct.Struct(">i").unpack_from
_INT64: Final = struct.Struct(">q")
_FLEXIBLE_FROM: Final = 9
_LOG_START_FROM: Final = 5
_ZSTD_FROM: Final = 7
_ATTRIBUTES_AT: Final = 22  # the low byte, in a batch
_LAST_DELTA_AT: Final = 23
_CODEC_BITS: Final = 0x07
# Stand for the numbers in a response that is made once; no name of a topic has such bytes.
_OFFSET_MARK: Final = 0x1122334455667788
_START_MARK: Final = 0x1021324354657687


class Shape:
    """What requests with one beginning have in common, and how they are answered."""

    __slots__ = ("acks", "has_log_start", "parts", "refuses_zstd", "response_size", "tp", "write")

    def __init__(self, tp: TopicPartition, acks: int, version: int) -> None:
        self.tp = tp
        self.acks = acks
        self.refuses_zstd = version < _ZSTD_FROM
        self.has_log_start = version >= _LOG_START_FROM
        self.parts = _response_parts(tp, version)
        sizes = [len(part) for part in self.parts]
        layout = struct.Struct(">ii" + "q".join(f"{size}s" for size in sizes))
        self.write: Callable[..., bytes] = layout.pack
        self.response_size = layout.size - 4

    def response(self, correlation_id: int, first_offset: int, log_start: int) -> bytes:
        """The whole frame."""
        parts = self.parts
        if self.has_log_start:
            return self.write(
                self.response_size,
                correlation_id,
                parts[0],
                first_offset,
                parts[1],
                log_start,
                parts[2],
            )
        return self.write(self.response_size, correlation_id, parts[0], first_offset, parts[1])


def _response_parts(tp: TopicPartition, version: int) -> list[bytes]:
    """A response without its length and correlation id, cut where its numbers are left out."""
    answer = PartitionProduceResponse(index=tp.partition, base_offset=_OFFSET_MARK)
    marks = [_OFFSET_MARK]
    if version >= _LOG_START_FROM:
        answer.log_start_offset = _START_MARK
        marks.append(_START_MARK)
    topic = TopicProduceResponse(name=tp.topic, partition_responses=[answer])
    rest = codec.encode(ProduceResponse(responses=[topic]), version)
    if version >= _FLEXIBLE_FROM:
        rest = b"\0" + rest  # the header's tags
    parts = []
    for mark in marks:
        part, found, rest = rest.partition(_INT64.pack(mark))
        assert found
        parts.append(part)
    return [*parts, rest]


class PutOff:
    """One request until the end of the turn. `len` is that of its frame.

    first_offset: where its batch was appended to `partition`, under `leader_epoch`; no partition:
    it was not.
    """

    __slots__ = (
        "correlation_id",
        "first_offset",
        "frame",
        "leader_epoch",
        "partition",
        "records",
        "shape",
    )

    def __init__(
        self, frame: memoryview, correlation_id: int, shape: Shape, records: memoryview
    ) -> None:
        self.frame = frame
        self.correlation_id = correlation_id
        self.shape = shape
        self.records = records
        self.first_offset = -1
        self.leader_epoch = -1
        self.partition: Partition | None = None

    @property
    def end(self) -> int:
        """The offset behind its batch, once that is appended."""
        last: int = self.first_offset + _INT32(self.records, _LAST_DELTA_AT)[0]
        return last + 1

    @property
    def is_committed(self) -> bool:
        """Whether what its `acks` asks for is done, once it is appended."""
        assert self.partition is not None
        return self.shape.acks != ALL or (
            self.partition.high_watermark >= self.end
            and self.partition.leader_epoch == self.leader_epoch
        )

    def response(self) -> bytes:
        """The whole frame of the response."""
        assert self.partition is not None
        return self.shape.response(
            self.correlation_id, self.first_offset, self.partition.log.log_start
        )

    def __len__(self) -> int:
        return len(self.frame)


class PlainProduces:
    """The requests of a broker that are put off. Empty whenever a task runs."""

    __slots__ = ("_partitions", "_shapes", "_waiting", "_wall_clock")

    def __init__(self, services: Services) -> None:
        self._partitions = services.partitions
        self._wall_clock = services.wall_clock
        self._shapes: list[dict[bytes, Shape]] = [{} for _ in range(LAST_VERSION + 1)]
        self._waiting: dict[TopicPartition, list[PutOff]] = {}

    def put_off(self, frame: memoryview) -> PutOff | None:
        """Take a request that has a known shape; None: it is handled as any other."""
        try:
            key, version, correlation_id, id_size = _HEAD(frame)
            if key or id_size < 0 or not FIRST_VERSION <= version <= LAST_VERSION:
                return None
            # Where the length of the records stands. A name has no more than 249 bytes.
            if version >= _FLEXIBLE_FROM:
                end = 24 + id_size + frame[19 + id_size]
            else:
                end = 32 + id_size + frame[23 + id_size]
            shape = self._shapes[version].get(bytes(frame[8:end]))
            if shape is None:
                shape = self._learn(frame, version, id_size, end)
                if shape is None:
                    return None
            if version >= _FLEXIBLE_FROM:
                size = frame[end]
                if size >= 0x80:
                    end += 1
                    size += (frame[end] - 1) << 7
                    if size >= 0x4000:
                        end += 1
                        size += (frame[end] - 1) << 14
                        if size >= 0x200000:
                            return None
                start = end + 1
                end = start + size - 1
                if end + 3 != len(frame) or frame[end] or frame[end + 1] or frame[end + 2]:
                    return None  # tags of the partition, the topic, the request; or less, or more
            else:
                start = end + 4
                end = start + _INT32(frame, end)[0]
                if end != len(frame):
                    return None
            records = frame[start:end]
            if shape.refuses_zstd and records[_ATTRIBUTES_AT] & _CODEC_BITS == Codec.ZSTD:
                return None
        except (struct.error, IndexError):
            return None
        found = PutOff(frame, correlation_id, shape, records)
        waiting = self._waiting.get(shape.tp)
        if waiting is None:
            self._waiting[shape.tp] = [found]
        else:
            waiting.append(found)
        return found

    def append(self, now: float) -> None:
        """Append what was put off, as far as it can be; each `PutOff` knows then."""
        waiting = self._waiting
        if not waiting:
            return
        self._waiting = {}
        now_ms = self._wall_clock.now_ms()
        for tp, left in waiting.items():
            partition = self._partitions.get(tp)
            if partition is None:
                continue
            while left:
                acks = 1
                parts = []
                for each in left:
                    parts.append(each.records)
                    if each.shape.acks == ALL:
                        acks = ALL
                first_offsets = partition.append_plain(parts, acks=acks, now=now, now_ms=now_ms)
                if not first_offsets:
                    break
                leader_epoch = partition.leader_epoch
                for each, first_offset in zip(left, first_offsets, strict=False):
                    each.first_offset = first_offset
                    each.partition = partition
                    each.leader_epoch = leader_epoch
                left = left[len(first_offsets) :]

    def _learn(self, frame: memoryview, version: int, id_size: int, end: int) -> Shape | None:
        """The shape of a request that was not seen before, if it has one."""
        at = 10 + id_size
        if version >= _FLEXIBLE_FROM:
            # No tags, no transactional id; one topic; one partition.
            usual = not frame[at] and not frame[at + 1] and frame[at + 8] == 2
            usual = usual and frame[at + 9] < 0x80 and frame[end - 5] == 2
        else:
            usual = bytes(frame[at : at + 2]) == b"\xff\xff" and not frame[at + 12]
            usual = usual and _INT32(frame, at + 8)[0] == 1 and _INT32(frame, end - 8)[0] == 1
        if not usual:
            return None
        try:
            *_, client_id, body = decode_request_header(frame)
            request = codec.decode(ProduceRequest, version, frame, body)
        except ProtocolError:
            return None
        topic = request.topic_data[0]
        tp = TopicPartition(topic.name, topic.partition_data[0].index)
        if tp.topic in INTERNAL_TOPICS and client_id != ADMIN_CLIENT_ID:
            return None
        if not -1 <= request.acks <= 1 or self._partitions.get(tp) is None:
            return None
        shapes = self._shapes[version]
        if len(shapes) >= SHAPES_MAX:
            shapes.clear()
        shape = shapes[bytes(frame[8:end])] = Shape(tp, request.acks, version)
        return shape


def plain_produces(services: Services) -> PlainProduces | None:
    """None where Produce is not served, or by another handler."""
    served = services.registry.get(ApiKey.PRODUCE) is produce.API
    return PlainProduces(services) if served else None


__all__ = ["PlainProduces", "PutOff", "Shape", "plain_produces"]
