"""Servers of an ensemble as text: `server.N=` lines, as reconfig takes and /zookeeper/config has.

    server.N=host:port:electionport[:role][;[clienthost:]clientport]

Which texts are refused, and how, follows `QuorumPeer.QuorumServer` of ZooKeeper 3.9.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

_PORT_MAX = 65_535
_EVERY_INTERFACE = "0.0.0.0"  # text, nothing is bound to it
_NOWHERE = frozenset({"0.0.0.0", "::", "0:0:0:0:0:0:0:0", "localhost", "::1", "0:0:0:0:0:0:0:1"})


class BadServer(ValueError):
    """A server line, or a configuration, that ZooKeeper refuses as BADARGUMENTS."""


class UnreadableServer(ValueError):
    """One on which ZooKeeper stumbles while it reads it: MARSHALLINGERROR."""


class Server(NamedTuple):
    """One server. Ports are those of members, of elections and of clients; hosts are names."""

    host: str
    port: int
    election_port: int
    is_observer: bool = False
    client_host: str = ""
    client_port: int | None = None

    def __str__(self) -> str:
        role = "observer" if self.is_observer else "participant"
        text = f"{_bracketed(self.host)}:{self.port}:{self.election_port}:{role}"
        if self.client_port is None:
            return text
        return f"{text};{_bracketed(self.client_host or _EVERY_INTERFACE)}:{self.client_port}"

    def conflicts_with(self, other: "Server") -> bool:
        """Whether both have one address in common; loopback and wildcards do not count."""
        return bool(self.addresses & other.addresses)

    @property
    def addresses(self) -> set[tuple[str, int]]:
        """Where it is called, as far as that tells it from others."""
        found = {(self.host.lower(), self.port), (self.host.lower(), self.election_port)}
        if self.client_port is not None:
            found.add((self.client_host.lower() or _EVERY_INTERFACE, self.client_port))
        return {
            address
            for address in found
            if address[0] not in _NOWHERE and not address[0].startswith("127.")
        }


def parse_server(text: str, *, may_share_port: bool = False) -> Server:
    """The part behind `server.N=`. BadServer, UnreadableServer.

    `may_share_port`: members and elections on one port, as our own files may have it.
    """
    parts = text.strip().split(";")
    if len(parts) > 2 or "|" in text:
        raise BadServer(f"{text} does not have the form of a server")
    fields = _fields(parts[0])
    if not 3 <= len(fields) <= 4:
        raise BadServer(f"{text} does not have the form host:port:port[:role][;client]")
    port, election_port = _port(fields[1]), _port(fields[2])
    if port == election_port and not may_share_port:
        raise BadServer(f"{text} has one port for two purposes")
    role = fields[3].strip().lower() if len(fields) == 4 else "participant"
    if role not in {"participant", "observer"}:
        raise BadServer(f"{fields[3]} is no role")
    client_host, client_port = "", None
    if len(parts) == 2:
        client = _fields(parts[1])
        if not 1 <= len(client) <= 2:
            raise BadServer(f"{parts[1]} is no client address")
        client_host = client[0] if len(client) == 2 else _EVERY_INTERFACE
        client_port = _port(client[-1])
    return Server(fields[0], port, election_port, role == "observer", client_host, client_port)


def parse_line(line: str) -> tuple[int, Server]:
    """`server.N=...`. BadServer, UnreadableServer."""
    parts = [part for part in line.split("=") if part.strip()]
    if len(parts) != 2:
        raise BadServer(f"{line} is no server line")
    number = parts[0].strip().rpartition(".")[2]
    return parse_id(number), parse_server(parts[1])


def parse_id(text: str) -> int:
    """UnreadableServer."""
    bare = text.strip()
    if not (bare.isascii() and bare.isdigit()):
        raise UnreadableServer(f"{text!r} is no server's id")
    return int(bare)


def parse_configuration(text: str, *, may_share_port: bool = False) -> dict[int, Server]:
    """A whole configuration, its lines parted by newlines or commas. BadServer, UnreadableServer.

    A line `version=` is read over.
    """
    servers: dict[int, Server] = {}
    for line in text.replace(",", "\n").splitlines():
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        key, _, value = bare.partition("=")
        if key.strip() == "version":
            continue
        if not key.startswith("server."):
            raise BadServer(f"unrecognised parameter: {key}")
        id_ = parse_id(key.removeprefix("server."))
        servers[id_] = parse_server(value, may_share_port=may_share_port)
    return servers


def configuration_text(servers: Mapping[int, Server]) -> str:
    """The lines of a configuration, by id; without its version, which comes behind them."""
    return "\n".join(f"server.{id_}={servers[id_]}" for id_ in sorted(servers))


def has_conflict(server: Server, others: Iterable[Server]) -> bool:
    return any(server.conflicts_with(other) for other in others)


def _fields(text: str) -> list[str]:
    """Parts between colons; an IPv6 address in brackets is one. BadServer."""
    bare = text.strip()
    if bare.startswith("["):
        host, closed, rest = bare[1:].partition("]")
        if not closed or not host or rest[:1] not in ("", ":"):
            raise BadServer(f"{text} has a bracket that is not closed")
        return [host, *rest[1:].split(":")] if rest else [host]
    return bare.split(":")


def _port(text: str) -> int:
    bare = text.strip()
    if not (bare.isascii() and bare.isdigit()):
        raise BadServer(f"{text!r} is no port")
    port = int(bare)
    if port > _PORT_MAX:
        raise UnreadableServer(f"port {port} is out of range")
    return port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


__all__ = [
    "BadServer",
    "Server",
    "UnreadableServer",
    "configuration_text",
    "has_conflict",
    "parse_configuration",
    "parse_id",
    "parse_line",
    "parse_server",
]
