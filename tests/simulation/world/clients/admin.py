"""Creating, growing and deleting topics through whoever is the controller."""

import trio

from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from ottla.protocol.kafka.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from ottla.protocol.kafka.messages.delete_topics import DeleteTopicsRequest
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History

TIMEOUT_S = 8.0


class Admin:
    def __init__(self, port: KafkaPort, history: History) -> None:
        self.port = port
        self.history = history

    async def create(
        self, name: str, partitions: int, replication: int, min_isr: int, **configs: str
    ) -> ErrorCode | None:
        """None: nobody knows how it ended."""
        request = CreateTopicsRequest(
            topics=[
                CreatableTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=replication,
                    configs=[
                        CreatableTopicConfig(name=key.replace("_", "."), value=value)
                        for key, value in {"min_insync_replicas": str(min_isr), **configs}.items()
                    ],
                )
            ],
            timeout_ms=int(TIMEOUT_S * 1000) - 2000,
        )
        answer = await self._ask(request, 5)
        return None if answer is None else ErrorCode(answer.topics[0].error_code)

    async def grow(self, name: str, count: int) -> ErrorCode | None:
        request = CreatePartitionsRequest(
            topics=[CreatePartitionsTopic(name=name, count=count, assignments=None)],
            timeout_ms=6000,
        )
        answer = await self._ask(request, 2)
        return None if answer is None else ErrorCode(answer.results[0].error_code)

    async def delete(self, name: str) -> ErrorCode | None:
        answer = await self._ask(DeleteTopicsRequest(topic_names=[name], timeout_ms=6000), 4)
        return None if answer is None else ErrorCode(answer.responses[0].error_code)

    async def create_surely(
        self, name: str, partitions: int, replication: int, min_isr: int, **configs: str
    ) -> None:
        """`configs` are keys of topics with `_` for `.`."""
        while True:
            code = await self.create(name, partitions, replication, min_isr, **configs)
            if code in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS):
                return
            await trio.sleep(0.5)

    async def play(self) -> None:
        """Scratch topics come, grow and go until cancelled."""
        rng, port = self.port.rng, self.port
        number = 0
        alive: dict[str, int] = {}
        while True:
            await trio.sleep(rng.uniform(1.0, 12.0))
            chance = rng.random()
            if not alive or chance < 0.5:
                number += 1
                name, count = f"{port.name}-scratch-{number}", rng.randint(1, 3)
                code = await self.create(name, count, rng.randint(1, 3), 1)
                if code in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS):
                    alive[name] = count
                    self.history.topic_created(name)
                self.history.scratch[name] = "created"
            elif chance < 0.7:
                name = rng.choice(list(alive))
                if await self.grow(name, alive[name] + 1) is ErrorCode.NONE:
                    alive[name] += 1
            else:
                name = rng.choice(list(alive))
                self.history.scratch[name] = "deleting"
                code = await self.delete(name)
                if code in (ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION):
                    del alive[name]
                    self.history.scratch[name] = "deleted"

    async def _ask(self, request, version: int):
        port = self.port
        if port.controller < 0 and not await port.refresh("safe"):
            return None
        try:
            answer = await port.ask(port.controller, request, version, TIMEOUT_S)
        except LinkLost:
            port.controller = -1
            return None
        rows = getattr(answer, "topics", None) or getattr(answer, "results", None)
        rows = rows or answer.responses
        if rows[0].error_code == ErrorCode.NOT_CONTROLLER:
            port.controller = -1
        return answer
