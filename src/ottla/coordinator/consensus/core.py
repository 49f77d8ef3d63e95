"""The consensus core of one member: Raft, as one synchronous object without I/O, clock or chance.

Inputs are `step`, `tick`, `propose`, `change_members`, `invite`, `persisted`, `applied`,
`reachable`, `unreachable`, `offer_snapshot` and `begin_transfer`; after any number of them
`actions()` says what the shell must do. The rules are those of Ongaro's dissertation ("Consensus:
Bridging Theory and Practice", Stanford 2014): elections 3.4, replication 3.5, safety 3.6, handing
over 3.10, changes of members 4 (joint, 4.3), stickiness 4.2.3, snapshots 5, leases 6.4.1, pre-vote
9.6; disk writes of the leader in parallel with its followers' as in 10.2.1. Epochs, roles and
elections are in `standing`, the lower half of this object; what a member does whose disk is empty
is told in `newcomer`.

Order of effects, which nothing but this class decides:

* A message that claims something durable (a vote, an accepted entry) is held back until
  `persisted()` covers it, and dropped if the epoch moved on meanwhile: it then was never said.
* The leader's AppendRequests leave at once; its own copy counts only once it is persisted.
* An entry is handed out for applying once it is committed *and* persisted here.
"""

from collections.abc import Collection, Sequence

from ottla.coordinator.consensus.leadership import Leadership
from ottla.coordinator.consensus.newcomer import Newcomer
from ottla.coordinator.consensus.standing import Standing
from ottla.coordinator.consensus.values import (
    ABSTAINS,
    Actions,
    HardState,
    MembersChange,
    NewMembersLag,
    NotLeader,
    Role,
    Snapshot,
)
from ottla.protocol.peer.membership import Membership
from ottla.protocol.peer.messages import (
    NO_ANSWER,
    AppendReply,
    AppendRequest,
    ConsensusMessage,
    PreVoteReply,
    PreVoteRequest,
    RollCallReply,
    RollCallRequest,
    SnapshotChunk,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)


class Consensus(Standing):
    """One member's consensus state. Owned by one task; no method waits.

    Relations (`check`): those of its `Replica`; hard.epoch >= log.last_epoch; `leadership` is there
    exactly in role LEADER, and never beside a `newcomer`.
    """

    # --- inputs

    def step(self, sender: int, message: ConsensusMessage, now: float) -> bool:
        """Take in a message of another member (or the own vote, once it is durable).

        False: `actions` has nothing new to say for it.
        """
        if type(message) is AppendReply and message.epoch <= self.hard.epoch:
            return self._on_append_reply(sender, message, now)
        self._step(sender, message, now)
        return True

    def _step(self, sender: int, message: ConsensusMessage, now: float) -> None:
        if isinstance(message, RollCallRequest):
            self._on_roll_call(sender, message, now)
        elif isinstance(message, RollCallReply):
            self._on_roll_call_reply(sender, message, now)
        elif self.newcomer is not None and self.newcomer.is_deaf:
            if isinstance(message, AppendRequest):
                self.newcomer.leaders[sender] = None
        elif isinstance(message, PreVoteRequest):
            self._on_pre_vote_request(sender, message, now)
        elif isinstance(message, VoteRequest):
            self._on_vote_request(sender, message, now)
        else:
            if message.epoch > self.hard.epoch and not (
                isinstance(message, PreVoteReply) and message.granted
            ):
                leads = isinstance(message, AppendRequest | SnapshotChunk)
                self._enter_epoch(message.epoch, now, leader=sender if leads else None)
            if isinstance(message, AppendRequest):
                self._on_append_request(sender, message, now)
            elif isinstance(message, AppendReply):
                return  # this member does not lead that epoch
            elif isinstance(message, PreVoteReply):
                self._on_pre_vote_reply(sender, message, now)
            elif isinstance(message, VoteReply):
                self._on_vote_reply(sender, message, now)
            elif isinstance(message, SnapshotChunk):
                self._on_snapshot_chunk(sender, message, now)
            elif isinstance(message, SnapshotReply):
                if self.leadership is not None and message.epoch == self.hard.epoch:
                    self.leadership.on_snapshot_reply(sender, message, now)
            else:
                self._on_timeout_now(sender, message, now)

    def tick(self, now: float) -> None:
        """Let time pass: call it at `deadline` or later, as often as you like."""
        leadership = self.leadership
        if leadership is not None:
            if leadership.lost_majority(now) or leadership.transfer_deadline <= now:
                self._follow(None, now)
                return
            if leadership.next_heartbeat <= now and not leadership.put_off_heartbeat(now):
                leadership.replicate(self.commit_index, now, heartbeat=True)
            if leadership.see_off(self.commit_index, now):
                self._draw_circle()
            self._resign_if_left(now)
            return
        newcomer = self.newcomer
        if newcomer is not None and newcomer.ask_at <= now:
            self._call_the_roll(newcomer, now)
        if self._patience.ends <= now:
            self._begin_pre_vote(now)

    @property
    def deadline(self) -> float:
        """When `tick` has something to do at the earliest."""
        leadership = self.leadership
        if leadership is None:
            newcomer = self.newcomer
            return (
                self._patience.ends
                if newcomer is None
                else min(self._patience.ends, newcomer.ask_at)
            )
        if not leadership.followers:
            return float("inf")
        return min(
            leadership.next_heartbeat, leadership.transfer_deadline, leadership.patience_end()
        )

    def propose(
        self, payloads: Sequence[bytes], awaited_by: Collection[int] = ()
    ) -> tuple[int, int]:
        """Append entries; the first one's (index, zxid), the others follow it. NotLeader.

        Where members of `awaited_by` hear of them as soon as they are committed, others may hear
        of it a little later (`Timing.news_s`).
        """
        leadership = self.leadership
        if leadership is None or leadership.transfer_to is not None:
            raise NotLeader
        if leadership.has_room_for < len(payloads):
            # The counter of this epoch is used up; the next epoch starts a new one.
            self._follow(None, self._patience.heard)
            raise NotLeader
        first = leadership.propose(payloads)
        for member in awaited_by:
            leadership.await_here(member, self.log.last_index)
        return first.index, first.zxid

    def await_here(self, member: int, index: int) -> None:
        """Somebody at another member waits for an entry that was proposed before."""
        if self.leadership is not None:
            self.leadership.await_here(member, index)

    def change_members(
        self, voters: Collection[int], observers: Collection[int], details: bytes, now: float
    ) -> None:
        """Append the configuration that is to hold from now on. NotLeader, MembersChange,
        NewMembersLag.

        Where other members are to vote, a joint configuration comes first, and what is asked for
        here follows by itself once that is committed, whoever leads by then (4.3).
        """
        leadership = self.leadership
        if leadership is None or leadership.transfer_to is not None:
            raise NotLeader
        if not self.may_change_members:
            raise MembersChange
        present = self.membership.voters
        wanted = tuple(sorted(voters))
        if not leadership.may_vote(wanted, self.commit_index, now):
            raise NewMembersLag
        outgoing = () if wanted == present else present
        self._append_membership(
            Membership(wanted, tuple(sorted(observers)), outgoing, details), leadership, now
        )

    @property
    def may_change_members(self) -> bool:
        """Whether this member leads, and knows that no change is on its way (4.1)."""
        leadership, replica = self.leadership, self.replica
        return (
            leadership is not None
            and replica.commit_index >= leadership.first_index
            and replica.commit_index >= replica.memberships.index
            and not self.membership.is_joint
        )

    def invite(self, members: Collection[int], now: float) -> None:
        """Let a leader replicate to those who may become members, until the next call."""
        leadership = self.leadership
        if leadership is not None:
            leadership.invite(members, self.membership, now)
            self._draw_circle()

    def _append_membership(
        self, membership: Membership, leadership: Leadership, now: float
    ) -> None:
        assert membership.follows(self.membership)
        if leadership.has_room_for < 1:
            self._follow(None, now)
            raise NotLeader
        entry = leadership.propose([membership.encode()])
        self.replica.memberships.learn([entry])
        self._follow_membership(now)

    def persisted(self, sequence: int, now: float) -> None:
        """Everything up to this Persist is on stable storage: release what waited for it."""
        for epoch, to, message in self.replica.disk.persisted(sequence):
            if epoch != self.hard.epoch:
                continue
            if to == self.me:
                self.step(self.me, message, now)
            else:
                self._outbox.append((to, message))
        self._advance_commit(now)
        self._end_catching_up()

    def applied(self, index: int) -> None:
        """The shell applied everything up to `index` (or loaded a state of that index)."""
        assert self.applied_index <= index <= self.replica.handed_index
        self.replica.applied_index = index

    def reachable(self, member: int) -> None:
        """There is a new link to a member."""
        newcomer = self.newcomer
        if newcomer is not None and newcomer.lacks(member):
            self._send(member, RollCallRequest(newcomer.life))

    def unreachable(self, member: int) -> None:
        """The link to a member broke; messages on it may be lost."""
        if self.leadership is not None:
            self.leadership.on_unreachable(member)

    def was_held(self, now: float) -> None:
        """The shell heard nobody until now: the leader may have spoken all the while."""
        if self.leader not in (None, self.me):
            self._patience.begin_anew(now)

    def leader_ended(self, now: float) -> None:
        """The leader's process is known to be gone, and with it the lease that silence honours.

        Only for what no partition looks like: nobody listens where the leader did, and it closed
        its connections. Every follower finds out by itself, so a pre-vote passes at once.
        """
        if self.leadership is None and self.leader is not None:
            self.left_at = now
            self._patience.leader_ended(now)

    def offer_snapshot(self, snapshot: Snapshot, now: float) -> None:
        """Answer `Actions.snapshots_wanted`. A snapshot made meanwhile for nobody is no harm."""
        if self.leadership is not None and snapshot.at.index >= self.log.base.index:
            self.leadership.offer_snapshot(snapshot, now)

    def begin_transfer(self, now: float) -> int | None:
        """Hand the leadership over and take no more proposals; None: there is nobody to take it."""
        if self.leadership is None:
            return None
        return self.leadership.begin_transfer(self.commit_index, now)

    # --- what is left to the shell

    def actions(self, now: float) -> Actions:
        """Everything that the inputs since the last call ask for."""
        wanted: Sequence[int] = ()
        leadership, replica = self.leadership, self.replica
        if leadership is not None:
            replica.gather_proposed()
            leadership.replicate(replica.commit_index, now)
            wanted, leadership.snapshots_wanted = leadership.snapshots_wanted, []
        persist = replica.disk.next_persist(self.hard, replica.log.last_index)
        for _, to, message in replica.disk.take_unheld():
            self._send(to, message)
        apply = replica.take_to_apply()
        if replica.holds_much:
            last = replica.log.last_index
            replica.drop_applied(last if leadership is None else leadership.keep_from)
        send, self._outbox = self._outbox, []
        return Actions(persist, send, apply, wanted)

    # --- following

    def _on_append_request(self, sender: int, request: AppendRequest, now: float) -> None:
        """Section 3.5. Answers of accepted entries wait until the entries are durable."""
        if request.epoch < self.hard.epoch:
            self._send(sender, AppendReply(self.hard.epoch, False, 0, 0, request.sent))
            return
        self._hear_leader(sender, now)
        if self.catch_up_to is None:
            self.catch_up_to = request.commit
        reply, is_pending = self.replica.append(request, self.hard.epoch)
        if self.replica.memberships.current is not self.membership:
            self._follow_membership(now)
        if self.newcomer is not None and reply.accepted:
            reply = reply._replace(hint_epoch=1)
        self._answer(sender, reply, is_pending=is_pending)
        if self.newcomer is not None and reply.accepted:
            self.newcomer.matched = max(self.newcomer.matched, reply.matched)
            self._end_catching_up()

    def _hear_leader(self, sender: int, now: float) -> None:
        assert self.leader in (None, sender)  # election safety: one leader per epoch (3.6.3)
        assert self.role is not Role.LEADER
        if self.role is not Role.FOLLOWER or self.leader is None:
            self._follow(sender, now)
        self._patience.hear_leader(now)

    def _answer(self, sender: int, reply: AppendReply, *, is_pending: bool) -> None:
        """At once, if it claims only what is durable already: a refusal claims nothing."""
        if reply.sent == NO_ANSWER and reply.accepted:
            return
        if is_pending or (reply.accepted and not self.replica.disk.is_hard_synced):
            self._send_durably(sender, reply)
        else:
            self._send(sender, reply)

    def _on_snapshot_chunk(self, sender: int, chunk: SnapshotChunk, now: float) -> None:
        """Chapter 5: take in the pieces in order; the whole replaces log and state."""
        if chunk.epoch < self.hard.epoch:
            self._send(sender, AppendReply(self.hard.epoch, False, 0, 0, chunk.sent))
            return
        self._hear_leader(sender, now)
        wanted = self.replica.take_chunk(chunk)
        if wanted is not None:
            reply = SnapshotReply(self.hard.epoch, chunk.state_index, wanted, chunk.sent)
            self._send(sender, reply)
            return
        if self.replica.memberships.current is not self.membership:
            self._follow_membership(now)
        matched = self.commit_index
        abstains = int(self.newcomer is not None)
        whole = AppendReply(self.hard.epoch, True, matched, abstains, chunk.sent)
        self._send_durably(sender, whole)
        if self.newcomer is not None:
            self.newcomer.matched = max(self.newcomer.matched, matched)

    # --- a disk that is empty (`newcomer`)

    def _on_roll_call(self, sender: int, request: RollCallRequest, now: float) -> None:
        newcomer = self.newcomer
        if newcomer is not None and newcomer.lacks(sender):
            # In front of our own answer, so that both begin the ensemble together.
            self._send(sender, RollCallRequest(newcomer.life))
        leads = self.lease_end() > now
        if self.leadership is not None:
            self.leadership.restart(sender)
        last, voters = self.log.last_index, self.membership.voters
        self._send(sender, RollCallReply(request.life, self.hard.epoch, last, leads, voters))

    def _call_the_roll(self, newcomer: Newcomer, now: float) -> None:
        is_grace_over = newcomer.rolls * self.timing.heartbeat_s >= self.timing.founding_s
        if self._found(newcomer, now, is_grace_over=is_grace_over):
            return
        newcomer.ask_at = now + self.timing.heartbeat_s
        newcomer.rolls += 1
        for member in newcomer.whom_to_ask(self.peers, self.leader):
            self._send(member, RollCallRequest(newcomer.life))

    def _found(self, newcomer: Newcomer, now: float, *, is_grace_over: bool) -> bool:
        """Become an ordinary member of an ensemble that was never there, if it was not."""
        if not self.replica.is_empty or self.membership.is_joint:
            return False
        epoch = newcomer.founding_epoch(
            self.membership.voters, self.peers, is_grace_over=is_grace_over
        )
        if epoch is None:
            return False
        self.newcomer = None
        if epoch > self.hard.epoch or self.hard.vote == ABSTAINS:
            # A vote for itself that it never asks others for: none in epochs of the past.
            self._set_hard(HardState(max(epoch, self.hard.epoch), self.me))
        self._patience.end_soon(now)
        return True

    def _on_roll_call_reply(self, sender: int, reply: RollCallReply, now: float) -> None:
        newcomer = self.newcomer
        if newcomer is None or reply.life != newcomer.life:
            return
        newcomer.answered(sender, reply)
        if self._found(newcomer, now, is_grace_over=False):
            return
        if reply.epoch >= self.hard.epoch and newcomer.believes(reply, now):
            if reply.epoch > self.hard.epoch:
                self._enter_epoch(reply.epoch, now, leader=sender)
            newcomer.catch_up_to(reply)

    def _end_catching_up(self) -> None:
        """Vote again once the log holds all that may have been acknowledged before."""
        newcomer = self.newcomer
        if newcomer is None or self.leader is None:
            return
        if newcomer.has_caught_up(self.hard.epoch, self.synced_index):
            self.newcomer = None
            self._set_hard(HardState(self.hard.epoch, self.leader))

    # --- leading

    def _on_append_reply(self, sender: int, reply: AppendReply, now: float) -> bool:
        leadership = self.leadership
        if leadership is None or reply.epoch != self.hard.epoch:
            return False
        known = self.commit_index
        if leadership.on_append_reply(sender, reply):
            self._advance_commit(now)
        return (
            self.commit_index != known
            or not leadership.is_content(sender)
            or leadership.transfer_to is not None
            or bool(self._outbox)
        )

    def _advance_commit(self, now: float) -> None:
        leadership, replica = self.leadership, self.replica
        if leadership is None:
            return
        replica.commit_index = leadership.commit_index(replica.synced_index, replica.commit_index)
        membership = self.membership
        if membership.is_joint and replica.memberships.index <= replica.commit_index:
            # Section 4.3: the joint configuration is safe, so the new one may stand alone.
            if leadership.has_room_for:
                self._append_membership(membership._replace(outgoing=()), leadership, now)
            else:
                self._follow(None, now)
        leadership.continue_transfer(replica.commit_index, now)

    def _resign_if_left(self, now: float) -> None:
        """Section 4.2.2: a leader that is no voter any more leads until that is committed."""
        leadership = self.leadership
        assert leadership is not None
        if (
            not self.is_voter
            and leadership.transfer_to is None
            and self.applied_index >= self.replica.memberships.index
            and leadership.begin_transfer(self.commit_index, now) is None
        ):
            self._follow(None, now)

    def check(self) -> None:
        """Assert the class's relations; the simulation calls it after every step."""
        self.replica.check()
        assert self.membership is self.replica.memberships.current
        assert self.hard.epoch >= self.log.last_epoch
        assert (self.role is Role.LEADER) == (self.leadership is not None)
        assert self.newcomer is None or self.leadership is None
        assert self.hard.vote != ABSTAINS or self.newcomer is not None or not self.peers
        if self.leadership is not None:
            assert self.leader == self.me
            assert self.hard.vote == self.me
            self.leadership.check()


__all__ = ["Consensus"]
