"""A group of the classic protocol: what it makes of its members' requests.

The core of Kafka's group coordinator: KIP-394 (a new member is told its id first), KIP-345 (static
members), KIP-814 (a leader may skip the assignment), KIP-800 (reasons), as Kafka 3.9 behaves. It
never waits, reads no clock and writes nothing: methods return effects, in order, for the shell.
"""

import uuid

from ottla.broker.groups.invariants import check_group
from ottla.broker.groups.machine import (
    COMPLETING,
    DEAD,
    EMPTY,
    PREPARING,
    STABLE,
    SYNC_PHASE,
    GroupMachine,
)
from ottla.broker.groups.members import Member
from ottla.broker.groups.values import (
    NEW_MEMBER_JOIN_TIMEOUT_S,
    NO_MEMBER,
    Answer,
    Effect,
    Join,
    JoinReply,
    MemberIdentity,
    Moment,
    Sync,
    SyncReply,
    Ticket,
    WriteKind,
)
from ottla.protocol.kafka.errors import ErrorCode


class Group(GroupMachine):
    """Owned by the one task that serves its partition of the offsets topic; lives until DEAD."""

    __slots__ = ()

    # --- Joining ---

    def join(self, command: Join, ticket: Ticket, now: Moment) -> list[Effect]:
        """Park or answer a join. Its session timeout was checked against the bounds."""
        out: list[Effect] = []
        member_id = command.member_id
        if not self._has_room_for(member_id, command.instance_id):
            if member_id in self.members:
                self._drop(member_id, ErrorCode.GROUP_MAX_SIZE_REACHED, out)
            self._forget_pending(member_id)
            out.append(Answer(ticket, JoinReply(ErrorCode.GROUP_MAX_SIZE_REACHED, NO_MEMBER)))
        elif self.state is DEAD:
            out.append(Answer(ticket, JoinReply(ErrorCode.COORDINATOR_NOT_AVAILABLE, member_id)))
        elif not self._supports(command):
            out.append(Answer(ticket, JoinReply(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, member_id)))
        elif member_id == NO_MEMBER:
            self._join_new(command, ticket, now, out)
        elif member_id in self.pending and command.instance_id is None:
            self._add_member(member_id, command, ticket, now, out)
        else:
            error = self._identify(member_id, command.instance_id)
            if error is ErrorCode.NONE:
                self._join_again(self.members[member_id], command, ticket, now, out)
            else:
                out.append(Answer(ticket, JoinReply(error, member_id)))
        if self.state is PREPARING:
            self._try_complete_join(now, out)
        return out

    def _has_room_for(self, member_id: str, instance_id: str | None) -> bool:
        size_max = self._settings.size_max
        if instance_id in self.members.instances:
            return True  # a successor takes no place of its own
        if self.state is PREPARING:
            # By who has joined, not who was there: the last ones to come back are the ones to go.
            member = self.members.by_id.get(member_id)
            rejoins = member is not None and member.join_ticket is not None
            return rejoins or self.members.parked < size_max
        if self.state in (COMPLETING, STABLE):
            return member_id in self.members or len(self.members) < size_max
        return True

    def _supports(self, command: Join) -> bool:
        if self.state is EMPTY:
            return bool(command.protocol_type and command.protocols)
        return command.protocol_type == self.protocol_type and self.members.support(
            command.protocols
        )

    def _identify(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """Whether this is a current member, and the current holder of its instance id."""
        if instance_id is not None:
            holder = self.members.instances.get(instance_id)
            if holder is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if holder != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    def _join_new(self, command: Join, ticket: Ticket, now: Moment, out: list[Effect]) -> None:
        name = command.client_id if command.instance_id is None else command.instance_id
        new_id = f"{name}-{uuid.UUID(int=self._rng.getrandbits(128), version=4)}"
        if command.instance_id is not None:
            if command.instance_id in self.members.instances:
                self._replace_static(new_id, command, ticket, now, out)
            else:
                self._add_member(new_id, command, ticket, now, out)
        elif command.needs_known_id:
            self.pending[new_id] = None
            self.timers.set(("pending", new_id), now.seconds + command.session_ms / 1000)
            out.append(Answer(ticket, JoinReply(ErrorCode.MEMBER_ID_REQUIRED, new_id)))
        else:
            self._add_member(new_id, command, ticket, now, out)

    def _add_member(
        self, member_id: str, command: Join, ticket: Ticket, now: Moment, out: list[Effect]
    ) -> None:
        self._forget_pending(member_id)
        if not self.members:
            self.protocol_type = command.protocol_type
        member = Member.joining(member_id, command)
        member.is_new = True
        self.members.add(member)
        self.members.park(member, ticket)
        if self.state is PREPARING:
            self._member_added = True
        # Its client cannot heartbeat before it knows its id, and a closed connection is not seen.
        self.timers.set(("member", member_id), now.seconds + NEW_MEMBER_JOIN_TIMEOUT_S)
        self._maybe_rebalance(f"{member_id} joins: {command.reason}", now, out)

    def _join_again(
        self, member: Member, command: Join, ticket: Ticket, now: Moment, out: list[Effect]
    ) -> None:
        changed = member.protocols != command.protocols
        is_leader = self.members.leader == member.member_id
        if (self.state is COMPLETING and not changed) or (
            self.state is STABLE and not changed and not is_leader
        ):
            # It may have missed the reply; the generation stands.
            out.append(Answer(ticket, self._join_reply(member)))
            return
        self._take_join(member, command, ticket, out)
        self._maybe_rebalance(f"{member.member_id} joins again: {command.reason}", now, out)

    def _take_join(self, member: Member, command: Join, ticket: Ticket, out: list[Effect]) -> None:
        """Park the newest join of a member; an older one belongs to a client that gave it up."""
        self._answer_join(member, JoinReply(ErrorCode.REBALANCE_IN_PROGRESS, member.member_id), out)
        self.members.update(member, command)
        self.members.park(member, ticket)

    def _replace_static(
        self, new_id: str, command: Join, ticket: Ticket, now: Moment, out: list[Effect]
    ) -> None:
        """A restarted static member: its old process is fenced, its assignment stays."""
        instance_id = command.instance_id
        assert instance_id is not None
        old_id = self.members.instances[instance_id]
        old_leader = self.members.leader
        member = self.members[old_id]
        self._answer_join(member, JoinReply(ErrorCode.FENCED_INSTANCE_ID, old_id), out)
        self._answer_sync(member, SyncReply(ErrorCode.FENCED_INSTANCE_ID), None, out)
        self._fence_static_writes(old_id, out)
        self.timers.clear(("member", old_id))
        if self.awaiting_sync.pop(old_id, False) is None:
            self.awaiting_sync[new_id] = None
        self.members.rename(instance_id, new_id)
        self.members.update(member, command)
        self._expect_heartbeat(member, now)
        out.append(self._note("group.member_replaced", member=new_id, replaced=old_id))
        if self.state is STABLE and self.members.select_protocol() == self.protocol:
            is_leader = self.members.leader == new_id
            skips = command.may_skip_assignment
            reply = JoinReply(
                ErrorCode.NONE,
                new_id,
                self.generation,
                self.protocol_type,
                self.protocol,
                # A client that cannot skip must not think itself leader: a stable group ignores
                # what it would assign.
                (self.members.leader if skips else old_leader) or NO_MEMBER,
                skip_assignment=skips and is_leader,
                members=self.members.metadata(self.protocol) if skips and is_leader else (),
            )
            assignments = {m.member_id: m.assignment for m in self.members.by_id.values()}
            self._persist(WriteKind.STATIC_REJOIN, assignments, out, ticket, reply)
            return
        self.members.park(member, ticket)
        self._maybe_rebalance(f"static member {new_id} came back: {command.reason}", now, out)

    def _fence_static_writes(self, old_id: str, out: list[Effect]) -> None:
        for write in self.writes.values():
            if write.ticket is not None and write.reply and write.reply.member_id == old_id:
                fenced = JoinReply(ErrorCode.FENCED_INSTANCE_ID, old_id)
                out.append(Answer(write.ticket, fenced))
                write.ticket = None

    # --- Syncing ---

    def sync(self, command: Sync, ticket: Ticket, now: Moment) -> list[Effect]:
        """Park or answer a sync; the leader's assignment goes to the log."""
        out: list[Effect] = []
        error = self._refusal_of_sync(command)
        if error is not ErrorCode.NONE:
            out.append(Answer(ticket, SyncReply(error)))
            return out
        member = self.members[command.member_id]
        self.awaiting_sync.pop(command.member_id, None)
        if not self.awaiting_sync:
            self.timers.clear(SYNC_PHASE)
        if self.state is STABLE:
            out.append(Answer(ticket, self._sync_reply(member)))
            self._expect_heartbeat(member, now)
            return out
        self._answer_sync(member, SyncReply(ErrorCode.REBALANCE_IN_PROGRESS), None, out)
        member.sync_ticket = ticket
        if self.members.leader == command.member_id and not self._is_storing_assignment():
            self._persist(WriteKind.ASSIGNMENT, command.assignments, out)
        return out

    def _refusal_of_sync(self, command: Sync) -> ErrorCode:
        if self.state is DEAD:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        error = self._identify(command.member_id, command.instance_id)
        if error is not ErrorCode.NONE:
            return error
        if command.generation != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        if command.protocol_type not in (None, self.protocol_type):
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if command.protocol not in (None, self.protocol):
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if self.state is PREPARING:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE

    def _is_storing_assignment(self) -> bool:
        return any(
            write.kind is WriteKind.ASSIGNMENT and write.record.generation == self.generation
            for write in self.writes.values()
        )

    # --- Heartbeats, commits, leaving ---

    def heartbeat(
        self, member_id: str, instance_id: str | None, generation: int, now: Moment
    ) -> ErrorCode:
        if self.state is DEAD:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        error = self._identify(member_id, instance_id)
        if error is not ErrorCode.NONE:
            return error
        if generation != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        self._expect_heartbeat(self.members[member_id], now)
        if self.state is PREPARING:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE

    def decide_commit(
        self, member_id: str, instance_id: str | None, generation: int, now: Moment
    ) -> ErrorCode:
        """Whether offsets may be committed by this caller now."""
        if self.state is DEAD:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        if generation < 0 and self.state is EMPTY:
            return ErrorCode.NONE  # an administrator, or a consumer that assigns by itself
        if generation < 0 and member_id == NO_MEMBER and instance_id is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        error = self._identify(member_id, instance_id)
        if error is not ErrorCode.NONE:
            return error
        if generation != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        if self.state is COMPLETING:
            return ErrorCode.REBALANCE_IN_PROGRESS
        self._expect_heartbeat(self.members[member_id], now)
        return ErrorCode.NONE

    def leave(self, who: MemberIdentity, now: Moment) -> tuple[ErrorCode, list[Effect]]:
        out: list[Effect] = []
        if self.state is DEAD:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE, out
        member_id = who.member_id
        if member_id == NO_MEMBER:
            member_id = self.members.instances.get(who.instance_id or "", NO_MEMBER)
            if member_id == NO_MEMBER:
                return ErrorCode.UNKNOWN_MEMBER_ID, out
        elif member_id in self.pending:
            self._forget_pending(member_id)
            if self.state is PREPARING:
                self._try_complete_join(now, out)
            return ErrorCode.NONE, out
        else:
            error = self._identify(member_id, who.instance_id)
            if error is not ErrorCode.NONE:
                return error, out
        out.append(self._note("group.member_left", member=member_id, reason=who.reason))
        self._remove(member_id, f"{member_id} left: {who.reason}", now, out)
        return ErrorCode.NONE, out

    def close(self, error: ErrorCode) -> list[Effect]:
        """The group is elsewhere now, or deleted: everything parked is answered."""
        out: list[Effect] = [
            Answer(write.ticket, JoinReply(error, NO_MEMBER))
            for write in self.writes.values()
            if write.ticket is not None
        ]
        self.writes.clear()
        for member in self.members.by_id.values():
            self._answer_join(member, JoinReply(error, member.member_id), out)
            self._answer_sync(member, SyncReply(error), None, out)
        self.timers.clear_all()
        assert DEAD in self.TRANSITIONS[self.state]
        self.state = DEAD
        return out

    # --- Views ---

    def is_disposable(self) -> bool:
        """Nothing is kept here that a member, an administrator or the log could miss."""
        return (
            self.state is EMPTY
            and not self.pending
            and not self.undecided
            and not self.offsets
            and self.last_record is None
        )

    def check(self) -> None:
        """Assert every relation between the fields."""
        check_group(self)


__all__ = ["Group"]
