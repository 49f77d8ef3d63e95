"""What a member does beyond consensus while it leads: decide requests, expire sessions.

Lives from the moment the leader has applied all of the past (its epoch's no-op included) until the
leadership ends. Every decision becomes the next entry; if one is lost, so is the leadership.
"""

import random
from collections.abc import Sequence

from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.sessions import SessionTracker
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import REOPEN_SESSION, Applied
from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.opcodes import OpCode

_SESSION_BEGINS = (int(OpCode.CREATE_SESSION), REOPEN_SESSION)
_CLOSE_SESSION = int(OpCode.CLOSE_SESSION)


class Leading:
    """The leader's `Decider` and `SessionTracker`; owned by the node."""

    __slots__ = ("_decider", "_proposals", "_tracker", "_tree", "epoch")

    def __init__(
        self,
        epoch: int,
        tree: Tree,
        *,
        member_id: int,
        rng: random.Random,
        expiry_interval_s: float,
        now: float,
    ) -> None:
        self.epoch = epoch
        self._tree = tree
        self._decider = Decider(tree, member_id=member_id, rng=rng)
        # A new leader grants every session its full timeout.
        self._tracker = SessionTracker.of(tree.sessions, expiry_interval_s, now)
        self._proposals: list[bytes] = []

    @property
    def outstanding(self) -> int:
        """Decisions that are not applied yet."""
        return self._decider.outstanding

    def decide(
        self,
        session_id: int,
        opcode: int,
        body: bytes,
        auth: Sequence[Id],
        *,
        origin: tuple[int, int] | None,
        now_ms: int,
    ) -> None:
        """Judge a request; its payload waits for `take_proposals`."""
        self._proposals.append(
            self._decider.decide(
                session_id=session_id,
                opcode=opcode,
                body=body,
                origin=origin,
                now_ms=now_ms,
                auth=auth,
            )
        )

    def take_proposals(self) -> list[bytes]:
        """The payloads decided since the last call, in order."""
        proposals, self._proposals = self._proposals, []
        return proposals

    def applied(self, applied: Applied, now: float) -> None:
        """An own entry was applied to the tree."""
        self._decider.applied(applied.zxid)
        opcode = applied.opcode
        if opcode in _SESSION_BEGINS:
            if applied.error is ZkError.OK:
                timeout_ms = self._tree.sessions[applied.session_id][0]
                self._tracker.add(applied.session_id, timeout_ms / 1000, now)
        elif opcode == _CLOSE_SESSION:
            self._tracker.remove(applied.session_id)

    def touch(self, session_id: int, now: float) -> None:
        self._tracker.touch(session_id, now)

    def expire(self, now: float, now_ms: int) -> list[int]:
        """Decide to close sessions that went silent; which."""
        gone = self._tracker.expired(now)
        for session_id in gone:
            self.decide(session_id, _CLOSE_SESSION, b"", (), origin=None, now_ms=now_ms)
        return gone


__all__ = ["Leading"]
