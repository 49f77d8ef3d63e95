"""What is known of compacted topics, and what may never contradict it.

Every key has one writer, which writes versions that ascend; some of them delete the key. A reader
that begins at the start has to see, once it is past everything that was acknowledged when it began
and everything committed meanwhile, the newest acknowledged version of every key or a younger one as
the last of that key. Compaction
may leave out older ones, moves nothing, and says nothing new.

Where `delete.retention.ms` is short a replica that was away for longer may bring a deleted key
back, in Kafka as here; there a deleted key may have any older version, or none.
"""

from collections import Counter
from dataclasses import dataclass, field

from ottla.broker.ids import TopicPartition
from tests.simulation.world.history import Violation

Content = tuple[bytes, bytes | None]


@dataclass
class Written:
    """One key. `acked` is the newest version that was acknowledged, 0: none."""

    versions: list[bytes | None] = field(default_factory=list)  # version n is at n - 1
    acked: int = 0
    last_offset: int = -1  # of `acked`, as far as it was told


@dataclass
class Snapshot:
    """What a reader that begins now has to see; it has to read up to `end`."""

    acked: dict[bytes, int]
    end: int


class KeyedHistory:
    """Facts of all compacted partitions. `excused`: of `History`."""

    def __init__(
        self,
        excused: dict[TopicPartition, str],
        counts: Counter[str],
        *,
        keeps_tombstones: bool,
    ) -> None:
        self._excused = excused
        self._counts = counts
        self._keeps_tombstones = keeps_tombstones
        self._keys: dict[TopicPartition, dict[bytes, Written]] = {}
        self._content: dict[TopicPartition, dict[int, Content]] = {}

    # Writing

    def sending(self, tp: TopicPartition, key: bytes, *, delete: bool) -> tuple[int, bytes | None]:
        """The next version of `key`, which is about to be sent, and its value."""
        written = self._keys.setdefault(tp, {}).setdefault(key, Written())
        number = len(written.versions) + 1
        value = None if delete else b"%s:%d" % (key, number)
        written.versions.append(value)
        return number, value

    def acknowledged(self, tp: TopicPartition, rows: list[tuple[bytes, int]], offset: int) -> None:
        """`rows`: key and version; they begin at `offset` (-1: not told)."""
        for at, (key, version) in enumerate(rows):
            written = self._keys[tp][key]
            written.acked = max(written.acked, version)
            self._counts["keyed records acknowledged"] += 1
            if offset >= 0:
                written.last_offset = max(written.last_offset, offset + at)
                self._same(tp, offset + at, (key, written.versions[version - 1]))

    # Reading

    def begin(self, tp: TopicPartition) -> Snapshot:
        keys = self._keys.get(tp, {})
        ends = [written.last_offset + 1 for written in keys.values()]
        return Snapshot({key: each.acked for key, each in keys.items()}, max(ends, default=0))

    def read(self, tp: TopicPartition, offset: int, content: Content) -> None:
        key, value = content
        written = self._keys.get(tp, {}).get(key)
        if written is None or value not in written.versions:
            raise Violation(f"{tp}: nobody wrote {content}, which is read at {offset}")
        self._counts["keyed records read"] += 1
        self._same(tp, offset, content)

    def _same(self, tp: TopicPartition, offset: int, content: Content) -> None:
        before = self._content.setdefault(tp, {}).setdefault(offset, content)
        if before != content and tp not in self._excused:
            raise Violation(f"{tp}: offset {offset} was {before} and is {content}")

    def check_pass(
        self, tp: TopicPartition, began: Snapshot, seen: list[tuple[int, Content]]
    ) -> None:
        """A reader went from the start to beyond `began.end`, and saw `seen`."""
        if tp in self._excused:
            return
        last: dict[bytes, bytes | None] = {}
        numbers: dict[bytes, int] = {}
        for offset, (key, value) in seen:
            last[key] = value
            if value is not None:
                number = int(value.rpartition(b":")[2])
                if number <= numbers.get(key, 0):
                    raise Violation(f"{tp}: {value!r} comes after {numbers[key]} ({offset})")
                numbers[key] = number
        self._counts["passes over compacted partitions"] += 1
        self._counts["records compacted away"] += self._left_out(tp, seen)
        for key, acked in began.acked.items():
            if acked:
                self._check_key(tp, key, acked, last.get(key))

    def _left_out(self, tp: TopicPartition, seen: list[tuple[int, Content]]) -> int:
        return len(self._content.get(tp, {})) - len(seen)

    def _check_key(self, tp: TopicPartition, key: bytes, acked: int, found: bytes | None) -> None:
        """`found` None: the key is deleted, or nothing is there."""
        allowed = self._keys[tp][key].versions[acked - 1 :]
        if found in allowed:
            return
        if not self._keeps_tombstones and None in allowed:
            self._counts["deleted keys that came back"] += 1
            return
        raise Violation(
            f"{tp}: {key!r} is {found!r}, acknowledged is {allowed[0]!r},"
            f" and later came {allowed[1:]}"
        )
