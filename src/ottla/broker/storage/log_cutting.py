"""How records go from a log: cut at its end, hidden at its start, compacted.

A layer of `log.Log`, see `log_state`.
"""

from collections.abc import Sequence

from ottla.broker.errors import OffsetOutOfRange
from ottla.broker.storage.log_flushing import FlushingLog
from ottla.broker.storage.segment import Segment
from ottla.broker.storage.snapshots import restore_producers


class CuttingLog(FlushingLog):
    """Invariant: offsets that were cut are given again only once the cut is on stable storage
    (`_owes_cut`).
    """

    __slots__ = ()

    def truncate_to(self, offset: int) -> None:
        """Drop all batches that reach `offset` or beyond, durably; at the log's end or above it,
        only the epoch that begins there: of a leadership that appended nothing.
        """
        if offset < self._segments.bases[0]:
            self.truncate_fully_and_start_at(offset)
            return
        try:
            if offset >= self.log_end:
                self.epochs.truncate_from_end(self.log_end)
                self._save_epochs()
                return
            self._doom_from(self._segments.index_holding(offset) + 1)
            log_end = self._segments.all[-1].truncate_to(offset)
            self._events.info("log.truncated", log_end=log_end, was=self.log_end)
            self._cut_to(log_end)
            self._owes_cut = True
            restore_producers(
                self.producers,
                self._snapshots,
                self._segments.all,
                log_start=self.log_start,
                log_end=log_end,
                events=self._events,
            )
            self._finish_cut()
        except OSError as error:
            raise self._failed("truncation", error) from error

    def truncate_fully_and_start_at(self, offset: int) -> None:
        """Drop everything; the next append gets `offset`, where the log starts too."""
        try:
            self._doom_from(0)
            self._segments.add(offset, self.config, self._now_ms)
            self._events.info("log.restarted", log_end=offset, was=self.log_end)
            self.epochs.clear()
            self.producers.clear()
            self._cut_to(offset)
            self.log_start = self.settled_end = offset
            self._owes_cut = True
            self._snapshots.keep(())
            self._finish_cut()
        except OSError as error:
            if not self._segments.all:
                self.abandon()  # the next start finds a log without segments, which is a new one
            raise self._failed("truncation", error) from error

    def _cut_to(self, log_end: int) -> None:
        self._truncations += 1
        self._reader.forget()
        self.log_end = log_end
        self.log_start = min(self.log_start, log_end)
        self.cleaned_end = min(self.cleaned_end, log_end)
        self.epochs.truncate_from_end(log_end)
        self.settled_end = min(self.settled_end, log_end)
        if self.recovery_point > log_end:
            self.recovery_point = log_end
            self._owes_recovery_point = True
        self.settlings.wake()
        if self.on_cut is not None:
            self.on_cut(log_end)

    def _finish_cut(self) -> None:
        """Write what has to be on the disk before offsets that were cut are given again. OSError:
        nothing is appended until this succeeds."""
        self._save_epochs()
        # The offsets of segments that went will be written again, in other files.
        self._segments.sync_names()
        if self._owes_recovery_point:
            if self._owner is not None:
                self._owner.log_cut()
            self._owes_recovery_point = False
        self._owes_cut = False

    def _doom_from(self, first: int) -> None:
        due_ms = self._now_ms + self.config.file_delete_delay_ms
        self._segments.doom(first, len(self._segments.all), due_ms)

    def remove_doomed(self, now_ms: int) -> None:
        """Remove the files of segments that were taken out long enough ago; for upkeep."""
        self._segments.remove_doomed(now_ms)

    def advance_log_start(self, offset: int) -> bool:
        """Hide the records below `offset` (DeleteRecords, or the leader's log start); segments go
        at the next `delete_expired`. OffsetOutOfRange above the log's end.
        """
        if offset > self.log_end:
            raise OffsetOutOfRange(f"log start {offset} is above the log's end {self.log_end}")
        if offset <= self.log_start:
            return False
        self.log_start = offset
        self.epochs.truncate_from_start(offset)
        self.producers.forget_before(offset)
        self._events.info("log.start_advanced", log_start=offset)
        return True

    # --- compaction ---

    def sealed_segments(self) -> tuple[list[Segment], int]:
        """What compaction may replace: the segments before the last one that holds a batch, and
        where they end.

        That one stays even when it is not active any more, so that whoever copies the log reaches
        its end.
        """
        segments = self._segments.all
        last = len(segments) - 1
        while last > 0 and segments[last].size == 0:
            last -= 1
        return segments[:last], segments[last].base

    def take_over(self, bases: Sequence[int], truncations: int) -> bool:
        """Put the `.cleaned` files of segment `bases[0]` in the place of the segments `bases`.

        False, with no effect, when these are not there any more as they were when there had been
        so many `truncations`. Readers that hold the old files go on. KafkaStorageError.
        """
        segments = self._segments
        first = segments.index_holding(bases[0])
        end = first + len(bases)
        if (
            self.is_closed
            or truncations != self._truncations
            or segments.bases[first:end] != list(bases)
        ):
            return False
        assert end < len(segments.all), "the active segment is not compacted"
        try:
            due_ms = self._now_ms + self.config.file_delete_delay_ms
            segments.replace(first, end, self.config, due_ms)
            self._reader.forget_hints()
            self._snapshots.drop(bases[1:])
        except OSError as error:
            raise self._failed("compaction", error) from error
        return True


__all__ = ["CuttingLog"]
