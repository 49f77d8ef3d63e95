"""A topic that is deleted and made again under its name: what was in it never comes back.

One client does it all, step after step: make it, write, read all of it, delete it. Answers that
never come are asked for again by looking at the topic's id.
"""

from uuid import UUID

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.metadata import MetadataRequest, MetadataRequestTopic
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.simulation.world.clients.admin import Admin
from tests.simulation.world.clients.consumers import fetch
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.determinism import Signal
from tests.simulation.world.history import History, Violation

_PATIENCE_S = 20.0
_NO_ID = UUID(int=0)


class Recreator:
    """Ends after `end`, see `run`."""

    def __init__(self, port: KafkaPort, history: History, name: str = "phoenix") -> None:
        self._name = name
        self._tp = TopicPartition(name, 0)
        self._port = port
        self._history = history
        self._admin = Admin(port, history)
        self._ids: list[UUID] = []
        self._written: set[bytes] = set()  # of this life, acknowledged or not
        self._stray_deletes = 0  # they may come late, and end a life
        self.is_done = False

    async def run(self, end: Signal) -> None:
        """Life after life, and one whole one after `end`."""
        rng = self._port.rng
        while not self.is_done:
            is_last = end.is_set()
            await self._make()
            acked = await self._write(rng.randint(1, 6))
            if await self._read(acked):
                self._history.counts["topics made again and read"] += 1
                self.is_done = is_last
            if not self.is_done:
                await trio.sleep(rng.uniform(0.0, 5.0))
                await self._delete()

    async def _id(self) -> UUID | None:
        """The id of the topic as some broker knows it; `_NO_ID`: there is none; None: unknown."""
        request = MetadataRequest(
            topics=[MetadataRequestTopic(name=self._name)], allow_auto_topic_creation=False
        )
        try:
            answer = await self._port.ask(self._port.any_broker(), request, 10, 5.0)
        except LinkLost:
            return None
        topic = answer.topics[0]
        if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            return _NO_ID
        return None if topic.error_code else topic.topic_id

    async def _make(self) -> None:
        while True:
            await self._admin.create(self._name, 1, self._port.rng.choice((1, 3)), 1)
            found = await self._id()
            if found not in (None, _NO_ID, *self._ids):
                assert found is not None
                self._ids.append(found)
                return
            await trio.sleep(0.3)

    async def _delete(self) -> None:
        while True:
            code = await self._admin.delete(self._name)
            if code is ErrorCode.NONE or code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                return
            self._stray_deletes += code is None
            await trio.sleep(0.3)

    async def _leader(self) -> int:
        # Leader epochs begin anew with each life: what is known of the last one is in the way.
        self._port.leaders.pop(self._tp, None)
        return await self._port.leader(self._tp)

    async def _write(self, count: int) -> dict[bytes, int]:
        """Values with their offsets, of those that were acknowledged."""
        acked: dict[bytes, int] = {}
        self._written.clear()
        for number in range(count):
            value = f"{self._ids[-1]}:{number}".encode()
            self._written.add(value)
            batch = build_batch([(None, value, self._port.now_ms(), ())])
            rows = [PartitionProduceData(index=0, records=batch)]
            request = ProduceRequest(
                acks=-1,
                timeout_ms=3000,
                topic_data=[TopicProduceData(name=self._name, partition_data=rows)],
            )
            for _ in range(5):
                try:
                    with trio.fail_after(_PATIENCE_S):
                        leader = await self._leader()
                    answer = await self._port.ask(leader, request, 9, 8.0)
                except trio.TooSlowError:
                    break
                except LinkLost:
                    continue
                row = answer.responses[0].partition_responses[0]
                if row.error_code == ErrorCode.NONE:
                    acked[value] = row.base_offset
                    break
                await trio.sleep(0.2)
        return acked

    async def _read(self, acked: dict[bytes, int]) -> bool:
        """Whether all that was acknowledged was there; False: nobody can tell."""
        position, end = 0, max(acked.values(), default=-1) + 1
        began = trio.current_time()
        seen: dict[bytes, int] = {}
        while position < end:
            if trio.current_time() - began > _PATIENCE_S and self._may_be_gone():
                return False
            self._port.leaders.pop(self._tp, None)
            try:
                found = await fetch(self._port, self._history, self._tp, position)
            except LinkLost:
                continue
            for offset, _, value in found.records:
                assert value is not None
                if value not in self._written:
                    raise Violation(
                        f"{self._tp}: {value!r} at {offset} is not of this life"
                        f" ({self._ids[-1]}, the {len(self._ids)}th)"
                    )
                seen[value] = offset
            position = found.end
            if found.code is not ErrorCode.NONE:
                await trio.sleep(0.2)
        for value, offset in acked.items():
            if value not in seen and not self._may_be_gone():
                raise Violation(f"{self._tp}: {value!r} was acknowledged at {offset} and is lost")
        return True

    def _may_be_gone(self) -> bool:
        return self._stray_deletes > 0 or self._tp in self._history.excused
