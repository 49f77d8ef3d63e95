"""What goes into a group and what comes out of it: commands, replies, records, effects."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ottla.protocol.kafka.errors import ErrorCode

Ticket = Hashable
"""Names a parked request; the shell that made it turns the Answer for it into a reply."""

NO_MEMBER = ""
NO_GENERATION = -1
CONSUMER_PROTOCOL = "consumer"
NEW_MEMBER_JOIN_TIMEOUT_S = 300.0
"""How long a first join is parked at most: its client cannot send heartbeats yet."""


class Moment(NamedTuple):
    """Now, on both clocks: monotonic seconds for timers, wall milliseconds for records."""

    seconds: float
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Join:
    """JoinGroup, with what the version of the request implies."""

    member_id: str
    instance_id: str | None
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]  # (name, metadata), most wanted first
    session_ms: int
    rebalance_ms: int
    client_id: str
    client_host: str
    reason: str
    needs_known_id: bool  # KIP-394: a new dynamic member is first told its id
    may_skip_assignment: bool  # KIP-814: the reply can tell a leader not to assign


@dataclass(frozen=True, slots=True)
class JoinedMember:
    member_id: str
    instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True)
class JoinReply:
    error: ErrorCode
    member_id: str
    generation: int = NO_GENERATION
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = NO_MEMBER
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()  # for the leader only


@dataclass(frozen=True, slots=True)
class Sync:
    """SyncGroup. The protocol's type and name are None before version 5."""

    member_id: str
    instance_id: str | None
    generation: int
    protocol_type: str | None
    protocol: str | None
    assignments: Mapping[str, bytes]  # by member id; from the leader only


@dataclass(frozen=True, slots=True)
class SyncReply:
    error: ErrorCode
    protocol_type: str | None = None
    protocol: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class MemberIdentity:
    """Who leaves. An empty member id with an instance id is an administrator's removal."""

    member_id: str
    instance_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MemberRecord:
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_ms: int
    rebalance_ms: int
    subscription: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A generation as it stands in the log: GroupMetadataValue. No members: an empty group."""

    generation: int
    protocol_type: str | None  # None: no member ever joined
    protocol: str | None  # None exactly when there are no members
    leader: str | None
    state_since_ms: int  # -1: written by a broker that did not keep it
    members: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class OffsetEntry:
    """One committed offset: OffsetCommitValue."""

    offset: int
    leader_epoch: int  # -1: the client did not say
    metadata: str
    commit_ms: int
    expire_ms: int = -1  # -1: by the group's retention


class WriteKind(Enum):
    ASSIGNMENT = "assignment"  # makes a generation stable
    STATIC_REJOIN = "static_rejoin"  # a static member's new id, same generation
    EMPTIED = "emptied"  # the last member is gone


@dataclass(slots=True, eq=False)
class GroupWrite:
    """A record on its way to the log; the group learns how it ended by `Group.stored`."""

    record: GroupRecord
    kind: WriteKind
    ticket: Ticket | None = None  # STATIC_REJOIN: the parked join that waits for it
    reply: JoinReply | None = None  # and what it is answered with


@dataclass(frozen=True, slots=True)
class Answer:
    ticket: Ticket
    reply: JoinReply | SyncReply


@dataclass(frozen=True, slots=True)
class Persist:
    write: GroupWrite


@dataclass(frozen=True, slots=True)
class Note:
    """Something an operator would ask about."""

    event: str
    fields: Mapping[str, object]
    is_warning: bool = False  # degraded, and expected to heal by itself


Effect = Answer | Persist | Note

__all__ = [
    "CONSUMER_PROTOCOL",
    "NEW_MEMBER_JOIN_TIMEOUT_S",
    "NO_GENERATION",
    "NO_MEMBER",
    "Answer",
    "Effect",
    "GroupRecord",
    "GroupWrite",
    "Join",
    "JoinReply",
    "JoinedMember",
    "MemberIdentity",
    "MemberRecord",
    "Moment",
    "Note",
    "OffsetEntry",
    "Persist",
    "Sync",
    "SyncReply",
    "Ticket",
    "WriteKind",
]
