"""What the leader knows about one other member's log."""

import enum
from collections import deque

from ottla.coordinator.consensus.values import Limits, Snapshot


class Mode(enum.Enum):
    """How entries travel to the member.

    PROBE: one message, then wait, because where the logs meet is not known yet.
    REPLICATE: a pipeline bounded by `Limits`. SNAPSHOT: its log ends before ours begins.
    """

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """matched < next <= the leader's last index + 1. Lives as long as the leadership."""

    __slots__ = (
        "abstains",
        "awaited",
        "chunk",
        "chunk_sent_at",
        "contact",
        "inflight",
        "inflight_bytes",
        "matched",
        "mode",
        "next",
        "owed_since",
        "probe_sent",
        "sent_commit",
        "snapshot",
    )

    def __init__(self, next_index: int) -> None:
        self.next = next_index
        self.matched = 0
        self.mode = Mode.PROBE
        self.probe_sent = False
        self.sent_commit = 0
        self.awaited = 0  # clients of that member wait for entries up to here
        self.owed_since = float("inf")  # when it was first kept from it what is committed
        self.inflight: deque[tuple[int, int]] = deque()  # (last index, bytes), ascending
        self.inflight_bytes = 0
        self.contact = float("-inf")  # when we sent the latest message that it answered
        self.abstains = False  # its last answer said that it may not vote yet (`newcomer`)
        self.snapshot: Snapshot | None = None  # being sent; only in mode SNAPSHOT
        self.chunk = 0  # next piece of it
        self.chunk_sent_at = float("-inf")

    def has_room(self, limits: Limits) -> bool:
        """Whether another block may be sent ahead of acknowledgements."""
        return (
            len(self.inflight) < limits.inflight_blocks
            and self.inflight_bytes < limits.inflight_bytes
        )

    def sent_block(self, last: int, size: int) -> None:
        """Note a block on its way; in REPLICATE the next one follows it at once."""
        if self.mode is Mode.PROBE:
            self.probe_sent = True
            return
        assert self.mode is Mode.REPLICATE
        self.inflight.append((last, size))
        self.inflight_bytes += size
        self.next = last + 1

    def was_told(self, commit: int) -> None:
        """It knows from a message on its way what is committed."""
        self.sent_commit = commit
        self.owed_since = float("inf")

    def accepted(self, matched: int) -> bool:
        """The member holds everything up to `matched`; whether that is news."""
        inflight = self.inflight
        while inflight and inflight[0][0] <= matched:
            self.inflight_bytes -= inflight.popleft()[1]
        news = matched > self.matched
        if news:
            self.matched = matched
        self.next = max(self.next, matched + 1)
        return news

    def become_probe(self, next_index: int) -> None:
        """Find out anew where the logs meet, starting at `next_index`."""
        assert next_index >= 1
        self.mode = Mode.PROBE
        self.next = max(next_index, self.matched + 1)
        self._forget_inflight()
        self.probe_sent = False
        self.snapshot = None

    def become_replicate(self) -> None:
        """The logs meet at `matched`: go on from there in a pipeline."""
        self.mode = Mode.REPLICATE
        self.next = self.matched + 1
        self._forget_inflight()
        self.probe_sent = False
        self.snapshot = None

    def become_snapshot(self) -> None:
        """Wait for `offer_snapshot`, then send it piece by piece."""
        self.mode = Mode.SNAPSHOT
        self._forget_inflight()
        self.probe_sent = False
        self.snapshot = None
        self.chunk = 0
        self.chunk_sent_at = float("-inf")

    def _forget_inflight(self) -> None:
        self.inflight.clear()
        self.inflight_bytes = 0

    def check(self, last_index: int) -> None:
        """Assert the class's relations against the leader's last index."""
        assert 0 <= self.matched < self.next <= last_index + 1
        assert self.inflight_bytes == sum(size for _, size in self.inflight)
        assert not self.inflight or self.mode is Mode.REPLICATE
        assert self.snapshot is None or self.mode is Mode.SNAPSHOT
        assert not self.probe_sent or self.mode is Mode.PROBE


__all__ = ["Mode", "Progress"]
