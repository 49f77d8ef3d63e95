"""The leader's side of the consensus core: replication, commitment, lease, handing over.

A `Leadership` lives from the moment a member wins an election until it learns of a higher epoch or
loses its majority. It shares the core's log and outbox and never writes anything itself. Sections
are those of Ongaro's dissertation.
"""

from collections.abc import Callable, Collection, Sequence

from ottla.coordinator.consensus.log import Log
from ottla.coordinator.consensus.progress import Mode, Progress
from ottla.coordinator.consensus.quorum import reached_by_majority
from ottla.coordinator.consensus.values import Limits, Snapshot, Timing
from ottla.protocol.peer.entries import COUNTER_MAX, Entry
from ottla.protocol.peer.membership import Membership
from ottla.protocol.peer.messages import (
    NO_ANSWER,
    AppendReply,
    AppendRequest,
    ConsensusMessage,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
)

_new = tuple.__new__  # of a named tuple: half as dear as its class, and paid for each entry
Send = Callable[[int, ConsensusMessage], None]


class Leadership:
    """Volatile state of a leader (figure 3.1). Invariant: `log` is only ever appended to (3.3)."""

    __slots__ = (
        "_counter",
        "_groups",
        "_leaving",
        "_limits",
        "_log",
        "_me",
        "_send",
        "_timing",
        "_voters",
        "epoch",
        "first_index",
        "followers",
        "learners",
        "next_heartbeat",
        "owes_news",
        "snapshots_wanted",
        "started",
        "transfer_deadline",
        "transfer_to",
    )

    def __init__(
        self,
        epoch: int,
        log: Log,
        me: int,
        membership: Membership,
        send: Send,
        *,
        timing: Timing,
        limits: Limits,
        now: float,
    ) -> None:
        self.epoch = epoch
        self._log = log
        self._send = send
        self._timing = timing
        self._limits = limits
        self.started = now
        self._counter = 0  # of the last entry made; the no-op has 0 (section 3.6.2, 6.4)
        self.first_index = log.last_index + 1  # the no-op's; nothing before it commits by count
        self._me = me
        self.followers: dict[int, Progress] = {}
        self.learners: frozenset[int] = frozenset()
        """Members to be: they get every entry, and count for nothing (4.2.1)."""
        self._leaving: dict[int, tuple[int, float]] = {}
        """Who is no member any more -> (the entry that says so, until when it is sent that)."""
        self._groups: tuple[tuple[int, ...], ...] = ()
        self._voters: tuple[int, ...] = ()  # the others that vote from now on
        self.follow_membership(membership, now)
        self.next_heartbeat = now
        self.owes_news = False
        """Somebody is to be told what is committed, a little later: take a turn by then."""
        self.snapshots_wanted: list[int] = []
        self.transfer_to: int | None = None
        self.transfer_deadline = float("inf")
        log.append([Entry(self.first_index, epoch, epoch << 32, b"")])

    # --- who counts (section 4.3)

    def follow_membership(self, membership: Membership, now: float) -> None:
        """The configuration is a new one: begin with who came, end with who left."""
        self._groups = membership.groups
        self._voters = tuple([member for member in membership.voters if member != self._me])
        wanted = (membership.everyone | self.learners) - {self._me}
        for member in sorted(wanted):
            self._leaving.pop(member, None)
            if member not in self.followers:
                self.followers[member] = Progress(self._log.last_index + 1)
        for member in self.followers.keys() - wanted - self._leaving.keys():
            self._leaving[member] = (self._log.last_index, now + self._timing.election_max_s)

    def invite(self, members: Collection[int], membership: Membership, now: float) -> None:
        """Replicate to those who may become members, and to no others any more."""
        self.learners = frozenset(members)
        self.follow_membership(membership, now)

    def see_off(self, commit: int, now: float) -> bool:
        """Forget those who left and know it, or do not answer; whether there were any."""
        gone = [
            member
            for member, (index, until) in self._leaving.items()
            if until <= now
            or (
                self.followers[member].matched >= index <= commit
                and self.followers[member].sent_commit >= index
            )
        ]
        for member in gone:
            del self._leaving[member]
            del self.followers[member]
        return bool(gone)

    def holds(self, member: int, index: int, now: float) -> bool:
        """Whether a member is here, holds everything up to `index`, and votes if it is asked."""
        if member == self._me:
            return True
        progress = self.followers.get(member)
        return (
            progress is not None
            and progress.contact + self._timing.lease_s > now
            and progress.matched >= index
            and not progress.abstains
        )

    def may_vote(self, voters: Sequence[int], commit: int, now: float) -> bool:
        """Whether a majority of some voters is here and holds all that is committed."""
        return sum([self.holds(voter, commit, now) for voter in voters]) > len(voters) // 2

    def restart(self, member: int) -> None:
        """A member lost its disk: nothing that it acknowledged before is known to be there."""
        progress = self.followers.get(member)
        if progress is not None:
            progress.matched = 0
            progress.abstains = True
            progress.become_probe(1)

    # --- the log

    @property
    def has_room_for(self) -> int:
        """How many more entries this epoch's counter can number."""
        return COUNTER_MAX - self._counter

    def propose(self, payloads: Sequence[bytes]) -> Entry:
        """Append entries, and return the first; they travel at the next `replicate`."""
        assert payloads
        assert self.has_room_for >= len(payloads)
        index = self._log.last_index
        zxid = (self.epoch << 32) + self._counter
        self._counter += len(payloads)
        epoch = self.epoch
        entries = [
            _new(Entry, (index + i, epoch, zxid + i, data))
            for i, data in enumerate(payloads, start=1)
        ]
        self._log.append(entries)
        return entries[0]

    def commit_index(self, synced: int, commit: int) -> int:
        """The greatest index that a majority holds on disk, counting this member's `synced`.

        Only entries of this epoch commit by counting; earlier ones commit with them (3.6.2).
        """
        followers, me = self.followers, self._me
        reached = min(
            [
                reached_by_majority([synced if m == me else followers[m].matched for m in group])
                for group in self._groups
            ]
        )
        return reached if reached >= self.first_index and reached > commit else commit

    # --- sending

    def replicate(self, commit: int, now: float, *, heartbeat: bool = False) -> None:
        """Send every follower what it lacks, as far as its mode and the limits allow."""
        if heartbeat:
            self.next_heartbeat = now + self._timing.heartbeat_s
        last = self._log.last_index
        self.owes_news = False
        for member, progress in self.followers.items():
            if heartbeat and progress.mode is not Mode.REPLICATE:
                progress.probe_sent = False  # a lost probe is repeated by the heartbeat
            sent = False
            while (
                progress.next <= last
                and progress.mode is not Mode.SNAPSHOT
                and not progress.probe_sent
                and progress.has_room(self._limits)
            ):
                if progress.next <= self._log.base.index:
                    self._want_snapshot(member, progress, now)
                    break
                self._send_block(member, progress, commit, now)
                sent = True
            if heartbeat:
                # Behind blocks, too: those are answered when they are on disk, and a disk that
                # takes longer than the lease must not end it.
                self._send_heartbeat(member, progress, commit, now)
            elif not sent and progress.sent_commit < commit and progress.mode is Mode.REPLICATE:
                progress.owed_since = min(progress.owed_since, now)
                if (
                    progress.awaited > progress.sent_commit
                    or now >= progress.owed_since + self._timing.news_s
                ):
                    self._tell_commit(member, progress, commit, now)
                else:
                    self.owes_news = True

    def put_off_heartbeat(self, now: float) -> bool:
        """Entries that everybody has answered are as good: the next one is due behind them.

        A heartbeat tells a follower that its leader lives, and the answer tells the leader that it
        leads; so does a block once it is on disk. Only what may have to be repeated keeps the pace.
        """
        followers = self.followers.values()
        if self.transfer_to is not None or not followers:
            return False
        contact = min([progress.contact for progress in followers])
        due = contact + self._timing.heartbeat_s
        if due <= now or any(progress.mode is not Mode.REPLICATE for progress in followers):
            return False
        self.next_heartbeat = due
        return True

    def await_here(self, member: int, index: int) -> None:
        """Somebody at that member waits for the entry: it is told at once when it is committed."""
        progress = self.followers.get(member)
        if progress is not None:
            progress.awaited = max(progress.awaited, index)

    def is_content(self, member: int) -> bool:
        """Whether it was sent all there is, and nothing but a majority waits for its answers."""
        progress = self.followers.get(member)
        return (
            progress is not None
            and progress.mode is Mode.REPLICATE
            and progress.next > self._log.last_index
            and member not in self.learners
            and not self._leaving
        )

    def _send_block(self, member: int, progress: Progress, commit: int, now: float) -> None:
        first = progress.next
        block = self._log.block_from(
            first, max_entries=self._limits.block_entries, max_bytes=self._limits.block_bytes
        )
        prev_epoch = self._log.epoch_at(first - 1)
        assert prev_epoch is not None
        self._send(member, AppendRequest(self.epoch, first - 1, prev_epoch, commit, now, block))
        progress.sent_block(block.last_index, len(block.encode()))
        progress.was_told(commit)

    def _tell_commit(self, member: int, progress: Progress, commit: int, now: float) -> None:
        """An answer would tell nothing new, and cost both sides as much as this does."""
        prev = progress.next - 1
        prev_epoch = self._log.epoch_at(prev)
        if prev_epoch is None:
            self._send_heartbeat(member, progress, commit, now)
            return
        self._send(member, AppendRequest(self.epoch, prev, prev_epoch, commit, NO_ANSWER, None))
        progress.was_told(commit)

    def _send_heartbeat(self, member: int, progress: Progress, commit: int, now: float) -> None:
        if progress.mode is Mode.SNAPSHOT and now - progress.contact > self._patience:
            progress.become_probe(progress.matched + 1)  # gone: keep no snapshot for it
        if progress.mode is not Mode.SNAPSHOT:
            prev = progress.next - 1
            prev_epoch = self._log.epoch_at(prev)
            if prev_epoch is not None:
                self._send(member, AppendRequest(self.epoch, prev, prev_epoch, commit, now, None))
                progress.was_told(commit)
                return
            self._want_snapshot(member, progress, now)
        # Nothing is known of where the logs meet, and an empty prefix meets everywhere.
        self._send(member, AppendRequest(self.epoch, 0, 0, commit, now, None))
        if progress.snapshot is not None and (
            now - progress.chunk_sent_at > self._timing.election_min_s
        ):
            self._send_chunk(member, progress, now)

    def _want_snapshot(self, member: int, progress: Progress, now: float) -> None:
        """Ask for a snapshot, unless the member is silent and could not take it anyway."""
        if now - progress.contact <= self._patience:
            progress.become_snapshot()
            self.snapshots_wanted.append(member)

    @property
    def _patience(self) -> float:
        return 2 * self._timing.election_max_s

    # --- answers

    def on_append_reply(self, member: int, reply: AppendReply) -> bool:
        """Learn from an answer (section 3.5); whether the member holds more than we knew."""
        progress = self.followers.get(member)
        if progress is None:
            return False  # it left
        progress.contact = max(progress.contact, reply.sent)
        if reply.accepted:
            progress.abstains = bool(reply.hint_epoch)
            if reply.matched > self._log.last_index:
                return False  # no follower of this epoch can hold more than its leader
            news = progress.accepted(reply.matched)
            if self._logs_meet(progress):
                progress.become_replicate()
            return news
        if progress.mode is Mode.SNAPSHOT:
            return False
        if reply.matched == progress.matched:
            progress.become_probe(progress.matched + 1)
            return False
        # Below what it held before: an answer that was overtaken, or its disk was replaced. To
        # count less than it holds is safe, and the next probe tells.
        progress.matched = min(progress.matched, reply.matched)
        progress.become_probe(self._meeting_point(reply, progress.next) + 1)
        return False

    def _meeting_point(self, reply: AppendReply, next_index: int) -> int:
        """Skip back over whole epochs rather than single entries (end of section 3.5).

        The logs cannot meet behind our last entry whose epoch is at most the hinted one.
        """
        index = min(reply.matched, next_index - 1, self._log.last_index)
        while index >= self._log.base.index and index > 0:
            epoch = self._log.epoch_at(index)
            assert epoch is not None
            if epoch <= reply.hint_epoch:
                break
            index -= 1
        return max(index, 0)

    def _logs_meet(self, progress: Progress) -> bool:
        """Whether an accepted probe, or an installed snapshot, lets the pipeline begin."""
        if progress.mode is Mode.PROBE:
            return progress.matched == progress.next - 1
        snapshot = progress.snapshot
        return (
            progress.mode is Mode.SNAPSHOT
            and snapshot is not None
            and progress.matched >= max(snapshot.at.index, self._log.base.index)
        )

    def on_unreachable(self, member: int) -> None:
        """The link broke: what was in flight may be lost."""
        progress = self.followers.get(member)
        if progress is not None:
            progress.become_probe(progress.matched + 1)

    # --- snapshots (chapter 5)

    def offer_snapshot(self, snapshot: Snapshot, now: float) -> None:
        """Send a snapshot to every member that waits for one."""
        assert snapshot.chunks
        for member, progress in self.followers.items():
            if progress.mode is Mode.SNAPSHOT and progress.snapshot is None:
                progress.snapshot = snapshot
                progress.chunk = 0
                self._send_chunk(member, progress, now)

    def on_snapshot_reply(self, member: int, reply: SnapshotReply, now: float) -> None:
        """Send the piece that the member asks for."""
        progress = self.followers.get(member)
        if progress is None:
            return
        progress.contact = max(progress.contact, reply.sent)
        snapshot = progress.snapshot
        if snapshot is None or snapshot.at.index != reply.state_index:
            return
        if progress.chunk == reply.wanted and now - progress.chunk_sent_at < (
            self._timing.election_min_s
        ):
            return  # an answer to a repeated piece
        if reply.wanted < len(snapshot.chunks):
            progress.chunk = reply.wanted
            self._send_chunk(member, progress, now)

    def _send_chunk(self, member: int, progress: Progress, now: float) -> None:
        snapshot, ordinal = progress.snapshot, progress.chunk
        assert snapshot is not None
        progress.chunk_sent_at = now
        last = ordinal == len(snapshot.chunks) - 1
        at = snapshot.at
        data = snapshot.chunks[ordinal]
        self._send(
            member,
            SnapshotChunk(
                self.epoch,
                at.index,
                at.epoch,
                at.zxid,
                ordinal,
                last,
                now,
                data,
                snapshot.membership,
            ),
        )

    @property
    def keep_from(self) -> int:
        """Entries after this index are still needed to continue a snapshot on its way."""
        waiting = [p.snapshot.at.index for p in self.followers.values() if p.snapshot is not None]
        return min(waiting, default=self._log.last_index)

    # --- lease (sections 6.2, 6.4.1)

    def lease_end(self) -> float:
        """Until when no other leader can exist: dated from what a majority answered to."""
        followers, me = self.followers, self._me
        contacts = min(
            [
                reached_by_majority(
                    [float("inf") if m == me else followers[m].contact for m in group]
                )
                for group in self._groups
            ]
        )
        return contacts + self._timing.lease_s

    def lost_majority(self, now: float) -> bool:
        """Check-quorum (section 6.2): step down when no majority answered for a lease."""
        return self.patience_end() <= now

    def patience_end(self) -> float:
        """When the majority counts as lost if nobody answers; a new leader gets a full lease."""
        return max(self.lease_end(), self.started + self._timing.lease_s)

    # --- handing over (section 3.10)

    @property
    def is_handing_over(self) -> bool:
        return self.transfer_to is not None

    def begin_transfer(self, commit: int, now: float) -> int | None:
        """Choose the follower that holds most and was heard last; it must still catch up."""
        lease_s, followers = self._timing.lease_s, self.followers
        live = [
            m
            for m in self._voters
            if followers[m].contact + lease_s > now and not followers[m].abstains
        ]
        if not live:
            return None
        self.transfer_to = max(
            live, key=lambda m: (self.followers[m].matched, self.followers[m].contact, -m)
        )
        self.transfer_deadline = now + self._timing.election_min_s
        self.continue_transfer(commit, now)
        return self.transfer_to

    def continue_transfer(self, commit: int, now: float) -> None:
        """Tell the chosen member to start its election once it holds the whole log.

        And once that is committed, which it is told first: it then knows all of the past when it
        is elected, and can decide what comes next without waiting for its own no-op.
        """
        target = self.transfer_to
        if target is None:
            return
        progress = self.followers[target]
        if progress.matched == commit == self._log.last_index:
            if progress.sent_commit < commit:
                self._tell_commit(target, progress, commit, now)
            self._send(target, TimeoutNow(self.epoch))

    def check(self) -> None:
        """Assert the leader's relations."""
        assert self._log.base.index < self.first_index <= self._log.last_index or (
            self._log.base.epoch == self.epoch
        )
        assert {m for group in self._groups for m in group} - {self._me} <= self.followers.keys()
        assert self._leaving.keys() <= self.followers.keys()
        assert self._me not in self.followers
        for progress in self.followers.values():
            progress.check(self._log.last_index)


__all__ = ["Leadership"]
