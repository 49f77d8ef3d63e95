"""Copying a log that is in use into another directory, batch by batch, until the copy can take its
place (KIP-113). Compaction rests meanwhile: a copy of half a log from before and half from after
could bring back what a tombstone had deleted.

Whatever is cut from the source goes from the copy in the same step, so that the copy is at any time
a prefix of the source, but for records below the source's log start.
"""

from ottla.broker.errors import BrokerError, KafkaStorageError
from ottla.broker.storage.log import Log

COPY_BYTES = 256 << 10
_FLUSH_EVERY_BYTES = 64 << 20


class CopyBroken(Exception):
    """The source cannot be copied, however often it is tried."""


class LogCopy:
    """One copy on its way. Owner: the task that makes it; `close` when it ends, however it ends."""

    def __init__(self, source: Log, target: Log) -> None:
        self.source = source
        self.target = target
        self._unflushed = 0
        self._cut_error: KafkaStorageError | None = None
        self._align()
        source.on_cut = self._on_cut

    def close(self) -> None:
        self.source.on_cut = None

    @property
    def is_live(self) -> bool:
        return not (self.source.is_closed or self.target.is_closed)

    @property
    def lag(self) -> int:
        """Offsets that are not copied yet."""
        return self.source.log_end - self.target.log_end

    def _align(self) -> None:
        """Cut what an earlier start of the broker copied, and its source has lost since.

        By leader epochs, as a follower does (KIP-279). KafkaStorageError.
        """
        source, target = self.source, self.target
        if target.log_start == target.log_end == 0 or target.latest_epoch < 0:
            self._begin_at_source()
            return
        epoch, end = source.end_offset_for_epoch(target.latest_epoch)
        if epoch < 0 or end < source.log_start:
            target.truncate_fully_and_start_at(source.log_start)
            return
        if epoch != target.latest_epoch:
            _, own_end = target.end_offset_for_epoch(epoch)
            end = min(end, own_end)
        target.truncate_to(max(min(end, source.log_end), 0))
        self._begin_at_source()

    def _begin_at_source(self) -> None:
        """Follow the source's log start, over a gap if there is one."""
        source, target = self.source, self.target
        if target.log_end < source.log_start:
            target.truncate_fully_and_start_at(source.log_start)
        else:
            target.advance_log_start(source.log_start)

    def _on_cut(self, log_end: int) -> None:
        """The source was cut: it goes on whatever becomes of the copy."""
        try:
            self.target.truncate_to(min(log_end, self.target.log_end))
        except KafkaStorageError as error:
            self._cut_error = error

    def step(self, max_bytes: int = COPY_BYTES) -> bool:
        """Copy the next batches; whether nothing is left.

        KafkaStorageError: a disk refused, perhaps for now. CopyBroken.
        """
        source, target = self.source, self.target
        if self._cut_error is not None:
            raise CopyBroken(str(self._cut_error))
        self._begin_at_source()
        if target.log_end >= source.log_end:
            return True
        read = source.read(target.log_end, max_bytes, end=source.log_end, at_least_one=True)
        data = read.data if isinstance(read.data, bytes) else read.data.read()
        before = target.log_end
        try:
            target.append_as_follower(data)
        except KafkaStorageError:
            raise
        except BrokerError as error:
            raise CopyBroken(f"at offset {before}: {error}") from error
        if target.log_end <= before:
            raise CopyBroken(f"no batch at offset {before}")
        self._unflushed += len(data)
        return target.log_end >= source.log_end

    async def flush_if_due(self) -> None:
        """Keep what is not on stable storage small, so that the last flush is short."""
        if self._unflushed >= _FLUSH_EVERY_BYTES:
            await self.flush()

    async def flush(self) -> None:
        self._unflushed = 0
        await self.target.flush_async()

    def complete(self) -> None:
        """Copy what came since the last step and make the copy at least as durable as the source.

        Blocks; for when little is left.
        """
        while not self.step():
            pass
        source, target = self.source, self.target
        if source.settled_end < source.log_end:
            source.flush()  # nobody is left waiting for a log that is on its way out
        if target.recovery_point < source.recovery_point:
            target.flush()


__all__ = ["COPY_BYTES", "CopyBroken", "LogCopy"]
