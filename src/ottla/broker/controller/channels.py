"""One task per broker that tells it what the controller decided, in order, until it knows.

A channel keeps what its broker still has to hear as sets of partitions and builds each message from
the controller's state when it is sent: a broker that is slow or cut off gets the newest state once.
A message is sent again until it is answered; only the end of the broker's registration, or of the
controller's reign, ends that.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import trio

from ottla.broker.controller import requests
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.state import ControllerState
from ottla.broker.ensemble.values import BrokerInfo
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.broker.link import LinkLost, Message
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse
from ottla.protocol.kafka.messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from ottla.protocol.kafka.messages.update_metadata import (
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)
from ottla.runtime.interfaces import Events

RETRY_S = 0.1
PARTITIONS_PER_REQUEST = 400
"""What is built, encoded, decoded or applied at once holds a loop for some milliseconds."""


class Link(Protocol):
    """What a channel needs of `ottla.broker.link.BrokerLink`."""

    async def request(self, message: Message, *, version: int, timeout_s: float) -> Message: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RolesAnswered:
    """A broker's answer to LeaderAndIsr: partitions whose disk failed, and those that are well."""

    broker: BrokerInfo
    broken: tuple[TopicPartition, ...]
    healthy: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class DeletionAnswered:
    """A broker's answer to StopReplica with deletion: what is gone, and what could not go."""

    broker: BrokerInfo
    deleted: tuple[TopicPartition, ...]
    failed: tuple[TopicPartition, ...]


Answer = RolesAnswered | DeletionAnswered
T = TypeVar("T")


@dataclass(slots=True)
class _Pending:
    """What a broker has not heard yet."""

    full: bool = False
    stop: dict[TopicPartition, bool] = field(default_factory=dict)
    roles: dict[TopicPartition, bool] = field(default_factory=dict)
    metadata: dict[TopicPartition, None] = field(default_factory=dict)
    metadata_due: bool = False

    def __bool__(self) -> bool:
        return bool(self.full or self.stop or self.roles or self.metadata_due)


class BrokerChannel:
    """What is on its way to one broker, in one of its lives."""

    def __init__(
        self,
        cluster: ControllerState,
        broker: BrokerInfo,
        link: Link,
        *,
        listener: str,
        on_answer: Callable[[Answer], Awaitable[None]],
        events: Events,
        timeout_s: float,
    ) -> None:
        self.broker = broker
        self._cluster = cluster
        self._link = link
        self._listener = listener
        self._on_answer = on_answer
        self._events = events
        self._timeout_s = timeout_s
        self._broken: set[TopicPartition] = set()  # as the broker said last
        self._pending = _Pending()
        self._posted = 0
        self._told = 0
        self._wake = trio.Event()
        self._progress = trio.Event()
        self._failing = False
        self.scope = trio.CancelScope()

    # --- what is to be told ----------------------------------------------------------------

    def post(self, notices: Notices) -> None:
        """Take from `notices` what concerns this broker."""
        pending = self._pending
        me = self.broker.id
        for tp, delete in notices.stop.get(me, {}).items():
            pending.stop[tp] = pending.stop.get(tp, False) or delete
            pending.roles.pop(tp, None)
        for tp, is_new in notices.leader_and_isr.get(me, {}).items():
            pending.roles[tp] = pending.roles.get(tp, False) or is_new
        if me in notices.full:
            pending.full = True
        if notices.metadata or notices.announce:
            pending.metadata.update(notices.metadata)
            pending.metadata_due = True
        self._posted += 1
        self._wake.set()

    async def wait_told(self) -> None:
        """Return when the broker has answered everything that was posted before the call."""
        goal = self._posted
        while self._told < goal:
            await self._progress.wait()

    # --- the task --------------------------------------------------------------------------

    async def run(self) -> None:
        with self.scope:
            try:
                while True:
                    if self._pending:
                        await self._tell()
                    else:
                        self._wake = trio.Event()
                        await self._wake.wait()
            finally:
                self._link.close()

    async def _tell(self) -> None:
        """Send one round: a new broker first hears of the cluster, then of its roles."""
        goal = self._posted
        pending, self._pending = self._pending, _Pending()
        if pending.full:
            await self._send_metadata((), full=True)
            pending.metadata.clear()
            pending.metadata_due = False
        if pending.stop:
            await self._send_stop(pending.stop)
        if pending.full or pending.roles:
            await self._send_roles(pending)
        if pending.metadata_due:
            await self._send_metadata(pending.metadata)
        self._told = goal
        progress, self._progress = self._progress, trio.Event()
        progress.set()

    async def _send_metadata(
        self, partitions: Iterable[TopicPartition], *, full: bool = False
    ) -> None:
        """What is known of `partitions`, perhaps nothing but the brokers; `full`: all there are."""

        def build(part: list[TopicPartition], is_all: bool) -> UpdateMetadataRequest:
            return requests.update_metadata(self._cluster, self.broker.id, part, full=is_all)

        parts = _parts(self._cluster.partitions if full else partitions)
        for part in parts:
            answer = await self._deliver(
                partial(build, part, full and len(parts) == 1),
                requests.UPDATE_METADATA_VERSION,
                UpdateMetadataResponse,
            )
            self._report(answer.error_code, "UpdateMetadata")

    async def _send_stop(self, partitions: dict[TopicPartition, bool]) -> None:
        def build() -> StopReplicaRequest:
            return requests.stop_replica(self._cluster, self.broker.id, partitions)

        answer = await self._deliver(build, requests.STOP_REPLICA_VERSION, StopReplicaResponse)
        deleting = [tp for tp, delete in partitions.items() if delete]
        failed = {
            TopicPartition(each.topic_name, each.partition_index)
            for each in answer.partition_errors
            if each.error_code
        }
        if self._report(answer.error_code, "StopReplica"):
            failed = set(deleting)
        if deleting:
            await self._on_answer(
                DeletionAnswered(
                    self.broker,
                    tuple(tp for tp in deleting if tp not in failed),
                    tuple(tp for tp in deleting if tp in failed),
                )
            )

    async def _send_roles(self, pending: _Pending) -> None:
        roles = pending.roles
        if pending.full:
            held = self._cluster.partitions_on(self.broker.id)
            roles = {tp: roles.get(tp, False) for tp in held} | roles
        parts = _parts(roles)
        for part in parts:
            is_all = pending.full and len(parts) == 1
            await self._send_some_roles({tp: roles[tp] for tp in part}, is_all)

    async def _send_some_roles(self, roles: dict[TopicPartition, bool], is_all: bool) -> None:
        def build() -> LeaderAndIsrRequest:
            return requests.leader_and_isr(
                self._cluster, self.broker.id, roles, self._listener, full=is_all
            )

        answer = await self._deliver(build, requests.LEADER_AND_ISR_VERSION, LeaderAndIsrResponse)
        if self._report(answer.error_code, "LeaderAndIsr"):
            return
        broken: list[TopicPartition] = []
        healthy: list[TopicPartition] = []
        for topic in answer.topics:
            name = self._cluster.names.get(topic.topic_id)
            if name is None:
                continue
            for each in topic.partition_errors:
                tp = TopicPartition(name, each.partition_index)
                if each.error_code == ErrorCode.KAFKA_STORAGE_ERROR:
                    broken.append(tp)
                elif each.error_code == ErrorCode.NONE:
                    healthy.append(tp)
                else:
                    self._report(each.error_code, "LeaderAndIsr", tp)
        # What it said before may not have been taken in yet: `cluster` does not know of it then.
        are_mended = not self._broken.isdisjoint(healthy)
        self._broken.difference_update(healthy)
        self._broken.update(broken)
        if broken or are_mended or self._cluster.broken.get(self.broker.id):
            await self._on_answer(RolesAnswered(self.broker, tuple(broken), tuple(healthy)))

    async def _deliver(self, build: Callable[[], Message], version: int, answer_type: type[T]) -> T:
        """Send what `build` makes until it is answered; it is built anew for every attempt."""
        while True:
            # Its registration may have ended in the very moment of its last answer.
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                answer = await self._link.request(
                    build(), version=version, timeout_s=self._timeout_s
                )
            except LinkLost as error:
                if not self._failing:
                    self._failing = True
                    self._events.warning(
                        "controller.broker_unreachable", broker=self.broker.id, reason=str(error)
                    )
                await trio.sleep(RETRY_S)
                continue
            self._failing = False
            assert isinstance(answer, answer_type)
            return answer

    def _report(self, code: int, request: str, tp: TopicPartition | None = None) -> bool:
        if code == ErrorCode.NONE:
            return False
        self._events.warning(
            "controller.request_refused",
            broker=self.broker.id,
            request=request,
            error=code,
            partition=None if tp is None else str(tp),
        )
        return True


def _parts(tps: Iterable[TopicPartition]) -> list[list[TopicPartition]]:
    """What goes into one request after the other; the last is never left out, empty or not."""
    every = list(tps)
    starts = range(0, max(len(every), 1), PARTITIONS_PER_REQUEST)
    return [every[at : at + PARTITIONS_PER_REQUEST] for at in starts]


class Channels:
    """The channels to all live brokers during one reign."""

    def __init__(
        self,
        cluster: ControllerState,
        *,
        connect: Callable[[BrokerInfo], Link],
        listener: str,
        on_answer: Callable[[Answer], Awaitable[None]],
        events: Events,
        timeout_s: float,
    ) -> None:
        self._nursery: trio.Nursery | None = None
        self._cluster = cluster
        self._connect = connect
        self._listener = listener
        self._on_answer = on_answer
        self._events = events
        self._timeout_s = timeout_s
        self._open: dict[BrokerId, BrokerChannel] = {}
        self._holding = True

    def start(self, nursery: trio.Nursery) -> None:
        """Run the channels in this nursery, the reign's. Nothing is sent before `speak`."""
        self._nursery = nursery

    def speak(self) -> None:
        """Send what was posted so far, as the cluster is by now, and from now on at once."""
        self._holding = False
        for channel in self._open.values():
            self.start_soon(channel.run)

    def open(self, broker: BrokerInfo) -> None:
        assert broker.id not in self._open
        channel = BrokerChannel(
            self._cluster,
            broker,
            self._connect(broker),
            listener=self._listener,
            on_answer=self._on_answer,
            events=self._events,
            timeout_s=self._timeout_s,
        )
        self._open[broker.id] = channel
        if not self._holding:
            self.start_soon(channel.run)

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run something that ends with the reign."""
        assert self._nursery is not None
        self._nursery.start_soon(task)

    def close(self, broker: BrokerId) -> None:
        channel = self._open.pop(broker, None)
        if channel is not None:
            channel.scope.cancel()

    def post(self, notices: Notices) -> None:
        if notices:
            for channel in self._open.values():
                channel.post(notices)

    async def wait_told(self, timeout_s: float) -> None:
        """Return when all brokers have heard what was posted, or after `timeout_s`."""
        with trio.move_on_after(timeout_s):
            for channel in list(self._open.values()):
                await channel.wait_told()
