"""Values that cross the tree's border."""

from collections.abc import Sequence
from typing import NamedTuple

from ottla.coordinator.tree.access import AccessList
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.opcodes import EventType

REOPEN_SESSION = -12
"""Opcode between members: a client moved its session to another connection or member.

The body is a CreateSessionRequest with the timeout negotiated anew; the origin's member becomes
the session's owner, and requests of the session from any other member are refused from then on.
"""


class Refused(Exception):
    """An answer that is an error code; state is unchanged."""

    def __init__(self, error: ZkError) -> None:
        super().__init__(error.name)
        self.error = error


class NodeChange(NamedTuple):
    """What a watch may be waiting for. `acl` decides who may be told of it."""

    kind: EventType
    path: str
    acl: AccessList


class Origin(NamedTuple):
    """Which member forwarded a request, under which tag it waits for the outcome."""

    member_id: int
    tag: int


class Session(NamedTuple):
    """A client session as the ensemble knows it. `owner` is the member that its client is at."""

    session_id: int
    timeout_ms: int
    password: bytes
    owner: int


class Applied(NamedTuple):
    """The outcome of one transaction, the same on every member.

    `reply` is the encoded response body, b"" where there is none or `error` is not OK (a multi's
    error is OK: its results tell).
    """

    zxid: int
    session_id: int
    origin: Origin | None
    opcode: int
    error: ZkError
    reply: bytes
    events: Sequence[NodeChange]
    closed_sessions: Sequence[int]


__all__ = ["REOPEN_SESSION", "Applied", "NodeChange", "Origin", "Refused", "Session"]
