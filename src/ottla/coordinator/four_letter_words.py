"""Words of four letters that an operator types into the client port (`echo srvr | nc host 2181`).

Output keys and layout are ZooKeeper 3.9's, which monitoring parses. `srvr` is always answered, the
others if the whitelist has them (`4lw.commands.whitelist`, `*` is all).
"""

import functools
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from ottla.coordinator.client_port.statistics import Counters
from ottla.coordinator.ports import Member
from ottla.coordinator.settings import CoordinatorSettings
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.runtime.interfaces import Address, Stream

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"


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
    """What the words tell of."""

    member: Member
    settings: CoordinatorSettings
    address: Address
    counters: Counters
    connections: Sequence[ClientConnection]


@functools.cache
def full_version() -> str:
    """ZooKeeper's level first: clients and exporters read the number up to the dash."""
    from importlib.metadata import version

    return f"3.9.5-ottla-{version('ottla')}, built on Python {platform.python_version()}"


def respond(word: bytes, facts: Facts) -> bytes | None:
    """The answer to send before closing; None: this is no such word."""
    name = word.decode("latin-1")
    answer = _WORDS.get(name)
    if answer is None:
        return None
    whitelist = facts.settings.four_letter_whitelist
    if name != "srvr" and name not in whitelist and "*" not in whitelist:
        return f"{name} is not executed because it is not in the whitelist.\n".encode()
    return answer(facts).encode()


def _ruok(_facts: Facts) -> str:
    return "imok"


def _isro(facts: Facts) -> str:
    if facts.member.is_serving:
        return "rw"
    return "ro" if facts.member.is_read_only else "null"


def _srvr(facts: Facts) -> str:
    if not _is_shown(facts):
        return NOT_SERVING
    return f"Zookeeper version: {full_version()}\n" + _server_figures(facts)


def _stat(facts: Facts) -> str:
    if not _is_shown(facts):
        return NOT_SERVING
    clients = "".join(f" {_connection_head(client)})\n" for client in facts.connections)
    head = f"Zookeeper version: {full_version()}\nClients:\n{clients}\n"
    return head + _server_figures(facts)


def _server_figures(facts: Facts) -> str:
    latency = facts.counters.latency
    return (
        f"Latency min/avg/max: {int(latency.lowest_ms)}/{latency.average_ms:.4g}/"
        f"{ceil(latency.highest_ms)}\n"
        f"Received: {facts.counters.received}\n"
        f"Sent: {facts.counters.sent}\n"
        f"Connections: {_alive(facts)}\n"
        f"Outstanding: {_outstanding(facts)}\n"
        f"Zxid: 0x{facts.member.tree.last_zxid:x}\n"
        f"Mode: {facts.member.role}\n"
        f"Node count: {_znodes(facts)}\n"
    )


def _mntr(facts: Facts) -> str:
    if not _is_shown(facts):
        return NOT_SERVING
    tree = facts.member.tree
    latency = facts.counters.latency
    figures: dict[str, int | float | str] = {
        "version": full_version(),
        "server_state": facts.member.role,
        "avg_latency": round(latency.average_ms, 4),
        "max_latency": ceil(latency.highest_ms),
        "min_latency": int(latency.lowest_ms),
        "packets_received": facts.counters.received,
        "packets_sent": facts.counters.sent,
        "num_alive_connections": _alive(facts),
        "outstanding_requests": _outstanding(facts),
        "znode_count": _znodes(facts),
        "watch_count": facts.member.watches.count,
        "ephemerals_count": sum(map(len, tree.ephemerals.values())),
        "global_sessions": len(tree.sessions),
        "approximate_data_size": tree.data_bytes,
    }
    figures.update(facts.member.statistics())
    return "".join(f"zk_{key}\t{value}\n" for key, value in figures.items())


def _conf(facts: Facts) -> str:
    if not _is_shown(facts):
        return NOT_SERVING
    settings = facts.settings
    lines: list[tuple[str, object]] = [
        ("clientPort", facts.address.port),
        ("dataDir", settings.data_dir),
        ("dataLogDir", settings.data_log_dir or settings.data_dir),
        ("tickTime", settings.tick_time_ms),
        ("maxClientCnxns", settings.max_client_cnxns),
        ("minSessionTimeout", settings.min_session_ms),
        ("maxSessionTimeout", settings.max_session_ms),
        ("serverId", settings.my_id),
    ]
    if len(settings.member_ids) > 1:
        lines += [("initLimit", settings.init_limit), ("syncLimit", settings.sync_limit)]
        lines += [
            (f"server.{member_id}", address)
            for member_id, address in sorted(settings.members.items())
        ]
    return "".join(f"{key}={value}\n" for key, value in lines)


def _cons(facts: Facts) -> str:
    if not _is_shown(facts):
        return NOT_SERVING
    return "".join(f" {_connection(client)}\n" for client in facts.connections) + "\n"


def _connection_head(client: ClientConnection) -> str:
    counters = client.counters
    return (
        f"/{client.stream.peer}[1](queued={client.outstanding},"
        f"recved={counters.received},sent={counters.sent}"
    )


def _connection(client: ClientConnection) -> str:
    head = _connection_head(client)
    if not client.session_id:
        return head + ")"
    latency = client.counters.latency
    return (
        f"{head},sid={_hex(client.session_id)},lop={_OPERATIONS.get(client.last_opcode, 'NA')},"
        f"est={client.established_ms},to={client.timeout_ms},lcxid={_hex(client.last_xid)},"
        f"lzxid={_hex(client.last_zxid)},llat={ceil(latency.last_ms)},"
        f"minlat={int(latency.lowest_ms)},avglat={latency.average_ms:.4g},"
        f"maxlat={ceil(latency.highest_ms)})"
    )


def _envi(facts: Facts) -> str:
    lines = [
        ("zookeeper.version", full_version()),
        ("host.name", facts.address.host or "0.0.0.0"),
        ("python.version", platform.python_version()),
        ("python.implementation", platform.python_implementation()),
        ("python.executable", sys.executable),
        ("os.name", platform.system()),
        ("os.arch", platform.machine()),
        ("os.version", platform.release()),
    ]
    return "Environment:\n" + "".join(f"{key}={value}\n" for key, value in lines)


def _dump(facts: Facts) -> str:
    if not _is_shown(facts):
        return NOT_SERVING
    tree = facts.member.tree
    lines = [f"Sessions with Ephemerals ({len(tree.ephemerals)}):"]
    for session_id, paths in tree.ephemerals.items():
        lines.append(f"{_hex(session_id)}:")
        lines += [f"\t{path}" for path in paths]
    lines.append(f"Global Sessions({len(tree.sessions)}):")
    lines += [f"{_hex(sid)}\t{timeout}ms" for sid, (timeout, _) in tree.sessions.items()]
    return "\n".join(lines) + "\n"


def _watch_summary(facts: Facts) -> str:
    paths = facts.member.watches.paths()
    sessions = {session_id for ids in paths.values() for session_id in ids}
    total = facts.member.watches.count
    return f"{len(sessions)} connections watching {len(paths)} paths\nTotal watches:{total}\n"


def _watches_by_path(facts: Facts) -> str:
    lines: list[str] = []
    for path, ids in facts.member.watches.paths().items():
        lines.append(path)
        lines += [f"\t{_hex(session_id)}" for session_id in ids]
    return "\n".join(lines) + "\n"


def _watches_by_session(facts: Facts) -> str:
    by_session: dict[int, list[str]] = {}
    for path, ids in facts.member.watches.paths().items():
        for session_id in ids:
            by_session.setdefault(session_id, []).append(path)

    def lines() -> Iterator[str]:
        for session_id, paths in by_session.items():
            yield _hex(session_id)
            yield from (f"\t{path}" for path in paths)

    return "\n".join(lines()) + "\n"


def _reset_server(facts: Facts) -> str:
    facts.counters.reset()
    return "Server stats reset.\n"


def _reset_connections(facts: Facts) -> str:
    for client in facts.connections:
        client.counters.reset()
    return "Connection stats reset.\n"


def _is_shown(facts: Facts) -> bool:
    return facts.member.is_serving or facts.member.is_read_only


def _alive(facts: Facts) -> int:
    return sum(client.session_id != 0 for client in facts.connections)


def _outstanding(facts: Facts) -> int:
    return sum(client.outstanding for client in facts.connections)


def _znodes(facts: Facts) -> int:
    # ZooKeeper holds the root under two names and counts both.
    return len(facts.member.tree.nodes) + 1


def _hex(number: int) -> str:
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
_WORDS: dict[str, Callable[[Facts], str]] = {
    "conf": _conf,
    "cons": _cons,
    "crst": _reset_connections,
    "dump": _dump,
    "envi": _envi,
    "isro": _isro,
    "mntr": _mntr,
    "ruok": _ruok,
    "srst": _reset_server,
    "srvr": _srvr,
    "stat": _stat,
    "wchc": _watches_by_session,
    "wchp": _watches_by_path,
    "wchs": _watch_summary,
}

__all__ = ["NOT_SERVING", "Facts", "full_version", "respond"]
