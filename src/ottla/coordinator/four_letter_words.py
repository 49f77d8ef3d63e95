"""Words of four letters that an operator types into the client port (`echo srvr | nc host 2181`).

Output keys and layout are ZooKeeper 3.9's, which monitoring parses. `srvr` is always answered, the
others if the whitelist has them (`4lw.commands.whitelist`, `*` is all).
"""

from collections.abc import Callable, Mapping
from math import ceil

from ottla.coordinator.figures import (
    ClientConnection,
    Facts,
    Figure,
    alive,
    configuration,
    environment,
    full_version,
    hexadecimal,
    monitor,
    operation_name,
    outstanding,
    watches_by_session,
    znodes,
)

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"


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
    if not facts.is_shown:
        return NOT_SERVING
    return f"Zookeeper version: {full_version()}\n" + _server_figures(facts)


def _stat(facts: Facts) -> str:
    if not facts.is_shown:
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
        f"Connections: {alive(facts)}\n"
        f"Outstanding: {outstanding(facts)}\n"
        f"Zxid: 0x{facts.member.tree.last_zxid:x}\n"
        f"Mode: {facts.member.role}\n"
        f"Node count: {znodes(facts)}\n"
    )


def _mntr(facts: Facts) -> str:
    if not facts.is_shown:
        return NOT_SERVING
    return "".join(f"zk_{key}\t{value}\n" for key, value in monitor(facts).items())


def _conf(facts: Facts) -> str:
    if not facts.is_shown:
        return NOT_SERVING
    return _lines(configuration(facts))


def _dirs(facts: Facts) -> str:
    if not facts.is_shown:
        return NOT_SERVING
    data_size, log_size = facts.directory_sizes()
    return f"datadir_size: {data_size}\nlogdir_size: {log_size}\n"


def _lines(figures: Mapping[str, Figure]) -> str:
    return "".join(f"{key}={value}\n" for key, value in figures.items())


def _cons(facts: Facts) -> str:
    if not facts.is_shown:
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
        f"{head},sid={hexadecimal(client.session_id)},lop={operation_name(client)},"
        f"est={client.established_ms},to={client.timeout_ms},lcxid={hexadecimal(client.last_xid)},"
        f"lzxid={hexadecimal(client.last_zxid)},llat={ceil(latency.last_ms)},"
        f"minlat={int(latency.lowest_ms)},avglat={latency.average_ms:.4g},"
        f"maxlat={ceil(latency.highest_ms)})"
    )


def _envi(facts: Facts) -> str:
    return "Environment:\n" + _lines(environment(facts))


def _dump(facts: Facts) -> str:
    if not facts.is_shown:
        return NOT_SERVING
    tree = facts.member.tree
    lines = [f"Sessions with Ephemerals ({len(tree.ephemerals)}):"]
    for session_id, paths in tree.ephemerals.items():
        lines.append(f"{hexadecimal(session_id)}:")
        lines += [f"\t{path}" for path in paths]
    lines.append(f"Global Sessions({len(tree.sessions)}):")
    lines += [f"{hexadecimal(sid)}\t{timeout}ms" for sid, (timeout, _) in tree.sessions.items()]
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
        lines += [f"\t{hexadecimal(session_id)}" for session_id in ids]
    return "\n".join(lines) + "\n"


def _watches_by_session(facts: Facts) -> str:
    lines: list[str] = []
    for session_id, paths in watches_by_session(facts).items():
        lines.append(hexadecimal(session_id))
        lines += [f"\t{path}" for path in paths]
    return "\n".join(lines) + "\n"


def _reset_server(facts: Facts) -> str:
    facts.counters.reset()
    return "Server stats reset.\n"


def _reset_connections(facts: Facts) -> str:
    for client in facts.connections:
        client.counters.reset()
    return "Connection stats reset.\n"


_WORDS: dict[str, Callable[[Facts], str]] = {
    "conf": _conf,
    "cons": _cons,
    "crst": _reset_connections,
    "dirs": _dirs,
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

__all__ = ["NOT_SERVING", "respond"]
