"""CreateTopics, CreatePartitions and DeleteTopics, as the controller carries them out.

Each wish is judged alone; what cannot be granted is an error code and a reason in its outcome.
Those that are granted are written, get their leaders at once, and the call returns when every live
broker has heard of it or the time is up (REQUEST_TIMED_OUT: it may still happen, as in Kafka).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar
from uuid import UUID

import trio

from ottla.broker.controller import decisions, placement
from ottla.broker.controller.placement import Refused
from ottla.broker.controller.reign import Reign
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import create_op, set_data_op
from ottla.broker.ensemble.errors import ConnectionLoss, MultiFailed, NodeExists
from ottla.broker.ensemble.values import Assignment, TopicAssignment
from ottla.broker.ids import ZERO_TOPIC_ID, BrokerId, TopicPartition
from ottla.protocol.kafka.errors import ErrorCode

TOLD_WITHIN_S = 1.0
"""How long a finished request waits for slow brokers to hear of it."""


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A wish. -1 is the broker's default; `assignments` (partition to brokers) excludes both."""

    name: str
    partitions: int = -1
    replication_factor: int = -1
    assignments: Mapping[int, Sequence[BrokerId]] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MorePartitions:
    """A topic is to have `count` partitions; `assignments` places each new one, None: anywhere."""

    name: str
    count: int
    assignments: Sequence[Sequence[BrokerId]] | None = None


Wish = TypeVar("Wish", NewTopic, MorePartitions)


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """What became of a wish. `partitions` and `replication_factor` are -1 after an error."""

    name: str
    error: ErrorCode = ErrorCode.NONE
    message: str | None = None
    topic_id: UUID = ZERO_TOPIC_ID
    partitions: int = -1
    replication_factor: int = -1


def new_topic_id(rng: Random) -> UUID:
    """A random id; never one that prints with a leading dash, which command lines stumble on."""
    while True:
        topic_id = UUID(int=rng.getrandbits(128), version=4)
        if not encodings.encode_uuid(topic_id).startswith("-"):
            return topic_id


class TopicAdmin:
    """Topic administration during one reign."""

    def __init__(self, reign: Reign, rng: Random) -> None:
        self._reign = reign
        self._cluster = reign.cluster
        self._settings = reign.settings
        self._rng = rng

    # --- creation --------------------------------------------------------------------------

    async def create_topics(
        self, wishes: Sequence[NewTopic], *, timeout_s: float, validate_only: bool
    ) -> list[TopicOutcome]:
        return await self._grant_each(wishes, self._create, timeout_s, validate_only)

    async def _create(self, wish: NewTopic, validate_only: bool) -> TopicOutcome:
        assignment = self._judge(wish)
        topic_id = new_topic_id(self._rng)
        outcome = TopicOutcome(
            wish.name,
            topic_id=ZERO_TOPIC_ID if validate_only else topic_id,
            partitions=len(assignment),
            replication_factor=len(assignment[0].replicas),
        )
        if not validate_only:
            await self._write_topic(wish, TopicAssignment(topic_id, assignment))
            added = await self._reign.observer.learn_topics([wish.name])
            await self._reign.commit(decisions.decide_liveness, added)
            self._reign.events.info(
                "controller.topic_created", topic=wish.name, partitions=len(assignment)
            )
        return outcome

    def _judge(self, wish: NewTopic) -> dict[int, Assignment]:
        """The assignment of a wish that can be granted. Refused."""
        placement.check_topic_name(wish.name)
        if wish.name in self._cluster.topics:
            marked = "marked for deletion" if wish.name in self._cluster.deleting else None
            message = f"Topic '{wish.name}' {f'is {marked}' if marked else 'already exists'}."
            raise Refused(ErrorCode.TOPIC_ALREADY_EXISTS, message)
        colliding = placement.colliding_topics(wish.name, self._cluster.topics)
        if colliding:
            names = ", ".join(sorted(colliding))
            message = f"Topic '{wish.name}' collides with existing topics: {names}"
            raise Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, message)
        if wish.assignments:
            if wish.partitions != -1 or wish.replication_factor != -1:
                message = (
                    "Both numPartitions or replicationFactor and replicasAssignments were set. "
                    "Both cannot be used at the same time."
                )
                raise Refused(ErrorCode.INVALID_REQUEST, message)
            placement.check_manual_assignment(wish.assignments)
            placed = {at: list(replicas) for at, replicas in wish.assignments.items()}
        else:
            partitions, factor = wish.partitions, wish.replication_factor
            placed = placement.assign_replicas(
                placement.candidates(self._cluster.brokers.values()),
                self._settings.default_partitions if partitions == -1 else partitions,
                self._settings.default_replication_factor if factor == -1 else factor,
                self._rng,
            )
        wrong = self._settings.check_topic_config(wish.configs)
        if wrong is not None:
            raise Refused(ErrorCode.INVALID_CONFIG, wrong)
        return {at: Assignment(tuple(replicas)) for at, replicas in sorted(placed.items())}

    async def _write_topic(self, wish: NewTopic, topic: TopicAssignment) -> None:
        """Configuration and assignment in one transaction, repeated when a connection is lost."""
        config_path = paths.config("topics", wish.name)
        config = encodings.encode_config(wish.configs)
        create = create_op(paths.topic(wish.name), encodings.encode_topic(topic))
        tried = False
        while True:
            try:
                if tried and await self._is_written(wish.name, topic):
                    return
                tried = True
                await self._reign.ledger.write([create_op(config_path, config), create])
                return
            except ConnectionLoss:
                await self._reign.client.wait_connected()
            except MultiFailed as error:
                if not isinstance(error.cause, NodeExists):
                    raise
                if error.index == 1:
                    raise Refused(
                        ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{wish.name}' already exists."
                    ) from error
                await self._reign.ledger.write([set_data_op(config_path, config), create])
                return

    async def _is_written(self, name: str, topic: TopicAssignment) -> bool:
        """Whether a write whose answer was lost was done: the topic's id, only ours, tells."""
        found = await self._reign.ledger.topics([name], self._reign.observer.topic_fired)
        return name in found and found[name][0].topic_id == topic.topic_id

    async def _grant_each(
        self,
        wishes: Sequence[Wish],
        grant: Callable[[Wish, bool], Awaitable[TopicOutcome]],
        timeout_s: float,
        validate_only: bool,
    ) -> list[TopicOutcome]:
        """All wishes in one turn of the controller, then the time that their leaders take."""
        deadline = trio.current_time() + timeout_s

        async def step() -> list[TopicOutcome]:
            outcomes = []
            for wish in wishes:
                try:
                    outcomes.append(await grant(wish, validate_only))
                except Refused as refusal:
                    outcomes.append(TopicOutcome(wish.name, refusal.code, refusal.message))
            return outcomes

        outcomes = await self._reign.submit(step)
        return outcomes if validate_only else await self._await_leaders(outcomes, deadline)

    async def _await_leaders(
        self, outcomes: list[TopicOutcome], deadline: float
    ) -> list[TopicOutcome]:
        """Turn what has no leaders by then into REQUEST_TIMED_OUT."""
        done = [outcome.name for outcome in outcomes if not outcome.error]
        if not done:
            return outcomes

        def is_led(topic: str) -> bool:
            tps = self._cluster.partitions_of(topic)
            return bool(tps) and all(self._has_leader(tp) for tp in tps)

        left_s = deadline - trio.current_time()
        if left_s > 0:
            await self._reign.wait_until(lambda: all(map(is_led, done)), left_s)
            left_s = deadline - trio.current_time()
            await self._reign.wait_told(max(0.0, min(left_s, TOLD_WITHIN_S)))
        return [
            outcome
            if outcome.error or (left_s > 0 and is_led(outcome.name))
            else replace(outcome, error=ErrorCode.REQUEST_TIMED_OUT)
            for outcome in outcomes
        ]

    def _has_leader(self, tp: TopicPartition) -> bool:
        state = self._cluster.partitions.get(tp)
        return state is not None and state.leader >= 0

    # --- more partitions -------------------------------------------------------------------

    async def create_partitions(
        self, wishes: Sequence[MorePartitions], *, timeout_s: float, validate_only: bool
    ) -> list[TopicOutcome]:
        return await self._grant_each(wishes, self._grow, timeout_s, validate_only)

    async def _grow(self, wish: MorePartitions, validate_only: bool) -> TopicOutcome:
        ledger = self._reign.ledger
        fired = self._reign.observer.topic_fired
        found = (await ledger.topics([wish.name], fired)).get(wish.name)
        if found is None or wish.name in self._cluster.deleting:
            raise Refused(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{wish.name}' does not exist."
            )
        topic, version = found
        if any(each.is_being_reassigned for each in topic.partitions.values()):
            raise Refused(
                ErrorCode.REASSIGNMENT_IN_PROGRESS,
                f"A partition reassignment is in progress for the topic '{wish.name}'.",
            )
        placed = placement.place_added_partitions(
            {at: assignment.replicas for at, assignment in topic.partitions.items()},
            placement.candidates(self._cluster.brokers.values()),
            wish.count,
            wish.assignments,
            self._rng,
        )
        outcome = TopicOutcome(wish.name, partitions=wish.count)
        if validate_only:
            return outcome
        partitions = dict(topic.partitions)
        partitions.update({at: Assignment(tuple(replicas)) for at, replicas in placed.items()})
        data = encodings.encode_topic(TopicAssignment(topic.topic_id, partitions))
        await ledger.write([set_data_op(paths.topic(wish.name), data, version)])
        added = await self._reign.observer.learn_topics([wish.name])
        await self._reign.commit(decisions.decide_liveness, added)
        self._reign.events.info("controller.topic_grown", topic=wish.name, partitions=wish.count)
        return outcome

    # --- deletion --------------------------------------------------------------------------

    async def delete_topics(self, names: Sequence[str], *, timeout_s: float) -> list[TopicOutcome]:
        if not self._settings.delete_topic_enable:
            return [
                TopicOutcome(name, ErrorCode.TOPIC_DELETION_DISABLED, "Topic deletion is disabled.")
                for name in names
            ]
        deadline = trio.current_time() + timeout_s
        ids = {name: topic.topic_id for name, topic in self._cluster.topics.items()}

        async def step() -> list[str]:
            known = [name for name in names if name in self._cluster.topics]
            for name in known:
                try:
                    await self._reign.ledger.write([create_op(paths.delete_topic(name), None)])
                except MultiFailed as error:
                    if not isinstance(error.cause, NodeExists):
                        raise
            await self._reign.observer.delete_topics(known)
            return known

        known = await self._reign.submit(step)

        def is_gone(name: str) -> bool:
            """Nobody knows it any more; at most brokers that are down still have its data."""
            topic = self._cluster.topics.get(name)
            if topic is None or topic.topic_id != ids.get(name):
                return True
            return self._cluster.deletion_awaits_only_the_dead(name)

        await self._reign.wait_until(
            lambda: all(map(is_gone, known)), max(0.0, deadline - trio.current_time())
        )
        outcomes = []
        for name in names:
            if name not in known:
                message = f"Topic `{name}` to delete does not exist"
                outcomes.append(TopicOutcome(name, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message))
            else:
                error = ErrorCode.NONE if is_gone(name) else ErrorCode.REQUEST_TIMED_OUT
                outcomes.append(TopicOutcome(name, error, topic_id=ids.get(name, ZERO_TOPIC_ID)))
        return outcomes
