"""What a member does beyond consensus while it leads: decide, expire sessions, collect nodes.

Lives from the moment the leader has applied all of the past (its epoch's no-op included) until the
leadership ends. Every decision becomes the next entry; if one is lost, so is the leadership.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.reconfiguring import Change, Reconfiguring
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.sessions import SessionTracker
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import REOPEN_SESSION, Applied, Refused
from ottla.protocol.peer.messages import ForwardedRequest
from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.ensemble import Server
from ottla.protocol.zookeeper.errors import DecodeError, ZkError
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import DeleteContainerRequest
from ottla.runtime.interfaces import Events

_SESSION_BEGINS = (int(OpCode.CREATE_SESSION), REOPEN_SESSION)
_CLOSE_SESSION = int(OpCode.CLOSE_SESSION)
_RECONFIG = int(OpCode.RECONFIG)
_DELETE_CONTAINER = int(OpCode.DELETE_CONTAINER)
EXPIRE_MAX = 30
"""Sessions that expire at a look. When thousands do, others are answered in between."""
_EXPIRY_INTERVALS = 4
"""In a tick. A follower reports who was heard from twice in a tick, so a session ends well within
one tick after its timeout."""


class Leading:
    """The leader's `Decider` and `SessionTracker`; owned by the node."""

    __slots__ = (
        "_awaited_by",
        "_collect_at",
        "_decider",
        "_due",
        "_events",
        "_looked_at",
        "_proposals",
        "_settings",
        "_tracker",
        "_tree",
        "epoch",
        "reconfiguring",
    )

    def __init__(
        self,
        epoch: int,
        tree: Tree,
        settings: CoordinatorSettings,
        *,
        core: Consensus,
        events: Events,
        servers: Callable[[], Mapping[int, Server]],
        rng: random.Random,
        now: float,
    ) -> None:
        """`servers()` are those of the newest configuration."""
        self.epoch = epoch
        self._tree = tree
        self._settings = settings
        self._events = events
        self._decider = Decider(
            tree,
            member_id=settings.my_id,
            rng=rng,
            extended_types=settings.extended_types,
            enforce_quota=settings.enforce_quota,
        )
        self.reconfiguring = Reconfiguring(
            core, tree, self._decider, settings, events, servers=servers, refuse=self._refuse
        )
        # A new leader grants every session its full timeout.
        interval_s = settings.tick_time_ms / 1000 / _EXPIRY_INTERVALS
        self._tracker = SessionTracker.of(tree.sessions, interval_s, now)
        self._looked_at = now
        self._proposals: list[bytes] = []
        self._awaited_by: set[int] = set()
        self._collect_at = now + settings.container_check_interval_ms / 1000
        self._due: list[str] = []  # nodes to collect, the last one first

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
        """Judge a request; its payload waits for `take_proposals`.

        A reconfig that may be done has none: its entries are of another kind (`Reconfiguring`).
        """
        if opcode == _RECONFIG and origin is not None:
            try:
                self.reconfiguring.begin(session_id, body, auth, origin=origin, now_ms=now_ms)
            except Refused as refused:
                self._refuse(Change(session_id, origin, now_ms, {}), refused.error)
            except DecodeError:
                self._refuse(Change(session_id, origin, now_ms, {}), ZkError.MARSHALLINGERROR)
            return
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

    def _refuse(self, change: Change, error: ZkError) -> None:
        self._proposals.append(
            self._decider.refuse(
                error,
                session_id=change.session_id,
                opcode=_RECONFIG,
                origin=change.origin,
                now_ms=change.now_ms,
            )
        )

    def take_proposals(self) -> tuple[list[bytes], Collection[int]]:
        """The payloads decided since the last call, in order; other members that wait for any."""
        proposals, self._proposals = self._proposals, []
        awaited_by: Collection[int] = ()
        if self._awaited_by:
            awaited_by, self._awaited_by = self._awaited_by, set()
        return proposals, awaited_by

    def applied(self, applied: Applied, now: float) -> None:
        """An own entry was applied to the tree."""
        self._decider.applied(applied.zxid)
        opcode = applied.opcode
        if opcode > 0:
            return  # what begins and ends sessions has other numbers
        if opcode in _SESSION_BEGINS:
            if applied.error is ZkError.OK:
                timeout_ms = self._tree.sessions[applied.session_id][0]
                self._tracker.add(applied.session_id, timeout_ms / 1000, now)
        elif opcode == _CLOSE_SESSION:
            self._tracker.remove(applied.session_id)

    def touch(self, session_id: int, now: float) -> None:
        self._tracker.touch(session_id, now)

    def heard_nobody(self, now: float) -> None:
        """Signs of life may wait unread: every session gets its full timeout anew."""
        for session_id in self._tree.sessions:
            self._tracker.touch(session_id, now)

    def decide_forwarded(
        self, member: int, request: ForwardedRequest, now: float, now_ms: int
    ) -> None:
        """As `decide`, for a client of that member."""
        auth = [Id(scheme, identity) for scheme, identity in request.auth]
        # The member's report of this sign of life may be lost with the link to it.
        self.touch(request.session_id, now)
        self._awaited_by.add(member)
        self.decide(
            request.session_id,
            request.opcode,
            request.body,
            auth,
            origin=(member, request.tag),
            now_ms=now_ms,
        )

    def look(self, now: float, now_ms: int) -> None:
        """What time alone asks for, and what is told of it."""
        if now - self._looked_at > self._settings.tick_time_ms / 1000:
            self.heard_nobody(now)  # this process was suspended, or had no core to run on
        self._looked_at = now
        for session_id in self.expire(now, now_ms):
            self._events.info("session.expired", session=f"{session_id:#x}")
        for path in self.take_over_quota():
            self._events.warning("tree.quota_exceeded", path=path)
        collected = self.collect(now, now_ms)
        if collected:
            self._events.info("tree.nodes_collected", count=collected)

    def expire(self, now: float, now_ms: int) -> list[int]:
        """Decide to close sessions that went silent; which. There may be more, see `is_behind`."""
        gone = self._tracker.expired(now, EXPIRE_MAX)
        for session_id in gone:
            self.decide(session_id, _CLOSE_SESSION, b"", (), origin=None, now_ms=now_ms)
        return gone

    def is_behind(self, now: float) -> bool:
        """Whether to look again at once: sessions should have expired by now."""
        return self._tracker.is_due(now)

    def take_over_quota(self) -> list[str]:
        """Paths that went over a soft limit since the last call."""
        return self._decider.take_over_quota()

    def collect(self, now: float, now_ms: int) -> int:
        """Decide to delete containers and TTL nodes that are due; how many.

        To be called every now and then: what the last look found goes in portions of up to a
        second's share of `container_max_per_minute`, so that no flood of deletions begins.
        """
        settings = self._settings
        interval_s = settings.container_check_interval_ms / 1000
        if not interval_s or now < self._collect_at:
            return 0
        if not self._due:
            self._due = self._tree.due_for_collection(now_ms, settings.container_max_never_used_ms)
            self._due.reverse()
        share = max(settings.container_max_per_minute // 60, 1)
        portion = min(share, len(self._due))
        for _ in range(portion):
            body = DeleteContainerRequest(self._due.pop()).encode()
            self.decide(0, _DELETE_CONTAINER, body, (), origin=None, now_ms=now_ms)
        pause_s = portion * 60 / settings.container_max_per_minute if self._due else interval_s
        self._collect_at = now + pause_s
        return portion


__all__ = ["Leading"]
