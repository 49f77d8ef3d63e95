"""One direction of one connection apart from all others between its hosts.

What a firewall that forgets a connection does, a full receive buffer, or a path of several where
one is bad: this one stalls, or drains slowly, while whoever connects anew finds nothing wrong.
"""

from tests.simulation.world.network import Fabric
from tests.simulation.world.streams import Link, SimStream


class Lane:
    """What `stream` sends goes its own way until `release`."""

    def __init__(self, fabric: Fabric, stream: SimStream) -> None:
        self._fabric = fabric
        self._flow = stream._outgoing
        self._shared = self._flow.link
        self._key = str(stream.local), self._shared.target
        self._link = Link(self._shared.target, self._shared.delay_s, self._shared.jitter_s)
        fabric.links[self._key] = self._flow.link = self._link

    def stall(self) -> None:
        """Nothing arrives, and nothing is lost."""
        self._fabric.cut(*self._key)

    def slow_down(self, bytes_per_s: float) -> None:
        self._link.bytes_per_s = bytes_per_s

    def release(self) -> None:
        """As the others again; a long stall may have broken the connection."""
        self._fabric.heal(*self._key)
        self._fabric.quicken(self._link)
        self._flow.link = self._shared
        del self._fabric.links[self._key]


def is_on_a_lane(fabric: Fabric, stream: SimStream) -> bool:
    flow = stream._outgoing
    return flow.link is not fabric.link(fabric.streams[stream], flow.link.target)


__all__ = ["Lane", "is_on_a_lane"]
