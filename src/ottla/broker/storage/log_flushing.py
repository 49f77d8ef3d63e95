"""How a log comes to stable storage, and how it is let go.

A layer of `log.Log`, see `log_state`.
"""

from contextlib import suppress

from ottla.broker.errors import KafkaStorageError
from ottla.broker.storage import files
from ottla.broker.storage.group_commit import Settling
from ottla.broker.storage.log_config import FOREVER
from ottla.broker.storage.log_state import LogState
from ottla.broker.storage.segment import Segment


class FlushingLog(LogState):
    """Invariants: everything below `recovery_point` is on stable storage; appends below
    `settled_end` may be acknowledged. Every call is synchronous but `flush_async`.
    """

    __slots__ = ()

    def needs_flush(self, now_ms: int) -> bool:
        """Whether upkeep should flush: a sealed segment is not synced, `flush.ms` is over, or a
        flush that somebody waits for failed. A follower appends nothing before it succeeds.
        """
        if self.recovery_point < self._segments.bases[-1]:
            return True
        if self.flush_error is not None and self.wants_flush:
            return True
        if self.config.flush_ms == FOREVER or self.recovery_point == self.log_end:
            return False
        return now_ms - self._flushed_ms >= self.config.flush_ms

    @property
    def is_flushed_by_count(self) -> bool:
        """Whether `flush.messages` asks for anything."""
        return self.config.flush_messages != FOREVER

    @property
    def wants_flush(self) -> bool:
        """Whether more is not flushed than `flush.messages` allows."""
        return self.log_end - self.recovery_point >= self.config.flush_messages

    def flush_if_wanted(self) -> None:
        """See to it that what `flush.messages` asks for is done; without an owner, at once."""
        if not self.wants_flush:
            return
        self.flush_error = None
        if self._owner is None or not self._owner.log_wants_flush(self):
            self.flush()

    def settling(self) -> Settling:
        """What may have to be waited for before anything appended so far is acknowledged."""
        return Settling(self, self.log_end)

    def _flushed_to(self, end: int) -> None:
        self.flush_error = None
        self.recovery_point = max(self.recovery_point, end)
        settled = self.recovery_point if self.wants_flush else self.log_end
        if settled > self.settled_end:
            self.settled_end = settled
            if self.on_settled is not None:
                self.on_settled()
        self.settlings.wake()

    def flush(self) -> None:
        """Block until everything appended is on stable storage."""
        try:
            if self._owes_topic_id:
                file = self._disk.open(f"{self.directory}/{files.PARTITION_METADATA}")
                try:
                    file.sync_now()
                finally:
                    file.close()
                self._owes_topic_id = False
            for segment in self._unflushed():
                segment.flush_now()
            self._finish_flush()
        except OSError as error:
            raise self._flush_failed(error) from error
        self._flushed_to(self.log_end)

    async def flush_async(self) -> None:
        """As `flush`, off the loop, for what was appended before the call."""
        end = self.log_end
        truncations, directory = self._truncations, self.directory
        try:
            if self._owes_topic_id:
                await self._sync_topic_id()
            for segment in self._unflushed():
                if segment in self._segments.all and not self.is_closed:
                    await segment.flush()
            if self.epochs.is_dirty and not self.is_closed:
                await self._save_epochs_beside()
            if not self.is_closed:
                await self._segments.sync_names_beside()
        except OSError as error:
            if directory != self.directory and not self.is_closed:
                return  # it was put in the place of another; who wants a flush asks again
            raise self._flush_failed(error) from error
        if truncations != self._truncations or self.is_closed or directory != self.directory:
            return
        self._flushed_ms = self._now_ms
        self._flushed_to(end)

    async def _sync_topic_id(self) -> None:
        file = self._disk.open(f"{self.directory}/{files.PARTITION_METADATA}")
        try:
            await file.sync()
        finally:
            file.close()
        self._owes_topic_id = False

    def _flush_failed(self, error: OSError) -> KafkaStorageError:
        self.flush_error = self._failed("flush", error)
        self.settlings.wake()
        return self.flush_error

    def _unflushed(self) -> list[Segment]:
        return self._segments.all[self._segments.index_holding(self.recovery_point) :]

    def _finish_flush(self) -> None:
        self._save_epochs()
        self._segments.sync_names()
        self._flushed_ms = self._now_ms

    def _save_epochs(self) -> None:
        if self.epochs.is_dirty:
            path = f"{self.directory}/{files.LEADER_EPOCHS}"
            self._epoch_saves += 1
            self._epochs_saved = self._epoch_saves
            self._disk.replace(path, self.epochs.encode())
            self.epochs.is_dirty = False
            self._segments.note_synced()  # the directory is synced with it

    async def _save_epochs_beside(self) -> None:
        """As `_save_epochs`, with the sync off the loop, and without that of the directory.

        No effect where a later save was done meanwhile.
        """
        epochs, directory = self.epochs, self.directory
        self._epoch_saves += 1
        number = self._epoch_saves
        path = f"{directory}/{files.LEADER_EPOCHS}"
        temporary = f"{path}.{number}{files.UNFINISHED}"
        data = epochs.encode()
        file = self._disk.open(temporary)
        try:
            file.append(data)
            await file.sync()
        except OSError:
            with suppress(OSError):
                self._disk.remove(temporary)  # on a full disk this is tried again and again
            raise
        finally:
            file.close()
        if self.is_closed or self.directory != directory:
            return  # the next start removes what is left
        if number < self._epochs_saved:
            self._disk.remove(temporary)
            return
        self._disk.rename(temporary, path)
        self._epochs_saved = number
        self._segments.note_change()
        if epochs is self.epochs and epochs.encode() == data:
            epochs.is_dirty = False

    # --- letting go ---

    def prepare_close(self) -> bool:
        """Write what a clean stop leaves, for the next flush to make durable; False when there is
        nothing to do. OSError.
        """
        if self.is_closed or self._is_settled():
            return False
        self._segments.all[-1].seal()
        self._snapshots.take(self.log_end, self.producers)
        self._segments.note_change()
        return True

    def close(self, *, clean: bool) -> None:
        """Let go of the files. `clean` makes everything durable first, so that the next open need
        not scan."""
        if self.is_closed:
            return
        if clean and self.prepare_close():
            self.flush()
        self.is_closed = True
        self.settlings.wake()
        self._segments.close()

    def _is_settled(self) -> bool:
        """Whether a clean stop has nothing to write: the log was not touched since a clean start,
        or never held anything. There may be thousands of these, and a sync takes its time.
        """
        if self.log_end == 0 and not self._owes_cut:
            return True
        return (
            self.recovery_point == self.log_end
            and not self.epochs.is_dirty
            and not self._segments.names_changed
            and self.log_end in self._snapshots.offsets
        )

    def abandon(self) -> None:
        """The disk is not to be trusted any more: take nothing, give nothing, write nothing."""
        self.is_closed = True
        self.settlings.wake()

    def let_go(self) -> None:
        """Close the files of an abandoned log."""
        assert self.is_closed
        self._segments.close()

    def go_by(self, directory: str) -> None:
        """The directory has another name, and the log goes on."""
        self.directory = directory
        self._segments.go_by(directory)
        self._snapshots.directory = directory

    def take_place_of(self, other: "FlushingLog") -> None:
        """Be what `other` is, of which this is a copy: what is known beyond the batches too."""
        assert self.log_end == other.log_end
        self.config = other.config
        self.topic_id = other.topic_id
        self.log_start = other.log_start
        self.settled_end = max(self.settled_end, other.settled_end)
        self.cleaned_end = other.cleaned_end
        self.epochs = other.epochs
        self.epochs.is_dirty = True
        self.producers = other.producers
        self.on_settled, other.on_settled = other.on_settled, None

    def moved_to(self, directory: str) -> None:
        """The directory was renamed, to be deleted; open files stay readable until `delete`."""
        self.directory = directory
        self.is_closed = True
        self.settlings.wake()

    def delete(self) -> None:
        """Close the files and remove the directory with all that is in it."""
        self.is_closed = True
        self._segments.close()
        if self._disk.exists(self.directory):
            self._disk.remove_tree(self.directory)


__all__ = ["FlushingLog"]
