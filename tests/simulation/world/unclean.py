"""What holds of a partition that may be led by whoever is left (unclean.leader.election.enable).

Records are lost there, and positions with them. Nobody may say two things about one leader epoch
all the same: whatever is at an offset in an epoch was written by that epoch's one leader, so it is
the same wherever it is found, and in the end all replicas hold the same (KIP-101, KIP-279).
"""

from collections import Counter
from collections.abc import Iterable

from ottla.broker.ids import TopicPartition
from ottla.broker.partitions.partition import Partition
from ottla.protocol.kafka.records import iter_headers
from tests.simulation.world.history import Violation
from tests.simulation.world.nodes import Node
from tests.simulation.world.replicas import batches


class UncleanWatch:
    """Looks into the logs of some partitions."""

    def __init__(self, tps: list[TopicPartition], counts: Counter[str]) -> None:
        self._tps = tps
        self._counts = counts
        self._written: dict[tuple[TopicPartition, int, int], int] = {}  # epoch, offset -> CRC

    def sample(self, brokers: Iterable[Node]) -> None:
        for tp, name, copy in self._copies(brokers):
            for epoch, offset, crc in _rows(copy, copy.log.log_end):
                before = self._written.setdefault((tp, epoch, offset), crc)
                if before != crc:
                    raise Violation(
                        f"{tp}: {name} has another batch at {offset} of leader epoch {epoch}"
                        " than was found before"
                    )

    def compare(self, brokers: Iterable[Node]) -> None:
        """To be called when all replicas are in sync."""
        held: dict[TopicPartition, tuple[str, int, list]] = {}
        for tp, name, copy in self._copies(brokers):
            end = copy.high_watermark
            other, other_end, rows = held.setdefault(tp, (name, end, list(_rows(copy, end))))
            end = min(end, other_end)
            mine = [row for row in _rows(copy, end) if row[1] < end]
            theirs = [row for row in rows if row[1] < end]
            if mine != theirs:
                wrong = next(
                    (pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]),
                    (len(mine), len(theirs)),
                )
                raise Violation(f"{tp}: {name} and {other} differ: {wrong}")
            self._counts["batches of unclean partitions compared"] += len(mine)

    def _copies(self, brokers: Iterable[Node]) -> Iterable[tuple[TopicPartition, str, Partition]]:
        for node in brokers:
            for tp in self._tps if node.handle is not None else ():
                copy = node.handle.services.partitions.get(tp)
                # A broker whose directories have all failed is about to end.
                if copy is not None and not copy.log.is_closed:
                    yield tp, node.name, copy


def _rows(copy: Partition, end: int) -> Iterable[tuple[int, int, int]]:
    """(leader epoch, base offset, CRC) of each batch before `end`."""
    for _, header in iter_headers(batches(copy.log, copy.log.log_start, end)):
        yield header.partition_leader_epoch, header.base_offset, header.crc


__all__ = ["UncleanWatch"]
