"""A few requests that librdkafka does not know, sent by the project's own client.

For tools only: one request at a time, plain text, every wait bounded. Whatever goes wrong is a
`Failure`.
"""

from collections.abc import Sequence
from typing import Any

import trio

from ottla.broker.link import BrokerLink, LinkLost
from ottla.protocol.kafka.messages.metadata import MetadataRequest, MetadataRequestTopic
from ottla.runtime.interfaces import Address, Events
from ottla.runtime.real_network import RealNetwork
from ottla.scripts.tools.common import REQUEST_S, Failure

METADATA_VERSION = 12
REACH_S = 5.0
_FRAME_BYTES_MAX = 100 << 20

Message = Any  # requests and responses share no base class


class _Quiet:
    """An event log that nobody reads: a tool's failures are its output."""

    def debug(self, event: str, **fields: object) -> None: ...

    def info(self, event: str, **fields: object) -> None: ...

    def warning(self, event: str, **fields: object) -> None: ...

    def error(self, event: str, **fields: object) -> None: ...

    def bind(self, **fields: object) -> Events:
        del fields
        return self


class Wire:
    """A cluster as its metadata shows it, and its brokers to ask. Use within one `trio.run`."""

    def __init__(self, bootstrap: str) -> None:
        self._network = RealNetwork(_Quiet())
        self._bootstrap = bootstrap
        self._links: dict[Address, BrokerLink] = {}
        self.addresses: dict[int, Address] = {}
        self.racks: dict[int, str | None] = {}
        self.controller = -1

    async def reach(self, topics: Sequence[str] | None = None) -> Message:
        """The metadata of `topics` (None: of all); learns the brokers. Failure."""
        wanted = None if topics is None else [MetadataRequestTopic(name=name) for name in topics]
        request = MetadataRequest(topics=wanted, allow_auto_topic_creation=False)
        reason = "no address"
        for text in self._bootstrap.split(","):
            host, _, port = text.strip().rpartition(":")
            if not host or not port.isdecimal():
                raise Failure(f"--bootstrap-server takes host:port, not {text!r}")
            address = Address(host.strip("[]"), int(port))
            try:
                answer = await self._ask(address, request, METADATA_VERSION, REACH_S)
            except LinkLost as error:
                reason = str(error)
                continue
            for broker in answer.brokers:
                self.addresses[broker.node_id] = Address(broker.host, broker.port)
                self.racks[broker.node_id] = broker.rack
            self.controller = answer.controller_id
            return answer
        raise Failure(f"no broker of {self._bootstrap} answered: {reason}")

    async def ask(self, broker: int, message: Message, version: int) -> Message:
        """The answer of one broker. Failure."""
        address = self.addresses.get(broker)
        if address is None:
            raise Failure(f"broker {broker} is not alive")
        try:
            return await self._ask(address, message, version, REQUEST_S)
        except LinkLost as error:
            raise Failure(f"broker {broker}: {error}") from error

    async def ask_controller(self, message: Message, version: int) -> Message:
        if self.controller not in self.addresses:
            raise Failure("the cluster has no controller at the moment")
        return await self.ask(self.controller, message, version)

    async def _ask(
        self, address: Address, message: Message, version: int, timeout_s: float
    ) -> Message:
        link = self._links.get(address)
        if link is None:
            link = BrokerLink(self._network, address, "ottla-tools", _FRAME_BYTES_MAX)
            self._links[address] = link
        return await link.request(message, version=version, timeout_s=timeout_s)

    def close(self) -> None:
        for link in self._links.values():
            link.close()


def run_with_wire(bootstrap: str, work: Any) -> int:  # noqa: ANN401 - async def work(wire) -> int
    """Run `work(wire)` and give back what it does."""

    async def main() -> int:
        wire = Wire(bootstrap)
        try:
            code: int = await work(wire)
            return code
        finally:
            wire.close()

    return trio.run(main)


__all__ = ["Wire", "run_with_wire"]
