"""Consumers that read from a follower in their own rack, as the leader tells them to (KIP-392).

They go by Kafka's rules: a follower serves for a while, then the leader is asked again, as it is
after any error. That an offset is out of range counts only when the leader says so: a follower may
not have come as far yet.
"""

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.clients.consumers import Fetched, Reader, fetch
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History, Violation

_METADATA_AGE_S = 15.0  # after this long consumers ask for metadata, and the leader again


class NearReader(Reader):
    def __init__(self, port: KafkaPort, history: History, tp: TopicPartition, rack: str) -> None:
        super().__init__(port, history, tp)
        self._rack = rack
        self._version = port.rng.choice((11, 12))
        self._near = -1  # the follower that is read from
        self._near_until = 0.0

    async def _fetch(self) -> Fetched:
        if self._near >= 0 and trio.current_time() > self._near_until:
            self._near = -1
        near = self._near
        try:
            found = await fetch(
                self._port,
                self._history,
                self.tp,
                self.position,
                version=self._version,
                rack=self._rack,
                follower=near,
            )
        except LinkLost:
            self._near = -1
            raise
        if near < 0:
            self._follow(found)
            return found
        if found.preferred >= 0:
            raise Violation(f"{self.tp}: follower {near} sends to {found.preferred}")
        if found.code is not ErrorCode.NONE:
            self._near = -1
            if found.code is ErrorCode.OFFSET_OUT_OF_RANGE:
                self._history.counts["positions out of a follower's range"] += 1
                return found._replace(code=ErrorCode.OFFSET_NOT_AVAILABLE)
        self._history.counts["records read from followers"] += len(found.records)
        return found

    def _follow(self, found: Fetched) -> None:
        """Whom the leader names serves from now on."""
        if found.preferred >= 0:
            if found.records:
                raise Violation(f"{self.tp}: records and another broker to read them from")
            self._near = found.preferred
            self._near_until = trio.current_time() + _METADATA_AGE_S


__all__ = ["NearReader"]
