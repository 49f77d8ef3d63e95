"""What a log tells: to whom appends, and to the directory that keeps it."""

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ottla.broker.storage.log_flushing import FlushingLog
    from ottla.broker.storage.log_state import LogState


class AppendInfo(NamedTuple):
    """What an append did. A named tuple, as one is made for each request.

    `log_append_time_ms` is -1 unless the broker's clock stamps the records. A duplicate has the
    offsets that its batch got the first time. No batches (a follower's append of a cut batch):
    `first_offset` is the log's end and `last_offset` one below.
    """

    first_offset: int
    last_offset: int
    log_append_time_ms: int
    log_start: int
    duplicate: bool
    batches: int
    bytes: int


class LogOwner(Protocol):
    """Who keeps a log: its directory."""

    def log_cut(self) -> None:
        """A recovery point went down: the new one has to be on disk before this returns."""
        ...

    def log_wants_flush(self, log: "FlushingLog") -> bool:
        """Flush it soon, off the loop; False when nobody is there to do it."""
        ...

    def log_failed(self, log: "LogState", what: str, error: OSError) -> None:
        """The disk refused something."""
        ...


__all__ = ["AppendInfo", "LogOwner"]
