"""Who the members are by now, and what follows from it outside of consensus.

Links are made and dropped, /zookeeper/config shows the members as long as they are those of the
file, and a committed change is told in an event and written to a file for the next start and for
people to see.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address

from ottla.coordinator.beginning import Beginning
from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.peer_security import PeerSecurity, PeerTls
from ottla.coordinator.peers import OnEnded, OnLink, OnMessage, OnReceived, Peers
from ottla.coordinator.servers import Details, addresses_of, details_of, observers_of, voters_of
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.store.store import VERSION_DIRECTORY
from ottla.coordinator.tree.tree import Tree
from ottla.protocol.peer.membership import Membership
from ottla.protocol.zookeeper.ensemble import Server, configuration_text
from ottla.runtime.interfaces import Runtime
from ottla.runtime.tls import client_context, server_context


class Circle:
    """Owned by the node. `servers` are those of the newest configuration in the log."""

    def __init__(self, settings: CoordinatorSettings, runtime: Runtime, core: Consensus) -> None:
        self._settings = settings
        self._runtime = runtime
        self._core = core
        self._membership: Membership | None = None
        self._circle: frozenset[int] | None = None
        self.servers: Mapping[int, Server] = settings.all_servers
        self._leaving: Mapping[int, Server] = {}
        self._beginning = Beginning(
            runtime,
            f"{settings.data_dir}/{VERSION_DIRECTORY}",
            is_empty=not core.synced_index,
        )
        self._follow_membership()

    def make_peers(
        self,
        *,
        on_message: OnMessage,
        on_received: OnReceived,
        on_link: OnLink,
        on_ended: OnEnded,
    ) -> Peers | None:
        """The links of this member, which calls nobody yet. None: it stands alone. TlsUnusable."""
        settings, runtime = self._settings, self._runtime
        own = settings.peer_address
        if own is None:
            return None
        may_change = settings.reconfig_enabled or bool(self._core.membership.details)
        self._warn_of_strangers(settings.listen_on(own).host)
        listed = ",".join(f"{id_}:{one.port}" for id_, one in sorted(settings.members.items()))
        return Peers(
            runtime.network,
            runtime.events,
            settings.my_id,
            addresses_of(self.servers).get(settings.my_id, own),
            listen_on=settings.listen_on,
            on_message=on_message,
            on_received=on_received,
            on_link=on_link,
            on_ended=on_ended,
            security=PeerSecurity(
                settings.my_id, runtime.rng, tls=_peer_tls(settings), secret=settings.peer_secret
            ),
            beginning=self._beginning,
            ensemble="" if may_change else listed,
            takes_guests=may_change,
        )

    def _warn_of_strangers(self, interface: str) -> None:
        settings = self._settings
        is_open = settings.peer_tls is None and settings.peer_secret is None
        if is_open and not is_loopback(interface):
            self._runtime.events.warning(
                "ensemble.peer_port_open",
                interface=interface or "*",
                remedy="quorum.auth.secretFile or sslQuorum",
            )

    def follow(self, peers: Peers, invited: Callable[[], Mapping[int, Server]]) -> None:
        """Keep the links that consensus may want to use. Cheap when nothing changed."""
        core = self._core
        if core.circle is self._circle:
            return
        self._circle = core.circle
        self._follow_membership()
        known = {**invited(), **self._leaving, **self.servers}
        addresses = addresses_of(known)
        own = addresses.get(self._settings.my_id, self._settings.peer_address)
        assert own is not None
        peers.follow({id_: addresses[id_] for id_ in core.circle if id_ in addresses}, own)

    def _follow_membership(self) -> None:
        membership = self._core.membership
        if membership is self._membership:
            return
        self._membership = membership
        details = details_of(membership)
        self.servers = self._settings.all_servers if details is None else details.servers
        # Who left is called until consensus needs it no more.
        self._leaving = {**self._leaving, **(details.leaving if details is not None else {})}

    def learn(self, tree: Tree) -> None:
        """Know by the state, which is committed, where it began."""
        self._beginning.learn(tree.secret)

    def show(self, tree: Tree) -> None:
        """A state from a snapshot: put the members of the file where clients look for them.

        Only ensembles have that.
        """
        self.learn(tree)
        if not tree.config_version and self._settings.peer_address is not None:
            tree.show_configuration(configuration_text(self._settings.all_servers))

    def changed(self, details: Details, version: int) -> None:
        """A change of members is done."""
        self._runtime.events.info(
            "ensemble.members_changed",
            voters=list(voters_of(details.servers)),
            observers=list(observers_of(details.servers)),
            left=sorted(details.leaving),
            version=f"{version:x}",
        )
        base = self._settings.dynamic_config_file
        if base is None:
            return
        path = f"{base}.{version:x}"
        text = f"{configuration_text(details.servers)}\nversion={version:x}\n"
        try:
            self._runtime.disk.replace(path, text.encode())
        except OSError as error:
            self._runtime.events.warning(
                "ensemble.configuration_not_written", file=path, reason=str(error)
            )


def is_loopback(interface: str) -> bool:
    """Whether only this machine can reach what listens there; names but `localhost`: no."""
    try:
        return ip_address(interface).is_loopback
    except ValueError:
        return interface == "localhost"


def _peer_tls(settings: CoordinatorSettings) -> PeerTls | None:
    if settings.peer_tls is None:
        return None
    calling = client_context(settings.peer_tls, verify_hostname=settings.peer_verify_hostname)
    return PeerTls(calling, server_context(settings.peer_tls))


__all__ = ["Circle", "is_loopback"]
