"""What one coordinator member needs to know, as plain values.

The entry script builds a `CoordinatorSettings` from the property file (`ottla.config`); nothing
here reads files. Names follow ZooKeeper's keys (`tickTime` -> `tick_time_ms`), meanings too, except
that `tickTime` also sets the pace of elections (see `Timing.for_tick` in `consensus.values`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ottla.protocol.zookeeper.ensemble import Server
from ottla.runtime.interfaces import Address
from ottla.runtime.tls import TlsSettings

DEFAULT_WHITELIST = frozenset({"srvr"})


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """Settings of one member; `members` maps every member's id, `my_id` included, to its address.

    `members` may be empty or hold only `my_id`: the member then is an ensemble of one, opens no
    peer port and calls itself standalone.
    """

    data_dir: str
    my_id: int = 1
    members: Mapping[int, Address] = field(default_factory=dict)
    observers: frozenset[int] = frozenset()
    """Those of `members` that have every change and no vote."""
    servers: Mapping[int, Server] = field(default_factory=dict)
    """What /zookeeper/config tells of `members`; empty: their addresses and nothing more."""
    reconfig_enabled: bool = False
    """Whether the members may be changed by requests (`reconfig`)."""
    standalone_enabled: bool = True
    """Whether one member alone opens no peer port, and two must be left to vote; False: an ensemble
    may begin with one member, and shrink to one."""
    dynamic_config_file: str | None = None
    """Changed members are written to this path with `.<version>` behind it; None: nowhere."""
    client_address: Address = field(default_factory=lambda: Address("", 2181))
    data_log_dir: str | None = None
    """Where the txn log goes; None: into `data_dir`, next to the snapshots."""
    tick_time_ms: int = 2000
    init_limit: int = 10
    """Ticks that a member may be catching up with its leader without progress, until it begins
    anew on a new connection."""
    sync_limit: int = 5
    """Ticks that a request may wait for the leader before the member stops serving it."""
    max_client_cnxns: int = 60
    """Client connections per remote address; 0: no limit."""
    min_session_timeout_ms: int = -1
    """-1: two ticks."""
    max_session_timeout_ms: int = -1
    """-1: twenty ticks."""
    snap_count: int = 100_000
    autopurge_snap_retain_count: int = 3
    autopurge_purge_interval_h: int = 0
    """Hours between purges; 0: never."""
    force_sync: bool = True
    """False: acknowledge writes before they are on stable storage (a power cut may lose them)."""
    jute_max_buffer: int = 0xFFFFF
    four_letter_whitelist: frozenset[str] = DEFAULT_WHITELIST
    """Words answered on the client port; `*` is all."""
    quorum_listen_on_all_ips: bool = False
    super_digest: str | None = None
    """`user:base64(sha1(user:password))` of who may do everything."""
    admin_address: Address | None = None
    """Where HTTP is served for operators and monitors; None: nowhere."""
    secure_client_address: Address = field(default_factory=lambda: Address("", 2281))
    """Where TLS is served; only with `tls`."""
    tls: TlsSettings | None = None
    peer_tls: TlsSettings | None = None
    """How members talk to each other; None: without TLS."""
    peer_verify_hostname: bool = True
    """Whether a member's certificate must be made out to the host that `members` names."""
    peer_secret: bytes | None = field(default=None, repr=False)
    """What members prove to each other that they know; None: nothing."""
    x509_super_user: str | None = None
    """The subject (RFC 2253) of the certificate whose owner may do everything."""
    read_only_mode: bool = False
    """Whether a member without a leader serves reads to clients that ask for no more."""
    sasl_users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names and passwords for SASL DIGEST-MD5; empty: SASL is not there."""
    sasl_super_user: str | None = None
    """The SASL user who may do everything."""
    required_schemes: frozenset[str] = frozenset()
    """Of these a client must have proved one before it may ask for anything; empty: nothing."""
    enforce_quota: bool = False
    """Whether hard limits of `/zookeeper/quota` are kept and soft ones told of."""
    extended_types: bool = False
    """Whether znodes with a time to live may be made."""
    container_check_interval_ms: int = 60_000
    """Between two looks for containers and TTL nodes that are due; 0: none are ever collected."""
    container_max_per_minute: int = 10_000
    container_max_never_used_ms: int = 0
    """After this time a container that never had a child goes as well; 0: it stays."""

    def __post_init__(self) -> None:
        """Refuse relations that no member could run with; the configuration reader names keys."""
        problems: list[str] = []
        if not 0 <= self.my_id <= 255:
            problems.append(f"my_id {self.my_id} is not within 0..255")
        if self.members and self.my_id not in self.members:
            problems.append(f"my_id {self.my_id} is not among the members {sorted(self.members)}")
        if not self.observers <= self.members.keys():
            problems.append(f"observers {sorted(self.observers)} are not among the members")
        if self.members and not self.voter_ids:
            problems.append("nobody has a vote")
        if self.tick_time_ms < 1 or self.init_limit < 1 or self.sync_limit < 1:
            problems.append("tick_time_ms, init_limit and sync_limit must be positive")
        if self.min_session_ms > self.max_session_ms:
            problems.append(
                f"session timeouts {self.min_session_ms}..{self.max_session_ms} are empty"
            )
        if self.snap_count < 2:
            problems.append(f"snap_count {self.snap_count} is below 2")
        if self.autopurge_snap_retain_count < 1:
            problems.append("autopurge_snap_retain_count must be positive")
        if self.servers and self.servers.keys() != self.members.keys():
            problems.append(f"servers {sorted(self.servers)} are not the members")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def min_session_ms(self) -> int:
        """The shortest session timeout granted, milliseconds."""
        return (
            self.min_session_timeout_ms
            if self.min_session_timeout_ms > 0
            else 2 * self.tick_time_ms
        )

    @property
    def max_session_ms(self) -> int:
        """The longest session timeout granted, milliseconds."""
        return (
            self.max_session_timeout_ms
            if self.max_session_timeout_ms > 0
            else 20 * self.tick_time_ms
        )

    @property
    def member_ids(self) -> tuple[int, ...]:
        """Every member of the ensemble, ascending; `my_id` alone when none are listed."""
        return tuple(sorted(self.members)) or (self.my_id,)

    @property
    def all_servers(self) -> Mapping[int, Server]:
        """The members as the file has them, for clients to see."""
        return self.servers or {
            id_: Server(address.host, address.port, address.port, id_ in self.observers)
            for id_, address in self.members.items()
        }

    @property
    def voter_ids(self) -> tuple[int, ...]:
        """The members that vote, ascending."""
        return tuple(member for member in self.member_ids if member not in self.observers)

    @property
    def peer_address(self) -> Address | None:
        """Where its peers call this member; None: it has none, and never will."""
        if len(self.member_ids) == 1 and (self.standalone_enabled or not self.members):
            return None
        return self.members[self.my_id]

    def listen_on(self, own: Address) -> Address:
        """The interface to listen on for peers that call `own`."""
        return Address("", own.port) if self.quorum_listen_on_all_ips else own


__all__ = ["DEFAULT_WHITELIST", "CoordinatorSettings"]
