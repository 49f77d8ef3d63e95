"""One znode, and the Stat that a client sees of it."""

from ottla.coordinator.tree.access import AccessList
from ottla.protocol.zookeeper.data import STAT, Stat
from ottla.protocol.zookeeper.jute import INT

CONTAINER_OWNER = -(2**63)
"""`owner` of a container node: persistent, but the leader deletes it once it is empty again."""
_TTL_TOP = 0xFF << 56
TTL_MAX_MS = (1 << 40) - 1
_PACK_INT = INT.pack
_PACK_STAT = STAT.pack
_NULL = INT.pack(-1)


class Znode:
    """Mutated by `Tree.apply` only; call `touched()` after each change of what Stat shows."""

    __slots__ = (
        "_stat",
        "acl",
        "aversion",
        "children",  # names in order of creation; None: never had any
        "ctime",
        "cversion",  # counts creations only; the next sequential name's number
        "czxid",
        "data",
        "mtime",
        "mzxid",
        "owner",  # session id of an ephemeral; 0: persistent; see `is_ephemeral`
        "pzxid",
        "version",
    )

    def __init__(
        self, data: bytes | None, acl: AccessList, zxid: int, time_ms: int, owner: int
    ) -> None:
        self.data = data
        self.acl = acl
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime = self.mtime = time_ms
        self.version = self.cversion = self.aversion = 0
        self.owner = owner
        self.children: dict[str, None] | None = None
        self._stat: bytes | None = None

    def touched(self) -> None:
        self._stat = None

    def stat(self) -> Stat:
        count = len(self.children) if self.children else 0
        return Stat(
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            # Every child that was created and is not there any more was deleted once.
            as_int32(self.cversion * 2 - count),
            self.aversion,
            self.owner if is_ephemeral(self.owner) else 0,
            len(self.data) if self.data else 0,
            count,
            self.pzxid,
        )

    def encoded_stat(self) -> bytes:
        return self._stat or self.new_stat()

    def new_stat(self) -> bytes:
        """As `encoded_stat`, of a node that was changed; it takes the place of `touched`."""
        children, data, owner, changes = self.children, self.data, self.owner, self.cversion * 2
        count = len(children) if children else 0
        known = self._stat = _PACK_STAT(  # as `stat` says, without making one
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            as_int32(changes - count) if changes else -count,
            self.aversion,
            owner if owner and is_ephemeral(owner) else 0,
            len(data) if data else 0,
            count,
            self.pzxid,
        )
        return known

    def encoded_data(self) -> bytes:
        """The body of a GetDataResponse."""
        data = self.data
        if data is None:
            return _NULL + self.encoded_stat()
        return b"%b%b%b" % (_PACK_INT(len(data)), data, self._stat or self.encoded_stat())


def is_ephemeral(owner: int) -> bool:
    """Whether a node with this owner goes with a session; else it is persistent of some kind."""
    return owner not in (0, CONTAINER_OWNER) and not is_ttl(owner)


def is_ttl(owner: int) -> bool:
    # The two zero bytes tell it from a session id that member 255 gave out.
    return owner < 0 and (owner >> 40) & 0xFFFFFF == 0xFF0000


def ttl_owner(ttl_ms: int) -> int:
    """`owner` of a node that the leader deletes when it had no children for `ttl_ms`."""
    assert 0 < ttl_ms <= TTL_MAX_MS
    return (_TTL_TOP | ttl_ms) - (1 << 64)


def ttl_of(owner: int) -> int:
    assert is_ttl(owner)
    return owner & TTL_MAX_MS


def as_int32(value: int) -> int:
    """Versions wrap as a 32-bit signed number."""
    if -0x8000_0000 <= value <= 0x7FFF_FFFF:
        return value
    return (value + 0x8000_0000) % (1 << 32) - 0x8000_0000


__all__ = [
    "CONTAINER_OWNER",
    "TTL_MAX_MS",
    "Znode",
    "as_int32",
    "is_ephemeral",
    "is_ttl",
    "ttl_of",
    "ttl_owner",
]
