"""Producer ids for this broker's clients, from blocks that the controller hands out (KIP-730).

A block belongs to one broker for ever; what is left of it at a stop is never used, so that an id is
given out once in the life of a cluster.
"""

from collections.abc import Awaitable, Callable

import trio


class ProducerIdAllocator:
    """Hands out ids one by one. `next_block` gives (first id, how many) and raises BrokerError."""

    def __init__(self, next_block: Callable[[], Awaitable[tuple[int, int]]]) -> None:
        self._next_block = next_block
        self._next = 0
        self._end = 0  # ids [_next, _end) are ours to give
        self._asking = trio.Lock()

    def next_nowait(self) -> int | None:
        """An id of the block at hand; None when it is used up."""
        if self._next == self._end:
            return None
        self._next += 1
        return self._next - 1

    async def next(self) -> int:
        """An id, after asking for a block if need be; one request for all who wait. BrokerError."""
        while (found := self.next_nowait()) is None:
            async with self._asking:
                if self._next < self._end:
                    continue  # another got a block while this one waited for its turn
                first, length = await self._next_block()
                assert length > 0
                assert first >= self._end, "ids were given out before"
                self._next, self._end = first, first + length
        return found


__all__ = ["ProducerIdAllocator"]
