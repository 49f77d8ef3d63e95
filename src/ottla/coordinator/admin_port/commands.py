"""The commands under `/commands`, by ZooKeeper's names; each makes a JSON object."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import NamedTuple

from ottla.coordinator.figures import (
    ClientConnection,
    Facts,
    alive,
    environment,
    foreign_connections,
    full_version,
    hexadecimal,
    members,
    monitor,
    operation_name,
    outstanding,
    watches_by_session,
    znodes,
)
from ottla.protocol.zookeeper.ensemble import Server
from ottla.runtime.interfaces import Address
from ottla.runtime.tls import TlsStream

Answer = Mapping[str, object]


class Command(NamedTuple):
    """`needs_state`: refused while the member shows no state to clients."""

    name: str
    short: tuple[str, ...]
    run: Callable[[Facts], Answer]
    needs_state: bool = True


def _configuration(facts: Facts) -> Answer:
    settings = facts.settings
    return {
        "client_port": facts.address.port,
        "secure_client_port": settings.secure_client_address.port if settings.tls else -1,
        "data_dir": settings.data_dir,
        "data_log_dir": settings.data_log_dir or settings.data_dir,
        "tick_time": settings.tick_time_ms,
        "max_client_cnxns": settings.max_client_cnxns,
        "min_session_timeout": settings.min_session_ms,
        "max_session_timeout": settings.max_session_ms,
        "server_id": settings.my_id,
    }


def _connections(facts: Facts) -> Answer:
    return _described(facts, lambda client: {**_brief(client), **_session(client)})


def _described(facts: Facts, describe: Callable[[ClientConnection], Answer]) -> Answer:
    plain: list[Answer] = []
    secure: list[Answer] = []
    for client in facts.connections:
        kind = secure if isinstance(client.stream, TlsStream) else plain
        kind.append(describe(client))
    return {"connections": plain, "secure_connections": secure}


def _brief(client: ClientConnection) -> Answer:
    return {
        "remote_socket_address": str(client.stream.peer),
        "interest_ops": 1,
        "outstanding_requests": client.outstanding,
        "packets_received": client.counters.received,
        "packets_sent": client.counters.sent,
    }


def _session(client: ClientConnection) -> Answer:
    """Ids are numbers, as in ZooKeeper's answers."""
    if not client.session_id:
        return {}
    latency = client.counters.latency
    return {
        "session_id": client.session_id,
        "last_operation": operation_name(client),
        "established": client.established_ms,
        "session_timeout": client.timeout_ms,
        "last_cxid": client.last_xid,
        "last_zxid": client.last_zxid,
        "last_latency": ceil(latency.last_ms),
        "min_latency": int(latency.lowest_ms),
        "avg_latency": round(latency.average_ms, 4),
        "max_latency": ceil(latency.highest_ms),
    }


def _dirs(facts: Facts) -> Answer:
    data_size, log_size = facts.directory_sizes()
    return {"datadir_size": data_size, "logdir_size": log_size}


def _dump(facts: Facts) -> Answer:
    tree = facts.member.tree
    return {
        "session_id_to_timeout_ms": {
            str(session_id): timeout for session_id, (timeout, _) in tree.sessions.items()
        },
        "session_id_to_ephemeral_paths": {
            str(session_id): list(paths) for session_id, paths in tree.ephemerals.items()
        },
    }


def _is_read_only(facts: Facts) -> Answer:
    return {"read_only": facts.member.is_read_only}


def _leader(facts: Facts) -> Answer:
    leader = facts.member.statistics().get("leader_id", -1)
    server = members(facts).get(int(leader)) if isinstance(leader, int) else None
    return {
        "is_leader": facts.member.role in {"leader", "standalone"},
        "leader_id": leader,
        "leader_ip": server.host if server is not None else "",
    }


def _monitor(facts: Facts) -> Answer:
    return monitor(facts)


def _ruok(_facts: Facts) -> Answer:
    return {}


def _server_stats(facts: Facts) -> Answer:
    latency = facts.counters.latency
    local, remote = foreign_connections(facts)
    data_size, log_size = facts.directory_sizes()
    return {
        "version": full_version(),
        "read_only": facts.member.is_read_only,
        "server_stats": {
            "packets_sent": facts.counters.sent,
            "packets_received": facts.counters.received,
            "min_latency": int(latency.lowest_ms),
            "avg_latency": round(latency.average_ms, 4),
            "max_latency": ceil(latency.highest_ms),
            "server_state": facts.member.role,
            "outstanding_requests": outstanding(facts),
            "last_processed_zxid": facts.member.tree.last_zxid,
            "num_alive_client_connections": alive(facts),
            "auth_failed_count": facts.counters.auth_failed,
            "uptime": int(facts.uptime_s * 1000),
            "data_dir_size": data_size,
            "log_dir_size": log_size,
            "non_mtlslocal_conn_count": local,
            "non_mtlsremote_conn_count": remote,
        },
        "node_count": znodes(facts),
    }


def _stats(facts: Facts) -> Answer:
    return {**_server_stats(facts), **_described(facts, _brief)}


def _voting_view(facts: Facts) -> Answer:
    voters = {id_: one for id_, one in members(facts).items() if not one.is_observer}
    return {"current_config": {str(id_): _server(one) for id_, one in voters.items()}}


def _server(one: Server) -> Answer:
    return {
        "server_addresses": [str(Address(one.host, one.port))],
        "election_addresses": [str(Address(one.host, one.election_port))],
        "client_address": _client_address(one),
        "learner_type": "observer" if one.is_observer else "participant",
    }


def _client_address(one: Server) -> str:
    return "" if one.client_port is None else str(Address(one.client_host, one.client_port))


def _watches(facts: Facts) -> Answer:
    found = watches_by_session(facts).items()
    return {"session_id_to_watched_paths": {str(sid): paths for sid, paths in found}}


def _watches_by_path(facts: Facts) -> Answer:
    found = facts.member.watches.paths().items()
    return {"path_to_session_ids": {path: list(ids) for path, ids in found}}


def _watch_summary(facts: Facts) -> Answer:
    watches = facts.member.watches
    return {
        "num_connections": len(watches_by_session(facts)),
        "num_paths": len(watches.paths()),
        "num_total_watches": watches.count,
    }


def _zab_state(facts: Facts) -> Answer:
    zxid = facts.member.tree.last_zxid
    own = members(facts).get(facts.settings.my_id)
    return {
        "myid": facts.settings.my_id,
        "is_leader": facts.member.role in {"leader", "standalone"},
        "client_address": str(facts.address),
        "voting": not (own is not None and own.is_observer),
        "last_zxid": hexadecimal(zxid),
        "zab_epoch": zxid >> 32,
        "zab_counter": zxid & 0xFFFFFFFF,
        "zabstate": "broadcast" if facts.member.is_serving else "election",
    }


# Commands that change something (resets, snapshot, restore, set_trace_mask) are not here: nothing
# on this port asks who is there. Resets are four-letter words.
_COMMANDS = (
    Command("configuration", ("conf", "config"), _configuration),
    Command("connections", ("cons",), _connections),
    Command("dirs", (), _dirs),
    Command("dump", (), _dump),
    Command("environment", ("env", "envi"), environment, needs_state=False),
    Command("is_read_only", ("isro",), _is_read_only),
    Command("leader", ("lead",), _leader),
    Command("monitor", ("mntr",), _monitor),
    Command("ruok", (), _ruok),
    Command("server_stats", ("srvr",), _server_stats),
    Command("stats", ("stat",), _stats),
    Command("voting_view", (), _voting_view, needs_state=False),
    Command("watch_summary", ("wchs",), _watch_summary),
    Command("watches", ("wchc",), _watches),
    Command("watches_by_path", ("wchp",), _watches_by_path),
    Command("zabstate", (), _zab_state, needs_state=False),
)
_BY_NAME = {name: command for command in _COMMANDS for name in (command.name, *command.short)}
NAMES = tuple(command.name for command in _COMMANDS)


def find(name: str) -> Command | None:
    return _BY_NAME.get(name)


__all__ = ["NAMES", "Command", "find"]
