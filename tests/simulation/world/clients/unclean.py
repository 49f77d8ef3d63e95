"""Clients of topics that anybody may lead who is left, and an operator who makes somebody lead.

Producers write with acks=1 and give up what was not answered. One topic has
`unclean.leader.election.enable`; in the other, leaders from outside of the ISR come only when the
operator asks for them (ElectLeaders, KIP-460).
"""

from collections.abc import Mapping

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History, Violation

TOPICS = {"risky": {"unclean_leader_election_enable": "true"}, "asked": {}}
TIMEOUT_S = 8.0
_UNCLEAN = 1
_ANSWERS = {
    ErrorCode.NONE,
    ErrorCode.ELECTION_NOT_NEEDED,
    ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
    ErrorCode.NOT_CONTROLLER,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
}


class UncleanOperator:
    """Has leaders elected for partitions that have none for a while."""

    def __init__(
        self,
        port: KafkaPort,
        history: History,
        states: Mapping[TopicPartition, dict],
        tps: list[TopicPartition],
    ) -> None:
        self._port = port
        self._history = history
        self._states = states
        self._tps = tps

    async def play(self) -> None:
        while True:
            await trio.sleep(self._port.rng.uniform(1.0, 4.0))
            without = [tp for tp in self._tps if self._states[tp]["leader"] < 0]
            if without or self._port.rng.random() < 0.1:
                await self._elect(without or self._tps)

    async def _elect(self, tps: list[TopicPartition]) -> None:
        port = self._port
        epochs = {tp: self._states[tp]["leader_epoch"] for tp in tps}
        request = ElectLeadersRequest(
            election_type=_UNCLEAN,
            topic_partitions=[
                TopicPartitions(topic=tp.topic, partitions=[tp.partition]) for tp in tps
            ],
            timeout_ms=6000,
        )
        if port.controller < 0 and not await port.refresh("safe"):
            return
        try:
            answer = await port.ask(port.controller, request, 2, TIMEOUT_S)
        except LinkLost:
            port.controller = -1
            return
        if answer.error_code == ErrorCode.NOT_CONTROLLER:
            port.controller = -1
        for topic in answer.replica_election_results:
            for row in topic.partition_result:
                tp, code = TopicPartition(topic.topic, row.partition_id), ErrorCode(row.error_code)
                self._history.counts[f"unclean elections: {code.name.lower()}"] += 1
                if code is ErrorCode.NOT_CONTROLLER:
                    port.controller = -1
                elif code is ErrorCode.NONE and self._is_as_before(tp, epochs[tp]):
                    raise Violation(f"{tp}: a leader was elected, it is {self._states[tp]}")
                elif code not in _ANSWERS:
                    raise Violation(f"{tp} elects: {code.name}")

    def _is_as_before(self, tp: TopicPartition, epoch: int) -> bool:
        state = self._states[tp]
        return state["leader"] < 0 and state["leader_epoch"] == epoch


__all__ = ["TOPICS", "UncleanOperator"]
