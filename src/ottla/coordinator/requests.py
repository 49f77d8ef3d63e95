"""What clients of this member wait for: writes on their way, calls, positions to be reached.

A request gets a tag, which comes back with its entry. While no leader is known, or while the one
elected does not decide yet, it stays here in order, together with what other members sent.

What was sent to a leader is kept until its entry is applied. When another epoch has begun and all
of the past is applied here (`Consensus.knows_the_past`), what is left of it was never decided, or
was lost with the old leader, and is sent again in the same order: no client notices but by the
time it takes. A member accepts requests of its own epoch only, so none is done twice.
"""

from collections.abc import Sequence

import trio

from ottla.coordinator.ports import NotServing, OnApplied
from ottla.coordinator.sync_reads import SyncReads
from ottla.coordinator.tree.values import Applied
from ottla.protocol.peer.messages import ForwardedRequest


class Requests:
    """Owned by the node."""

    __slots__ = (
        "_calls",
        "_member_id",
        "_sent",
        "_sent_epoch",
        "_tag",
        "_waiters",
        "reads",
        "unsent",
    )

    def __init__(self, member_id: int, life: int) -> None:
        """Tags tell the requests of this life from those of earlier ones still in the log."""
        self._member_id = member_id
        self._tag = (life & 0x3FFFFFFF) << 32
        self._waiters: dict[int, OnApplied] = {}
        self._calls: set[trio.Event] = set()  # create_session and the like, woken when all is lost
        self._sent: dict[int, ForwardedRequest] = {}  # in order; all of them in one epoch
        self._sent_epoch = 0
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

    def applied(self, tag: int, applied: Applied) -> None:
        """An entry of this member was applied: tell who waits for it, if it is of this life."""
        waiter = self._waiters.pop(tag, None)
        self._sent.pop(tag, None)
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

    @property
    def come_first(self) -> bool:
        """Whether any of this member's clients wait for a decision that is not asked for yet.

        What is decided before them overtakes them, though it may be of the same client.
        """
        return bool(self.unsent or self._sent)

    def take_unsent(self) -> list[tuple[int, ForwardedRequest]]:
        unsent, self.unsent = self.unsent, []
        return unsent

    def were_sent(self, requests: Sequence[ForwardedRequest], epoch: int) -> None:
        """They went to the leader of that epoch."""
        assert not self._sent or self._sent_epoch == epoch
        self._sent_epoch = epoch
        for request in requests:
            self._sent[request.tag] = request

    def has_sent_before(self, epoch: int) -> bool:
        """Whether a leader of an earlier epoch was sent something that has no outcome yet."""
        return bool(self._sent) and self._sent_epoch < epoch

    def has_sent_in(self, epoch: int) -> bool:
        """Whether the leader of that epoch was."""
        return bool(self._sent) and self._sent_epoch == epoch

    def send_again(self) -> None:
        """What was sent has no outcome, and will have none; see above."""
        self.unsent[:0] = [(self._member_id, request) for request in self._sent.values()]
        self._sent.clear()

    def forget_others(self) -> None:
        """What other members sent in an epoch that is over: they do so again."""
        self.unsent = [item for item in self.unsent if item[0] == self._member_id]

    def drop(self) -> bool:
        """They may be lost, or done without an answer; whether there were any writes."""
        lost = bool(self._waiters)
        self._waiters.clear()
        self._sent.clear()
        self.unsent = [item for item in self.unsent if item[0] != self._member_id]
        for done in self._calls:
            done.set()
        self._calls.clear()
        self.reads.fail_all()
        return lost


__all__ = ["Requests"]
