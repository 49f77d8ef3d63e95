"""One reign: the time during which this broker is the controller.

A single task (`run`) owns the cluster state. Watches only mark what has to be looked at again;
requests of API handlers and answers of brokers come through a bounded queue and are handled one
after the other. The reign ends when the session does, when another controller is found, or when
the ensemble cannot be reached for a session timeout; the caller then is a candidate again.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar
from uuid import UUID

import trio

from ottla.broker.controller import decisions, reassigning
from ottla.broker.controller.channels import (
    Answer,
    Channels,
    DeletionAnswered,
    Link,
    RolesAnswered,
)
from ottla.broker.controller.ledger import ControllerMoved, Ledger
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.observer import Observer
from ottla.broker.controller.settings import ControllerSettings
from ottla.broker.controller.state import ControllerState, StateWrite
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.encodings import MalformedZnode
from ottla.broker.ensemble.errors import ConnectionLoss, EnsembleError
from ottla.broker.ensemble.values import BrokerInfo
from ottla.broker.ids import TopicPartition
from ottla.runtime.interfaces import Events

QUEUE_LENGTH = 1000
FIRST_REBALANCE_S = 5.0
DELETION_RETRY_S = 5.0
WRITE_ATTEMPTS = 5
_UNCLEAN_KEY = "unclean.leader.election.enable"

Decide = Callable[[ControllerState, Iterable[TopicPartition]], list[StateWrite]]
T = TypeVar("T")


class Deposed(Exception):
    """The reign ended before the request was handled: this broker is not the controller."""


class _Task:
    """A step for the owner and the place of its outcome."""

    __slots__ = ("done", "failure", "step")

    def __init__(self, step: Callable[[], Awaitable[None]]) -> None:
        self.step = step
        self.done = trio.Event()
        self.failure: Exception | None = None


class Reign:
    """From winning the election to losing it."""

    def __init__(
        self,
        client: EnsembleClient,
        cluster: ControllerState,
        settings: ControllerSettings,
        *,
        connect: Callable[[BrokerInfo], Link],
        events: Events,
        new_topic_id: Callable[[], UUID],
    ) -> None:
        self.client = client
        self.cluster = cluster
        self.settings = settings
        self.ledger = Ledger(client, cluster)
        self.events = events
        self.changed = trio.Event()
        self.serving = False
        self.observer = Observer(self, new_topic_id)
        self.channels = Channels(
            cluster,
            connect=connect,
            listener=settings.inter_broker_listener,
            on_answer=self._on_answer,
            events=events,
            timeout_s=settings.request_timeout_s,
        )
        self._session_number = client.sessions_begun
        self._dirty: dict[tuple[str, str], None] = {}
        self._over = trio.Event()
        self._send, self._receive = trio.open_memory_channel[_Task | None](QUEUE_LENGTH)

    # --- for API handlers ------------------------------------------------------------------

    async def submit(self, step: Callable[[], Awaitable[T]]) -> T:
        """Have the owner run `step` between two events; its result. Deposed, or what it raises."""
        outcome: list[T] = []

        async def run() -> None:
            outcome.append(await step())

        task = _Task(run)
        async with trio.open_nursery() as nursery:

            async def enqueue() -> None:
                await self._send.send(task)
                await task.done.wait()
                nursery.cancel_scope.cancel()

            async def until_over() -> None:
                await self._over.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(enqueue)
            nursery.start_soon(until_over)
        if outcome:
            return outcome[0]
        failure = task.failure
        if failure is None or isinstance(failure, ControllerMoved):
            raise Deposed
        raise failure

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for the state to satisfy `condition`; False after `timeout_s` or when deposed."""
        with trio.move_on_after(timeout_s):
            while not condition():
                if self._over.is_set():
                    return False
                await self.changed.wait()
            return True
        return condition()

    async def wait_told(self, timeout_s: float) -> None:
        """Wait until the live brokers have heard all that was decided, or `timeout_s`."""
        await self.channels.wait_told(timeout_s)

    # --- the owner -------------------------------------------------------------------------

    async def run(self) -> None:
        """Rule until deposed; returns then, and raises only for bugs."""
        reason = "the session ended"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_with_session, nursery.cancel_scope)
                try:
                    self.channels.start(nursery)
                    await self.observer.take_office()
                    if self.settings.auto_leader_rebalance_enable:
                        nursery.start_soon(self._rebalance_now_and_then)
                    await self._rule()
                except (ControllerMoved, EnsembleError, MalformedZnode) as error:
                    reason = str(error)
                nursery.cancel_scope.cancel()
        finally:
            self.serving = False
            self._over.set()
            self._signal()
            self.events.info("controller.resigned", epoch=self.cluster.epoch, reason=reason)

    async def _end_with_session(self, scope: trio.CancelScope) -> None:
        await self.client.wait_session_over(self._session_number)
        scope.cancel()

    async def _rule(self) -> None:
        while True:
            while self._dirty:
                kind, name = next(iter(self._dirty))
                del self._dirty[kind, name]
                try:
                    await self.observer.look_at(kind, name)
                except ConnectionLoss:
                    await self._take_up_again(kind, name)
                await self._advance_reassignments()
                self._signal()
            task = await self._receive.receive()
            if task is None:
                continue
            try:
                await task.step()
            except ConnectionLoss as error:
                task.failure = error
                await self._take_up_again("deletions", "")
            except EnsembleError as error:
                task.failure = error
            except ControllerMoved as error:
                task.failure = error
                raise
            finally:
                task.done.set()
                self._signal()
            await self._advance_reassignments()

    async def _advance_reassignments(self) -> None:
        if not self.cluster.due_moves:
            return
        try:
            await reassigning.advance(self)
        except ConnectionLoss:
            await self._take_up_again("reassignments", "")
        self._signal()

    async def _take_up_again(self, kind: str, name: str) -> None:
        """Steps that a lost connection cut short are repeated, and all leaders looked over."""
        self._dirty[kind, name] = None
        self._dirty["liveness", ""] = None
        await self.client.wait_connected()

    def _signal(self) -> None:
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def mark(self, kind: str, name: str = "") -> None:
        """Have the owner look at something (again); never blocks."""
        self._dirty[kind, name] = None
        # When the queue is full of work, the owner looks after it anyway.
        with contextlib.suppress(trio.WouldBlock):
            self._send.send_nowait(None)

    async def _rebalance_now_and_then(self) -> None:
        await trio.sleep(min(FIRST_REBALANCE_S, self.settings.leader_imbalance_check_interval_s))
        while True:
            self.mark("imbalance")
            await trio.sleep(self.settings.leader_imbalance_check_interval_s)

    # --- answers of brokers ----------------------------------------------------------------

    async def _on_answer(self, answer: Answer) -> None:
        async def step() -> None:
            await self._take_answer(answer)

        await self._send.send(_Task(step))

    async def _take_answer(self, answer: Answer) -> None:
        broker = answer.broker.id
        known = self.cluster.brokers.get(broker)
        if known is None or known.epoch != answer.broker.epoch:
            return
        match answer:
            case RolesAnswered(_, broken, healthy):
                fresh, mended = self.cluster.on_replicas_broken(broker, broken, healthy)
                if fresh:
                    self.events.warning(
                        "controller.replicas_offline", broker=broker, partitions=len(fresh)
                    )
                await self.commit(decisions.decide_liveness, [*fresh, *mended])
                missed = Notices()
                missed.metadata.update(dict.fromkeys(fresh))  # also where nothing was decided
                for tp in mended:
                    if tp in self.cluster.partitions:
                        missed.tell_replicas([broker], tp)
                self.post(missed)
            case DeletionAnswered(_, deleted, failed):
                self.cluster.on_replicas_deleted(broker, deleted)
                await self.observer.finish_deletions()
                if failed:
                    self.events.warning(
                        "controller.deletion_delayed", broker=broker, partitions=len(failed)
                    )
                    self._retry_deletions_later()

    def _retry_deletions_later(self) -> None:
        async def later() -> None:
            await trio.sleep(DELETION_RETRY_S)
            self.mark("deletion_retry")

        self.channels.start_soon(later)

    # --- writing ---------------------------------------------------------------------------

    def post(self, notices: Notices) -> None:
        self.channels.post(notices)

    async def commit(self, decide: Decide, tps: Iterable[TopicPartition]) -> None:
        """Decide about `tps`, write it, apply what succeeded; decide again about what was lost."""
        todo = list(tps)
        for _ in range(WRITE_ATTEMPTS):
            if not todo:
                return
            await self._learn_unclean_rules(todo)
            writes = decide(self.cluster, todo)
            applied, todo = await self.ledger.write_states(writes)
            notices = Notices()
            for write, version in applied:
                self.cluster.applied(write, version, notices)
            self.post(notices)
            self._signal()
        if todo:
            self.events.error("controller.write_given_up", partitions=[str(tp) for tp in todo[:10]])

    async def _learn_unclean_rules(self, tps: list[TopicPartition]) -> None:
        unknown = self.cluster.without_online_isr(tps) - self.cluster.unclean.keys()
        if not unknown:
            return
        for name, config in (await self.ledger.topic_configs(sorted(unknown))).items():
            rule = config.get(_UNCLEAN_KEY)
            self.cluster.unclean[name] = (
                self.cluster.unclean_by_default if rule is None else rule.lower() == "true"
            )


__all__ = ["Deposed", "Reign"]
