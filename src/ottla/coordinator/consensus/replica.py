"""One member's copy of the log: what of it is durable, committed, handed out, and who counts.

Leading and following both work on it; it knows no roles and sends nothing. Sections are those of
Ongaro's dissertation.
"""

from collections.abc import Sequence

from ottla.coordinator.consensus.durability import Durability
from ottla.coordinator.consensus.log import Log
from ottla.coordinator.consensus.memberships import Memberships
from ottla.coordinator.consensus.reconcile import behind_base, meeting_hint, missing_part
from ottla.coordinator.consensus.snapshot import IncomingSnapshot
from ottla.coordinator.consensus.values import Limits, Position, Snapshot
from ottla.protocol.peer.entries import Block, Entry
from ottla.protocol.peer.membership import Membership, decode
from ottla.protocol.peer.messages import AppendReply, AppendRequest, SnapshotChunk


class Replica:
    """Owned by the core.

    Relations (`check`): log.base.index <= applied_index <= handed_index <= commit_index <=
    log.last_index; handed_index <= synced_index <= log.last_index.
    """

    __slots__ = (
        "_limits",
        "_proposed_from",
        "applied_index",
        "commit_index",
        "disk",
        "handed_index",
        "incoming",
        "log",
        "memberships",
    )

    def __init__(
        self,
        base: Position,
        entries: Sequence[Entry],
        membership: bytes,
        first: Membership,
        limits: Limits,
    ) -> None:
        """All of it is durable. `membership` is that of the base; where it is empty, nothing up to
        the base changed what the ensemble had at `first`. ProtocolError."""
        self.log = Log(base, entries)
        if membership:
            self.memberships = Memberships(decode(membership), base.index)
        else:
            self.memberships = Memberships(first, 0)
        self.memberships.learn(entries)
        self.disk = Durability(self.log.last_index)
        self.commit_index = base.index
        self.handed_index = base.index  # last entry given out to apply
        self.applied_index = base.index  # last entry that the shell says it applied
        self.incoming: IncomingSnapshot | None = None
        self._limits = limits
        self._proposed_from = 0  # first own entry that is in no block yet; only while leading

    @property
    def synced_index(self) -> int:
        return self.disk.synced_index

    @property
    def is_empty(self) -> bool:
        return not self.log.last_index

    def begin_proposing(self, first: int) -> None:
        """Entries from `first` on come from this member: `gather_proposed` takes them along."""
        self._proposed_from = first

    def gather_proposed(self) -> None:
        """Cut what was proposed since the last call into blocks, encoded once for everybody."""
        if self._proposed_from > self.log.last_index:
            return
        blocks = self.log.blocks_from(
            self._proposed_from,
            max_entries=self._limits.block_entries,
            max_bytes=self._limits.block_bytes,
        )
        self.disk.add(blocks)
        self._proposed_from = self.log.last_index + 1

    def take_to_apply(self) -> Sequence[Entry]:
        """What is committed and durable here, each entry once."""
        end = min(self.commit_index, self.synced_index)
        first = self.handed_index + 1
        if end < first:
            return ()
        self.handed_index = end
        return self.log.entries(first, end)

    @property
    def holds_much(self) -> bool:
        """Whether `drop_applied` has something to do."""
        log, limits = self.log, self._limits
        return len(log) > 2 * limits.kept_entries or log.payload_bytes > 2 * limits.kept_bytes

    def drop_applied(self, keep_from: int) -> None:
        """Keep memory bounded: forget old applied entries up to `keep_from`, in large steps."""
        log, limits = self.log, self._limits
        keep = min(limits.kept_entries, len(log) // 2)
        through = min(log.last_index - keep, self.applied_index, keep_from)
        if through > log.base.index:
            log.drop_through(through)
            self.memberships.drop_through(through)

    # --- following

    def append(self, request: AppendRequest, epoch: int) -> tuple[AppendReply, bool]:
        """Section 3.5: the answer, and whether what it says is still to become durable.

        ProtocolError, if an entry is not what it says.
        """
        prev, block, sent = request.prev_index, request.block, request.sent
        if prev < self.log.base.index:
            # All of this up to the base is committed and applied here, hence it matches.
            block = behind_base(self.log, block)
            if block is None:
                matched = min(prev, self.synced_index)
                return AppendReply(epoch, True, matched, 0, sent), False
        elif self.log.epoch_at(prev) != request.prev_epoch:
            hint = meeting_hint(self.log, self.commit_index, prev, request.prev_epoch)
            return AppendReply(epoch, False, *hint, sent), False
        last = max(prev, self.log.base.index)
        if block is not None:
            last = block.last_index
            self._append_missing(block)
        self.commit_index = max(self.commit_index, min(request.commit, last))
        if block is None:
            return AppendReply(epoch, True, min(last, self.synced_index), 0, sent), False
        return AppendReply(epoch, True, last, 0, sent), True

    def _append_missing(self, block: Block) -> None:
        """Skip what is here already, cut what conflicts, append the rest."""
        rest, cut_from = missing_part(self.log, block)
        if cut_from is not None:
            assert cut_from > self.commit_index  # committed entries never change (3.6.3)
            self.log.cut_from(cut_from)
            self.disk.cut_to(self.log.last_index)
            self.memberships.cut_from(cut_from)
        if rest is not None:
            self.memberships.learn(rest.entries)
            self.log.append(rest.entries)
            self.disk.add([rest])

    def take_chunk(self, chunk: SnapshotChunk) -> int | None:
        """Chapter 5: the ordinal of the next piece to ask for; None: nothing more is lacking.

        Then `commit_index` is at the snapshot, and whatever `disk` holds back waits for it.
        """
        at = Position(chunk.state_index, chunk.state_epoch, chunk.zxid)
        if at.index <= self.commit_index:
            self.incoming = None
            return None
        if self.incoming is None or self.incoming.at != at:
            self.incoming = IncomingSnapshot(at, chunk.membership)
        complete = self.incoming.add(chunk.ordinal, chunk.data, last=chunk.last)
        if complete is None:
            return self.incoming.wanted
        self.incoming = None
        if self.log.epoch_at(at.index) == at.epoch:
            # Our log reaches further and matches: what it describes is committed (figure 5.3, 6).
            self.commit_index = at.index
        else:
            self._install(complete)
        return None

    def _install(self, snapshot: Snapshot) -> None:
        """The whole replaces log and state. ProtocolError: its membership is none."""
        at = snapshot.at
        if snapshot.membership:
            self.memberships.replace(at.index, decode(snapshot.membership))
        else:  # the ensemble never changed, so what this member began with holds
            self.memberships.replace(0, self.memberships.oldest)
        self.log = Log(at)
        self.commit_index = self.handed_index = self.applied_index = at.index
        self.disk.replace(snapshot)

    def check(self) -> None:
        """Assert the class's relations; costs a walk over all entries."""
        self.log.check()
        self.memberships.check(self.log)
        assert self.log.base.index <= self.applied_index <= self.handed_index <= self.commit_index
        assert self.commit_index <= self.log.last_index
        assert self.handed_index <= self.synced_index or not self.disk.is_idle
        assert self.synced_index <= self.log.last_index


__all__ = ["Replica"]
