"""Fetches of many partitions without a session, of which most was asked before.

librdkafka, and consumers made with it, use no fetch sessions: they name all their partitions each
time, in a changing order, and only those with a new offset differ from before. So a connection
remembers what its last such request named, by the bytes of each entry, with what the reading
found; a reading that found nothing need not be made again while its partition has not changed
(`FetchedPartition.changes`). A request that is the same as a whole is not even cut into entries.

| versions | before the topics                  | an entry                                  |
|----------|------------------------------------|-------------------------------------------|
| 4        | replica, wait, min, max, isolation | index, offset, max bytes                  |
| 5 to 8   | from 7 on also session id, epoch   | index, offset, log start, max bytes       |
| 9 to 11  |                                    | index, epoch, offset, log start, max b.   |
| 12 to 17 | from 15 on without replica         | index, epoch, offset, last epoch, log     |
|          |                                    | start, max bytes, tags                    |

Whatever is not a consumer's plain request (a session, a rack, a follower, tagged fields, wrong
lengths) is left to the codec.
"""

import struct
from typing import TYPE_CHECKING, Final

from ottla.broker.api.fetch_sessions import FetchedPartition, Topic
from ottla.protocol.kafka.messages.fetch import FetchRequest
from ottla.protocol.kafka.wire import read_uvarint, uuid_of

if TYPE_CHECKING:
    from ottla.broker.api.api import ConnectionContext

FRAME_BYTES_MIN: Final = 500  # of fewer partitions it is not worth it
PARTITIONS_MAX: Final = 20_000
"""How many a broker remembers, for all connections: some 8 MB."""

_INT16: Final = struct.Struct(">h").unpack_from
_INT32: Final = struct.Struct(">i").unpack_from
_HEAD_4: Final = struct.Struct(">iiiib")
_HEAD_7: Final = struct.Struct(">iiiibii")
_HEAD_15: Final = struct.Struct(">iiibii")
_ENTRY_4: Final = struct.Struct(">iqi")
_ENTRY_5: Final = struct.Struct(">iqqi")
_ENTRY_9: Final = struct.Struct(">iiqqi")
_ENTRY_12: Final = struct.Struct(">iiqiqiB")
_NO_SESSION: Final = (0, -1)
_CONSUMER: Final = -1
_FLEXIBLE_FROM: Final = 12
_IDS_FROM: Final = 13
# What follows the topics: nothing forgotten, no rack, no tags.
_ENDS: Final = {
    **dict.fromkeys(range(4, 7), b""),
    **dict.fromkeys(range(7, 11), bytes(4)),
    11: bytes(6),
    **dict.fromkeys(range(12, 18), b"\x01\x01\x00"),
}

_Entries = dict[bytes, FetchedPartition]


class KnownFetch:
    """A decoded request. `request` has no topics; `asked` is what they named, in order.

    body, version: the bytes it came from. by_topic: `asked` by the entries' bytes, for each topic's
    name or id as bytes.
    """

    __slots__ = ("asked", "body", "by_topic", "request", "version")

    def __init__(
        self,
        version: int,
        body: bytes,
        request: FetchRequest,
        asked: list[FetchedPartition],
        by_topic: dict[bytes, tuple[Topic, _Entries]],
    ) -> None:
        self.version = version
        self.body = body
        self.request = request
        self.asked = asked
        self.by_topic = by_topic


class RepeatedFetches:
    """What the connections of a broker asked last; kept in their `ConnectionContext`."""

    __slots__ = ("_partitions_max", "remembered")

    def __init__(self, *, partitions_max: int = PARTITIONS_MAX) -> None:
        self._partitions_max = partitions_max
        self.remembered = 0  # partitions

    def decode(
        self, connection: "ConnectionContext", version: int, frame: memoryview, start: int
    ) -> KnownFetch | None:
        """The request whose body begins at `start`; None: the codec has to decode it."""
        body = bytes(frame[start:])
        last = connection.last_fetch
        if last is not None and last.body == body and last.version == version:
            return last
        try:
            found = _decode(version, body, last)
        except (struct.error, IndexError, ValueError):
            return None
        if found is not None:
            self.forget(connection)
            if self.remembered + len(found.asked) <= self._partitions_max:
                self.remembered += len(found.asked)
                connection.last_fetch = found
        return found

    def forget(self, connection: "ConnectionContext") -> None:
        """Its last request is of no use any more."""
        if connection.last_fetch is not None:
            self.remembered -= len(connection.last_fetch.asked)
            connection.last_fetch = None


def _decode(version: int, body: bytes, last: KnownFetch | None) -> KnownFetch | None:
    """Raises struct.error, IndexError or ValueError for bytes that do not fit."""
    if not body.endswith(_ENDS[version]):
        return None
    request, position = _head(version, body)
    if request is None:
        return None
    known: dict[bytes, tuple[Topic, _Entries]] = {}
    if (
        last is not None
        and last.version == version
        and last.request.isolation_level == request.isolation_level
    ):
        known = last.by_topic
    layout = _entry(version)
    is_flexible = version >= _FLEXIBLE_FROM
    asked: list[FetchedPartition] = []
    by_topic: dict[bytes, tuple[Topic, _Entries]] = {}
    topics, position = _count(body, position, is_flexible)
    for _ in range(topics):
        if version >= _IDS_FROM:
            end = position + 16
        elif is_flexible:
            size, position = read_uvarint(body, position)
            end = position + size - 1
        else:
            end = position + 2 + _INT16(body, position)[0]
            position += 2
        raw = body[position:end]
        if end < position or raw in by_topic:
            return None
        before = known.get(raw)
        if before is not None:
            topic, entries = before
        else:
            entries = {}
            topic = uuid_of(raw) if version >= _IDS_FROM else str(raw, "utf-8")
        count, position = _count(body, end, is_flexible)
        end = position + count * layout.size
        if end > len(body):
            return None
        cut = [body[at : at + layout.size] for at in range(position, end, layout.size)]
        found = [entries.get(each) or _fetched(version, topic, each) for each in cut]
        by_topic[raw] = topic, dict(zip(cut, found, strict=True))
        asked += found
        position = end
        if is_flexible:
            if body[position]:
                return None
            position += 1
    if body[position:] != _ENDS[version]:
        return None
    return KnownFetch(version, body, request, asked, by_topic)


def _head(version: int, body: bytes) -> tuple[FetchRequest | None, int]:
    """What stands before the topics, if it is a consumer's without a session; where they begin."""
    replica = _CONSUMER
    session, epoch = _NO_SESSION
    if version >= 15:
        layout = _HEAD_15
        wait, least, most, isolation, session, epoch = layout.unpack_from(body)
    elif version >= 7:
        layout = _HEAD_7
        replica, wait, least, most, isolation, session, epoch = layout.unpack_from(body)
    else:
        layout = _HEAD_4
        replica, wait, least, most, isolation = layout.unpack_from(body)
    if replica != _CONSUMER or (session, epoch) != _NO_SESSION:
        return None, 0
    request = FetchRequest(
        max_wait_ms=wait, min_bytes=least, max_bytes=most, isolation_level=isolation
    )
    return request, layout.size


def _count(body: bytes, position: int, is_flexible: bool) -> tuple[int, int]:
    """Of an array, and where its elements begin. ValueError for null."""
    if is_flexible:
        count, position = read_uvarint(body, position)
        count -= 1
    else:
        count = _INT32(body, position)[0]
        position += 4
    if count < 0:
        raise ValueError("an array is null")
    return count, position


def _entry(version: int) -> struct.Struct:
    if version >= _FLEXIBLE_FROM:
        return _ENTRY_12
    if version >= 9:
        return _ENTRY_9
    return _ENTRY_5 if version >= 5 else _ENTRY_4


def _fetched(version: int, topic: Topic, entry: bytes) -> FetchedPartition:
    """ValueError for an entry with tagged fields."""
    epoch = last_epoch = log_start = -1
    if version >= _FLEXIBLE_FROM:
        index, epoch, offset, last_epoch, log_start, most, tags = _ENTRY_12.unpack(entry)
        if tags:
            raise ValueError("a partition has tagged fields")
    elif version >= 9:
        index, epoch, offset, log_start, most = _ENTRY_9.unpack(entry)
    elif version >= 5:
        index, offset, log_start, most = _ENTRY_5.unpack(entry)
    else:
        index, offset, most = _ENTRY_4.unpack(entry)
    return FetchedPartition(topic, index, offset, max(most, 0), epoch, last_epoch, log_start)


__all__ = ["FRAME_BYTES_MIN", "PARTITIONS_MAX", "KnownFetch", "RepeatedFetches"]
