"""The offsets of one group: what is committed, what is on its way, what transactions hold back."""

from collections import Counter
from collections.abc import Iterable

from ottla.broker.groups.values import OffsetEntry
from ottla.broker.ids import TopicPartition


class OffsetTable:
    """Changed by `apply*` only, with records in log order, live as well as on reload.

    `begin` and `end` bracket a write that is not committed yet; they change no offset.
    """

    __slots__ = ("_by_topic", "_in_flight", "_log_offsets", "_transactional")

    def __init__(self) -> None:
        self._by_topic: dict[str, dict[int, OffsetEntry]] = {}  # no empty inner dict
        self._log_offsets: dict[TopicPartition, int] = {}  # where each entry stands in the log
        self._in_flight: Counter[TopicPartition] = Counter()  # > 0
        # producer id -> what its open transaction commits, with the record's log offset
        self._transactional: dict[int, dict[TopicPartition, tuple[OffsetEntry, int]]] = {}

    def __bool__(self) -> bool:
        """Whether anything would be lost if this table went away."""
        return bool(self._by_topic or self._in_flight or self._transactional)

    def __len__(self) -> int:
        return len(self._log_offsets)

    def get(self, tp: TopicPartition) -> OffsetEntry | None:
        partitions = self._by_topic.get(tp.topic)
        return None if partitions is None else partitions.get(tp.partition)

    def committed_keys(self) -> list[TopicPartition]:
        return [TopicPartition(t, p) for t, ps in self._by_topic.items() for p in ps]

    def all_keys(self) -> list[TopicPartition]:
        """Everything that is committed or about to be."""
        return list({**self._log_offsets, **self._in_flight})

    def is_unstable(self, tp: TopicPartition) -> bool:
        """Whether a commit of this partition is not decided yet (KIP-447)."""
        return tp in self._in_flight or any(tp in held for held in self._transactional.values())

    @property
    def is_settled(self) -> bool:
        """Whether nothing is undecided."""
        return not self._in_flight and not self._transactional

    # --- Writes on their way ---

    def begin(self, keys: Iterable[TopicPartition]) -> None:
        self._in_flight.update(keys)

    def end(self, keys: Iterable[TopicPartition]) -> None:
        for tp in keys:
            left = self._in_flight[tp] - 1
            assert left >= 0
            if left:
                self._in_flight[tp] = left
            else:
                del self._in_flight[tp]

    # --- Committed records ---

    def apply(self, tp: TopicPartition, entry: OffsetEntry | None, log_offset: int) -> None:
        """A committed record at `log_offset`; None is a tombstone."""
        if entry is not None:
            self._by_topic.setdefault(tp.topic, {})[tp.partition] = entry
            self._log_offsets[tp] = log_offset
            return
        partitions = self._by_topic.get(tp.topic)
        if partitions is not None and partitions.pop(tp.partition, None) is not None:
            del self._log_offsets[tp]
            if not partitions:
                del self._by_topic[tp.topic]

    def apply_transactional(
        self, producer_id: int, tp: TopicPartition, entry: OffsetEntry | None, log_offset: int
    ) -> None:
        """A record of a transaction that has no end marker yet."""
        held = self._transactional.setdefault(producer_id, {})
        if entry is not None:
            held[tp] = (entry, log_offset)
        else:
            held.pop(tp, None)
        if not held:
            del self._transactional[producer_id]

    def apply_marker(self, producer_id: int, *, commit: bool) -> None:
        """The end of a producer's transaction. A later plain commit of a partition stands."""
        for tp, (entry, log_offset) in self._transactional.pop(producer_id, {}).items():
            if commit and self._log_offsets.get(tp, -1) < log_offset:
                self.apply(tp, entry, log_offset)

    # --- Expiry ---

    def expired(
        self, now_ms: int, retention_ms: int, *, since_ms: int | None, kept_topics: frozenset[str]
    ) -> tuple[list[TopicPartition], int | None]:
        """(offsets that are too old now, when the next one will be; None: none will).

        An offset ages from its commit, or from `since_ms` if given; one that a client gave a time
        of its own (OffsetCommit 2-4) expires at that time (KIP-211).
        """
        keys: list[TopicPartition] = []
        next_ms: int | None = None
        for topic, partitions in self._by_topic.items():
            if topic in kept_topics:
                continue
            for partition, entry in partitions.items():
                at_ms = entry.expire_ms
                if at_ms < 0:
                    base_ms = entry.commit_ms if since_ms is None else since_ms
                    at_ms = base_ms + retention_ms
                tp = TopicPartition(topic, partition)
                if at_ms <= now_ms and tp not in self._in_flight:
                    keys.append(tp)
                elif next_ms is None or at_ms < next_ms:
                    next_ms = at_ms
        return keys, next_ms

    def check(self) -> None:
        held = {TopicPartition(t, p) for t, ps in self._by_topic.items() for p in ps}
        assert held == self._log_offsets.keys()
        assert all(self._by_topic.values())
        assert all(count > 0 for count in self._in_flight.values())
        assert all(self._transactional.values())


__all__ = ["OffsetTable"]
