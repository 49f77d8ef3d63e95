"""`sync`: waiting until this member has applied all that was committed when it was asked for."""

import trio


class _Read:
    __slots__ = ("done", "index", "is_reached")

    def __init__(self) -> None:
        self.index = -1  # to be applied; -1: the leader has not said yet
        self.is_reached = False
        self.done = trio.Event()


class SyncReads:
    """ReadIndex (Ongaro 6.4) on the side of the member that asks."""

    def __init__(self) -> None:
        self._reads: dict[int, _Read] = {}

    def begin(self, tag: int) -> None:
        """A read that waits for the leader's commit index."""
        self._reads[tag] = _Read()

    def told(self, tag: int, commit: int, applied: int) -> None:
        """The leader's answer; -1: it cannot tell."""
        read = self._reads.get(tag)
        if read is None:
            return
        read.index = commit
        if commit < 0:
            read.done.set()
        self.applied(applied)

    def applied(self, index: int) -> None:
        """Entries up to `index` are applied."""
        for read in self._reads.values():
            if 0 <= read.index <= index:
                read.is_reached = True
                read.done.set()

    def fail_all(self) -> None:
        for read in self._reads.values():
            read.done.set()

    async def wait(self, tag: int, within_s: float) -> bool:
        """Whether the index was reached in time."""
        read = self._reads[tag]
        try:
            with trio.move_on_after(within_s):
                await read.done.wait()
        finally:
            del self._reads[tag]
        return read.is_reached


__all__ = ["SyncReads"]
