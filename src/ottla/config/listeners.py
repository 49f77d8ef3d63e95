"""Listeners and connect strings: the texts of several keys that make one thing.

`listeners=INTERNAL://:29092,EXTERNAL://0.0.0.0:9092` names sockets, `advertised.listeners` what
clients are told instead, `listener.security.protocol.map` what each name speaks. Names are
compared in upper case, as Kafka does.
"""

import re
from dataclasses import dataclass

SERVED = frozenset({"PLAINTEXT"})
"""Security protocols that listeners can speak today."""
KNOWN = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

_LISTENER = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)://(?P<rest>.*)", re.ASCII)
_HOST_PORT = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%A-Za-z]*)\]|(?P<host>[0-9A-Za-z%._-]*)):(?P<port>\d+)", re.ASCII
)
_COORDINATOR_PORT = 2181


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener: its name, its security protocol, and an address; host "" is every interface."""

    name: str
    protocol: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EnsembleAddress:
    """Where the ensemble is: (host, port) of its members, and the znode all paths are below."""

    servers: tuple[tuple[str, int], ...]
    chroot: str = ""
    """Empty, or `/kafka` without a slash at its end."""


def parse_protocol_map(text: str) -> dict[str, str]:
    """Security protocol by listener name. ValueError says what is wrong."""
    found: dict[str, str] = {}
    for part in _parts(text):
        name, colon, protocol = (piece.strip() for piece in part.partition(":"))
        if not colon or not name:
            raise ValueError(f"{part!r} is not NAME:PROTOCOL")
        if protocol.upper() not in KNOWN:
            raise ValueError(f"{protocol!r} is none of {', '.join(KNOWN)}")
        if found.setdefault(name.upper(), protocol.upper()) != protocol.upper():
            raise ValueError(f"{name} is mapped twice")
    return found


def parse_listeners(text: str, protocols: dict[str, str], *, shared: bool) -> tuple[Listener, ...]:
    """Listeners in their order. `shared`: several may have one port, as advertised ones may.

    ValueError says what is wrong.
    """
    found: list[Listener] = []
    for part in _parts(text):
        match = _LISTENER.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is not NAME://host:port")
        name = match["name"].upper()
        host, port = parse_host_port(match["rest"])
        if name not in protocols:
            raise ValueError(
                f"{name} has no security protocol in listener.security.protocol.map,"
                f" which has {', '.join(protocols)}"
            )
        if any(other.name == name for other in found):
            raise ValueError(f"there are two listeners named {name}")
        listener = Listener(name, protocols[name], host, port)
        twin = next((other for other in found if port and other.port == port), None)
        if twin and not shared and not _families_differ(twin.host, host):
            raise ValueError(f"{twin} and {listener} have one port")
        found.append(listener)
    if not found:
        raise ValueError("there must be at least one listener")
    return tuple(found)


def parse_ensemble(text: str) -> EnsembleAddress:
    """Read `h1:2181,h2:2181/chroot`. ValueError says what is wrong."""
    hosts, slash, path = text.partition("/")
    chroot = ("/" + path).rstrip("/") if slash else ""
    if "//" in chroot or any(step in {".", ".."} for step in chroot.split("/")):
        raise ValueError(f"{chroot!r} is not a znode path")
    servers = []
    for part in _parts(hosts):
        bare = ":" not in part or part.endswith("]")
        host, port = parse_host_port(f"{part}:{_COORDINATOR_PORT}" if bare else part)
        if not host or not port:
            raise ValueError(f"{part!r} is not host:port")
        servers.append((host, port))
    if not servers:
        raise ValueError("expected host:port with commas between the members")
    return EnsembleAddress(tuple(servers), chroot)


def parse_host_port(text: str) -> tuple[str, int]:
    """`host:port`, `:port` or `[ipv6]:port`. ValueError says what is wrong."""
    match = _HOST_PORT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not host:port")
    port = int(match["port"])
    if port > 65_535:
        raise ValueError(f"port {port} is above 65535")
    return match["six"] if match["six"] is not None else match["host"], port


def _families_differ(one: str, two: str) -> bool:
    """Whether one is an IPv4 and the other an IPv6 address, which may share a port."""
    if not one or not two:
        return False
    return (":" in one) != (":" in two)


def _parts(text: str) -> list[str]:
    return [part for piece in text.split(",") if (part := piece.strip())]


__all__ = [
    "SERVED",
    "EnsembleAddress",
    "Listener",
    "parse_ensemble",
    "parse_host_port",
    "parse_listeners",
    "parse_protocol_map",
]
