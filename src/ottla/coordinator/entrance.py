"""The peer port's first moments with whoever calls: who it is, or away with it.

Nothing but the fixed messages of `peer_security` is read from a stranger where there is a secret,
and one small frame where there is none; all of it within `HELLO_TIMEOUT_S`. So many strangers may
be at it at a time, and the one that has been longest goes first when one more comes: members need
a few round trips and are through before that.
"""

from dataclasses import dataclass

import trio

from ottla.coordinator.peer_security import PeerSecurity, is_opening
from ottla.protocol.peer.codec import FORMAT_VERSION, decode
from ottla.protocol.peer.errors import ProtocolError
from ottla.protocol.peer.framing import FrameReader
from ottla.protocol.peer.messages import Hello
from ottla.runtime.interfaces import ConnectionLost, Events, Stream

HELLO_BYTES_MAX = 4096
HELLO_TIMEOUT_S = 5.0
STRANGERS_MAX = 64
SAID_AGAIN_S = 60.0
REASONS_MAX = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has said its name. `frames` came together with that."""

    stream: Stream
    hello: Hello
    reader: FrameReader
    frames: list[bytes]


class Entrance:
    """Owned by `Peers`."""

    def __init__(self, security: PeerSecurity, events: Events) -> None:
        self._security = security
        self._events = events
        self._strangers: dict[Stream, None] = {}  # in the order in which they came
        self._said: dict[tuple[str, str], float] = {}

    async def meet(self, plain: Stream) -> Caller:
        """Whoever calls, once it is known. ProtocolError, ConnectionLost; `plain` is closed."""
        if len(self._strangers) >= STRANGERS_MAX:
            next(iter(self._strangers)).close()
        stream = self._security.begin_answer(plain)
        self._strangers[plain] = None
        try:
            with trio.fail_after(HELLO_TIMEOUT_S):
                return await self._hear(stream)
        except trio.TooSlowError:
            stream.close()
            raise ProtocolError("whoever calls takes too long to say who it is") from None
        except BaseException:
            stream.close()
            raise
        finally:
            self._strangers.pop(plain, None)

    async def _hear(self, stream: Stream) -> Caller:
        proven = await self._security.secure_answer(stream)
        reader = FrameReader(first_limit=HELLO_BYTES_MAX)
        frames = await receive_frames(stream, reader)
        first = frames.pop(0)
        if is_opening(first):
            raise ProtocolError("whoever calls has a shared secret, and this member has none")
        hello = decode(first)
        if not isinstance(hello, Hello):
            raise ProtocolError(f"{type(hello).__name__} where Hello was expected")
        if hello.version != FORMAT_VERSION:
            raise ProtocolError(f"peer format {hello.version}, this member has {FORMAT_VERSION}")
        if proven is not None and proven != hello.sender:
            raise ProtocolError(f"member {proven} calls itself {hello.sender}")
        return Caller(stream, hello, reader, frames)

    def tell_refused(self, stream: Stream, problem: ProtocolError) -> None:
        """One that was refused comes again and again: that is told now and then."""
        now = trio.current_time()
        self._said = {key: until for key, until in self._said.items() if until > now}
        key = (stream.peer.host, str(problem))
        if key not in self._said and len(self._said) < REASONS_MAX:
            self._said[key] = now + SAID_AGAIN_S
            self._events.warning("peer.refused", remote=str(stream.peer), reason=str(problem))


async def receive_frames(stream: Stream, reader: FrameReader) -> list[bytes]:
    """At least one more frame. ConnectionLost at the peer's end, too."""
    while True:
        count = await stream.receive_into(reader.buffer())
        if not count:
            raise ConnectionLost("the peer closed the connection")
        frames = reader.received(count)
        if frames:
            return frames


__all__ = ["HELLO_TIMEOUT_S", "Caller", "Entrance", "receive_frames"]
