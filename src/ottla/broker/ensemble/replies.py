"""Values around a session: its identity, its state, and the replies that requests wait for."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import trio

from ottla.broker.ensemble.errors import EnsembleError, error_for
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.opcodes import OpCode

_WRITES = frozenset(
    {
        OpCode.CREATE,
        OpCode.CREATE2,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.MULTI,
        OpCode.CLOSE_SESSION,
    }
)

T = TypeVar("T")


class SessionState(enum.Enum):
    """Where a session is. SUSPENDED: between two members, nobody knows whether it still lives."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SessionId:
    """What proves that a session is ours, on whichever member."""

    id: int
    password: bytes


NO_SESSION = SessionId(0, bytes(16))


class Reply(Generic[T]):
    """The answer to one request, once it is there. `get` may be awaited by one task."""

    __slots__ = (
        "_arrived",
        "_error",
        "_value",
        "accept",
        "body",
        "deadline",
        "done",
        "opcode",
        "xid",
    )

    def __init__(
        self, opcode: OpCode, body: bytes, accept: Callable[[int, Reader], T], deadline: float
    ) -> None:
        self.opcode = opcode
        self.body = body
        self.accept = accept
        self.deadline = deadline
        self.xid = 0
        self.done = False
        self._arrived: trio.Event | None = None
        self._value: T | None = None
        self._error: EnsembleError | None = None

    @property
    def is_write(self) -> bool:
        return self.opcode in _WRITES

    async def get(self) -> T:
        """Wait for the answer. EnsembleError."""
        if not self.done:
            self._arrived = trio.Event()
            await self._arrived.wait()
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def succeed(self, value: T) -> None:
        self._value = value
        self._finish()

    def fail(self, error: EnsembleError) -> None:
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self.done = True
        if self._arrived is not None:
            self._arrived.set()


def raise_for(code: int, path: str) -> None:
    """Raise the exception for a reply's error code, if it is one."""
    if code:
        raise error_for(code, path)


__all__ = ["NO_SESSION", "Reply", "SessionId", "SessionState", "raise_for"]
