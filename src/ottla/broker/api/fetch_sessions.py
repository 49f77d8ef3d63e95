"""Fetch sessions (KIP-227): a client names its partitions once and afterwards only what changes.

| request: session id, epoch | then                                                            |
|----------------------------|-----------------------------------------------------------------|
| 0, -1                      | no session: all that is named, all in the response              |
| any, 0                     | as above, and a new session, if there is room; the old one ends |
| id, -1                     | as above without a new session; the old one ends                |
| id, n > 0                  | the session's partitions with the changes named; the response   |
|                            | leaves out partitions with nothing new                          |

The number of sessions is bounded. A new one may take the place of one that was not used for
`EVICTION_S`; else of the smallest of those that are older than that, or are a consumer's where the
new one is a follower's, if the new one is worth more: a follower's more than a consumer's, then
the one with more partitions.
"""

import random
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ottla.broker.errors import (
    FetchSessionNotFound,
    FetchSessionTopicId,
    InvalidFetchSessionEpoch,
)
from ottla.broker.ids import TopicId

if TYPE_CHECKING:
    from ottla.broker.partitions.partition import Partition
    from ottla.protocol.kafka.messages.fetch import PartitionData

UNREAD = -1
ANY_LIMIT = 1 << 62  # of bytes: there was nothing at all

EVICTION_S = 120.0  # Kafka's `min.incremental.fetch.session.eviction.ms`

INITIAL_EPOCH = 0
FINAL_EPOCH = -1
NO_SESSION = 0
LAST_EPOCH = 0x7FFFFFFF

Topic = str | TopicId  # names up to Fetch version 12, ids from 13 on


class FetchedPartition:
    """What one client asks of one partition, and what it was told last.

    changes: those of `partition` when a reading found nothing behind `fetch_offset`, or UNREAD;
    while both stand, another reading would find the same: `found`, None once the client of a
    session knows it. found_limit: of how many bytes there was nothing, where not even one batch was
    wanted whatever its size; ANY_LIMIT at the end.
    """

    __slots__ = (
        "changes",
        "current_leader_epoch",
        "fetch_offset",
        "found",
        "found_limit",
        "found_log_start",
        "high_watermark",
        "index",
        "last_fetched_epoch",
        "log_start",
        "max_bytes",
        "partition",
        "replica_log_start",
        "topic",
    )

    def __init__(  # noqa: PLR0917  one is made for each partition of a request
        self,
        topic: Topic,
        index: int,
        fetch_offset: int = 0,
        max_bytes: int = 0,
        current_leader_epoch: int = -1,
        last_fetched_epoch: int = -1,
        replica_log_start: int = -1,
    ) -> None:
        self.topic = topic
        self.index = index
        self.fetch_offset = fetch_offset
        self.max_bytes = max_bytes
        self.current_leader_epoch = current_leader_epoch
        self.last_fetched_epoch = last_fetched_epoch
        self.replica_log_start = replica_log_start
        self.high_watermark = -1  # of the last response
        self.log_start = -1
        self.changes = UNREAD
        self.partition: Partition | None = None
        self.found: PartitionData | None = None
        self.found_log_start = -1
        self.found_limit = ANY_LIMIT


Key = tuple[Topic, int]


class FetchSession:
    """One session. `partitions` is in the order in which they are served."""

    __slots__ = ("began", "epoch", "id", "is_follower", "last_used", "partitions", "uses_ids")

    def __init__(self, session_id: int, *, uses_ids: bool, is_follower: bool, began: float) -> None:
        self.id = session_id
        self.epoch = 1  # what the next request has to carry
        self.uses_ids = uses_ids
        self.is_follower = is_follower
        self.began = began
        self.last_used = began
        self.partitions: dict[Key, FetchedPartition] = {}

    def change(self, asked: Iterable[FetchedPartition], forgotten: Iterable[Key]) -> None:
        """Take over a request's additions, new offsets and removals."""
        for new in asked:
            known = self.partitions.get((new.topic, new.index))
            if known is not None:
                new.high_watermark = known.high_watermark
                new.log_start = known.log_start
            self.partitions[new.topic, new.index] = new
        for key in forgotten:
            self.partitions.pop(key, None)

    def serve_last(self, key: Key) -> None:
        """Put a partition that gave data behind the others, so that none starves."""
        self.partitions[key] = self.partitions.pop(key)


def _worth(session: FetchSession) -> tuple[bool, int, int]:
    return session.is_follower, len(session.partitions), session.id


class FetchSessions:
    """All sessions of a broker, at most `slots` of them, in the order of their last use."""

    __slots__ = ("_consumers", "_followers", "_rng", "_slots")

    def __init__(self, slots: int, rng: random.Random) -> None:
        self._slots = slots
        self._rng = rng
        self._consumers: OrderedDict[int, FetchSession] = OrderedDict()
        self._followers: OrderedDict[int, FetchSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._consumers) + len(self._followers)

    def resume(self, session_id: int, epoch: int, *, uses_ids: bool, now: float) -> FetchSession:
        """The session of an incremental request. Errors as KIP-227 and KIP-516 name them."""
        session = self._find(session_id)
        if session is None:
            raise FetchSessionNotFound(f"fetch session {session_id} is unknown")
        if session.epoch != epoch:
            raise InvalidFetchSessionEpoch(
                f"fetch session {session_id} expects epoch {session.epoch}, not {epoch}"
            )
        if session.uses_ids != uses_ids:
            raise FetchSessionTopicId(f"fetch session {session_id} mixes topic names and ids")
        session.epoch = 1 if epoch == LAST_EPOCH else epoch + 1
        session.last_used = now
        self._of(session).move_to_end(session_id)
        return session

    def end(self, session_id: int) -> None:
        session = self._find(session_id)
        if session is not None:
            del self._of(session)[session_id]

    def begin(
        self, *, uses_ids: bool, is_follower: bool, size: int, now: float
    ) -> FetchSession | None:
        """A new, empty session for `size` partitions; None when there is no room for it."""
        if len(self) >= self._slots and not self._evict(is_follower, size, now):
            return None
        session_id = NO_SESSION
        while session_id == NO_SESSION or self._find(session_id) is not None:
            session_id = self._rng.randint(1, 0x7FFFFFFF)
        session = FetchSession(session_id, uses_ids=uses_ids, is_follower=is_follower, began=now)
        self._of(session)[session_id] = session
        return session

    def _evict(self, for_follower: bool, size: int, now: float) -> bool:
        for sessions in (self._consumers, self._followers):
            if sessions:
                oldest = next(iter(sessions.values()))
                if oldest.last_used + EVICTION_S <= now:
                    del sessions[oldest.id]
                    return True
        least = min(
            (
                session
                for sessions in (self._consumers, self._followers)
                for session in sessions.values()
                if session.began + EVICTION_S <= now or (for_follower and not session.is_follower)
            ),
            key=_worth,
            default=None,
        )
        if least is None or _worth(least)[:2] >= (for_follower, size):
            return False
        del self._of(least)[least.id]
        return True

    def _find(self, session_id: int) -> FetchSession | None:
        return self._consumers.get(session_id) or self._followers.get(session_id)

    def _of(self, session: FetchSession) -> OrderedDict[int, FetchSession]:
        return self._followers if session.is_follower else self._consumers

    def check(self) -> None:
        """Assert the bound and that the two orders are right."""
        assert len(self) <= self._slots
        for sessions in (self._consumers, self._followers):
            used = [session.last_used for session in sessions.values()]
            assert used == sorted(used)
            for session_id, session in sessions.items():
                assert session.id == session_id
                assert self._of(session) is sessions


__all__ = ["FetchSession", "FetchSessions", "FetchedPartition"]
