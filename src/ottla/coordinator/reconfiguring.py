"""`reconfig` at the leader: what is asked for, whether it may be, and the steps that lead there.

    judged -> (the present members into the log, if they never were) -> new voters catch up
           -> joint configuration -> new configuration -> applied: /zookeeper/config, answer

Errors and their order are those of `PrepRequestProcessor` in ZooKeeper 3.9. One thing is kinder:
where ZooKeeper refuses at once with NEWCONFIGNOQUORUM, new voters get time to come and catch up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.values import MembersChange, NewMembersLag
from ottla.coordinator.servers import Details, observers_of, voters_of
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.tree import paths, txns
from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import Refused
from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.ensemble import (
    BadServer,
    Server,
    UnreadableServer,
    configuration_text,
    has_conflict,
    parse_configuration,
    parse_id,
    parse_line,
)
from ottla.protocol.zookeeper.errors import DecodeError, ZkError
from ottla.protocol.zookeeper.jute import Reader, put_string
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import ReconfigRequest
from ottla.runtime.interfaces import Events

ID_MAX = 255
"""Ids of sessions begin with that of a member, in one byte."""
_RECONFIG = int(OpCode.RECONFIG)
Refuse = Callable[["Change", ZkError], None]


@dataclass(slots=True)
class Change:
    """One change of the members, from the request to its end."""

    session_id: int
    origin: tuple[int, int]
    now_ms: int
    servers: Mapping[int, Server]
    awaited: Sequence[int] = ()
    """Those who are to vote and do not yet."""
    target: int = 0
    """Up to which entry the awaited have to come in this round (4.2.1)."""
    round_began: float = 0.0
    progress: tuple[int, ...] = ()
    patience_ends: float = 0.0
    is_proposed: bool = False
    is_invited: bool = False


class Reconfiguring:
    """Part of what a leader does; lives as long as the leadership."""

    __slots__ = (
        "_core",
        "_decider",
        "_events",
        "_refuse",
        "_servers",
        "_settings",
        "_tree",
        "change",
    )

    def __init__(
        self,
        core: Consensus,
        tree: Tree,
        decider: Decider,
        settings: CoordinatorSettings,
        events: Events,
        *,
        servers: Callable[[], Mapping[int, Server]],
        refuse: Refuse,
    ) -> None:
        """`servers()` are those of the newest configuration; `refuse` answers a change."""
        self._core = core
        self._tree = tree
        self._decider = decider
        self._settings = settings
        self._events = events
        self._servers = servers
        self._refuse = refuse
        self.change: Change | None = None

    def begin(
        self,
        session_id: int,
        body: bytes,
        auth: Sequence[Id],
        *,
        origin: tuple[int, int],
        now_ms: int,
    ) -> None:
        """Take a change on, or raise Refused or DecodeError. `step` does the rest."""
        settings, core = self._settings, self._core
        if not settings.reconfig_enabled:
            raise Refused(ZkError.RECONFIGDISABLED)
        self._decider.require_session(session_id, origin[0])
        if settings.peer_address is None:
            raise Refused(ZkError.UNIMPLEMENTED)
        if self.change is not None or core.is_changing:
            raise Refused(ZkError.RECONFIGINPROGRESS)
        request = ReconfigRequest.decode(Reader(body))
        if request.current_config_id not in (-1, self._tree.config_version):
            raise Refused(ZkError.BADVERSION)
        present = self._servers()
        servers = wanted_servers(request, present)
        voters = voters_of(servers)
        if len(voters) < (2 if settings.standalone_enabled else 1):
            raise Refused(ZkError.BADARGUMENTS)
        self._decider.require_write(paths.CONFIG, auth)
        if max(servers) > ID_MAX:
            raise Refused(ZkError.BADARGUMENTS)
        change = Change(session_id, origin, now_ms, servers)
        known = {*core.membership.voters}
        change.awaited = [voter for voter in voters if voter not in known]
        self.change = change
        self._events.info(
            "ensemble.change_began",
            joining=sorted(servers.keys() - present.keys()),
            leaving=sorted(present.keys() - servers.keys()),
            voters=list(voters),
        )

    @property
    def _patience_s(self) -> float:
        return self._settings.sync_limit * self._settings.tick_time_ms / 1000

    def invited(self) -> Mapping[int, Server]:
        """Servers that are called although they are no members yet."""
        return {} if self.change is None else self.change.servers

    def step(self, now: float) -> None:
        """Go on as far as that is possible now. NotLeader."""
        change, core = self.change, self._core
        if change is None or change.is_proposed or not core.may_change_members:
            return
        present = self._servers()
        if not core.replica.memberships.index:
            # From now on the log says who is a member, also to those who are to be.
            core.change_members(
                voters_of(present), observers_of(present), Details(present, {}, b"").encode(), now
            )
            return
        if not change.is_invited:
            change.is_invited = True
            change.target = core.log.last_index
            change.round_began = now
            change.patience_ends = now + self._patience_s
            core.invite(change.awaited, now)
        is_patient = now < change.patience_ends or self._come_nearer(change, now)
        if is_patient and not self._caught_up(change, now):
            return
        try:
            self._propose(change, present, now)
        except NewMembersLag:
            if not is_patient:
                self._give_up(change, now)
        except MembersChange:
            return

    def _come_nearer(self, change: Change, now: float) -> bool:
        """Whether the awaited hold more than when they were looked at last."""
        followers = self._core.leadership.followers if self._core.leadership else {}
        progress = tuple(
            [
                followers[member].matched + followers[member].chunk
                for member in change.awaited
                if member in followers
            ]
        )
        if progress == change.progress:
            return False
        change.progress = progress
        change.patience_ends = now + self._patience_s
        return True

    def _caught_up(self, change: Change, now: float) -> bool:
        """Rounds as in section 4.2.1: the last one took less than an election would wait."""
        leadership = self._core.leadership
        assert leadership is not None
        if not all(leadership.holds(member, change.target, now) for member in change.awaited):
            return False
        took = now - change.round_began
        change.target = self._core.log.last_index
        change.round_began = now
        return took < self._core.timing.election_min_s

    def _propose(self, change: Change, present: Mapping[int, Server], now: float) -> None:
        header = txns.HEADER.pack(
            txns.FORMAT, _RECONFIG, 0, *change.origin, change.session_id, change.now_ms
        )
        txn = header + put_string(configuration_text(change.servers))
        leaving = {id_: one for id_, one in present.items() if id_ not in change.servers}
        details = Details(change.servers, leaving, txn).encode()
        self._core.change_members(
            voters_of(change.servers), observers_of(change.servers), details, now
        )
        change.is_proposed = True

    def _give_up(self, change: Change, now: float) -> None:
        self.change = None
        self._core.invite((), now)
        self._events.warning("ensemble.change_refused", waited_for=list(change.awaited))
        self._refuse(change, ZkError.NEWCONFIGNOQUORUM)

    def ended(self, now: float) -> None:
        """The configuration is committed and applied."""
        if self.change is not None and self.change.is_proposed:
            self.change = None
            self._core.invite((), now)


def wanted_servers(request: ReconfigRequest, present: Mapping[int, Server]) -> dict[int, Server]:
    """The servers that a request asks for. Refused, with ZooKeeper's code."""
    try:
        if request.new_members is not None:
            servers = parse_configuration(request.new_members)
        else:
            servers = _changed_servers(request, present)
    except BadServer:
        raise Refused(ZkError.BADARGUMENTS) from None
    except UnreadableServer:
        raise DecodeError("a server that cannot be read") from None
    return servers


def _changed_servers(request: ReconfigRequest, present: Mapping[int, Server]) -> dict[int, Server]:
    servers = dict(present)
    for leaving in _listed(request.leaving_servers):
        servers.pop(parse_id(leaving), None)
    for joining in _listed(request.joining_servers):
        id_, server = parse_line(joining)
        if server.client_port is None:
            raise BadServer(f"{joining} has no client port")
        others = [other for other_id, other in servers.items() if other_id != id_]
        if has_conflict(server, others):
            raise BadServer(f"{joining} has an address of another")
        servers[id_] = server
    return servers


def _listed(text: str | None) -> list[str]:
    return [part for part in (text or "").split(",") if part.strip()]


__all__ = ["Change", "Reconfiguring", "wanted_servers"]
