"""What is on this member's disk, what is on its way there, and which messages wait for it."""

from collections import deque
from collections.abc import Sequence

from ottla.coordinator.consensus.values import HardState, Persist, Snapshot
from ottla.protocol.peer.entries import Block
from ottla.protocol.peer.messages import ConsensusMessage

Held = tuple[int, int, ConsensusMessage]
"""(epoch in which it is true, receiver, message)."""


class _Write:
    """One `Persist` under way: the last index it makes durable, and the messages behind it."""

    __slots__ = ("held", "last_index", "sequence")

    def __init__(self, sequence: int, last_index: int) -> None:
        self.sequence = sequence
        self.last_index = last_index
        self.held: list[Held] = []


class Durability:
    """Numbers the writes of one member. `synced_index` <= the log's last index, always.

    The log entry at every index up to `synced_index` is on stable storage as the log has it now.
    """

    __slots__ = (
        "_blocks",
        "_hard_changed",
        "_hard_sequence",
        "_held",
        "_sequence",
        "_snapshot",
        "_synced_sequence",
        "_writes",
        "synced_index",
    )

    def __init__(self, synced_index: int) -> None:
        self.synced_index = synced_index
        self._sequence = 0  # of the last Persist handed out
        self._synced_sequence = 0  # <= _sequence
        self._hard_sequence = 0  # the Persist with the current hard state; 0: read at the start
        self._hard_changed = False
        self._writes: deque[_Write] = deque()  # handed out and not persisted, ascending
        self._blocks: list[Block] = []
        self._snapshot: Snapshot | None = None
        self._held: list[Held] = []

    def hard_changed(self) -> None:
        """The epoch or the vote is a new one."""
        self._hard_changed = True

    @property
    def is_hard_synced(self) -> bool:
        """Whether the current epoch and vote are on stable storage."""
        return not self._hard_changed and self._hard_sequence <= self._synced_sequence

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way to the disk."""
        return not (self._writes or self._blocks or self._snapshot or self._hard_changed)

    def add(self, blocks: Sequence[Block]) -> None:
        """Entries that the log has now, in the order in which it got them."""
        self._blocks.extend(blocks)

    def cut_to(self, last_index: int) -> None:
        """The log lost everything behind `last_index`: what was written of it counts no more."""
        self.synced_index = min(self.synced_index, last_index)
        for write in self._writes:
            write.last_index = min(write.last_index, last_index)

    def replace(self, snapshot: Snapshot) -> None:
        """The log begins anew behind a snapshot; nothing of it is durable yet."""
        self.cut_to(0)
        self._blocks = []
        self._snapshot = snapshot

    def hold(self, message: Held) -> None:
        """Keep a message until all that the member did before it is on stable storage."""
        self._held.append(message)

    def next_persist(self, hard: HardState, last_index: int) -> Persist | None:
        """Everything not handed out yet, and the messages that wait behind it."""
        persist = None
        if self._hard_changed or self._blocks or self._snapshot:
            self._sequence += 1
            changed = hard if self._hard_changed else None
            if changed is not None:
                self._hard_sequence = self._sequence
            persist = Persist(self._sequence, self._snapshot, changed, self._blocks)
            self._writes.append(_Write(self._sequence, last_index))
            self._hard_changed = False
            self._blocks = []
            self._snapshot = None
        if self._held and self._writes:
            self._writes[-1].held.extend(self._held)
            self._held = []
        return persist

    def take_unheld(self) -> list[Held]:
        """Messages that have nothing to wait for; after `next_persist`."""
        held, self._held = self._held, []
        return held

    def persisted(self, sequence: int) -> list[Held]:
        """Writes up to `sequence` are on stable storage; the messages that waited for them."""
        assert self._synced_sequence <= sequence <= self._sequence
        self._synced_sequence = sequence
        released: list[Held] = []
        while self._writes and self._writes[0].sequence <= sequence:
            write = self._writes.popleft()
            self.synced_index = max(self.synced_index, write.last_index)
            released.extend(write.held)
        return released


__all__ = ["Durability", "Held"]
