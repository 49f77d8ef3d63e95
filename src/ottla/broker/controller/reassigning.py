"""Carries reassignments out: writes their steps, tells the brokers, ends what has come far enough.

The owner task of a reign calls all of this. Assignment and states of a step are one transaction of
the ensemble, so a controller that takes over finds each partition before or after a step, and goes
on; nothing else has to be remembered. `/admin/reassign_partitions`, where tools older than KIP-455
leave their wishes, is emptied as they are fulfilled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ottla.broker.controller import reassignment
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.placement import Refused
from ottla.broker.controller.reassignment import Step
from ottla.broker.controller.state import StateWrite
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import set_data_op
from ottla.broker.ensemble.errors import ConnectionLoss, MultiFailed, NoNode
from ottla.broker.ensemble.values import Assignment, TopicAssignment
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.zookeeper.messages import Stat

if TYPE_CHECKING:
    from ottla.broker.controller.reign import Reign

WRITE_ATTEMPTS = 5
STEPS_PER_MULTI = 100

Wishes = Mapping[TopicPartition, Sequence[BrokerId] | None]
Outcome = tuple[ErrorCode, str | None]


async def alter(reign: "Reign", wishes: Wishes) -> dict[TopicPartition, Outcome]:
    """Begin, change or (None) cancel moves; the outcome per partition."""

    async def step() -> dict[TopicPartition, Outcome]:
        outcomes = await begin(reign, wishes)
        await _strike_off(reign, set(wishes))
        return outcomes

    return await reign.submit(step)


async def begin(reign: "Reign", wishes: Wishes) -> dict[TopicPartition, Outcome]:
    """As `alter`, for the owner task."""
    cluster = reign.cluster
    outcomes: dict[TopicPartition, Outcome] = {}
    granted: dict[str, list[TopicPartition]] = {}
    for tp, target in wishes.items():
        try:
            reassignment.judge(cluster, tp, target)
            granted.setdefault(tp.topic, []).append(tp)
        except Refused as refusal:
            outcomes[tp] = refusal.code, refusal.message

    def decide(tp: TopicPartition) -> Step | None:
        try:
            return reassignment.beginning(cluster, tp, reassignment.judge(cluster, tp, wishes[tp]))
        except Refused:
            return None

    for topic, tps in granted.items():
        written = await _take_steps(reign, topic, tps, decide)
        failure = ErrorCode.NONE if written else ErrorCode.UNKNOWN_SERVER_ERROR
        outcomes.update(dict.fromkeys(tps, (failure, None)))
        reign.events.info(
            "controller.reassignment_started",
            topic=topic,
            partitions=[tp.partition for tp in tps if tp in cluster.reassigning][:20],
        )
    return outcomes


async def advance(reign: "Reign") -> None:
    """End the moves whose partitions have come far enough."""
    cluster = reign.cluster
    ready: dict[str, list[TopicPartition]] = {}
    for tp in cluster.take_due_moves():
        if reassignment.completion(cluster, tp) is not None:
            ready.setdefault(tp.topic, []).append(tp)
    for topic, tps in ready.items():
        await _take_steps(reign, topic, tps, lambda tp: reassignment.completion(cluster, tp))
        reign.events.info(
            "controller.reassignment_completed",
            topic=topic,
            partitions=[tp.partition for tp in tps][:20],
        )
    if ready:
        await _strike_off(reign, set())


# --- writing -------------------------------------------------------------------------------


async def _take_steps(
    reign: "Reign",
    topic: str,
    tps: Sequence[TopicPartition],
    decide: Callable[[TopicPartition], Step | None],
) -> bool:
    """Write what `decide` says of each partition of `topic`; False when others kept changing it.

    ConnectionLoss: it is not known whether it was done, and the state is what the ensemble has.
    """
    for at in range(0, len(tps), STEPS_PER_MULTI):
        part = tps[at : at + STEPS_PER_MULTI]
        for _ in range(WRITE_ATTEMPTS):
            steps = [step for tp in part if (step := decide(tp)) is not None]
            if not steps or await _write(reign, topic, steps):
                break
            await _read_again(reign, topic, part)
        else:
            reign.events.error("controller.reassignment_given_up", topic=topic)
            return False
    return True


async def _write(reign: "Reign", topic: str, steps: Sequence[Step]) -> bool:
    """One transaction; False when something in it was changed by somebody else."""
    found = await reign.ledger.topics([topic], reign.observer.topic_fired)
    if topic not in found:
        return False
    known, version = found[topic]
    partitions: dict[int, Assignment] = dict(known.partitions)
    for step in steps:
        partitions[step.tp.partition] = step.assignment
    data = encodings.encode_topic(TopicAssignment(known.topic_id, partitions))
    operations = [set_data_op(paths.topic(topic), data, version)]
    for step in steps:
        if step.state is not None:
            path = paths.partition_state(step.tp)
            written = encodings.encode_partition_state(step.state)
            operations.append(set_data_op(path, written, step.state.partition_epoch))
    try:
        results = await reign.ledger.write(operations)
    except MultiFailed:
        return False
    except ConnectionLoss:
        await reign.client.wait_connected()
        await _read_again(reign, topic, [step.tp for step in steps])
        raise
    versions = [each.version for each in results[1:] if isinstance(each, Stat)]
    _apply(reign, steps, versions)
    return True


def _apply(reign: "Reign", steps: Sequence[Step], versions: list[int]) -> None:
    """Take over what was written, and tell everybody whom it concerns."""
    cluster = reign.cluster
    left = iter(versions)
    notices = Notices()
    for step in steps:
        tp = step.tp
        topic = cluster.topics[tp.topic]
        cluster.put_topic(tp.topic, topic.topic_id, {tp.partition: step.assignment})
        for broker in step.stopped:
            if broker in cluster.brokers:
                notices.tell_to_stop(broker, tp, delete=True)
        if step.state is not None:
            serving = tuple(cluster.serving_replicas(tp))
            cluster.applied(StateWrite(tp, step.state, serving), next(left), notices)
            added = [broker for broker in step.added if broker in serving]
            notices.tell_replicas(added, tp, is_new=True)
        notices.metadata[tp] = None
    reign.post(notices)


async def _read_again(reign: "Reign", topic: str, tps: Sequence[TopicPartition]) -> None:
    """Take over what the ensemble has, and have its brokers hear of it."""
    cluster = reign.cluster
    await reign.observer.learn_topics([topic])
    notices = Notices()
    for tp, state in (await reign.ledger.partition_states(tps)).items():
        if cluster.assignment(tp) is None:
            continue
        cluster.put_partition(tp, state)
        notices.tell_replicas(cluster.serving_replicas(tp), tp)
    reign.post(notices)


# --- /admin/reassign_partitions --------------------------------------------------------------


async def take_up_znode(reign: "Reign") -> None:
    """Begin what the znode asks for, of what has not begun yet."""
    cluster = reign.cluster
    wishes = await _read_znode(reign)
    fresh: dict[TopicPartition, Sequence[BrokerId] | None] = {}
    for tp, target in wishes.items():
        current = cluster.assignment(tp)
        if current is None or current.target != tuple(target):
            fresh[tp] = target
    for tp, (code, message) in (await begin(reign, fresh)).items():
        if code:
            reign.events.warning(
                "controller.reassignment_refused", partition=str(tp), code=code.name, why=message
            )
    await advance(reign)
    await _strike_off(reign, set())


async def _read_znode(reign: "Reign") -> dict[TopicPartition, tuple[BrokerId, ...]]:
    try:
        data, _ = await reign.client.get_data(paths.REASSIGN_PARTITIONS)
        return encodings.decode_reassignments(data)
    except NoNode:
        return {}
    except encodings.MalformedZnode as error:
        reign.events.warning("controller.znode_unreadable", reason=str(error))
        return {}


async def _strike_off(reign: "Reign", superseded: set[TopicPartition]) -> None:
    """Take out of the znode what is done, refused, or asked for otherwise by now."""
    try:
        _, stat = await reign.client.get_data(paths.REASSIGN_PARTITIONS)
    except NoNode:
        return
    wishes = await _read_znode(reign)
    left = {
        tp: target
        for tp, target in wishes.items()
        if tp in reign.cluster.reassigning and tp not in superseded
    }
    if not left:
        await reign.ledger.delete(paths.REASSIGN_PARTITIONS)
    elif left != wishes:
        data = encodings.encode_reassignments(left)
        try:
            await reign.ledger.write([set_data_op(paths.REASSIGN_PARTITIONS, data, stat.version)])
        except MultiFailed:
            reign.mark("reassign")  # it was changed meanwhile: look at it again


__all__ = ["Outcome", "Wishes", "advance", "alter", "begin", "take_up_znode"]
