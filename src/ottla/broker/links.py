"""This broker's links to the others, over the inter-broker listener."""

from collections.abc import Callable

from ottla.broker.ids import NO_BROKER, BrokerId
from ottla.broker.link import BrokerLink
from ottla.broker.metadata import MetadataCache
from ottla.runtime.interfaces import Address, Network


class ControllerLink:
    """A link to whoever is the controller, as far as this broker knows; calling it gives the link.

    Each user has one of its own: a request that takes long holds up those behind it.
    """

    def __init__(
        self,
        controller_id: Callable[[], BrokerId],
        metadata: MetadataCache,
        listener: str,
        connect: Callable[[Address, str], BrokerLink],
        client_id: str,
    ) -> None:
        self._controller_id = controller_id
        self._metadata = metadata
        self._listener = listener
        self._connect = connect
        self._client_id = client_id
        self._link: BrokerLink | None = None

    def __call__(self) -> BrokerLink | None:
        """None while no controller is known, or no address of it."""
        controller = self._controller_id()
        address = self._metadata.endpoint(controller, self._listener)
        if controller == NO_BROKER or address is None:
            return None
        if self._link is None or self._link.address != address:
            self.close()
            self._link = self._connect(address, self._client_id)
        return self._link

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def connector(network: Network, max_frame: int) -> Callable[[Address, str], BrokerLink]:
    """What makes a link from an address and a client id."""

    def connect(address: Address, client_id: str) -> BrokerLink:
        return BrokerLink(network, address, client_id, max_frame)

    return connect
