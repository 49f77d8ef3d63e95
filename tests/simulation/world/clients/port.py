"""A Kafka client's way to the cluster: links to its brokers, and metadata."""

import random

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import BrokerLink, LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import FetchRequest
from ottla.protocol.kafka.messages.metadata import MetadataRequest, MetadataRequestTopic
from ottla.runtime.interfaces import Address
from tests.simulation.world.network import SimNetwork
from tests.simulation.world.nodes import BROKER_PORT

MAX_FRAME = 16 * 1024 * 1024


class _Bound:
    """Ends the wait for an answer."""

    __slots__ = ("link",)

    def __init__(self, link: BrokerLink) -> None:
        self.link: BrokerLink | None = link

    def ring(self) -> None:
        if self.link is not None:
            self.link.disconnect()


class KafkaPort:
    """Links to all brokers from one host. `leaders`: tp -> (leader, leader epoch), as last told."""

    def __init__(self, network: SimNetwork, brokers: int, rng: random.Random) -> None:
        self.name = network.host
        self.rng = rng
        self.leaders: dict[TopicPartition, tuple[int, int]] = {}
        self.controller = -1
        self._network = network
        self._links = {each: self._link(each) for each in range(1, brokers + 1)}
        self._reading: dict[tuple, BrokerLink] = {}  # for fetches: by broker and partition

    def _link(self, broker: int) -> BrokerLink:
        address = Address(f"broker-{broker}", BROKER_PORT)
        return BrokerLink(self._network, address, self.name, MAX_FRAME)

    def _reading_link(self, broker: int, fetch: FetchRequest) -> BrokerLink:
        """A fetch may wait for records: nothing else has to wait behind it."""
        [topic] = fetch.topics
        [partition] = topic.partitions
        key = broker, topic.topic, partition.partition
        if key not in self._reading:
            self._reading[key] = self._link(broker)
        return self._reading[key]

    @property
    def brokers(self) -> list[int]:
        return list(self._links)

    def now_ms(self) -> int:
        """What the clients' clocks say; they are right."""
        return 1_700_000_000_000 + int(trio.current_time() * 1000)

    async def ask(self, broker: int, message, version: int, timeout_s: float = 10.0):
        """LinkLost, also for a broker that nobody knows."""
        link = self._links.get(broker)
        if link is None:
            await trio.sleep(0.1)
            raise LinkLost(f"no broker {broker}")
        if isinstance(message, FetchRequest):
            link = self._reading_link(broker, message)
        if not link.is_connected:
            return await link.request(message, version=version, timeout_s=timeout_s)
        # Where there is a connection, an entry on the agenda costs less than a cancel scope.
        bound = _Bound(link)
        clock = trio.lowlevel.current_clock()
        clock.at(clock.now + timeout_s, _Bound.ring, bound)
        try:
            return await link.request_unbounded(message, version)
        finally:
            bound.link = None

    def any_broker(self) -> int:
        return self.rng.choice(list(self._links))

    async def refresh(self, *topics: str) -> bool:
        """Ask some broker for metadata; whether it answered."""
        request = MetadataRequest(
            topics=[MetadataRequestTopic(name=name) for name in topics] if topics else None,
            allow_auto_topic_creation=False,
        )
        try:
            answer = await self.ask(self.any_broker(), request, 9, timeout_s=5.0)
        except LinkLost:
            await trio.sleep(0.1)
            return False
        self.controller = answer.controller_id
        for topic in answer.topics:
            if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                for tp in [each for each in self.leaders if each.topic == topic.name]:
                    del self.leaders[tp]
            for each in topic.partitions:
                tp = TopicPartition(topic.name, each.partition_index)
                known = self.leaders.get(tp, (-1, -1))
                if each.leader_epoch >= known[1]:
                    self.leaders[tp] = each.leader_id, each.leader_epoch
        return True

    async def leader(self, tp: TopicPartition) -> int:
        """The leader of `tp`, asked for until somebody knows one."""
        pause_s = 0.2
        while self.leaders.get(tp, (-1, -1))[0] < 0:
            if not await self.refresh(tp.topic) or self.leaders.get(tp, (-1, -1))[0] < 0:
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, 1.0)
        return self.leaders[tp][0]

    def leader_unknown(self, tp: TopicPartition) -> None:
        known = self.leaders.get(tp)
        if known is not None:
            self.leaders[tp] = -1, known[1]

    def close(self) -> None:
        for link in (*self._links.values(), *self._reading.values()):
            link.close()
