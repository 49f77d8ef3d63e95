"""A follower's log against its leader's: pure rules of section 3.5 of Ongaro's dissertation."""

from ottla.coordinator.consensus.log import Log
from ottla.protocol.peer.entries import Block


def meeting_hint(log: Log, commit_index: int, prev_index: int, prev_epoch: int) -> tuple[int, int]:
    """(index, epoch) of our last entry that the leader may have too, when `prev` does not match.

    Entries of epochs above the leader's entry at `prev_index` cannot be the leader's, so they are
    skipped at once; what is committed always matches.
    """
    index = min(prev_index, log.last_index)
    while index > commit_index and (log.epoch_at(index) or 0) > prev_epoch:
        index -= 1
    return max(index, 0), log.epoch_at(index) or 0


def behind_base(log: Log, block: Block | None) -> Block | None:
    """The part of a block that follows the log's base; None: there is none."""
    if block is None or block.last_index <= log.base.index:
        return None
    return Block(block.entries[log.base.index + 1 - block.first_index :])


def missing_part(log: Log, block: Block) -> tuple[Block | None, int | None]:
    """(what the log lacks of a block, index from which the log must be cut first or None)."""
    for position, entry in enumerate(block.entries):
        epoch = log.epoch_at(entry.index)
        if epoch == entry.epoch:
            continue
        rest = block if position == 0 else Block(block.entries[position:])
        return rest, None if epoch is None else entry.index
    return None, None


__all__ = ["behind_base", "meeting_hint", "missing_part"]
