"""Values that cross the border of the consensus core: what it is told, and what it asks for."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ottla.protocol.peer.entries import Block, Entry
from ottla.protocol.peer.messages import ConsensusMessage


class Role(enum.Enum):
    """Raft's roles (figure 3.3), with the pre-vote phase of section 9.6.

    | role | does | leaves for |
    |---|---|---|
    | FOLLOWER | obeys the leader of its epoch, votes | PRE_CANDIDATE when it hears of no leader |
    | PRE_CANDIDATE | asks who would vote for it | CANDIDATE on a majority, FOLLOWER on a leader |
    | CANDIDATE | asks for votes in a new epoch | LEADER on a majority, FOLLOWER, PRE_CANDIDATE |
    | LEADER | appends, replicates, commits | FOLLOWER on a higher epoch or a lost majority |

    An observer is a FOLLOWER, or a PRE_CANDIDATE that asks nobody and waits for a leader.
    """

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


ABSTAINS = -1
"""The vote of a member that may not vote yet: its disk lost what it had (`newcomer`)."""


class HardState(NamedTuple):
    """What must survive a crash beside the log: the epoch, and whom this member voted for in it."""

    epoch: int = 0
    vote: int | None = None


class Position(NamedTuple):
    """The entry that a state or a log begins after; all zero before the first entry."""

    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which no position needs
    epoch: int = 0
    zxid: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state after applying the entry at `at`, in pieces of about a megabyte at most.

    `membership` is the newest configuration's entry up to `at` (`protocol.peer.membership`); empty
    in an ensemble whose members never changed.
    """

    at: Position
    chunks: Sequence[bytes]
    membership: bytes = b""


class Persist(NamedTuple):
    """Write all of this, in this order; report `persisted(sequence)` once it is on stable storage.

    `snapshot` first: it replaces the log. A block whose first index is at or below the last one
    written replaces the log's tail from there on.
    """

    sequence: int
    snapshot: Snapshot | None
    hard: HardState | None
    blocks: Sequence[Block]


class Actions(NamedTuple):
    """What the shell does next. Every message in `send` may leave at once.

    Messages that depend on something durable come out of a later `actions()`, after `persisted()`.
    `apply` holds entries that are committed and durable here, in log order, each one once.
    `snapshots_wanted`: members for whom a snapshot must be made (`offer_snapshot`).
    """

    persist: Persist | None
    send: Sequence[tuple[int, ConsensusMessage]]
    apply: Sequence[Entry]
    snapshots_wanted: Sequence[int]


class MembersChange(Exception):
    """A change of the members is on its way already, or the leader does not know that none is."""


class NewMembersLag(Exception):
    """No majority of those who are to vote is here and holds what is committed."""


class NotLeader(Exception):
    """A proposal reached a member that does not lead (any more)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. election_min_s is also how long a leader's lease lasts (section 6.4.1)."""

    heartbeat_s: float
    election_min_s: float
    election_max_s: float
    lease_s: float
    """The leader stops within this time of its last majority contact; below election_min_s."""
    news_s: float = 0.0
    """So much later may a member hear what is committed if nobody there waits for it: the next
    entries take it along."""
    founding_s: float = float("inf")
    """A member with an empty disk waits so long for every voter; then a majority founds."""

    def __post_init__(self) -> None:
        assert 0 < self.heartbeat_s < self.lease_s < self.election_min_s < self.election_max_s

    @classmethod
    def for_tick(cls, tick_time_ms: int, init_limit: int) -> "Timing":
        """The pace for a `tickTime`: a silent leader is replaced within one to two seconds at 2000.

        Heartbeats every 0.15 ticks, a third of a lease; elections after half a tick to one tick
        of silence.
        """
        tick = tick_time_ms / 1000
        return cls(
            heartbeat_s=tick * 0.15,
            election_min_s=tick / 2,
            election_max_s=tick,
            lease_s=tick * 0.45,
            news_s=min(0.002, tick / 100),
            founding_s=tick * init_limit,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what the core holds and what it sends ahead of acknowledgements."""

    block_bytes: int = 512 * 1024
    block_entries: int = 8192
    inflight_bytes: int = 8 * 1024 * 1024
    inflight_blocks: int = 256
    kept_entries: int = 50_000
    """Applied entries kept in memory for members that lag; further behind, they get a snapshot."""
    kept_bytes: int = 16 * 1024 * 1024


__all__ = [
    "ABSTAINS",
    "Actions",
    "HardState",
    "Limits",
    "MembersChange",
    "NewMembersLag",
    "NotLeader",
    "Persist",
    "Position",
    "Role",
    "Snapshot",
    "Timing",
]
