"""Moving partitions to other brokers (KIP-455): what may be asked, and the two steps of each move.

Pure functions. A partition that moves has in its assignment the replicas it had and those it gets;
`adding` and `removing` say which are which. It begins with a new leader epoch, under which the
leader lets the added replicas catch up, and ends once all that are to stay are in sync: the others
leave the ISR, and their data goes. A step is the assignment and the state that goes with it, to be
written together. Cancelling is a move back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ottla.broker.controller import elections
from ottla.broker.controller.placement import Refused
from ottla.broker.controller.state import ControllerState
from ottla.broker.ensemble.values import NO_LEADER, Assignment, PartitionState
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.kafka.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Step:
    """What to write, and who learns of it.

    `state` None: the partition never had a leader, and there is no state yet. `added` learn that
    the partition is new to them, `stopped` that they have to delete it.
    """

    tp: TopicPartition
    assignment: Assignment
    state: PartitionState | None
    added: tuple[BrokerId, ...]
    stopped: tuple[BrokerId, ...]
    is_last: bool


def judge(
    cluster: ControllerState, tp: TopicPartition, target: Sequence[BrokerId] | None
) -> Assignment:
    """The assignment that begins the move of `tp` to `target` (None: back). Refused."""
    current = cluster.assignment(tp) or Assignment(())
    if target is None:
        if not current.is_being_reassigned:
            raise Refused(
                ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress."
            )
        wanted = current.reassigned_to(current.origin)
    else:
        _check_replicas(target)
        wanted = current.reassigned_to(tuple(target))
        dead = [each for each in wanted.adding if each not in cluster.brokers]
        if dead:
            raise Refused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                "Replica assignment has brokers that are not alive. Replica list: "
                f"{list(wanted.adding)}, live broker list: {sorted(cluster.brokers)}",
            )
    if not current.replicas or tp.topic in cluster.deleting:
        raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.")
    state = cluster.partitions.get(tp)
    if state is not None and not set(state.isr) & set(wanted.replicas):
        raise Refused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"None of the replicas {list(wanted.replicas)} is in sync: records would be lost.",
        )
    return wanted


def _check_replicas(target: Sequence[BrokerId]) -> None:
    wrong = None
    if not target:
        wrong = "Empty replica list specified in partition reassignment."
    elif len(set(target)) != len(target):
        wrong = f"Duplicate replica ids in partition reassignment replica list: {list(target)}"
    elif min(target) < 0:
        wrong = f"Invalid broker id in replica list: {list(target)}"
    if wrong is not None:
        raise Refused(ErrorCode.INVALID_REPLICA_ASSIGNMENT, wrong)


def beginning(cluster: ControllerState, tp: TopicPartition, wanted: Assignment) -> Step | None:
    """The step to `wanted`; None when nothing changes."""
    current = cluster.assignment(tp)
    assert current is not None
    if wanted == current:
        return None
    stopped = tuple(each for each in current.replicas if each not in wanted.replicas)
    added = tuple(each for each in wanted.replicas if each not in current.replicas)
    state = cluster.partitions.get(tp)
    if state is not None:
        isr = tuple(each for each in state.isr if each not in stopped)
        leader: BrokerId | None = state.leader
        if leader in stopped:
            leader = elections.leader_when_offline(
                wanted.replicas, isr, cluster.online_replicas(tp), unclean=False
            )
        state = state.with_election(NO_LEADER if leader is None else leader, isr)
        state = replace(state, controller_epoch=cluster.epoch)
    return Step(tp, wanted, state, added, stopped, is_last=not wanted.is_being_reassigned)


def completion(cluster: ControllerState, tp: TopicPartition) -> Step | None:
    """The step that ends the move of `tp`; None as long as not all that stay are in sync."""
    current, state = cluster.assignment(tp), cluster.partitions.get(tp)
    if current is None or state is None or not current.is_being_reassigned:
        return None
    target = current.target
    if tp.topic in cluster.deleting or not set(target) <= set(state.isr):
        return None
    if state.leader in target and cluster.is_serving(state.leader, tp):
        led: PartitionState | None = state.with_election(state.leader, state.isr)
    else:
        led = elections.elect_for_reassignment(state, target, cluster.online_replicas(tp))
    if led is None:
        return None
    isr = tuple(each for each in led.isr if each in target)
    ended = replace(led, isr=isr, controller_epoch=cluster.epoch)
    return Step(tp, Assignment(target), ended, (), current.removing, is_last=True)


__all__ = ["Step", "beginning", "completion", "judge"]
