"""A group's state, generation and members, and what moves them on: time, joins, commits.

A generation counts once its record is committed. The machine only decides it, with a `Persist`; the
shell calls `committed` when that record is committed, or `failed` (once, maybe before `committed`)
when it was refused or took too long. `apply` is the only code that changes what is committed, live
as well as on reload; a rebalance in progress is never in the log.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from ottla.broker.groups.deadlines import Deadlines
from ottla.broker.groups.members import Member, Members
from ottla.broker.groups.offsets import OffsetTable
from ottla.broker.groups.settings import GroupSettings
from ottla.broker.groups.states import TRANSITIONS, GroupState
from ottla.broker.groups.values import (
    NO_MEMBER,
    Answer,
    Effect,
    GroupRecord,
    GroupWrite,
    JoinReply,
    Moment,
    Note,
    Persist,
    SyncReply,
    Ticket,
    WriteKind,
)
from ottla.protocol.kafka.errors import ErrorCode

JOIN_PHASE: Final = ("join", "")  # timer: members join, or the delay before the first generation
SYNC_PHASE: Final = ("sync", "")  # timer: every member has to ask for its assignment

EMPTY = GroupState.EMPTY
PREPARING = GroupState.PREPARING_REBALANCE
COMPLETING = GroupState.COMPLETING_REBALANCE
STABLE = GroupState.STABLE
DEAD = GroupState.DEAD


class GroupMachine:
    """State, generation and members of a group, and the moves between states.

    Methods with an underscore append to `out` what the shell has to do, in order.
    """

    TRANSITIONS: ClassVar[Mapping[GroupState, frozenset[GroupState]]] = TRANSITIONS

    __slots__ = (
        "_member_added",
        "_rng",
        "_settings",
        "awaiting_sync",
        "generation",
        "group_id",
        "initial_delay_left_s",
        "last_record",
        "members",
        "offsets",
        "pending",
        "protocol",
        "protocol_type",
        "state",
        "state_since_ms",
        "timers",
        "undecided",
        "writes",
    )

    def __init__(
        self, group_id: str, settings: GroupSettings, rng: random.Random, now: Moment
    ) -> None:
        self.group_id = group_id
        self._settings = settings
        self._rng = rng
        self.state = EMPTY
        self.state_since_ms = now.wall_ms  # -1: unknown, from an old record
        self.generation = 0  # grows by one per completed rebalance, never shrinks
        self.protocol_type: str | None = None  # None: nobody ever joined
        self.protocol: str | None = None  # None while EMPTY
        self.members = Members()  # none exactly while EMPTY, bar the end of a PREPARING phase
        self.pending: dict[str, None] = {}  # ids given out that did not join yet; not members
        self.awaiting_sync: dict[str, None] = {}  # members that owe a sync in this generation
        self.offsets = OffsetTable()
        self.last_record: GroupRecord | None = None  # the newest committed one; set by apply
        self.writes: dict[int, GroupWrite] = {}  # by id(): somebody waits to hear of them
        self.undecided = 0  # records in the log that may be committed yet, also when nobody waits
        self.timers: Deadlines[tuple[str, str]] = Deadlines()
        self.initial_delay_left_s: float | None = None  # not None: in the initial delay
        self._member_added = False  # during the initial delay

    # --- What is committed ---

    def apply(self, record: GroupRecord | None) -> None:
        """A committed record, in log order; None is a tombstone."""
        self.last_record = record

    def activate(self, now: Moment) -> list[Effect]:
        """Begin to live after a replay: everybody gets a whole session timeout."""
        out: list[Effect] = []
        record = self.last_record
        assert self.state is EMPTY
        assert not self.members
        if record is None:
            return out
        self.generation = record.generation
        self.protocol_type = record.protocol_type
        self.protocol = record.protocol
        self.state_since_ms = record.state_since_ms
        self.members.load(record)
        if self.members:
            self.state = STABLE
            for member in self.members.by_id.values():
                self._expect_heartbeat(member, now)
            if len(self.members) > self._settings.size_max:
                self._prepare_rebalance("more members than group.max.size allows", now, out)
        return out

    def committed(self, write: GroupWrite, now: Moment) -> list[Effect]:
        """`write` is committed: what it stands for becomes true if nothing overtook it."""
        out: list[Effect] = []
        self.apply(write.record)
        if self.writes.pop(id(write), None) is None:
            return out
        if write.kind is WriteKind.STATIC_REJOIN and write.ticket is not None:
            assert write.reply is not None
            out.append(Answer(write.ticket, write.reply))
        elif (
            write.kind is WriteKind.ASSIGNMENT
            and self.state is COMPLETING
            and write.record.generation == self.generation
        ):
            self._move_to(STABLE, now)
            for record in write.record.members:
                self.members[record.member_id].assignment = record.assignment
            for member in self.members.by_id.values():
                self._answer_sync(member, self._sync_reply(member), now, out)
            out.append(self._note("group.stabilized", members=len(self.members)))
        return out

    def failed(self, write: GroupWrite, error: ErrorCode, now: Moment) -> list[Effect]:
        """`write` was refused, or is not committed in time (it may still be, later)."""
        out: list[Effect] = []
        if self.writes.pop(id(write), None) is None:
            return out
        note = self._note("group.write_failed", kind=write.kind.value, error=error.name)
        out.append(replace(note, is_warning=True))
        if write.kind is WriteKind.STATIC_REJOIN and write.ticket is not None:
            out.append(Answer(write.ticket, JoinReply(error, NO_MEMBER)))
        if write.record.generation != self.generation:
            return out
        if write.kind is WriteKind.ASSIGNMENT and self.state is COMPLETING:
            self._refuse_syncs(error, now, out)
            self._prepare_rebalance("the assignment could not be stored", now, out)
        elif write.kind is WriteKind.STATIC_REJOIN and self.state is STABLE:
            self._prepare_rebalance("a static member's new id could not be stored", now, out)
        return out

    # --- Rebalancing ---

    def _maybe_rebalance(self, reason: str, now: Moment, out: list[Effect]) -> None:
        if PREPARING in TRANSITIONS[self.state]:
            self._prepare_rebalance(reason, now, out)

    def _prepare_rebalance(self, reason: str, now: Moment, out: list[Effect]) -> None:
        if self.state is COMPLETING:
            self._refuse_syncs(ErrorCode.REBALANCE_IN_PROGRESS, now, out)
        self.awaiting_sync.clear()
        self.timers.clear(SYNC_PHASE)
        for write in self.writes.values():
            if write.ticket is not None and write.reply is not None:
                # A static member that came back takes part in this rebalance instead.
                member = self.members[write.reply.member_id]
                if member.join_ticket is None:
                    self.members.park(member, write.ticket)
                else:
                    error = ErrorCode.REBALANCE_IN_PROGRESS
                    out.append(Answer(write.ticket, JoinReply(error, member.member_id)))
                write.ticket = None
        was_empty = self.state is EMPTY
        self._move_to(PREPARING, now)
        out.append(self._note("group.rebalance_started", reason=reason))
        timeout_s = self.members.rebalance_timeout_s()
        if was_empty:
            delay_s = self._settings.initial_rebalance_delay_ms / 1000
            self._member_added = False
            self.initial_delay_left_s = max(timeout_s - delay_s, 0.0)
            self.timers.set(JOIN_PHASE, now.seconds + delay_s)
            if delay_s == 0.0:
                self._end_initial_delay(now, out)
        else:
            self.timers.set(JOIN_PHASE, now.seconds + timeout_s)
            self._try_complete_join(now, out)

    def _try_complete_join(self, now: Moment, out: list[Effect]) -> None:
        assert self.state is PREPARING
        if self.initial_delay_left_s is not None:
            return  # others that start at the same time get the chance to be in this generation
        if self.members.parked == len(self.members) and not self.pending:
            self._complete_join(now, out)

    def _end_initial_delay(self, now: Moment, out: list[Effect]) -> None:
        left_s = self.initial_delay_left_s
        assert left_s is not None
        delay_s = min(self._settings.initial_rebalance_delay_ms / 1000, left_s)
        if self._member_added and self.generation == 0 and delay_s > 0.0:
            self._member_added = False
            self.initial_delay_left_s = left_s - delay_s
            self.timers.set(JOIN_PHASE, now.seconds + delay_s)
            return
        self.initial_delay_left_s = None
        self._complete_join(now, out)

    def _complete_join(self, now: Moment, out: list[Effect]) -> None:
        """Start the next generation with those that joined, and static members in any case."""
        for member in list(self.members.by_id.values()):
            if member.join_ticket is None and member.instance_id is None:
                self._drop(member.member_id, ErrorCode.UNKNOWN_MEMBER_ID, out)
                out.append(self._note("group.member_missed_rebalance", member=member.member_id))
        if self.members and not self.members.elect_parked_leader():
            # Only static members are left and none is here: their sessions decide.
            self.timers.set(JOIN_PHASE, now.seconds + self.members.rebalance_timeout_s())
            return
        self.timers.clear(JOIN_PHASE)
        self.generation += 1
        if not self.members:
            self.protocol = None
            self._move_to(EMPTY, now)
            self._persist(WriteKind.EMPTIED, {}, out)
            out.append(self._note("group.emptied"))
            return
        self.protocol = self.members.select_protocol()
        self._move_to(COMPLETING, now)
        for member in self.members.by_id.values():
            self._answer_join(member, self._join_reply(member), out)
            self._expect_heartbeat(member, now)
            member.is_new = False
            self.awaiting_sync[member.member_id] = None
        self.timers.set(SYNC_PHASE, now.seconds + self.members.rebalance_timeout_s())
        out.append(self._note("group.generation_started", members=len(self.members)))

    # --- Time ---

    def next_deadline(self) -> float:
        """When `tick` has something to do at the earliest, in `Moment.seconds`."""
        return self.timers.next()

    def tick(self, now: Moment) -> list[Effect]:
        """Do what is due."""
        out: list[Effect] = []
        while (key := self.timers.pop_due(now.seconds)) is not None:
            what, member_id = key
            if what == "member":
                self._end_session(member_id, now, out)
            elif what == "pending":
                self.pending.pop(member_id)
                if self.state is PREPARING:
                    self._try_complete_join(now, out)
            elif key == SYNC_PHASE:
                self._end_sync_phase(now, out)
            elif self.initial_delay_left_s is not None:
                self._end_initial_delay(now, out)
            else:
                self._complete_join(now, out)
        return out

    def _expect_heartbeat(self, member: Member, now: Moment) -> None:
        self.timers.set(("member", member.member_id), now.seconds + member.session_ms / 1000)

    def _end_session(self, member_id: str, now: Moment, out: list[Effect]) -> None:
        member = self.members[member_id]
        waits = member.join_ticket is not None or member.sync_ticket is not None
        if waits and not member.is_new:
            return  # parked here, it cannot heartbeat; its answer starts the next session
        out.append(self._note("group.member_expired", member=member_id))
        self._remove(member_id, f"the session of {member_id} ended", now, out)

    def _end_sync_phase(self, now: Moment, out: list[Effect]) -> None:
        assert self.state in (COMPLETING, STABLE)
        assert self.awaiting_sync
        for member_id in list(self.awaiting_sync):
            out.append(self._note("group.member_missed_sync", member=member_id))
            self._drop(member_id, ErrorCode.UNKNOWN_MEMBER_ID, out)
        self._prepare_rebalance("members did not ask for their assignment", now, out)

    # --- Small steps ---

    def _remove(self, member_id: str, reason: str, now: Moment, out: list[Effect]) -> None:
        self._drop(member_id, ErrorCode.UNKNOWN_MEMBER_ID, out)
        if self.state is PREPARING:
            self._try_complete_join(now, out)
        else:
            self._maybe_rebalance(reason, now, out)

    def _drop(self, member_id: str, error: ErrorCode, out: list[Effect]) -> None:
        member = self.members[member_id]
        self._answer_join(member, JoinReply(error, NO_MEMBER), out)
        self._answer_sync(member, SyncReply(error), None, out)
        for write in self.writes.values():
            if write.ticket is not None and write.reply and write.reply.member_id == member_id:
                out.append(Answer(write.ticket, JoinReply(error, NO_MEMBER)))
                write.ticket = None
        self.members.remove(member_id)
        self.awaiting_sync.pop(member_id, None)
        self.timers.clear(("member", member_id))

    def _refuse_syncs(self, error: ErrorCode, now: Moment, out: list[Effect]) -> None:
        for member in self.members.by_id.values():
            member.assignment = b""
            self._answer_sync(member, SyncReply(error), now, out)

    def _forget_pending(self, member_id: str) -> None:
        if member_id in self.pending:
            del self.pending[member_id]
            self.timers.clear(("pending", member_id))

    def _answer_join(self, member: Member, reply: JoinReply, out: list[Effect]) -> None:
        ticket = self.members.unpark(member)
        if ticket is not None:
            out.append(Answer(ticket, reply))

    def _answer_sync(
        self, member: Member, reply: SyncReply, now: Moment | None, out: list[Effect]
    ) -> None:
        """Answer a parked sync; with `now`, the member has to show life again from here on."""
        ticket = member.sync_ticket
        if ticket is None:
            return
        member.sync_ticket = None
        out.append(Answer(ticket, reply))
        if now is not None:
            self._expect_heartbeat(member, now)

    def _join_reply(self, member: Member) -> JoinReply:
        assert self.protocol is not None
        leads = self.members.leader == member.member_id
        return JoinReply(
            ErrorCode.NONE,
            member.member_id,
            self.generation,
            self.protocol_type,
            self.protocol,
            self.members.leader or NO_MEMBER,
            members=self.members.metadata(self.protocol) if leads else (),
        )

    def _sync_reply(self, member: Member) -> SyncReply:
        return SyncReply(ErrorCode.NONE, self.protocol_type, self.protocol, member.assignment)

    def _persist(
        self,
        kind: WriteKind,
        assignments: Mapping[str, bytes],
        out: list[Effect],
        ticket: Ticket | None = None,
        reply: JoinReply | None = None,
    ) -> None:
        protocol = self.protocol
        record = GroupRecord(
            generation=self.generation,
            protocol_type=self.protocol_type,
            protocol=protocol,
            leader=self.members.leader,
            state_since_ms=self.state_since_ms,
            members=tuple(
                member.to_record(protocol, assignments.get(member.member_id, b""))
                for member in self.members.by_id.values()
                if protocol is not None
            ),
        )
        write = GroupWrite(record, kind, ticket, reply)
        self.writes[id(write)] = write
        out.append(Persist(write))

    def _move_to(self, state: GroupState, now: Moment) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} to {state}"
        self.state = state
        self.state_since_ms = now.wall_ms

    def _note(self, event: str, **fields: object) -> Note:
        return Note(event, {"group": self.group_id, "generation": self.generation, **fields})


__all__ = [
    "COMPLETING",
    "DEAD",
    "EMPTY",
    "JOIN_PHASE",
    "PREPARING",
    "STABLE",
    "SYNC_PHASE",
    "GroupMachine",
]
