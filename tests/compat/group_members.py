"""Members of consumer groups, each client's in its own way, that tell what they own and read.

A member runs in a thread of its own. `owned` is what it was assigned last; `assignments` counts how
often that changed, so that a test can tell a rebalance from none.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import aiokafka
import confluent_kafka
from aiokafka.abc import ConsumerRebalanceListener as AioListener

from tests.compat.clients import BOUND_S, kafka
from tests.support.clusters import wait_until

_HEARTBEAT_MS = 300
_SESSION_MS = 10_000
_POLL_S = 0.05


class Member(ABC):
    """One member; `start`, and surely `stop`."""

    def __init__(self, bootstrap: str, topic: str, group: str, instance: str | None = None) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.group = group
        self.instance = instance
        self.owned: frozenset[int] = frozenset()
        self.assignments = 0
        self.revoked: list[frozenset[int]] = []
        self.values: list[bytes] = []
        self.failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self) -> "Member":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Leave as this client leaves, and wait until it did."""
        self._stopping.set()
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive(), "a member does not end"
        if self.failure is not None:
            raise self.failure

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.failure = error

    @abstractmethod
    def _run(self) -> None:
        """Join, read until `_stopping`, close."""

    def _took(self, partitions: Collection[int]) -> None:
        self.owned = frozenset(partitions)
        self.assignments += 1


class ConfluentMember(Member):
    """librdkafka; eager with `range` (its default) or incremental with `cooperative-sticky`."""

    strategy = "range,roundrobin"

    def _run(self) -> None:
        settings = {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": self.strategy,
            "heartbeat.interval.ms": _HEARTBEAT_MS,
            "session.timeout.ms": _SESSION_MS,
        }
        if self.instance is not None:
            settings["group.instance.id"] = self.instance
        consumer = confluent_kafka.Consumer(settings)
        consumer.subscribe([self.topic], on_assign=self._assigned, on_revoke=self._revoked)
        try:
            while not self._stopping.is_set():
                for message in consumer.consume(500, _POLL_S):
                    assert message.error() is None, message.error()
                    self.values.append(message.value())
        finally:
            consumer.close()

    def _assigned(self, _consumer: object, partitions: Sequence[Any]) -> None:
        self._took({each.partition for each in partitions})

    def _revoked(self, _consumer: object, partitions: Sequence[Any]) -> None:
        self.revoked.append(frozenset(each.partition for each in partitions))
        self.owned = frozenset()


class CooperativeMember(ConfluentMember):
    strategy = "cooperative-sticky"

    def _assigned(self, _consumer: object, partitions: Sequence[Any]) -> None:
        self._took(self.owned | {each.partition for each in partitions})

    def _revoked(self, _consumer: object, partitions: Sequence[Any]) -> None:
        gone = frozenset(each.partition for each in partitions)
        self.revoked.append(gone)
        self.owned -= gone


class KafkaPythonMember(Member):
    """kafka-python with its defaults: range first."""

    def _run(self) -> None:
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=self.group,
            group_instance_id=self.instance,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=_HEARTBEAT_MS,
            session_timeout_ms=_SESSION_MS,
        )
        member = self

        class Listener(kafka.ConsumerRebalanceListener):
            def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
                member.revoked.append(frozenset(each.partition for each in revoked))
                member.owned = frozenset()

            def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
                member._took({each.partition for each in assigned})

        # So that it knows the topic when it assigns partitions first; see FINDINGS.md.
        consumer.partitions_for_topic(self.topic)
        consumer.subscribe([self.topic], listener=Listener())
        try:
            while not self._stopping.is_set():
                for messages in consumer.poll(int(_POLL_S * 1000)).values():
                    self.values += [message.value for message in messages]
        finally:
            consumer.close()


class AioKafkaMember(Member):
    """aiokafka with its defaults: round robin, an event loop of its own."""

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=self.group,
            group_instance_id=self.instance,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=_HEARTBEAT_MS,
            session_timeout_ms=_SESSION_MS,
        )
        member = self

        class Listener(AioListener):
            def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
                member.revoked.append(frozenset(each.partition for each in revoked))
                member.owned = frozenset()

            def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
                member._took({each.partition for each in assigned})

        consumer.subscribe([self.topic], listener=Listener())
        async with consumer:
            while not self._stopping.is_set():
                found = await consumer.getmany(timeout_ms=int(_POLL_S * 1000))
                for messages in found.values():
                    self.values += [message.value for message in messages]


def wait_shared(members: Sequence[Member], partitions: int) -> None:
    """Wait until the members own all partitions between them, as evenly as it goes."""

    def shared() -> bool:
        for member in members:
            if member.failure is not None:
                raise member.failure
        owned = [partition for member in members for partition in member.owned]
        sizes = [len(member.owned) for member in members]
        return sorted(owned) == list(range(partitions)) and max(sizes) - min(sizes) <= 1

    wait_until(shared, lambda: f"{partitions} partitions shared: {[m.owned for m in members]}")


def stop_all(members: Sequence[Member]) -> None:
    """For the end of a test that may have failed already."""
    for member in members:
        with suppress(RuntimeError):  # never started
            member.stop()
