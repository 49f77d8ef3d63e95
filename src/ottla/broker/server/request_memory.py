"""`queued.max.request.bytes`: a bound over all connections on requests that are not answered yet.

Counted are requests whose reply is owed, received ones that wait for their turn, and, from its
first bytes on, the whole of a request that does not fit in the buffer that each connection starts
with. As with Kafka's pool a request is taken while there is any room, so none is too large for it,
and no two can hold halves that the other waits for. The bound may be passed by one large request
and, per connection, by what one receive brings.

At the bound, a connection that owes replies, or whose next request is large, is not read on. Others
are: their small requests cost no memory that they do not have anyway. Among them are the followers'
fetches that parked produces wait for. What brokers send each other is always taken, up to
`BROKERS_BYTES`: a bound that waited for it would wait for itself.
"""

import struct

import trio

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.framing import FIRST_SIZE, KEPT_SIZE

BROKERS_BYTES = KEPT_SIZE  # a fetch of some 40 000 partitions

_HEAD = struct.Struct(">ih")  # length, api key
_OF_BROKERS = {
    ApiKey.FETCH,
    ApiKey.LEADER_AND_ISR,
    ApiKey.STOP_REPLICA,
    ApiKey.UPDATE_METADATA,
    ApiKey.CONTROLLED_SHUTDOWN,
    ApiKey.ALTER_PARTITION,
    ApiKey.OFFSET_FOR_LEADER_EPOCH,
}


class RequestMemory:
    """The bound. One per broker. used: bytes of requests that count now; never negative."""

    __slots__ = ("_limit", "_waiting", "used")

    def __init__(self, limit: int) -> None:
        assert limit > 0
        self._limit = limit
        self._waiting = trio.lowlevel.ParkingLot()
        self.used = 0

    @property
    def has_room(self) -> bool:
        return self.used < self._limit

    @property
    def stopped(self) -> int:
        """Connections that are not read on because of it."""
        return len(self._waiting)

    def take(self, count: int) -> None:
        self.used += count

    def give(self, count: int) -> None:
        self.used -= count
        assert self.used >= 0
        if self.used < self._limit:
            self._waiting.unpark_all()

    def look_again(self) -> None:
        """A connection that waits may go on, though there is no room."""
        self._waiting.unpark_all()

    async def wait_change(self) -> None:
        await self._waiting.park()


class RequestShare:
    """One connection's part of it. `close` gives back whatever it holds."""

    __slots__ = ("_memory", "_owed", "_reserved", "is_stopped")

    def __init__(self, memory: RequestMemory) -> None:
        self._memory = memory
        self._owed = 0  # bytes of requests that came as a whole
        self._reserved = 0  # bytes of the one that has begun
        self.is_stopped = False

    def owe(self, count: int) -> None:
        self._owed += count
        self._memory.take(count)

    def settle(self, count: int) -> None:
        self._owed -= count
        assert self._owed >= 0
        self._memory.give(count)
        if not self._owed and self.is_stopped:
            self._memory.look_again()

    def completed(self) -> None:
        """The request that had begun is there as a whole."""
        reserved, self._reserved = self._reserved, 0
        if reserved:
            self._memory.give(reserved)

    def may_read(self, begun: memoryview) -> bool:
        """Whether to read on. begun: what came of a request that is not complete."""
        memory = self._memory
        if self._reserved:
            return True
        if len(begun) >= _HEAD.size:
            length, key = _HEAD.unpack_from(begun)
            if length + 4 > FIRST_SIZE and not (key in _OF_BROKERS and length <= BROKERS_BYTES):
                if not memory.has_room:
                    return False
                self._reserved = length + 4
                memory.take(self._reserved)
                return True
        return self._owed == 0 or memory.has_room

    async def wait_change(self) -> None:
        """Wait until `may_read` is worth another look."""
        self.is_stopped = True
        try:
            await self._memory.wait_change()
        finally:
            self.is_stopped = False

    def close(self) -> None:
        held, self._owed, self._reserved = self._owed + self._reserved, 0, 0
        if held:
            self._memory.give(held)


__all__ = ["RequestMemory", "RequestShare"]
