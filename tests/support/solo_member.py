"""An ensemble without a log: real trees and a real decider, every decision applied at once.

Or when told: while `held` is true decisions pile up until `release()`. Each member has a tree of
its own, so what one member's clients see went through the same payloads as in a real ensemble.
"""

import hmac
import random
from collections import deque

from ottla.coordinator.ports import NotServing
from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import REOPEN_SESSION
from ottla.coordinator.tree.watches import Watches
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.messages import CreateSessionRequest
from ottla.protocol.zookeeper.opcodes import OpCode


class SoloEnsemble:
    def __init__(self, size=1):
        self.members = [SoloMember(self, number + 1) for number in range(size)]
        self.decider = Decider(self.members[0].tree, member_id=1, rng=random.Random(1))
        self.held = False
        self.now_ms = 1_700_000_000_000
        self._queue = deque()
        self._zxid = 1 << 32

    def decide(self, session_id, opcode, body=b"", origin=None, auth=()):
        payload = self.decider.decide(
            session_id=session_id, opcode=opcode, body=body, origin=origin, now_ms=self.now_ms,
            auth=auth,
        )  # fmt: skip
        self._queue.append(payload)
        if not self.held:
            self.release()

    def release(self, count=None):
        """Apply what is decided, or only so many of it, on every member."""
        while self._queue and count != 0:
            payload = self._queue.popleft()
            self._zxid += 1
            for member in self.members:
                member.apply(self._zxid, payload)
                if member is self.members[0]:
                    self.decider.applied(self._zxid)
            count = None if count is None else count - 1

    def expire(self, session_id):
        self.decide(session_id, OpCode.CLOSE_SESSION)


class SoloMember:
    """A `ports.Member`."""

    def __init__(self, ensemble, member_id):
        self.ensemble = ensemble
        self.member_id = member_id
        self.tree = Tree()
        self.watches = Watches()
        self.is_serving = True
        self.is_read_only = False
        self.role = "standalone"
        self.touched = []
        self._applied = []
        self._at_end = []
        self._serving = []
        self._waiting = {}
        self._tag = 0

    def apply(self, zxid, payload):
        applied = self.tree.apply(zxid, payload)
        for callback in self._applied:
            callback(applied)
        if applied.origin is not None and applied.origin.member_id == self.member_id:
            self._waiting.pop(applied.origin.tag)(applied)
        for callback in self._at_end:
            callback()

    def submit_nowait(self, session_id, opcode, body, auth, on_applied):
        if not self.is_serving:
            raise NotServing
        self._tag += 1
        self._waiting[self._tag] = on_applied
        self.ensemble.decide(session_id, opcode, body, (self.member_id, self._tag), auth)

    async def create_session(self, timeout_ms):
        outcome = self._at_once(0, OpCode.CREATE_SESSION, CreateSessionRequest(timeout_ms))
        return self.tree.session(outcome.session_id)

    async def validate_session(self, session_id, password, timeout_ms):
        if not self.tree.secret:
            return None
        if not hmac.compare_digest(self.tree.password(session_id), password):
            return None
        outcome = self._at_once(session_id, REOPEN_SESSION, CreateSessionRequest(timeout_ms))
        return self.tree.session(session_id) if outcome.error is ZkError.OK else None

    def _at_once(self, session_id, opcode, request):
        outcomes = []
        self.submit_nowait(session_id, opcode, request.encode(), [], outcomes.append)
        self.ensemble.release()
        return outcomes[0]

    def touch(self, session_id):
        self.touched.append(session_id)

    def subscribe_applied(self, callback, at_end=None):
        self._applied.append(callback)
        if at_end is not None:
            self._at_end.append(at_end)

    def subscribe_serving(self, callback):
        self._serving.append(callback)

    def stop_serving(self):
        self.is_serving = False
        for callback in self._serving:
            callback(False)

    def serve_again(self):
        self.is_serving, self.is_read_only = True, False
        for callback in self._serving:
            callback(True)

    def statistics(self):
        return {"quorum_size": len(self.ensemble.members)}
