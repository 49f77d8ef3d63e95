"""The leader's decisions: from a request to the payload of the next log entry.

Sessions are judged here, operations on znodes in `judge`.
"""

import random
from collections.abc import Callable

from ottla.coordinator.tree import txns
from ottla.coordinator.tree.access import AuthIds
from ottla.coordinator.tree.judge import Judge
from ottla.coordinator.tree.pending import Change, Overlay
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import REOPEN_SESSION, Refused
from ottla.coordinator.tree.znode import CONTAINER_OWNER, is_ttl
from ottla.protocol.zookeeper.errors import DecodeError, ZkError
from ottla.protocol.zookeeper.jute import INT, Reader, put_buffer
from ottla.protocol.zookeeper.opcodes import OpCode, Perms
from ottla.protocol.zookeeper.requests import CreateSessionRequest

_CREATE_SESSION = int(OpCode.CREATE_SESSION)
_SET_DATA = int(OpCode.SET_DATA)
_SESSION_OPCODES = frozenset({_CREATE_SESSION, int(OpCode.CLOSE_SESSION), REOPEN_SESSION})
_PACK_HEADER = txns.HEADER.pack


class Decider:
    """Lives as long as one leadership, over a tree that has applied all entries before it.

    Every `decide` is followed by exactly one `applied`, in the same order; if an entry is lost, so
    is the leadership and with it this object. An error is a payload too: answers keep the order of
    requests.
    """

    __slots__ = (
        "_handlers",
        "_judge",
        "_last_session_id",
        "_member_id",
        "_overlay",
        "_rng",
        "_tree",
    )

    def __init__(
        self,
        tree: Tree,
        *,
        member_id: int,
        rng: random.Random,
        extended_types: bool = False,
        enforce_quota: bool = False,
    ) -> None:
        """`member_id` (0-255) makes session ids unique, `rng` the secret of a new ensemble.

        `extended_types`: createTTL is served (`extendedTypesEnabled`). `enforce_quota`: hard
        limits are kept, soft ones told of (`enforceQuota`).
        """
        assert 0 <= member_id <= 255
        self._tree = tree
        self._member_id = member_id
        self._rng = rng
        self._overlay = Overlay(tree)
        self._judge = judge = Judge(
            self._overlay, extended_types=extended_types, enforce_quota=enforce_quota
        )
        self._last_session_id = tree.last_session_ids.get(member_id, 0)
        self._handlers: dict[int, Callable[[bytes, int], bytes]] = {
            OpCode.CREATE: judge.create_body,
            OpCode.CREATE2: judge.create_body,
            OpCode.CREATE_CONTAINER: judge.create_body,
            OpCode.CREATE_TTL: judge.create_body,
            OpCode.DELETE: judge.delete_body,
            OpCode.SET_ACL: judge.set_acl_body,
            OpCode.CHECK: judge.check_body,
            OpCode.SYNC: judge.sync_body,
            OpCode.MULTI: judge.multi_body,
        }

    @property
    def outstanding(self) -> int:
        """Decisions that wait for `applied`."""
        return len(self._overlay)

    def decide(
        self,
        *,
        session_id: int,
        opcode: int,
        body: bytes,
        origin: tuple[int, int] | None,
        now_ms: int,
        auth: AuthIds,
    ) -> bytes:
        """The payload of the next log entry. For createSession `session_id` is not looked at.

        A reconfig that gets here is refused: who may change members, does so before (`refuse`).

        `origin` is the member (and its tag) that waits for the outcome; None for what the leader
        does by itself: closing an expired session, deleting an empty container.
        """
        member_id, tag = (-1, 0) if origin is None else origin
        error = 0
        decided = b""
        try:
            if opcode == _SET_DATA:
                self.require_session(session_id, member_id)
                decided = self._judge.set_data_alone(body, auth)
                return (
                    _PACK_HEADER(txns.FORMAT, opcode, 0, member_id, tag, session_id, now_ms)
                    + decided
                )
            change = self._judge.begin(session_id, auth)
            if opcode in _SESSION_OPCODES:
                if opcode == _CREATE_SESSION:
                    session_id = self._new_session_id(now_ms)
                decided = self._session_body(session_id, opcode, body, member_id, change)
            elif member_id >= 0:
                self.require_session(session_id, member_id)
                if opcode == OpCode.RECONFIG:
                    raise Refused(ZkError.RECONFIGDISABLED)
                handler = self._handlers.get(opcode)
                if handler is None:
                    raise Refused(ZkError.UNIMPLEMENTED)
                decided = handler(body, opcode)
            else:
                assert opcode == OpCode.DELETE_CONTAINER, opcode
                decided = self._judge.delete_container_body(body, opcode)
        except Refused as refused:
            error = int(refused.error)
            change = Change()
        except DecodeError:
            error = int(ZkError.MARSHALLINGERROR)
            change = Change()
        self._overlay.commit(change)
        return (
            _PACK_HEADER(txns.FORMAT, opcode, error, member_id, tag, session_id, now_ms) + decided
        )

    def refuse(
        self,
        error: ZkError,
        *,
        session_id: int,
        opcode: int,
        origin: tuple[int, int],
        now_ms: int,
    ) -> bytes:
        """The payload of a refusal that was decided elsewhere, in its place among decisions."""
        self._overlay.commit(Change())
        return _PACK_HEADER(txns.FORMAT, opcode, int(error), *origin, session_id, now_ms)

    def require_write(self, path: str, auth: AuthIds) -> None:
        """Refused, unless these identities may write to a node as it is after what is decided."""
        node = self._overlay.open(path, Change())
        if node is None or not node.acl.permits(int(Perms.WRITE), auth):
            raise Refused(ZkError.NOAUTH)

    def applied(self, zxid: int) -> None:
        """The tree has applied the oldest decision that was outstanding, as entry `zxid`."""
        assert self._tree.last_zxid == zxid, (self._tree.last_zxid, zxid)
        self._overlay.applied()

    def take_over_quota(self) -> list[str]:
        """Paths that went over a soft limit since the last call."""
        paths, self._judge.over_quota = list(self._judge.over_quota), {}
        return paths

    def check(self) -> None:
        self._overlay.check()

    def require_session(self, session_id: int, member_id: int) -> None:
        """Refused, unless the session lives and its client is at that member."""
        at = self._overlay.session_member(session_id)
        if at is None:
            raise Refused(ZkError.SESSIONEXPIRED)
        if at != member_id:
            raise Refused(ZkError.SESSIONMOVED)

    def _session_body(
        self, session_id: int, opcode: int, body: bytes, member_id: int, change: Change
    ) -> bytes:
        """The transaction of what begins, moves or ends a session."""
        if opcode == _CREATE_SESSION:
            timeout_ms = CreateSessionRequest.decode(Reader(body)).timeout
            change.sessions[session_id] = member_id
            secret = b"" if self._tree.secret else self._rng.randbytes(16)
            return INT.pack(timeout_ms) + put_buffer(secret)
        at = self._overlay.session_member(session_id)
        if at is None:
            raise Refused(ZkError.SESSIONEXPIRED)
        if opcode == REOPEN_SESSION:
            timeout_ms = CreateSessionRequest.decode(Reader(body)).timeout
            change.sessions[session_id] = member_id
            return INT.pack(timeout_ms)
        # A close that comes from where the client was before must not end its session.
        if member_id not in (-1, at):
            raise Refused(ZkError.SESSIONMOVED)
        for path in self._overlay.ephemerals(session_id):
            self._judge.remove(path)
        change.sessions[session_id] = None
        return b""

    def _new_session_id(self, now_ms: int) -> int:
        """Member, time and a counter; above all that this member gave out before, ever."""
        # The low 40 bits of the time in the middle leave 16 bits to count within a millisecond.
        candidate = (self._member_id << 56) | ((now_ms << 16) & ((1 << 56) - 1))
        last = self._last_session_id % (1 << 64)
        if last >> 56 == self._member_id:
            candidate = max(candidate, last + 1)
        signed = candidate - (1 << 64) if candidate >= 1 << 63 else candidate
        while signed in (0, CONTAINER_OWNER) or is_ttl(signed):
            signed += 1 << 40
        self._last_session_id = signed
        return signed


__all__ = ["Decider"]
