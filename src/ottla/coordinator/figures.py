"""What a member can tell about itself, as plain values: for the four-letter words and for HTTP.

Names are ZooKeeper 3.9's (`mntr` puts `zk_` before them). Figures of the JVM and of ZooKeeper's
chain of request processors have nothing here that they could count, and are left out.
"""

import functools
import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from ottla.coordinator.client_port.statistics import Counters
from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.ports import Member
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.tree.paths import CONFIG
from ottla.protocol.zookeeper.ensemble import Server, parse_configuration
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.runtime.interfaces import Address, Stream
from ottla.runtime.tls import TlsStream

Figure = int | float | str


class ClientConnection(Protocol):
    """What is told of one connection."""

    @property
    def stream(self) -> Stream: ...
    @property
    def session_id(self) -> int: ...
    @property
    def timeout_ms(self) -> int: ...
    @property
    def established_ms(self) -> int: ...
    @property
    def outstanding(self) -> int: ...
    @property
    def last_opcode(self) -> int: ...
    @property
    def last_xid(self) -> int: ...
    @property
    def last_zxid(self) -> int: ...
    @property
    def counters(self) -> Counters: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to tell, as of now."""

    member: Member
    settings: CoordinatorSettings
    address: Address
    counters: Counters
    connections: Sequence[ClientConnection]
    uptime_s: float = 0.0
    directory_sizes: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """Bytes in the directories of snapshots and of the txn log."""

    @property
    def is_shown(self) -> bool:
        """Whether there is a state that clients may see."""
        return self.member.is_serving or self.member.is_read_only


@functools.cache
def full_version() -> str:
    """ZooKeeper's level first: clients and exporters read the number up to the dash."""
    from importlib.metadata import version

    return f"3.9.5-ottla-{version('ottla')}, built on Python {platform.python_version()}"


def monitor(facts: Facts) -> dict[str, Figure]:
    """`mntr`'s figures, without `zk_`."""
    tree, counters = facts.member.tree, facts.counters
    latency = counters.latency
    local, remote = foreign_connections(facts)
    found: dict[str, Figure] = {
        "version": full_version(),
        "server_state": facts.member.role,
        "uptime": int(facts.uptime_s * 1000),
        "avg_latency": round(latency.average_ms, 4),
        "max_latency": ceil(latency.highest_ms),
        "min_latency": int(latency.lowest_ms),
        "packets_received": counters.received,
        "packets_sent": counters.sent,
        "num_alive_connections": alive(facts),
        "non_mtls_local_conn_count": local,
        "non_mtls_remote_conn_count": remote,
        "connection_request_count": counters.connected,
        "connection_rejected": counters.rejected,
        "auth_failed_count": counters.auth_failed,
        "outstanding_requests": outstanding(facts),
        "znode_count": znodes(facts),
        "watch_count": facts.member.watches.count,
        "ephemerals_count": sum(map(len, tree.ephemerals.values())),
        "global_sessions": len(tree.sessions),
        "local_sessions": sum(getattr(client, "read_only", False) for client in facts.connections),
        "approximate_data_size": tree.data_bytes,
    }
    if facts.settings.peer_address is not None:
        found["peer_state"] = _PEER_STATES.get(facts.member.role, "looking")
    found.update(_descriptors())
    found.update(facts.member.statistics())
    return found


def consensus_figures(core: Consensus, now: float) -> dict[str, Figure]:
    """What a member's core tells; only a leader knows who keeps up with it."""
    found: dict[str, Figure] = {
        "election_epoch": core.hard.epoch,
        "leader_id": -1 if core.leader is None else core.leader,
        "log_entries_in_memory": len(core.log),
        "commit_index": core.commit_index,
        "quorum_size": len(core.members),
    }
    if core.leadership is not None:
        oldest = now - core.timing.election_min_s
        heard = {m: p for m, p in core.leadership.followers.items() if p.contact > oldest}
        synced = [m for m, p in heard.items() if p.matched >= core.commit_index]
        found["learners"] = len(heard)
        found["synced_followers"] = sum(m in core.members for m in synced)
        found["synced_non_voting_followers"] = len(set(synced) - {*core.members, *core.observers})
        found["synced_observers"] = sum(m in core.observers for m in synced)
        found["leader_uptime"] = int((now - core.leadership.started) * 1000)
        found["pending_syncs"] = 0  # a sync is an entry like any other: nothing waits beside them
    return found


def configuration(facts: Facts) -> dict[str, Figure]:
    """`conf`: what the member runs with."""
    settings = facts.settings
    data_size, log_size = facts.directory_sizes()
    secure = settings.secure_client_address.port if settings.tls is not None else -1
    found: dict[str, Figure] = {
        "clientPort": facts.address.port,
        "secureClientPort": secure,
        "dataDir": settings.data_dir,
        "dataDirSize": data_size,
        "dataLogDir": settings.data_log_dir or settings.data_dir,
        "dataLogSize": log_size,
        "tickTime": settings.tick_time_ms,
        "maxClientCnxns": settings.max_client_cnxns,
        "minSessionTimeout": settings.min_session_ms,
        "maxSessionTimeout": settings.max_session_ms,
        "serverId": settings.my_id,
    }
    if settings.peer_address is not None:
        found["initLimit"] = settings.init_limit
        found["syncLimit"] = settings.sync_limit
        for member_id, server in sorted(members(facts).items()):
            address = Address(server.host, server.port)
            role = ":observer" if server.is_observer else ""
            found[f"server.{member_id}"] = f"{address}{role}"
    return found


def members(facts: Facts) -> Mapping[int, Server]:
    """The servers of the ensemble: those of the file, until they are changed."""
    tree = facts.member.tree
    if not tree.config_version:
        return facts.settings.all_servers
    data = tree.nodes[CONFIG].data or b""
    try:
        return parse_configuration(data.decode(), may_share_port=True)
    except ValueError:  # the super user may write anything there
        return {}


def environment(facts: Facts) -> dict[str, Figure]:
    return {
        "zookeeper.version": full_version(),
        "host.name": facts.address.host or "0.0.0.0",
        "python.version": platform.python_version(),
        "python.implementation": platform.python_implementation(),
        "python.executable": sys.executable,
        "os.name": platform.system(),
        "os.arch": platform.machine(),
        "os.version": platform.release(),
    }


def watches_by_session(facts: Facts) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for path, ids in facts.member.watches.paths().items():
        for session_id in ids:
            found.setdefault(session_id, []).append(path)
    return found


def alive(facts: Facts) -> int:
    return sum(client.session_id != 0 for client in facts.connections)


def outstanding(facts: Facts) -> int:
    return sum(client.outstanding for client in facts.connections)


def znodes(facts: Facts) -> int:
    # ZooKeeper holds the root under two names and counts both.
    return len(facts.member.tree.nodes) + 1


def hexadecimal(number: int) -> str:
    return f"0x{number % (1 << 64):x}"


_OPERATIONS = {
    int(OpCode.CREATE): "CREA",
    int(OpCode.CREATE2): "CREA",
    int(OpCode.DELETE): "DELE",
    int(OpCode.EXISTS): "EXIS",
    int(OpCode.GET_DATA): "GETD",
    int(OpCode.SET_DATA): "SETD",
    int(OpCode.GET_ACL): "GETA",
    int(OpCode.SET_ACL): "SETA",
    int(OpCode.GET_CHILDREN): "GETC",
    int(OpCode.GET_CHILDREN2): "GETC",
    int(OpCode.SYNC): "SYNC",
    int(OpCode.PING): "PING",
    int(OpCode.CHECK): "CHEC",
    int(OpCode.MULTI): "MULT",
    int(OpCode.SET_WATCHES): "SETW",
    int(OpCode.SET_WATCHES2): "STW2",
    int(OpCode.ADD_WATCH): "ADDW",
    int(OpCode.CLOSE_SESSION): "CLOS",
}


_PEER_STATES = {
    "leader": "leading - broadcast",
    "follower": "following - broadcast",
    "observer": "observing - broadcast",
}


def operation_name(client: ClientConnection) -> str:
    """Of its last request, as ZooKeeper shortens it."""
    return _OPERATIONS.get(client.last_opcode, "NA")


def foreign_connections(facts: Facts) -> tuple[int, int]:
    """Connections without TLS: of this host, and of others."""
    secure = sum(isinstance(client.stream, TlsStream) for client in facts.connections)
    local = sum(_is_local(client) for client in facts.connections)
    return local, len(facts.connections) - local - secure


def _is_local(client: ClientConnection) -> bool:
    stream = client.stream
    return not isinstance(stream, TlsStream) and stream.peer.host == stream.local.host


def _descriptors() -> dict[str, Figure]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found: dict[str, Figure] = {"max_file_descriptor_count": soft}
    with suppress(OSError):  # a system without /proc
        found["open_file_descriptor_count"] = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return found


__all__ = [
    "ClientConnection",
    "Facts",
    "Figure",
    "alive",
    "configuration",
    "consensus_figures",
    "environment",
    "foreign_connections",
    "full_version",
    "hexadecimal",
    "members",
    "monitor",
    "operation_name",
    "outstanding",
    "watches_by_session",
    "znodes",
]
