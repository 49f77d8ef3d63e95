"""A seeded world of consensus cores in one process, and the invariants that Raft promises.

Faults: messages are lost, duplicated, delayed and overtake each other; members crash at any moment
and keep exactly what `persisted` had confirmed, or any prefix of what was handed out beyond that;
links are cut one way or both ways; disks are slow. One member at a time comes back with an empty
disk, while the others still have all that was promised. Clocks run at the same rate, as leases
require. Members join, leave and change roles, several at once, while all this goes on.

Checked after every event: one leader per epoch; entries with one (index, epoch) are one entry and
have one predecessor (log matching, by induction); a new leader holds every committed entry (leader
completeness); no two members apply different entries at an index (state machine safety); nobody is
elected while another member's lease holds; what a leader has acknowledged as done survives, though
the member that was wiped held it; every core's own `check`.
"""

import heapq
import itertools
import random

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.values import (
    ABSTAINS,
    HardState,
    Limits,
    MembersChange,
    NewMembersLag,
    NotLeader,
    Persist,
    Position,
    Role,
    Snapshot,
    Timing,
)
from ottla.protocol.peer.codec import decode, encode
from ottla.protocol.peer.entries import Entry
from ottla.protocol.peer.membership import MARK

TIMING = Timing(
    heartbeat_s=0.1, election_min_s=0.5, election_max_s=1.0, lease_s=0.45, founding_s=0.5
)


class Disk:
    """What one member's stable storage holds, and what was handed to it but is not safe yet."""

    def __init__(self):
        self.hard = HardState()
        self.snapshot = Snapshot(Position(), [b""])
        self.entries: list[Entry] = []
        self.waiting: list[Persist] = []

    def settle(self, persist: Persist) -> None:
        if persist.snapshot is not None:
            self.snapshot = persist.snapshot
            self.entries = []
        if persist.hard is not None:
            self.hard = persist.hard
        for block in persist.blocks:
            base = self.snapshot.at.index
            first = block.first_index
            assert first <= base + len(self.entries) + 1
            new = [entry for entry in block.entries if entry.index > base]
            if new:
                self.entries = self.entries[: new[0].index - base - 1] + new

    def compact(self, snapshot: Snapshot) -> None:
        if snapshot.at.index > self.snapshot.at.index:
            kept = [entry for entry in self.entries if entry.index > snapshot.at.index]
            assert self.snapshot.at.index + len(self.entries) >= snapshot.at.index
            self.snapshot, self.entries = snapshot, kept


class Member:
    """One core with its disk and its state machine: the list of payloads applied."""

    def __init__(self, world, me):
        self.world, self.me = world, me
        self.disk = Disk()
        self.core: Consensus | None = None
        self.state: list[bytes] = []
        self.membership = b""  # the newest one applied
        self.applied_at = Position()
        self.life = 0
        self.tick_at = 0.0
        self.log_shape = None

    def start(self):
        disk, world = self.disk, self.world
        self.tick_at = 0.0
        self.life += 1
        self.state = unpack_state(disk.snapshot)
        self.applied_at = disk.snapshot.at
        self.membership = disk.snapshot.membership
        self.core = Consensus(
            self.me,
            world.first_voters if self.me in world.first_voters else world.joining_list(self.me),
            TIMING,
            random.Random(world.rng.random()),
            world.now,
            hard=disk.hard,
            base=disk.snapshot.at,
            entries=disk.entries,
            limits=world.limits,
            observers=world.first_observers,
            membership=disk.snapshot.membership,
        )

    def crash(self):
        waiting = self.disk.waiting
        for persist in waiting[: self.world.rng.randint(0, len(waiting))]:
            self.disk.settle(persist)
        waiting.clear()
        self.core = None

    def wipe(self):
        """A new disk in place of the old one."""
        assert self.core is None
        self.disk = Disk()


def pack_state(state, at, membership):
    """Three pieces, so that installing takes several messages."""
    joined = b"\n".join(state)
    third = len(joined) // 3 + 1
    return Snapshot(at, [joined[i * third : (i + 1) * third] for i in range(3)], membership)


def unpack_state(snapshot):
    joined = b"".join(snapshot.chunks)
    return joined.split(b"\n") if joined else []


class World:
    """Drives the members through `steps` events of chance, then heals and expects progress."""

    def __init__(
        self, seed: int, members: int, observers: int = 0, *, spares: int = 0, absent: int = 0
    ):
        """`spares` run and are no members, until a change of members takes them in.

        `absent` voters, a minority, start for the first time when everything is healed.
        """
        self.rng = rng = random.Random(seed)
        self.now = 100.0
        self.ids = list(range(1, members + observers + spares + 1))
        self.absent = set(range(1, absent + 1))
        self.first_voters = self.ids[:members]
        self.first_observers = self.ids[members : members + observers]
        self.wiped = 0
        self.changes = 0
        self.limits = Limits(
            block_entries=rng.choice([1, 3, 50]),
            inflight_blocks=rng.choice([1, 2, 16]),
            kept_entries=rng.choice([2, 8, 1000]),
            kept_bytes=10_000_000,
        )
        # Swarm: each run has its own mix of faults, and some runs lack a kind altogether.
        self.loss = rng.choice([0, 0, 0.05, 0.2])
        self.duplicate = rng.choice([0, 0.05])
        self.delay = rng.choice([0.002, 0.02, 0.2])
        self.sync_delay = rng.choice([0.0, 0.01, 0.3])
        self.crash_rate = rng.choice([0, 0.2, 0.6])
        self.cut_rate = rng.choice([0, 0.3, 0.8])
        self.wipe_rate = 0.0
        self.change_rate = 0.0
        if spares:
            self.wipe_rate = rng.choice([0, 0.3, 0.8])
            self.change_rate = rng.choice([0, 0.3, 1])
        self.members = {me: Member(self, me) for me in self.ids}
        self.cut: set[tuple[int, int]] = set()
        self.queue: list = []
        self.order = itertools.count()
        self.number = itertools.count(1)
        # what the checkers remember
        self.leaders: dict[int, int] = {}
        self.known: dict[tuple[int, int], tuple[Entry, int]] = {}
        self.committed: dict[int, Entry] = {}
        self.roles = dict.fromkeys(self.ids, Role.FOLLOWER)
        self.ever_voted = set(self.first_voters)
        self.handing_over = False
        for member in self.members.values():
            if member.me not in self.absent:
                member.start()
                self.wake(member)
        self.at(rng.uniform(0, 1), self.chance)
        self.faults = True

    def joining_list(self, me):
        """What stands in the file of a member that is to join: those it knows, and itself."""
        return [*self.first_voters, me] if me not in self.first_observers else self.first_voters

    def at(self, delay, action, *args):
        heapq.heappush(self.queue, (self.now + delay, next(self.order), action, args))

    def run_until(self, end):
        while self.queue and self.queue[0][0] <= end:
            self.now, _, action, args = heapq.heappop(self.queue)
            action(*args)
        self.now = end

    # --- one member's shell

    def wake(self, member):
        """Tick at the core's deadline, whenever that came closer."""
        deadline = max(member.core.deadline, self.now + 0.001)
        if deadline < member.tick_at or member.tick_at <= self.now:
            member.tick_at = deadline
            self.at(deadline - self.now, self.tick, member, member.life)

    def tick(self, member, life):
        if member.life != life or member.core is None:
            return
        member.core.tick(self.now)
        self.drain(member)

    def drain(self, member):
        core = member.core
        self.check(member)
        actions = core.actions(self.now)
        if actions.persist is not None:
            member.disk.waiting.append(actions.persist)
            if actions.persist.snapshot is not None:
                snapshot = actions.persist.snapshot
                member.state, member.applied_at = unpack_state(snapshot), snapshot.at
                member.membership = snapshot.membership
            self.at(self.rng.uniform(0, self.sync_delay), self.sync, member, member.life)
        for to, message in actions.send:
            self.post(member.me, to, message)
        for entry in actions.apply:
            self.apply(member, entry)
        core.applied(member.applied_at.index)
        for _ in actions.snapshots_wanted[:1]:
            snapshot = pack_state(member.state, member.applied_at, member.membership)
            core.offer_snapshot(snapshot, self.now)
            self.drain(member)
        self.check(member)
        self.wake(member)

    def sync(self, member, life):
        """Group commit: everything handed over so far becomes durable at once."""
        if member.life != life or member.core is None or not member.disk.waiting:
            return
        waiting = member.disk.waiting
        for persist in waiting:
            member.disk.settle(persist)
        sequence = waiting[-1].sequence
        waiting.clear()
        member.core.persisted(sequence, self.now)
        self.drain(member)

    def apply(self, member, entry):
        assert entry.index == member.applied_at.index + 1
        self.note_committed(entry)
        member.state.append(entry.payload or b"noop-%d" % entry.epoch)
        member.applied_at = Position(entry.index, entry.epoch, entry.zxid)
        if entry.payload[:1] == MARK:
            member.membership = entry.payload

    # --- the network

    def post(self, sender, to, message):
        wire = encode(message)[4:]
        for _ in range(2 if self.faults and self.rng.random() < self.duplicate else 1):
            if self.faults and self.rng.random() < self.loss:
                continue
            self.at(self.rng.uniform(0.0005, self.delay), self.deliver, sender, to, wire)

    def deliver(self, sender, to, wire):
        member = self.members[to]
        if member.core is None or (sender, to) in self.cut:
            return
        member.core.step(sender, decode(wire), self.now)
        self.drain(member)

    # --- chance

    def chance(self):
        rng = self.rng
        if not self.faults:
            return
        self.at(rng.uniform(0, 0.1), self.chance)
        dice = rng.random()
        if dice < 0.5:
            self.propose()
        elif dice < 0.5 + 0.1 * self.crash_rate:
            # One member, or a power cut that takes several at once.
            for me in rng.sample(self.ids, rng.choice([1, 1, 2, len(self.ids)])):
                member = self.members[me]
                if member.core is not None:
                    member.crash()
                    self.at(rng.uniform(0.01, 2), self.restart, member)
                    if rng.random() < self.wipe_rate and self.may_lose(member):
                        member.wipe()
                        self.wiped += 1
        elif dice < 0.6 + 0.1 * self.cut_rate:
            self.partition()
        elif dice < 0.75:
            member = self.members[rng.choice(self.ids)]
            if member.core is not None and member.core.synced_index >= member.applied_at.index:
                snapshot = pack_state(member.state, member.applied_at, member.membership)
                for persist in member.disk.waiting:
                    member.disk.settle(persist)
                    member.core.persisted(persist.sequence, self.now)
                member.disk.waiting.clear()
                member.disk.compact(snapshot)
                self.drain(member)
        elif dice < 0.78:
            for member in self.members.values():
                if member.core is not None and member.core.leadership is not None:
                    self.handing_over = True
                    member.core.begin_transfer(self.now)
                    self.drain(member)
        elif dice < 0.85:
            member = self.members[rng.choice(self.ids)]
            if member.core is not None:
                member.core.unreachable(rng.choice(self.ids))
                self.drain(member)
        elif dice < 0.85 + 0.15 * self.change_rate:
            self.change_members()

    def propose(self):
        for member in self.members.values():
            if member.core is not None and member.core.role is Role.LEADER:
                count = self.rng.choice([1, 1, 3, 7])
                try:
                    member.core.propose([b"p%d" % next(self.number) for _ in range(count)])
                except NotLeader:
                    continue
                self.drain(member)

    def may_lose(self, member):
        """Raft bears the loss of a minority's disks: here of one at a time, and of no other's yet.

        A member counts as one that has what it promised when its core says that it may vote.
        """
        others = [other for other in self.members.values() if other is not member]
        return all(
            other.disk.hard.vote != ABSTAINS
            and other.disk.hard.epoch
            and (other.core is None or other.core.newcomer is None)
            for other in others
            if other.me in self.ever_voted
        )

    def change_members(self):
        """Some leader is asked for other voters and observers, or to look after learners."""
        rng = self.rng
        for member in self.members.values():
            core = member.core
            if core is None or core.leadership is None:
                continue
            if rng.random() < 0.3:
                core.invite(rng.sample(self.ids, rng.randint(0, len(self.ids))), self.now)
            # Of one or two voters no disk may be lost.
            sizes = [3, 3, 3, 5] if self.wipe_rate else [1, 2, 3, 3, 5]
            voters = rng.sample(self.ids, min(rng.choice(sizes), len(self.ids)))
            rest = [me for me in self.ids if me not in voters]
            observers = rng.sample(rest, rng.randint(0, min(1, len(rest))))
            present = set(core.membership.voters)
            try:
                core.change_members(voters, observers, b"", self.now)
            except (MembersChange, NewMembersLag, NotLeader):
                continue
            self.ever_voted.update(voters)
            self.changes += 1
            if rng.random() < 0.3:
                self.part_from(present - {member.me})
            self.drain(member)

    def part_from(self, side):
        """Cut the links between these members and all others."""
        pairs = [(a, b) for a in self.ids for b in self.ids if a != b]
        self.cut = {(a, b) for a, b in pairs if (a in side) != (b in side)}

    def partition(self):
        pairs = [(a, b) for a in self.ids for b in self.ids if a != b]
        kind = self.rng.random()
        if kind < 0.4:
            self.cut = set()
        elif kind < 0.7:
            self.part_from(set(self.rng.sample(self.ids, self.rng.randint(1, len(self.ids) - 1))))
        else:
            self.cut = {pair for pair in pairs if self.rng.random() < 0.3}

    def restart(self, member):
        if member.core is None:
            member.start()
            self.roles[member.me] = Role.FOLLOWER
            self.wake(member)
            self.drain(member)

    # --- checkers

    def note_committed(self, entry):
        """State machine safety (figure 3.2)."""
        assert self.committed.setdefault(entry.index, entry) == entry

    def check(self, member):
        core = member.core
        core.check()
        self.check_log_matching(member)
        if core.role is Role.LEADER and self.roles[member.me] is not Role.LEADER:
            self.check_new_leader(member)
        self.roles[member.me] = core.role

    def check_log_matching(self, member):
        """Every (index, epoch) names one entry with one predecessor, in all logs at all times."""
        log = member.core.log
        shape = (member.life, log.base.index, log.last_index, log.last_epoch)
        if member.log_shape == shape:
            return
        member.log_shape = shape
        for entry in log.entries(log.base.index + 1, log.last_index):
            before = log.epoch_at(entry.index - 1)
            seen = self.known.setdefault((entry.index, entry.epoch), (entry, before))
            assert seen == (entry, before)

    def check_new_leader(self, member):
        core = member.core
        epoch = core.hard.epoch
        memberships = core.replica.memberships
        assert core.is_voter or memberships.was_voter(member.me), "an observer leads"
        assert self.leaders.setdefault(epoch, member.me) == member.me, "two leaders in an epoch"
        for index, entry in self.committed.items():
            if index > core.log.base.index:
                assert core.log.epoch_at(index) == entry.epoch, "a committed entry is missing"
        for other in self.members.values():
            if other is not member and other.core is not None and not self.handing_over:
                assert other.core.lease_end() <= self.now, "elected while a lease holds"
        self.handing_over = False

    # --- the whole run

    def run(self, seconds: float) -> None:
        """Safety phase with faults, then liveness: healed, all must agree and go on."""
        self.run_until(self.now + seconds)
        self.faults = False
        self.cut = set()
        for member in self.members.values():
            self.restart(member)
        self.delay = min(self.delay, 0.02)
        self.sync_delay = min(self.sync_delay, 0.01)
        self.run_until(self.now + 8)
        leaders = [m for m in self.members.values() if m.core.is_settled_leader]
        assert len(leaders) == 1, "no single leader after healing"
        before = leaders[0].core.commit_index
        self.propose()
        self.run_until(self.now + 3)
        core = leaders[0].core
        assert core.commit_index > before, "no progress after healing"
        assert not core.membership.is_joint, "a change of members never ended"
        inside = [self.members[me] for me in core.membership.everyone]
        states = {member.me: member.state for member in inside}
        assert len({tuple(state) for state in states.values()}) == 1, "members disagree"
        assert all(m.core.newcomer is None for m in inside if m.core.is_voter), "votes for nobody"
        final = states[leaders[0].me]
        for index, entry in self.committed.items():
            assert final[index - 1] == (entry.payload or b"noop-%d" % entry.epoch), "lost"
