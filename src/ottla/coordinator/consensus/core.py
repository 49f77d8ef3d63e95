"""The consensus core of one member: Raft, as one synchronous object without I/O, clock or chance.

Inputs are `step`, `tick`, `propose`, `persisted`, `applied`, `unreachable`, `offer_snapshot` and
`begin_transfer`; after any number of them `actions()` says what the shell must do. The rules are
those of Ongaro's dissertation ("Consensus: Bridging Theory and Practice", Stanford 2014): elections
3.4, replication 3.5, safety 3.6, handing over 3.10, stickiness 4.2.3, snapshots 5, leases 6.4.1,
pre-vote 9.6; disk writes of the leader in parallel with its followers' as in 10.2.1.

Order of effects, which nothing but this class decides:

* A message that claims something durable (a vote, an accepted entry) is held back until
  `persisted()` covers it, and dropped if the epoch moved on meanwhile: it then was never said.
* The leader's AppendRequests leave at once; its own copy counts only once it is persisted.
* An entry is handed out for applying once it is committed *and* persisted here.
"""

import random
from collections.abc import Collection, Sequence

from ottla.coordinator.consensus.durability import Durability
from ottla.coordinator.consensus.leadership import Leadership
from ottla.coordinator.consensus.log import Log
from ottla.coordinator.consensus.quorum import tally
from ottla.coordinator.consensus.reconcile import behind_base, meeting_hint, missing_part
from ottla.coordinator.consensus.snapshot import IncomingSnapshot
from ottla.coordinator.consensus.values import (
    Actions,
    HardState,
    Limits,
    NotLeader,
    Position,
    Role,
    Snapshot,
    Timing,
)
from ottla.protocol.peer.entries import EPOCH_MAX, Block, Entry
from ottla.protocol.peer.messages import (
    NO_ANSWER,
    AppendReply,
    AppendRequest,
    ConsensusMessage,
    PreVoteReply,
    PreVoteRequest,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

_NEVER = float("-inf")


class Consensus:
    """One member's consensus state. Owned by one task; no method waits.

    Relations (`check`): log.base.index <= applied_index <= handed_index <= commit_index;
    handed_index <= synced_index <= log.last_index; hard.epoch >= log.last_epoch; `leadership` is
    there exactly in role LEADER.
    """

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
    ) -> None:
        """Start, or start again, from what the store holds: all of it is durable.

        `base` is the position of the snapshot that the state was loaded from. `members` vote;
        `observers` get every entry and count for nothing (4.2.1, for good).
        """
        assert (me in members) != (me in observers)
        self.me = me
        self.members = tuple(sorted(members))
        self.observers = tuple(sorted(observers))
        self.peers = tuple(member for member in self.members if member != me)
        self.is_voter = me in members
        self.timing = timing
        self.limits = limits
        self._rng = rng

        self.hard = hard
        self.log = Log(base, entries)
        self.role = Role.FOLLOWER
        self.leader: int | None = None  # of hard.epoch, once it was heard of
        self.leadership: Leadership | None = None
        self.catch_up_to: int | None = None
        """The leader's commit index when this member began to follow it; None: follows nobody."""
        self.commit_index = base.index
        self.handed_index = base.index  # last entry given out to apply
        self.applied_index = base.index  # last entry that the shell says it applied
        assert hard.epoch >= self.log.last_epoch

        self._leader_heard = now if hard.epoch and self.peers else _NEVER
        self._election_at = self._first_election(now)
        self._granted: dict[int, bool] = {}
        self._incoming: IncomingSnapshot | None = None

        self._disk = Durability(self.log.last_index)
        self._proposed_from = 0  # first own entry that is in no block yet; only while leading
        self._outbox: list[tuple[int, ConsensusMessage]] = []

    def _first_election(self, now: float) -> float:
        """A new ensemble elects at once. One that ran before keeps any lease given (6.4.1)."""
        if not self.peers:
            return now
        if self.hard.epoch:
            return now + self._rng.uniform(self.timing.election_min_s, self.timing.election_max_s)
        return now + self._rng.uniform(0, 2 * self.timing.heartbeat_s)

    # --- inputs

    def step(self, sender: int, message: ConsensusMessage, now: float) -> None:
        """Take in a message of another member (or the own vote, once it is durable)."""
        assert sender in self.members or sender in self.observers
        if isinstance(message, PreVoteRequest):
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
                self._on_append_reply(sender, message, now)
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
            elif leadership.next_heartbeat <= now:
                leadership.replicate(self.commit_index, now, heartbeat=True)
        elif self._election_at <= now:
            self._begin_pre_vote(now)

    @property
    def synced_index(self) -> int:
        """The last index of the log that is on stable storage here."""
        return self._disk.synced_index

    @property
    def snapshot_pieces(self) -> int:
        """How many pieces of a snapshot that is on its way have arrived."""
        return 0 if self._incoming is None else self._incoming.wanted

    @property
    def deadline(self) -> float:
        """When `tick` has something to do at the earliest."""
        leadership = self.leadership
        if leadership is None:
            return self._election_at
        if not self.peers and not self.observers:
            return float("inf")
        return min(
            leadership.next_heartbeat, leadership.transfer_deadline, leadership.patience_end()
        )

    def propose(self, payloads: Sequence[bytes]) -> tuple[int, int]:
        """Append entries; the first one's (index, zxid), the others follow it. NotLeader."""
        leadership = self.leadership
        if leadership is None or leadership.transfer_to is not None:
            raise NotLeader
        if leadership.has_room_for < len(payloads):
            # The counter of this epoch is used up; the next epoch starts a new one.
            self._follow(None, self._leader_heard)
            raise NotLeader
        first = leadership.propose(payloads)
        return first.index, first.zxid

    def persisted(self, sequence: int, now: float) -> None:
        """Everything up to this Persist is on stable storage: release what waited for it."""
        for epoch, to, message in self._disk.persisted(sequence):
            if epoch != self.hard.epoch:
                continue
            if to == self.me:
                self.step(self.me, message, now)
            else:
                self._outbox.append((to, message))
        self._advance_commit()

    def applied(self, index: int) -> None:
        """The shell applied everything up to `index` (or loaded a state of that index)."""
        assert self.applied_index <= index <= self.handed_index
        self.applied_index = index

    def unreachable(self, member: int) -> None:
        """The link to a member broke; messages on it may be lost."""
        if self.leadership is not None:
            self.leadership.on_unreachable(member)

    def leader_ended(self, now: float) -> None:
        """The leader's process is known to be gone, and with it the lease that silence honours.

        Only for what no partition looks like: nobody listens where the leader did, and it closed
        its connections. Every follower finds out by itself, so a pre-vote passes at once.
        """
        if self.leadership is None and self.leader is not None:
            self._leader_heard = _NEVER
            soon = now + self._rng.uniform(0, self.timing.heartbeat_s / 4)
            self._election_at = min(self._election_at, soon)

    def offer_snapshot(self, snapshot: Snapshot, now: float) -> None:
        """Answer `Actions.snapshots_wanted`. A snapshot made meanwhile for nobody is no harm."""
        if self.leadership is not None and snapshot.at.index >= self.log.base.index:
            self.leadership.offer_snapshot(snapshot, now)

    def begin_transfer(self, now: float) -> int | None:
        """Hand the leadership over and take no more proposals; None: there is nobody to take it."""
        if self.leadership is None:
            return None
        return self.leadership.begin_transfer(now)

    # --- what is left to the shell

    def actions(self, now: float) -> Actions:
        """Everything that the inputs since the last call ask for."""
        wanted: Sequence[int] = ()
        leadership = self.leadership
        if leadership is not None:
            self._gather_proposed()
            leadership.replicate(self.commit_index, now)
            wanted, leadership.snapshots_wanted = leadership.snapshots_wanted, []
        persist = self._disk.next_persist(self.hard, self.log.last_index)
        for _, to, message in self._disk.take_unheld():
            self._send(to, message)
        end = min(self.commit_index, self.synced_index)
        apply: Sequence[Entry] = ()
        if end > self.handed_index:
            apply = self.log.entries(self.handed_index + 1, end)
            self.handed_index = end
        self._drop_applied()
        send, self._outbox = self._outbox, []
        return Actions(persist, send, apply, wanted)

    def _gather_proposed(self) -> None:
        """Cut what was proposed since the last call into blocks, encoded once for everybody."""
        blocks = self.log.blocks_from(
            self._proposed_from,
            max_entries=self.limits.block_entries,
            max_bytes=self.limits.block_bytes,
        )
        self._disk.add(blocks)
        self._proposed_from = self.log.last_index + 1

    def _drop_applied(self) -> None:
        """Keep memory bounded: forget old applied entries, in large steps."""
        log, limits = self.log, self.limits
        if len(log) <= 2 * limits.kept_entries and log.payload_bytes <= 2 * limits.kept_bytes:
            return
        keep = min(limits.kept_entries, len(log) // 2)
        through = min(log.last_index - keep, self.applied_index)
        if self.leadership is not None:
            through = min(through, self.leadership.keep_from)
        if through > log.base.index:
            log.drop_through(through)

    @property
    def is_settled_leader(self) -> bool:
        """Leader whose no-op is applied: it knows what is committed (section 6.4)."""
        leadership = self.leadership
        return leadership is not None and self.applied_index >= leadership.first_index

    def lease_end(self) -> float:
        """Until when this member may answer as the leader; -inf when it may not."""
        leadership = self.leadership
        if leadership is None or leadership.transfer_to is not None or not self.is_settled_leader:
            return _NEVER
        return leadership.lease_end()

    # --- epochs and roles

    def _enter_epoch(self, epoch: int, now: float, *, leader: int | None) -> None:
        assert epoch > self.hard.epoch
        self._set_hard(HardState(epoch, None))
        self._follow(leader, now)

    def _set_hard(self, hard: HardState) -> None:
        assert (hard.epoch, hard.vote is not None) > (self.hard.epoch, self.hard.vote is not None)
        self.hard = hard
        self._disk.hard_changed()

    def _follow(self, leader: int | None, now: float) -> None:
        """Be a follower in the current epoch, of `leader` when it is known."""
        was_leader = self.leadership is not None
        if was_leader:
            self._gather_proposed()
        self.role = Role.FOLLOWER
        self.leader = leader
        self.leadership = None
        self.catch_up_to = None
        self._granted = {}
        self._incoming = None
        if was_leader:
            self._leader_heard = now  # the lease that it gave itself
        self._election_at = self._election_after(now)

    def _election_after(self, now: float) -> float:
        return now + self._rng.uniform(self.timing.election_min_s, self.timing.election_max_s)

    def _is_sticky(self, now: float) -> bool:
        """Whether a leader is alive as far as this member knows (sections 4.2.3 and 6.2)."""
        if self.leadership is not None:
            return not self.leadership.lost_majority(now)
        return now - self._leader_heard < self.timing.election_min_s

    def _is_up_to_date(self, last_epoch: int, last_index: int) -> bool:
        """The election restriction (section 3.6.1)."""
        return (last_epoch, last_index) >= (self.log.last_epoch, self.log.last_index)

    # --- elections

    def _begin_pre_vote(self, now: float) -> None:
        """Ask first, so that a member that cannot win disturbs nobody (section 9.6)."""
        self._follow(None, now)
        if not self.is_voter:
            self.role = Role.PRE_CANDIDATE  # knows no leader, and leaves it to others to elect one
            return
        if not self.peers:
            self._begin_election(now, transfer=False)
            return
        self.role = Role.PRE_CANDIDATE
        # Asking again costs nothing, so do it sooner than an election would be repeated.
        self._election_at = now + self._rng.uniform(0.25, 0.5) * self.timing.election_min_s
        self._granted = {self.me: True}
        request = PreVoteRequest(self.hard.epoch + 1, self.log.last_index, self.log.last_epoch)
        for peer in self.peers:
            self._send(peer, request)

    def _begin_election(self, now: float, *, transfer: bool) -> None:
        """Section 3.4. The own vote counts once it is durable, like everybody's."""
        assert self.hard.epoch < EPOCH_MAX
        self._set_hard(HardState(self.hard.epoch + 1, self.me))
        self._follow(None, now)
        self.role = Role.CANDIDATE
        epoch = self.hard.epoch
        self._send_durably(self.me, VoteReply(epoch, granted=True))
        for peer in self.peers:
            self._send_durably(
                peer, VoteRequest(epoch, self.log.last_index, self.log.last_epoch, transfer)
            )

    def _on_pre_vote_request(self, sender: int, request: PreVoteRequest, now: float) -> None:
        granted = (
            self.is_voter
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
        if tally(self.members, self._granted):
            self._begin_election(now, transfer=False)

    def _on_vote_request(self, sender: int, request: VoteRequest, now: float) -> None:
        if not self.is_voter or (not request.transfer and self._is_sticky(now)):
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
            self._election_at = self._election_after(now)
        self._send_durably(sender, VoteReply(self.hard.epoch, granted))

    def _on_vote_reply(self, sender: int, reply: VoteReply, now: float) -> None:
        if self.role is not Role.CANDIDATE or reply.epoch != self.hard.epoch:
            return
        self._granted[sender] = reply.granted
        verdict = tally(self.members, self._granted)
        if verdict:
            self._lead(now)
        elif verdict is False:
            self._election_at = min(
                self._election_at, now + self._rng.uniform(0.1, 0.5) * self.timing.election_min_s
            )

    def _lead(self, now: float) -> None:
        """Begin with a no-op of the new epoch: it commits all that came before (section 6.4)."""
        assert self.hard.vote == self.me
        assert self.log.last_epoch < self.hard.epoch
        self.role = Role.LEADER
        self.leader = self.me
        self.leadership = Leadership(
            self.hard.epoch,
            self.log,
            self.peers,
            self.observers,
            self._send,
            timing=self.timing,
            limits=self.limits,
            now=now,
        )
        self._proposed_from = self.leadership.first_index

    def _on_timeout_now(self, sender: int, message: TimeoutNow, now: float) -> None:
        """Section 3.10: the leader itself asks for the election, so nobody is disturbed."""
        is_leaders = self.leader == sender and sender != self.me
        if message.epoch == self.hard.epoch and is_leaders and self.is_voter:
            self._begin_election(now, transfer=True)

    # --- following

    def _on_append_request(self, sender: int, request: AppendRequest, now: float) -> None:
        """Section 3.5. Answers of accepted entries wait until the entries are durable."""
        if request.epoch < self.hard.epoch:
            self._send(sender, AppendReply(self.hard.epoch, False, 0, 0, request.sent))
            return
        self._hear_leader(sender, now)
        if self.catch_up_to is None:
            self.catch_up_to = request.commit
        prev, block = request.prev_index, request.block
        if prev < self.log.base.index:
            # All of this up to the base is committed and applied here, hence it matches.
            block = behind_base(self.log, block)
            prev = self.log.base.index
            if block is None:
                self._accept(sender, min(request.prev_index, self.synced_index), request.sent)
                return
        elif self.log.epoch_at(prev) != request.prev_epoch:
            hint = meeting_hint(self.log, self.commit_index, prev, request.prev_epoch)
            self._send(sender, AppendReply(self.hard.epoch, False, *hint, request.sent))
            return
        last = prev
        if block is not None:
            last = block.last_index
            self._append_missing(block)
        self.commit_index = max(self.commit_index, min(request.commit, last))
        if block is None:
            self._accept(sender, min(last, self.synced_index), request.sent)
        else:
            self._send_durably(sender, AppendReply(self.hard.epoch, True, last, 0, request.sent))

    def _hear_leader(self, sender: int, now: float) -> None:
        assert self.leader in (None, sender)  # election safety: one leader per epoch (3.6.3)
        assert self.role is not Role.LEADER
        if self.role is not Role.FOLLOWER or self.leader is None:
            self._follow(sender, now)
        self._leader_heard = now
        self._election_at = self._election_after(now)

    def _append_missing(self, block: Block) -> None:
        """Skip what is here already, cut what conflicts, append the rest."""
        rest, cut_from = missing_part(self.log, block)
        if cut_from is not None:
            assert cut_from > self.commit_index  # committed entries never change (3.6.3)
            self.log.cut_from(cut_from)
            self._disk.cut_to(self.log.last_index)
        if rest is not None:
            self.log.append(rest.entries)
            self._disk.add([rest])

    def _accept(self, sender: int, matched: int, sent: float) -> None:
        """Answer a heartbeat at once: it claims only what is durable already."""
        if sent == NO_ANSWER:
            return
        reply = AppendReply(self.hard.epoch, True, matched, 0, sent)
        if self._disk.is_hard_synced:
            self._send(sender, reply)
        else:
            self._send_durably(sender, reply)

    def _on_snapshot_chunk(self, sender: int, chunk: SnapshotChunk, now: float) -> None:
        """Chapter 5: take in the pieces in order; the whole replaces log and state."""
        if chunk.epoch < self.hard.epoch:
            self._send(sender, AppendReply(self.hard.epoch, False, 0, 0, chunk.sent))
            return
        self._hear_leader(sender, now)
        at = Position(chunk.state_index, chunk.state_epoch, chunk.zxid)
        if at.index <= self.commit_index:
            self._incoming = None
            self._accept(sender, min(self.commit_index, self.synced_index), chunk.sent)
            return
        if self._incoming is None or self._incoming.at != at:
            self._incoming = IncomingSnapshot(at)
        complete = self._incoming.add(chunk.ordinal, chunk.data, last=chunk.last)
        if complete is None:
            wanted = self._incoming.wanted
            self._send(sender, SnapshotReply(self.hard.epoch, at.index, wanted, chunk.sent))
            return
        self._incoming = None
        if self.log.epoch_at(at.index) == at.epoch:
            # Our log reaches further and matches: what it describes is committed (figure 5.3, 6).
            self.commit_index = at.index
            self._accept(sender, min(at.index, self.synced_index), chunk.sent)
            return
        self._install(complete)
        self._send_durably(sender, AppendReply(self.hard.epoch, True, at.index, 0, chunk.sent))

    def _install(self, snapshot: Snapshot) -> None:
        at = snapshot.at
        self.log = Log(at)
        self.commit_index = self.handed_index = self.applied_index = at.index
        self._disk.replace(snapshot)

    # --- leading

    def _on_append_reply(self, sender: int, reply: AppendReply, now: float) -> None:
        leadership = self.leadership
        if leadership is None or reply.epoch != self.hard.epoch:
            return
        if leadership.on_append_reply(sender, reply):
            self._advance_commit()
            leadership.continue_transfer()

    def _advance_commit(self) -> None:
        if self.leadership is not None:
            self.commit_index = self.leadership.commit_index(self.synced_index, self.commit_index)

    # --- messages

    def _send(self, to: int, message: ConsensusMessage) -> None:
        assert to != self.me
        self._outbox.append((to, message))

    def _send_durably(self, to: int, message: ConsensusMessage) -> None:
        self._disk.hold((self.hard.epoch, to, message))

    def check(self) -> None:
        """Assert the class's relations; the simulation calls it after every step."""
        self.log.check()
        assert self.log.base.index <= self.applied_index <= self.handed_index <= self.commit_index
        assert self.commit_index <= self.log.last_index
        assert self.handed_index <= self.synced_index or not self._disk.is_idle
        assert self.synced_index <= self.log.last_index
        assert self.hard.epoch >= self.log.last_epoch
        assert (self.role is Role.LEADER) == (self.leadership is not None)
        if self.leadership is not None:
            assert self.leader == self.me
            assert self.hard.vote == self.me
            self.leadership.check()


__all__ = ["Consensus"]
