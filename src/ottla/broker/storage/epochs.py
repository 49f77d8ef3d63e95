"""Which leader epoch wrote which offsets of a log (KIP-101, KIP-279, KIP-320).

File `leader-epoch-checkpoint`, text: a line with the version 0, a line with the count, then one
line `<epoch> <start offset>` for each epoch, rising.
"""

from bisect import bisect_left, bisect_right
from itertools import pairwise

from ottla.broker.storage.checkpoints import MalformedCheckpoint, decode_lines, encode_lines

UNDEFINED = (-1, -1)


class LeaderEpochs:
    """Epochs and the offset that each starts at; both rise strictly.

    `is_dirty` says that the file is older than this. That is safe as long as the entries below the
    recovery point are in the file: recovery reads the later ones from the batches themselves.
    """

    __slots__ = ("_epochs", "_starts", "is_dirty", "latest")

    def __init__(self) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []
        self.latest = -1
        self.is_dirty = False

    def entries(self) -> list[tuple[int, int]]:
        return list(zip(self._epochs, self._starts, strict=True))

    def assign(self, epoch: int, start: int) -> None:
        """Epoch `epoch` writes from `start` on. Entries that contradict it give way."""
        assert epoch >= 0
        assert start >= 0
        if epoch == self.latest and start >= self._starts[-1]:
            return
        while self._epochs and (self._epochs[-1] >= epoch or self._starts[-1] >= start):
            self._epochs.pop()
            self._starts.pop()
        self._epochs.append(epoch)
        self._starts.append(start)
        self._changed()

    def end_offset_for(self, epoch: int, log_end: int) -> tuple[int, int]:
        """(largest known epoch not above `epoch`, where it ends); UNDEFINED when nobody can say.

        An epoch older than all that are known is answered with itself and the first start known.
        """
        if epoch < 0 or not self._epochs or epoch > self.latest:
            return UNDEFINED
        if epoch == self.latest:
            return epoch, log_end
        after = bisect_right(self._epochs, epoch)
        return (self._epochs[after - 1] if after else epoch), self._starts[after]

    def epoch_of(self, offset: int) -> int:
        """The epoch that wrote `offset`; -1 when it is not known."""
        at = bisect_right(self._starts, offset)
        return self._epochs[at - 1] if at else -1

    def truncate_from_end(self, end: int) -> None:
        """The log ends at `end` now: forget epochs that start there or later."""
        keep = bisect_left(self._starts, end)
        if keep < len(self._starts):
            del self._epochs[keep:]
            del self._starts[keep:]
            self._changed()

    def truncate_from_start(self, start: int) -> None:
        """The log starts at `start` now: the epoch there starts there, older ones are forgotten."""
        past = bisect_right(self._starts, start)
        if past and self._starts[past - 1] != start:
            self._starts[past - 1] = start
            self._changed()
        if past > 1:
            del self._epochs[: past - 1]
            del self._starts[: past - 1]
            self._changed()

    def clear(self) -> None:
        if self._epochs:
            self._epochs.clear()
            self._starts.clear()
            self._changed()

    def _changed(self) -> None:
        self.latest = self._epochs[-1] if self._epochs else -1
        self.is_dirty = True

    def encode(self) -> bytes:
        return encode_lines([f"{epoch} {start}" for epoch, start in self.entries()])

    @classmethod
    def decode(cls, data: bytes) -> "LeaderEpochs":
        """MalformedCheckpoint when `data` is not the file that `encode` writes."""
        loaded = cls()
        for line in decode_lines(data):
            try:
                epoch, start = map(int, line.split())
            except ValueError:
                raise MalformedCheckpoint(f"no epoch and offset: {line!r}") from None
            if epoch < 0 or start < 0:
                raise MalformedCheckpoint(f"negative: {line!r}")
            loaded.assign(epoch, start)
        loaded.is_dirty = False
        return loaded

    def check(self) -> None:
        pairs = list(pairwise(self.entries()))
        assert all(a[0] < b[0] for a, b in pairs), "epochs rise"
        assert all(a[1] < b[1] for a, b in pairs), "starts rise"
        assert self.latest == (self._epochs[-1] if self._epochs else -1)


__all__ = ["UNDEFINED", "LeaderEpochs"]
