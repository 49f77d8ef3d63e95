"""What is known of topics whose old records go, and what may never contradict it.

A log start may move up for two reasons: somebody asked for it (DeleteRecords), or the topic's
`retention.bytes` or `retention.ms` allow it. Whatever was acknowledged above a log start that no
such reason explains is lost. Sizes are those of the batches as they were sent, which is how brokers
keep them; what was sent and not acknowledged at a known place may be in the logs too, so it counts
as kept behind everything.
"""

from bisect import insort
from dataclasses import dataclass, field

from ottla.broker.ids import TopicPartition
from tests.simulation.world.history import Violation

CLOCKS_APART_MS = 5_000
"""How far clocks of brokers that nobody sets are from those of clients, at most."""


@dataclass(frozen=True, slots=True, order=True)
class Kept:
    """An acknowledged batch."""

    offset: int
    end: int
    size: int
    timestamp_ms: int


@dataclass
class Facts:
    """One partition."""

    batches: list[Kept] = field(default_factory=list)
    values: dict[bytes, int] = field(default_factory=dict)  # acknowledged -> offset
    asked: int = 0  # DeleteRecords went up to here, or may have
    anything: bool = False  # one that asks for all may come at any time
    unplaced_bytes: int = 0  # sent, and nobody told where they are
    explained: int = 0  # a log start that was found to be right


class RetainedHistory:
    """`retention_bytes`, `retention_ms`: of the topic, -1: no bound. With `clocks_jump` a broker
    may hold any record for old.
    """

    def __init__(self, retention_bytes: int, retention_ms: int, *, clocks_jump: bool) -> None:
        self._bytes = retention_bytes
        self._ms = retention_ms
        self._clocks_jump = clocks_jump
        self._facts: dict[TopicPartition, Facts] = {}

    def of(self, tp: TopicPartition) -> Facts:
        return self._facts.setdefault(tp, Facts())

    def sending(self, tp: TopicPartition, size: int) -> None:
        self.of(tp).unplaced_bytes += size

    def acknowledged(
        self, tp: TopicPartition, values: list[bytes], offset: int, size: int, timestamp_ms: int
    ) -> None:
        """A batch of `size` bytes is at `offset` (-1: nobody told where)."""
        if offset < 0:
            return
        facts = self.of(tp)
        facts.unplaced_bytes -= size
        insort(facts.batches, Kept(offset, offset + len(values), size, timestamp_ms))
        facts.values.update({value: offset + at for at, value in enumerate(values)})

    def asking(self, tp: TopicPartition, offset: int) -> None:
        """Somebody is about to ask that everything below `offset` goes."""
        facts = self.of(tp)
        facts.asked = max(facts.asked, offset)

    def check_start(self, tp: TopicPartition, start: int, now_ms: int, who: str) -> None:
        """Whether the log of `who` may begin at `start`."""
        facts = self.of(tp)
        if start <= max(facts.asked, facts.explained) or facts.anything:
            return
        gone = [batch for batch in facts.batches if batch.end <= start]
        if gone and gone[-1].end > facts.asked and not self._may_go(facts, gone[-1], now_ms):
            raise Violation(
                f"{tp}: the log of {who} begins at {start}, nobody asked for more than"
                f" {facts.asked}, and {gone[-1]} is neither too much nor too old"
            )
        facts.explained = start

    def _may_go(self, facts: Facts, batch: Kept, now_ms: int) -> bool:
        if self._ms >= 0:
            old = now_ms - batch.timestamp_ms > self._ms - CLOCKS_APART_MS
            if old or self._clocks_jump:
                return True
        if self._bytes < 0:
            return False
        later = sum(each.size for each in facts.batches if each.offset >= batch.end)
        return later + facts.unplaced_bytes >= self._bytes

    def check_pass(self, tp: TopicPartition, start: int, end: int, seen: set[bytes]) -> int:
        """A reader went from the log start `start` to `end`; how many acknowledged records it saw.

        `end`: behind what was acknowledged when it began.
        """
        found = 0
        for value, offset in self.of(tp).values.items():
            if start <= offset < end:
                if value not in seen:
                    raise Violation(
                        f"{tp}: {value!r} was acknowledged at {offset} and is lost, the log"
                        f" begins at {start}"
                    )
                found += 1
        return found

    def end(self, tp: TopicPartition) -> int:
        """Behind all that is acknowledged at a known place."""
        batches = self.of(tp).batches
        return batches[-1].end if batches else 0


__all__ = ["CLOCKS_APART_MS", "Kept", "RetainedHistory"]
