"""Access lists: who may do what with a znode, and who a client has proved to be.

Schemes: `world` (anyone), `ip` (address, optionally `/prefix length`), `digest`
(`user:base64(sha1(user:password))`), `sasl` (a user), `x509` (a certificate's subject), `auth`
(only in requests: stands for all that the requestor has proved), `super` (only in a client's own
list: passes every check).
"""

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from weakref import WeakValueDictionary

from ottla.protocol.zookeeper.data import ACL, ANYONE, OPEN_ACL, READ_ACL, Id, get_acls, put_acls
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.opcodes import Perms

AuthIds = Sequence[Id]


class AccessList:
    """An immutable list of ACLs, shared by all the nodes that have it: see `access_list`."""

    __slots__ = ("__weakref__", "encoded", "entries", "world_perms")

    def __init__(self, entries: tuple[ACL, ...], encoded: bytes) -> None:
        self.entries = entries
        self.encoded = encoded  # jute vector<ACL>
        # What needs no further look; an empty list bars nobody.
        self.world_perms = int(Perms.ALL) if not entries else 0
        for acl in entries:
            if acl.id == ANYONE:
                self.world_perms |= acl.perms

    def permits(self, perm: int, auth: AuthIds) -> bool:
        """Whether someone of identity `auth` has any of the permissions in `perm`."""
        if self.world_perms & perm:
            return True
        for who in auth:
            if who.scheme == "super":
                return True
        for acl in self.entries:
            if acl.perms & perm and any(_matches(who, acl.id) for who in auth):
                return True
        return False


_shared: WeakValueDictionary[bytes, AccessList] = WeakValueDictionary()


def access_list(encoded: bytes) -> AccessList:
    """The one AccessList of these bytes (a jute vector<ACL>)."""
    known = _shared.get(encoded)
    if known is None:
        known = _shared[encoded] = AccessList(get_acls(Reader(encoded)), encoded)
    return known


def in_use(encoded: bytes) -> AccessList | None:
    """The list of these bytes if some node has it; such a list needs no `expand`."""
    return _shared.get(encoded)


OPEN = access_list(put_acls(OPEN_ACL))
READ_ONLY = access_list(put_acls(READ_ACL))


def expand(acls: Sequence[ACL], auth: AuthIds) -> AccessList | None:
    """The list to store for one that a client sent; None: it is not a valid one.

    Duplicates go, `auth` becomes the requestor's own identities.
    """
    entries: dict[ACL, None] = {}
    for acl in acls:
        who = acl.id
        if who.scheme == "auth":
            # An address is known, not proved.
            proved = [own for own in auth if own.scheme in _PROVED_SCHEMES]
            if not proved:
                return None
            for own in proved:
                entries[ACL(acl.perms, own)] = None
        elif who == ANYONE or _is_valid(who):
            entries[acl] = None
        else:
            return None
    return access_list(put_acls(tuple(entries))) if entries else None


def digest_id(credentials: bytes) -> Id:
    """The identity that `user:password` proves."""
    user, _, _ = credentials.decode(errors="replace").partition(":")
    hashed = hashlib.sha1(credentials, usedforsecurity=False).digest()
    return Id("digest", f"{user}:{base64.b64encode(hashed).decode()}")


def authenticate(
    scheme: str, credentials: bytes, address: str, super_digest: str | None
) -> list[Id] | None:
    """Identities that an auth request proves; None: it is refused.

    `super_digest` is the `user:hash` whose owner may do everything.
    """
    if scheme == "digest":
        proved = digest_id(credentials)
        if super_digest is not None and proved.id == super_digest:
            return [Id("super", ""), proved]
        return [proved]
    if scheme == "ip":
        return [Id("ip", address)]
    return None


# `super` stands in nobody's ACL: a list made of it could be passed by nobody else.
_PROVED_SCHEMES = frozenset({"digest", "sasl", "x509"})


def _is_valid(who: Id) -> bool:
    if who.scheme == "digest":
        return len(who.id.split(":")) == 2
    if who.scheme == "ip":
        return _network(who.id) is not None
    return who.scheme in {"sasl", "x509"} and bool(who.id)


def _matches(who: Id, wanted: Id) -> bool:
    if who.scheme != wanted.scheme:
        return False
    if wanted.scheme != "ip":
        return who.id == wanted.id
    network = _network(wanted.id)
    try:
        return network is not None and ipaddress.ip_address(who.id) in network
    except ValueError:
        return False


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, slash, prefix = text.partition("/")
    if slash and not (prefix.isascii() and prefix.isdigit()):
        return None
    try:
        ipaddress.ip_address(address)
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


__all__ = [
    "OPEN",
    "READ_ONLY",
    "AccessList",
    "AuthIds",
    "access_list",
    "authenticate",
    "digest_id",
    "expand",
    "in_use",
]
