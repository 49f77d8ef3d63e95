"""What a member is in its epoch, and how it gets into the next one: roles, votes, elections.

The lower half of the core (`core.Consensus` is the upper one). Both are one state machine over one
state, which is why one is built on the other and not beside it; nothing here calls upwards. Here is
who leads and who votes; there is what a leader makes of it, and all that the shell asks for.
Sections are those of Ongaro's dissertation.
"""

import random
from collections.abc import Collection, Sequence

from ottla.coordinator.consensus.leadership import Leadership
from ottla.coordinator.consensus.log import Log
from ottla.coordinator.consensus.newcomer import Newcomer
from ottla.coordinator.consensus.patience import NEVER, Patience
from ottla.coordinator.consensus.quorum import tally_groups
from ottla.coordinator.consensus.replica import Replica
from ottla.coordinator.consensus.values import (
    ABSTAINS,
    HardState,
    Limits,
    Position,
    Role,
    Timing,
)
from ottla.protocol.peer.entries import EPOCH_MAX, Entry
from ottla.protocol.peer.membership import Membership
from ottla.protocol.peer.messages import (
    ConsensusMessage,
    PreVoteReply,
    PreVoteRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)


class Standing:
    """State of one member, and its moves between epochs and roles. See `Consensus`."""

    def __init__(
        self,
        me: int,
        members: Collection[int],
        timing: Timing,
        rng: random.Random,
        now: float,
        *,
        hard: HardState = HardState(),  # noqa: B008  # immutable
        base: Position = Position(),  # noqa: B008  # immutable
        entries: Sequence[Entry] = (),
        limits: Limits = Limits(),  # noqa: B008  # immutable
        observers: Collection[int] = (),
        membership: bytes = b"",
        is_founder: bool = False,
    ) -> None:
        """Start, or start again, from what the store holds: all of it is durable.

        `base` is the position of the snapshot that the state was loaded from, `membership` the
        configuration in it. Without one, and until the log has one, `members` vote, and `observers`
        get every entry and count for nothing (4.2.1, for good). `is_founder`: somebody vouches that
        an empty store has lost nothing. ProtocolError: an entry is not what it says.
        """
        first = Membership(tuple(sorted(members)), tuple(sorted(observers)))
        self.me = me
        self.timing = timing
        self._rng = rng
        self.replica = Replica(base, entries, membership, first, limits)
        self._limits = limits
        self.hard = hard
        self.role = Role.FOLLOWER
        self.leader: int | None = None  # of hard.epoch, once it was heard of
        self.leadership: Leadership | None = None
        self.newcomer: Newcomer | None = None
        self.catch_up_to: int | None = None
        """The leader's commit index when this member began to follow it; None: follows nobody."""
        assert hard.epoch >= self.log.last_epoch

        self._follow_membership(now)
        self._patience = Patience(
            timing, rng, now, ran_before=bool(hard.epoch), is_alone=not self.peers
        )
        self._granted: dict[int, bool] = {}
        self.left_at = NEVER
        """When the last leader is known to have handed over to this member, or to have ended."""
        self._outbox: list[tuple[int, ConsensusMessage]] = []
        is_blank = not hard.epoch and self.replica.is_empty and self.is_voter and not is_founder
        if self.peers and (is_blank or hard.vote == ABSTAINS):
            patience = now + timing.election_max_s
            life = rng.getrandbits(62)
            self.newcomer = Newcomer(life, now, is_deaf=is_blank, deaf_until=patience)

    def _follow_membership(self, now: float) -> None:
        """Take over the newest configuration of the log, from the moment it is there (4.1)."""
        membership = self.replica.memberships.current
        self.membership = membership
        voters = {*membership.voters, *membership.outgoing}
        self.is_voter = self.me in voters
        self.peers = tuple(sorted(voters - {self.me}))
        """The others whose vote counts for something."""
        if self.leadership is not None:
            self.leadership.follow_membership(membership, now)
        self._draw_circle()

    def _draw_circle(self) -> None:
        """Whom this member may have something to say to: a new object whenever that changes."""
        others = set(self.membership.everyone)
        if self.leadership is not None:
            others.update(self.leadership.followers)
        self.circle = frozenset(others - {self.me})

    # --- what others look at

    @property
    def log(self) -> Log:
        return self.replica.log

    @property
    def members(self) -> tuple[int, ...]:
        """Who votes, as of the newest configuration; without those that are on their way out."""
        return self.membership.voters

    @property
    def observers(self) -> tuple[int, ...]:
        return self.membership.observers

    @property
    def commit_index(self) -> int:
        return self.replica.commit_index

    @property
    def applied_index(self) -> int:
        return self.replica.applied_index

    @property
    def synced_index(self) -> int:
        """The last index of the log that is on stable storage here."""
        return self.replica.synced_index

    @property
    def snapshot_pieces(self) -> int:
        """How many pieces of a snapshot that is on its way have arrived."""
        incoming = self.replica.incoming
        return 0 if incoming is None else incoming.wanted

    @property
    def is_settled_leader(self) -> bool:
        """Leader whose no-op is applied: it knows what is committed (section 6.4)."""
        leadership = self.leadership
        return leadership is not None and self.applied_index >= leadership.first_index

    @property
    def knows_the_past(self) -> bool:
        """Whether all is applied here that this epoch's leader found in its log.

        So it is once the next entry, or the last one, is of this epoch. What is not applied by
        then, of all that was proposed before this epoch, never will be, unless this epoch's
        leader fails and takes with it whatever it appended (3.6.3).
        """
        epoch, applied, log = self.hard.epoch, self.replica.applied_index, self.log
        return self.leader is not None and epoch in (
            log.epoch_at(applied + 1),
            log.epoch_at(applied),
        )

    @property
    def is_changing(self) -> bool:
        """Whether a change of members is on its way, as far as the log here says (4.1).

        Its entries say who waits for it, and the next leader ends what this one began.
        """
        memberships = self.replica.memberships
        return self.membership.is_joint or self.replica.applied_index < memberships.index

    @property
    def may_ask_again(self) -> bool:
        """Whether what an earlier leader was sent, and has no outcome here, will never have one."""
        return self.knows_the_past and not self.is_changing

    @property
    def may_decide(self) -> bool:
        """Leader that knows what was before it, if not yet that its own no-op is committed."""
        return self.leadership is not None and self.knows_the_past

    @property
    def is_handing_over(self) -> bool:
        return self.leadership is not None and self.leadership.is_handing_over

    def lease_end(self) -> float:
        """Until when this member may answer as the leader; -inf when it may not."""
        leadership = self.leadership
        if leadership is None or leadership.transfer_to is not None or not self.is_settled_leader:
            return NEVER
        return leadership.lease_end()

    # --- epochs and roles

    def _enter_epoch(self, epoch: int, now: float, *, leader: int | None) -> None:
        assert epoch > self.hard.epoch
        self._set_hard(HardState(epoch, None if self.newcomer is None else ABSTAINS))
        self._follow(leader, now)

    def _set_hard(self, hard: HardState) -> None:
        had, has = self.hard.vote, hard.vote
        assert hard.epoch > self.hard.epoch or (had in (None, ABSTAINS) and has is not None)
        assert hard.epoch >= self.hard.epoch
        self.hard = hard
        self.replica.disk.hard_changed()

    def _follow(self, leader: int | None, now: float) -> None:
        """Be a follower in the current epoch, of `leader` when it is known."""
        was_leader = self.leadership is not None
        if was_leader:
            self.replica.gather_proposed()
        self.role = Role.FOLLOWER
        self.leader = leader
        self.leadership = None
        self.catch_up_to = None
        self._granted = {}
        self.replica.incoming = None
        self._patience.begin_anew(now)
        if was_leader:
            self._patience.hear_leader(now)  # the lease that it gave itself
            self._draw_circle()

    def _is_sticky(self, now: float) -> bool:
        """Whether a leader is alive as far as this member knows (sections 4.2.3 and 6.2)."""
        if self.leadership is not None:
            return not self.leadership.lost_majority(now)
        return self._patience.is_sticky(now)

    @property
    def _may_stand(self) -> bool:
        """A voter, or one until a change that is not known to be committed (4.2.2): others may need
        it to commit that. Its own vote then counts for nothing."""
        memberships = self.replica.memberships
        return self.newcomer is None and (
            self.is_voter
            or (memberships.index > self.commit_index and memberships.was_voter(self.me))
        )

    def _is_up_to_date(self, last_epoch: int, last_index: int) -> bool:
        """The election restriction (section 3.6.1)."""
        return (last_epoch, last_index) >= (self.log.last_epoch, self.log.last_index)

    # --- elections

    def _begin_pre_vote(self, now: float) -> None:
        """Ask first, so that a member that cannot win disturbs nobody (section 9.6)."""
        self._follow(None, now)
        if not self._may_stand:
            self.role = Role.PRE_CANDIDATE  # knows no leader, and leaves it to others to elect one
            return
        if not self.peers:
            self._begin_election(now, transfer=False)
            return
        self.role = Role.PRE_CANDIDATE
        self._patience.ask_again(now)
        self._granted = {self.me: True}
        request = PreVoteRequest(self.hard.epoch + 1, self.log.last_index, self.log.last_epoch)
        for peer in self.peers:
            self._send(peer, request)

    def _begin_election(self, now: float, *, transfer: bool) -> None:
        """Section 3.4. The own vote counts once it is durable, like everybody's.

        Nobody leads without it, or an epoch could have its leader twice, with other entries. What
        a request claims must be durable as well: the log. In a handover it is, and then the own
        vote may be written while the others write theirs.
        """
        assert self.hard.epoch < EPOCH_MAX
        self._set_hard(HardState(self.hard.epoch + 1, self.me))
        self._follow(None, now)
        self.role = Role.CANDIDATE
        epoch, log = self.hard.epoch, self.log
        self._send_durably(self.me, VoteReply(epoch, granted=True))
        is_durable = transfer and self.replica.synced_index == log.last_index
        send = self._send if is_durable else self._send_durably
        for peer in self.peers:
            send(peer, VoteRequest(epoch, log.last_index, log.last_epoch, transfer))

    def _on_pre_vote_request(self, sender: int, request: PreVoteRequest, now: float) -> None:
        granted = (
            self.newcomer is None
            and request.epoch > self.hard.epoch
            and not self._is_sticky(now)
            and self._is_up_to_date(request.last_epoch, request.last_index)
        )
        self._send(sender, PreVoteReply(request.epoch if granted else self.hard.epoch, granted))

    def _on_pre_vote_reply(self, sender: int, reply: PreVoteReply, now: float) -> None:
        if self.role is not Role.PRE_CANDIDATE:
            return
        if reply.granted and reply.epoch != self.hard.epoch + 1:
            return
        self._granted[sender] = reply.granted
        if tally_groups(self.membership.groups, self._granted):
            self._begin_election(now, transfer=False)

    def _on_vote_request(self, sender: int, request: VoteRequest, now: float) -> None:
        """Who asks, and who is asked, may be no member by the newest configuration here (4.1)."""
        if not request.transfer and self._is_sticky(now):
            return
        if request.epoch > self.hard.epoch:
            self._enter_epoch(request.epoch, now, leader=None)
        granted = (
            request.epoch == self.hard.epoch
            and self.hard.vote in (None, sender)
            and self.leader is None
            and self._is_up_to_date(request.last_epoch, request.last_index)
        )
        if granted:
            if self.hard.vote is None:
                self._set_hard(HardState(self.hard.epoch, sender))
            self._patience.begin_anew(now)
        self._send_durably(sender, VoteReply(self.hard.epoch, granted))

    def _on_vote_reply(self, sender: int, reply: VoteReply, now: float) -> None:
        if self.role is not Role.CANDIDATE or reply.epoch != self.hard.epoch:
            return
        self._granted[sender] = reply.granted
        verdict = tally_groups(self.membership.groups, self._granted)
        if verdict:
            if self.me in self._granted:
                self._lead(now)
        elif verdict is False:
            self._patience.lost_election(now)

    def _lead(self, now: float) -> None:
        """Begin with a no-op of the new epoch: it commits all that came before (section 6.4)."""
        assert self.hard.vote == self.me
        assert self.log.last_epoch < self.hard.epoch
        self.role = Role.LEADER
        self.leader = self.me
        self.leadership = Leadership(
            self.hard.epoch,
            self.log,
            self.me,
            self.membership,
            self._send,
            timing=self.timing,
            limits=self._limits,
            now=now,
        )
        self.replica.begin_proposing(self.leadership.first_index)
        self._draw_circle()

    @property
    def last_heard(self) -> float:
        """When a leader gave the last sign of life; minus infinity: it is known to be gone."""
        return self._patience.heard

    def _on_timeout_now(self, sender: int, message: TimeoutNow, now: float) -> None:
        """Section 3.10: the leader itself asks for the election, so nobody is disturbed."""
        is_leaders = self.leader == sender and sender != self.me
        if message.epoch == self.hard.epoch and is_leaders and self._may_stand:
            self.left_at = now
            self._begin_election(now, transfer=True)

    # --- messages

    def _send(self, to: int, message: ConsensusMessage) -> None:
        assert to != self.me
        self._outbox.append((to, message))

    def _send_durably(self, to: int, message: ConsensusMessage) -> None:
        self.replica.disk.hold((self.hard.epoch, to, message))


__all__ = ["Standing"]
