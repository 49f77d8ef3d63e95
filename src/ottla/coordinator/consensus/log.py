"""The part of the consensus log that is held in memory: a base position and what follows it."""

from collections.abc import Sequence
from operator import le, lt

from ottla.coordinator.consensus.values import Position
from ottla.protocol.peer.entries import Block, Entry


class Log:
    """Entries after `base`, consecutive, epochs and zxids ascending. Owned by the core."""

    __slots__ = ("_blocks", "_checked", "_entries", "base", "payload_bytes")

    def __init__(self, base: Position, entries: Sequence[Entry] = ()) -> None:
        self.base = base
        self._entries: list[Entry] = []
        self._blocks: dict[int, Block] = {}  # recently made, by first index, for their encoding
        self.payload_bytes = 0
        self._checked: tuple[int, list[Entry]] = base.index, []  # a base's index, what followed it
        if entries:
            self.append(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last_index(self) -> int:
        return self.base.index + len(self._entries)

    @property
    def last_epoch(self) -> int:
        return self._entries[-1].epoch if self._entries else self.base.epoch

    @property
    def last_zxid(self) -> int:
        return self._entries[-1].zxid if self._entries else self.base.zxid

    def epoch_at(self, index: int) -> int | None:
        """The epoch of the entry at `index`; None when it is before the base or after the end."""
        position = index - self.base.index
        if position == 0:
            return self.base.epoch
        if 0 < position <= len(self._entries):
            return self._entries[position - 1].epoch
        return None

    def position_at(self, index: int) -> Position:
        """The position of an entry that is held, or of the base."""
        if index == self.base.index:
            return self.base
        entry = self._entries[index - self.base.index - 1]
        assert entry.index == index
        return Position(entry.index, entry.epoch, entry.zxid)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow the last one."""
        assert entries[0].index == self.last_index + 1
        assert entries[0].epoch >= self.last_epoch
        assert entries[0].zxid > self.last_zxid
        self._entries.extend(entries)
        self.payload_bytes += sum([len(entry.payload) for entry in entries])

    def cut_from(self, index: int) -> None:
        """Forget the entry at `index` and all after it (a conflict, section 3.5)."""
        assert self.base.index < index <= self.last_index
        position = index - self.base.index - 1
        self.payload_bytes -= sum([len(e.payload) for e in self._entries[position:]])
        del self._entries[position:]
        self._blocks.clear()

    def drop_through(self, index: int) -> None:
        """Move the base to `index`: entries up to it are held in a snapshot or on disk only."""
        assert self.base.index <= index <= self.last_index
        if index == self.base.index:
            return
        base = self.position_at(index)
        count = index - self.base.index
        self.payload_bytes -= sum([len(e.payload) for e in self._entries[:count]])
        del self._entries[:count]
        self.base = base

    def entries(self, first: int, last: int) -> Sequence[Entry]:
        """The entries first..last, both inclusive, which must be held."""
        assert self.base.index < first
        assert last <= self.last_index
        start = self.base.index + 1
        return self._entries[first - start : last - start + 1]

    def block_from(self, first: int, *, max_entries: int, max_bytes: int) -> Block:
        """A block that starts at `first`, within the limits but never empty."""
        assert self.base.index < first <= self.last_index
        known = self._blocks.get(first)
        if known is not None:
            return known
        start = first - self.base.index - 1
        chosen = self._entries[start : start + max_entries]
        if sum([len(entry.payload) for entry in chosen]) + 24 * len(chosen) <= max_bytes:
            return Block(chosen)
        size = 0
        for count, entry in enumerate(chosen):
            size += len(entry.payload) + 24
            if size > max_bytes and count:
                return Block(chosen[:count])
        return Block(chosen)

    def blocks_from(self, first: int, *, max_entries: int, max_bytes: int) -> list[Block]:
        """All entries from `first` on in blocks, which `block_from` returns again."""
        if len(self._blocks) > 64:
            self._blocks.clear()
        blocks: list[Block] = []
        while first <= self.last_index:
            block = self.block_from(first, max_entries=max_entries, max_bytes=max_bytes)
            self._blocks[first] = block
            blocks.append(block)
            first = block.last_index + 1
        return blocks

    def check(self) -> None:
        """Assert what the class promises; costs a walk over all entries that are new to it."""
        base, entries = self.base, self._entries
        start, checked = self._checked
        # Entries do not change: lists of the same objects are compared at little cost.
        known = checked[base.index - start :] if base.index >= start else []
        if entries[: len(known)] != known:
            known = []
        assert not entries or entries[0].index == base.index + 1
        last, new = (known[-1] if known else base), entries[len(known) :]
        indexes, epochs, zxids, _ = zip(*new, strict=True) if new else ((),) * 4
        assert indexes == tuple(range(last.index + 1, last.index + 1 + len(new)))
        assert all(map(le, (last.epoch, *epochs), epochs))
        assert all(map(lt, (last.zxid, *zxids), zxids))
        assert epochs == tuple([zxid >> 32 for zxid in zxids])
        if known:
            assert base.epoch <= known[0].epoch
            assert base.zxid < known[0].zxid
        assert self.payload_bytes == sum([len(entry.payload) for entry in entries])
        self._checked = base.index, entries.copy()


__all__ = ["Log"]
