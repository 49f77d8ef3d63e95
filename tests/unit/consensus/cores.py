"""A few consensus cores joined by hand: nothing moves unless the test moves it."""

import random

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.values import HardState, Limits, Position, Timing
from ottla.protocol.peer.entries import Entry

TIMING = Timing(
    heartbeat_s=0.1, election_min_s=0.5, election_max_s=1.0, lease_s=0.45, founding_s=5.0
)


def log_of(*epochs):
    """Entries 1.. with the given epochs."""
    counters: dict[int, int] = {}
    entries = []
    for index, epoch in enumerate(epochs, start=1):
        counter = counters.get(epoch, 0)
        counters[epoch] = counter + 1
        entries.append(Entry(index, epoch, (epoch << 32) + counter, b"%d.%d" % (epoch, counter)))
    return entries


def core_of(me, members, epochs=(), *, epoch=None, vote=None, limits=None, is_founder=True):
    """A core that starts with a log of these epochs; where that is empty, it never ran before."""
    entries = log_of(*epochs)
    current = epoch if epoch is not None else (epochs[-1] if epochs else 0)
    return Consensus(
        me,
        members,
        TIMING,
        random.Random(me),
        0.0,
        hard=HardState(current, vote),
        base=Position(),
        entries=entries,
        limits=limits or Limits(),
        is_founder=is_founder,
    )


class Table:
    """Members with a shared clock; disks are synced by `settle` at once, messages by choice."""

    def __init__(self, cores):
        self.cores = {core.me: core for core in cores}
        self.now = 10.0
        self.line: list[str] = []

    def drain(self, me):
        """Persist all that the core wants; the messages that may leave."""
        core = self.cores[me]
        sent = []
        while True:
            actions = core.actions(self.now)
            sent.extend(actions.send)
            if actions.apply:
                core.applied(actions.apply[-1].index)
            core.check()
            if actions.persist is None:
                if not (actions.send or actions.apply):
                    return sent
                continue
            core.persisted(actions.persist.sequence, self.now)

    def settle(self, starter, among=None):
        """Deliver everything between the members `among` until silence."""
        reached = set(among or self.cores)
        pending = [(starter, to, message) for to, message in self.drain(starter)]
        while pending:
            sender, to, message = pending.pop(0)
            if to not in reached or sender not in reached:
                continue
            self.line.append(f"{sender}>{to} {type(message).__name__}")
            self.cores[to].step(sender, message, self.now)
            pending.extend((to, next_to, answer) for next_to, answer in self.drain(to))

    def elect(self, me, among=None):
        """Let a member's patience end, and the rest follow."""
        self.now += 2
        self.cores[me].tick(self.now)
        self.settle(me, among)

    def heartbeat(self, me, among=None):
        self.now += 0.11
        self.cores[me].tick(self.now)
        self.settle(me, among)

    def epochs(self, me):
        log = self.cores[me].log
        return [entry.epoch for entry in log.entries(log.base.index + 1, log.last_index)]
