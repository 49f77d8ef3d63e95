"""What belongs to a configuration beside ids: the servers' addresses, and the change that made it.

`Membership.details`, which consensus carries and does not look at, is a msgpack array
`[{id: server}, {id: server that leaves}, transaction]`; servers are texts as in `server.N=` lines.
The transaction is applied to the tree with the entry that ends the change.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgpack

from ottla.protocol.peer.membership import Membership
from ottla.protocol.zookeeper.ensemble import Server, parse_server
from ottla.runtime.interfaces import Address


class Details(NamedTuple):
    """`leaving` are still called by their addresses while the change is under way."""

    servers: Mapping[int, Server]
    leaving: Mapping[int, Server]
    txn: bytes

    def encode(self) -> bytes:
        packed: bytes = msgpack.packb([_texts(self.servers), _texts(self.leaving), self.txn])
        return packed


def details_of(membership: Membership) -> Details | None:
    """None: the members are those of the configuration file."""
    if not membership.details:
        return None
    servers, leaving, txn = msgpack.unpackb(membership.details, strict_map_key=False)
    return Details(_servers(servers), _servers(leaving), txn)


def voters_of(servers: Mapping[int, Server]) -> tuple[int, ...]:
    return tuple(sorted(id_ for id_, server in servers.items() if not server.is_observer))


def observers_of(servers: Mapping[int, Server]) -> tuple[int, ...]:
    return tuple(sorted(id_ for id_, server in servers.items() if server.is_observer))


def addresses_of(servers: Mapping[int, Server]) -> dict[int, Address]:
    """Where members call each other."""
    return {id_: Address(server.host, server.port) for id_, server in servers.items()}


def _texts(servers: Mapping[int, Server]) -> dict[int, str]:
    return {id_: str(server) for id_, server in servers.items()}


def _servers(texts: Mapping[int, str]) -> dict[int, Server]:
    return {id_: parse_server(text, may_share_port=True) for id_, text in texts.items()}


__all__ = ["Details", "addresses_of", "details_of", "observers_of", "voters_of"]
