"""Transactions as a compaction meets them, from the first batch of a log to the last one cleaned.

Records of aborted transactions go at once; a marker stays until no batch of its transaction is left
before it (KIP-98), and then for the delete retention (KIP-534). This is a core.
"""

from collections.abc import Iterable

from ottla.broker.storage.txn_index import AbortedTxn
from ottla.protocol.kafka.records import ABORT_MARKER, COMMIT_MARKER, BatchHeader, ControlMarker


class TxnsSeen:
    """Fed with every batch in the order of offsets, none of an open transaction among them.

    `aborted`: all aborted transactions that reach into the part of the log that is read.
    """

    __slots__ = ("_aborted", "_ahead", "_committed")

    def __init__(self, aborted: Iterable[AbortedTxn]) -> None:
        self._ahead = sorted(aborted, key=lambda txn: txn.first_offset, reverse=True)
        # By producer: the aborted transaction that is being read, and if a batch of it was met.
        self._aborted: dict[int, tuple[AbortedTxn, bool]] = {}
        self._committed: set[int] = set()

    def _advance(self, last_offset: int) -> None:
        ahead = self._ahead
        while ahead and ahead[-1].first_offset <= last_offset:
            txn = ahead.pop()
            self._aborted.setdefault(txn.producer_id, (txn, False))

    def on_data(self, header: BatchHeader) -> bool:
        """Whether the batch is of an aborted transaction."""
        self._advance(header.last_offset)
        if not header.is_transactional:
            return False
        producer_id = header.producer_id
        found = self._aborted.get(producer_id)
        if found is None:
            self._committed.add(producer_id)
            return False
        self._aborted[producer_id] = (found[0], True)
        return True

    def on_marker(
        self, header: BatchHeader, marker: ControlMarker | None
    ) -> tuple[bool, AbortedTxn | None]:
        """(whether nothing needs the marker any more, what the index has to say if it stays).

        `marker` None: an earlier compaction has emptied the batch.
        """
        self._advance(header.last_offset)
        if marker is None:
            return True, None
        if marker.type == ABORT_MARKER:
            found = self._aborted.pop(header.producer_id, None)
            if found is None or not found[1]:
                return True, None
            return False, found[0]
        if marker.type == COMMIT_MARKER:
            if header.producer_id not in self._committed:
                return True, None
            self._committed.remove(header.producer_id)
        return False, None


__all__ = ["TxnsSeen"]
