"""Everything that ensemble members say to each other.

Consensus messages follow Raft (Ongaro, "Consensus: Bridging Theory and Practice", 2014, figures
3.1 and 5.3, section 9.6 for the pre-vote, 3.10 for leadership transfer); `epoch` is Raft's term.
The sender is the member that the connection's `Hello` named, so messages do not repeat it. `sent`
is the leader's own monotonic clock, seconds, echoed untouched: it dates the leader's lease
(section 6.4.1).
"""

from typing import NamedTuple

from ottla.protocol.peer.entries import Block


class Hello(NamedTuple):
    """First frame of a connection: who calls, whom, and which ensemble both believe to be in.

    `ensemble` is empty when the sender's configuration is not, or may not be, what its file says.
    `host` and `port` are where the sender itself is called. `founding` names the beginning of its
    data, and is empty while it has none, or does not know.
    """

    version: int
    ensemble: str
    sender: int
    receiver: int
    host: str
    port: int
    founding: str


class PreVoteRequest(NamedTuple):
    """Would you vote for me in `epoch`? Changes nothing at the receiver."""

    epoch: int
    last_index: int
    last_epoch: int


class PreVoteReply(NamedTuple):
    """`epoch` is the asked one when granted, else the receiver's current one."""

    epoch: int
    granted: bool


class VoteRequest(NamedTuple):
    """`transfer`: the leader itself asked for this election, so stickiness does not apply."""

    epoch: int
    last_index: int
    last_epoch: int
    transfer: bool


class VoteReply(NamedTuple):
    epoch: int
    granted: bool


NO_ANSWER = -1.0
"""`AppendRequest.sent` of news of the commit index: answered only where the logs differ."""


class AppendRequest(NamedTuple):
    """Entries after (prev_index, prev_epoch), or a heartbeat when `block` is None."""

    epoch: int
    prev_index: int
    prev_epoch: int
    commit: int
    sent: float
    block: Block | None


class AppendReply(NamedTuple):
    """Accepted: `matched` is the last index known to match and to be on the follower's disk, and
    `hint_epoch` is 1 of a follower that may not vote yet, else 0.

    Refused: `matched` is where the leader may try next as prev_index, `hint_epoch` the epoch of
    the follower's entry there (0: none).
    """

    epoch: int
    accepted: bool
    matched: int
    hint_epoch: int
    sent: float


class SnapshotChunk(NamedTuple):
    """Piece number `ordinal` of the state as of (state_index, state_epoch, zxid).

    `membership` is the configuration of that moment (`membership.Membership`), with every piece;
    empty in an ensemble that never changed.
    """

    epoch: int
    state_index: int
    state_epoch: int
    zxid: int
    ordinal: int
    last: bool
    sent: float
    data: bytes
    membership: bytes


class SnapshotReply(NamedTuple):
    """`wanted` is the ordinal of the next piece that the follower lacks."""

    epoch: int
    state_index: int
    wanted: int
    sent: float


class TimeoutNow(NamedTuple):
    """Start an election at once: the leader of `epoch` wants to hand over."""

    epoch: int


class RollCallRequest(NamedTuple):
    """A member that holds nothing asks what there was. `life` tells its starts from each other."""

    life: int


class RollCallReply(NamedTuple):
    """`leads`: the sender leads `epoch` and nobody else can lead a later one by now (6.4.1).

    `last_index` is where its log ends, `voters` are those of its configuration.
    """

    life: int
    epoch: int
    last_index: int
    leads: bool
    voters: tuple[int, ...]


class ForwardedRequest(NamedTuple):
    """A write of a client session. `tag` is unique at the sender and comes back with the result."""

    tag: int
    session_id: int
    opcode: int
    body: bytes
    auth: tuple[tuple[str, str], ...]


class Forward(NamedTuple):
    """Writes for the leader of `epoch`, in the order in which the member's clients sent them."""

    epoch: int
    requests: tuple[ForwardedRequest, ...]


class SessionTouches(NamedTuple):
    """Sessions that were active at the sender since its last report."""

    session_ids: tuple[int, ...]


class ReadIndexRequest(NamedTuple):
    """Up to which index must I have applied to have seen everything committed by now?"""

    tag: int


class ReadIndexReply(NamedTuple):
    """`commit` -1: the asked member cannot tell, because it is not a leader with a valid lease."""

    tag: int
    commit: int


ConsensusMessage = (
    PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | AppendRequest
    | AppendReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
    | RollCallRequest
    | RollCallReply
)
SessionMessage = Forward | SessionTouches | ReadIndexRequest | ReadIndexReply
PeerMessage = Hello | ConsensusMessage | SessionMessage
CONSENSUS_MESSAGES = (
    PreVoteRequest,
    PreVoteReply,
    VoteRequest,
    VoteReply,
    AppendRequest,
    AppendReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    RollCallRequest,
    RollCallReply,
)

__all__ = [
    "CONSENSUS_MESSAGES",
    "NO_ANSWER",
    "AppendReply",
    "AppendRequest",
    "ConsensusMessage",
    "Forward",
    "ForwardedRequest",
    "Hello",
    "PeerMessage",
    "PreVoteReply",
    "PreVoteRequest",
    "ReadIndexReply",
    "ReadIndexRequest",
    "RollCallReply",
    "RollCallRequest",
    "SessionMessage",
    "SessionTouches",
    "SnapshotChunk",
    "SnapshotReply",
    "TimeoutNow",
    "VoteReply",
    "VoteRequest",
]
