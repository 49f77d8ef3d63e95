"""What clients of this member wait for: writes on their way, calls, positions to be reached.

A request gets a tag, which comes back with its entry. While no leader is known, or while the one
elected does not decide yet, it stays here in order, together with what other members sent.
"""

from collections.abc import Sequence

import trio

from ottla.coordinator.ports import NotServing, OnApplied
from ottla.coordinator.sync_reads import SyncReads
from ottla.coordinator.tree.values import Applied
from ottla.protocol.peer.messages import ForwardedRequest


class Requests:
    """Owned by the node."""

    __slots__ = ("_calls", "_member_id", "_tag", "_waiters", "reads", "unsent")

    def __init__(self, member_id: int, life: int) -> None:
        """Tags tell the requests of this life from those of earlier ones still in the log."""
        self._member_id = member_id
        self._tag = (life & 0x3FFFFFFF) << 32
        self._waiters: dict[int, OnApplied] = {}
        self._calls: set[trio.Event] = set()  # create_session and the like, woken when all is lost
        self.unsent: list[tuple[int, ForwardedRequest]] = []
        """(member, request) that nobody has decided and nobody was sent."""
        self.reads = SyncReads()

    def __len__(self) -> int:
        return len(self._waiters)

    def next_tag(self) -> int:
        self._tag += 1
        return self._tag

    def wait_for(self, on_applied: OnApplied) -> int:
        """A new request; its tag."""
        self._tag = tag = self._tag + 1
        self._waiters[tag] = on_applied
        return tag

    def knows(self, tag: int) -> bool:
        return tag in self._waiters

    def applied(self, tag: int, applied: Applied) -> None:
        """An entry of this member was applied: tell who waits for it, if it is of this life."""
        waiter = self._waiters.pop(tag, None)
        if waiter is not None:
            waiter(applied)

    async def call(self, done: trio.Event, outcome: Sequence[Applied]) -> Applied:
        """Wait until `outcome` is there. NotServing: all was lost before."""
        self._calls.add(done)
        try:
            await done.wait()
        finally:
            self._calls.discard(done)
        if not outcome:
            raise NotServing
        return outcome[0]

    def take_unsent(self) -> list[tuple[int, ForwardedRequest]]:
        unsent, self.unsent = self.unsent, []
        return unsent

    @property
    def has_sent(self) -> bool:
        """Whether any request that a client waits for has left this member's own queue."""
        kept = sum(1 for member, _ in self.unsent if member == self._member_id)
        return len(self._waiters) > kept

    def drop(self) -> bool:
        """They may be lost, or done without an answer; whether there were any writes."""
        lost = bool(self._waiters)
        self._waiters.clear()
        self.unsent = [item for item in self.unsent if item[0] != self._member_id]
        for done in self._calls:
            done.set()
        self._calls.clear()
        self.reads.fail_all()
        return lost


__all__ = ["Requests"]
