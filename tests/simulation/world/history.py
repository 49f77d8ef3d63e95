"""What clients were told, and what may never contradict it.

A `Violation` is a broken promise of the product; its text says which. Partitions in `excused` may
lose records: every replica that was in sync had lost its power with bytes that no promise covers
(see `docs/simulation.md`); for them only what needs no durability is checked.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from ottla.broker.ids import TopicPartition


class Violation(AssertionError):
    """Something happened that may never happen."""


@dataclass
class History:
    """Facts in the order they became known; every method checks the new one against the old."""

    sent: dict[TopicPartition, dict[bytes, float]] = field(default_factory=dict)
    acked: dict[TopicPartition, dict[bytes, int]] = field(default_factory=dict)  # acks=all
    content: dict[TopicPartition, dict[int, bytes]] = field(default_factory=dict)
    idempotent: set[str] = field(default_factory=set)  # producers that never duplicate
    excused: dict[TopicPartition, str] = field(default_factory=dict)
    unclean: set[TopicPartition] = field(default_factory=set)  # anybody may lead; also excused
    leaders: dict[TopicPartition, int] = field(default_factory=dict)  # as the ensemble has it
    sizes_change: bool = False  # somebody sets how large a batch may be
    flipped: set[TopicPartition] = field(default_factory=set)  # a bit read wrong there, some time
    commits: dict[tuple[str, TopicPartition], int] = field(default_factory=dict)
    stray_commits: dict[tuple[str, TopicPartition], set[int]] = field(default_factory=dict)
    owners: dict[tuple[str, int, TopicPartition], str] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)  # group -> newest handed out
    planned: dict[tuple[str, int], int] = field(default_factory=dict)  # partitions shared out
    consumed: dict[tuple[str, TopicPartition], set[int]] = field(default_factory=dict)
    scratch: dict[str, str] = field(default_factory=dict)
    topics: set[str] = field(default_factory=set)
    on_acknowledged: list[Callable[[TopicPartition, int], None]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def topic_created(self, name: str) -> None:
        self.topics.add(name)

    # Producing

    def sending(self, tp: TopicPartition, value: bytes) -> None:
        self.sent.setdefault(tp, {})[value] = trio.current_time()

    def acknowledged(self, tp: TopicPartition, values: list[bytes], offset: int) -> None:
        """A producer with acks=all was told that `values` begin at `offset` (-1: not told)."""
        for at, value in enumerate(values):
            place = offset + at if offset >= 0 else -1
            self.acked.setdefault(tp, {})[value] = place
            self.counts["records acknowledged"] += 1
            if place >= 0:
                self._same(tp, place, value)
        if offset >= 0:
            for listener in self.on_acknowledged:
                listener(tp, offset + len(values))

    # Reading

    def read(self, tp: TopicPartition, offset: int, value: bytes) -> None:
        """A consumer got `value` at `offset`."""
        if value not in self.sent.get(tp, {}):
            raise Violation(f"{tp}: nobody wrote {value!r}, which is read at {offset}")
        self.counts["records read"] += 1
        self._same(tp, offset, value)

    def _same(self, tp: TopicPartition, offset: int, value: bytes) -> None:
        known = self.content.setdefault(tp, {})
        before = known.setdefault(offset, value)
        if before != value and tp not in self.excused:
            raise Violation(f"{tp}: offset {offset} was {before!r} and is {value!r}")

    def unreadable(self, tp: TopicPartition, reason: str) -> None:
        """A consumer got bytes that are no sound batches."""
        if tp not in self.flipped:
            raise Violation(f"{tp}: what was read is damaged: {reason}")
        self.counts["damaged batches refused by clients"] += 1

    def lost_position(self, tp: TopicPartition, offset: int) -> None:
        """A consumer that had read up to `offset` was told that this is out of range."""
        if tp not in self.excused:
            raise Violation(f"{tp}: a reader at {offset} is out of range: records are gone")

    # Groups

    def assigned(self, group: str, generation: int, member: str, tps: list[TopicPartition]) -> None:
        self.generations[group] = max(generation, self.generations.get(group, 0))
        for tp in tps:
            owner = self.owners.setdefault((group, generation, tp), member)
            if owner != member and not self.offsets_excused():
                raise Violation(
                    f"group {group}: in generation {generation} {tp} is {owner}'s and {member}'s"
                )

    def committed(
        self, group: str, tp: TopicPartition, offset: int, *, generation: int, newest: int
    ) -> None:
        """A member of `generation` was told that its commit holds.

        `newest`: of the generations that had been handed out when it sent that.
        """
        if generation < newest and not self.offsets_excused():
            raise Violation(
                f"group {group}: offset {offset} of {tp} was taken from generation {generation},"
                f" long after {newest} had begun"
            )
        key = group, tp
        self.counts["offsets committed"] += 1
        self.commits[key] = max(self.commits.get(key, -1), offset)

    def commit_unanswered(self, group: str, tp: TopicPartition, offset: int) -> None:
        """Such a commit may arrive late, behind newer ones that took another connection."""
        self.stray_commits.setdefault((group, tp), set()).add(offset)

    def fetched_commit(self, group: str, tp: TopicPartition, offset: int, floor: int) -> None:
        """A member asked where to go on; `floor` is the best commit known when it asked."""
        if offset in self.stray_commits.get((group, tp), ()):
            return
        if tp in self.excused:
            return  # whoever read what is gone has begun anew, and committed that
        if offset < floor and not self.offsets_excused():
            raise Violation(
                f"group {group}: offset {floor} of {tp} was committed, now it is {offset}"
            )

    def offsets_excused(self) -> bool:
        return any(tp.topic == "__consumer_offsets" for tp in self.excused)

    # At the end

    def check_logs(self, logs: dict[TopicPartition, list[tuple[int, bytes]]]) -> None:
        """`logs`: what each partition holds once everything has healed."""
        for tp, records in logs.items():
            if tp in self.excused:
                self.counts["partitions excused"] += 1
                continue
            place = {value: offset for offset, value in records}
            for value, offset in self.acked.get(tp, {}).items():
                if value not in place:
                    raise Violation(f"{tp}: {value!r} was acknowledged at {offset} and is lost")
                self.counts["acknowledged records found"] += 1
            for offset, value in self.content.get(tp, {}).items():
                if place.get(value) is None:
                    raise Violation(f"{tp}: {value!r} was read at {offset} and is lost")
            self._check_order(tp, records)

    def _check_order(self, tp: TopicPartition, records: list[tuple[int, bytes]]) -> None:
        last: dict[str, int] = {}
        for offset, value in records:
            if value not in self.sent.get(tp, {}):
                raise Violation(f"{tp}: nobody wrote {value!r}, which is at {offset}")
            producer, _, number = value.decode().partition(":")
            if producer not in self.idempotent:
                continue
            before = last.get(producer, -1)
            if int(number) <= before:
                word = "twice" if int(number) == before else f"after {before}"
                raise Violation(f"{tp}: record {number} of {producer} is there {word} ({offset})")
            last[producer] = int(number)
