"""Who leads a partition: pure functions from values to values.

Behaviour follows Kafka's PartitionLeaderElectionAlgorithms and Election; nothing here logs, waits
or writes. The `elect_*` functions take a partition's present state and return its next one, or
None where no eligible replica exists, which leaves the partition as it is.
"""

from collections.abc import Collection, Sequence

from ottla.broker.ensemble.values import NO_LEADER, PartitionState
from ottla.broker.ids import BrokerId


def leader_when_offline(
    replicas: Sequence[BrokerId],
    isr: Collection[BrokerId],
    live: Collection[BrokerId],
    *,
    unclean: bool,
) -> BrokerId | None:
    """The first live replica in the ISR; with `unclean`, failing that the first live one."""
    for replica in replicas:
        if replica in live and replica in isr:
            return replica
    if unclean:
        for replica in replicas:
            if replica in live:
                return replica
    return None


def leader_for_reassignment(
    target: Sequence[BrokerId], isr: Collection[BrokerId], live: Collection[BrokerId]
) -> BrokerId | None:
    """The first live in-sync replica among those the partition is moving to."""
    return leader_when_offline(target, isr, live, unclean=False)


def preferred_leader(
    replicas: Sequence[BrokerId], isr: Collection[BrokerId], live: Collection[BrokerId]
) -> BrokerId | None:
    """The first assigned replica, if it is live and in sync; nobody else."""
    if not replicas or replicas[0] not in live or replicas[0] not in isr:
        return None
    return replicas[0]


def leader_for_controlled_shutdown(
    replicas: Sequence[BrokerId],
    isr: Collection[BrokerId],
    live: Collection[BrokerId],
    shutting_down: Collection[BrokerId],
) -> BrokerId | None:
    """The first live in-sync replica that is not itself about to stop."""
    for replica in replicas:
        if replica in live and replica in isr and replica not in shutting_down:
            return replica
    return None


def elect_new(
    replicas: Sequence[BrokerId], live: Collection[BrokerId]
) -> tuple[BrokerId, tuple[BrokerId, ...]] | None:
    """Leader and ISR of a partition that never had any: all live replicas, the first leads."""
    isr = tuple(replica for replica in replicas if replica in live)
    return (isr[0], isr) if isr else None


def elect_offline(
    state: PartitionState,
    replicas: Sequence[BrokerId],
    live: Collection[BrokerId],
    *,
    unclean: bool,
) -> PartitionState | None:
    """The next state of a partition whose leader is gone.

    A leader from outside the ISR is alone in the new one and marked as recovering (KIP-704).
    """
    leader = leader_when_offline(replicas, state.isr, live, unclean=unclean)
    if leader is None:
        return None
    if leader in state.isr:
        isr = tuple(replica for replica in state.isr if replica in live)
        return state.with_election(leader, isr)
    return state.with_election(leader, (leader,), recovering=True)


def elect_preferred(
    state: PartitionState, replicas: Sequence[BrokerId], live: Collection[BrokerId]
) -> PartitionState | None:
    """The state with the preferred leader; None also when it leads already."""
    leader = preferred_leader(replicas, state.isr, live)
    if leader is None or leader == state.leader:
        return None
    return state.with_election(leader, state.isr)


def elect_for_reassignment(
    state: PartitionState, target: Sequence[BrokerId], live: Collection[BrokerId]
) -> PartitionState | None:
    """The state led by one of `target`, whose ISR is not changed by this step."""
    leader = leader_for_reassignment(target, state.isr, live)
    return None if leader is None else state.with_election(leader, state.isr)


def elect_for_controlled_shutdown(
    state: PartitionState,
    replicas: Sequence[BrokerId],
    live: Collection[BrokerId],
    shutting_down: Collection[BrokerId],
) -> PartitionState | None:
    """The state led by a broker that stays; brokers that are stopping leave the ISR."""
    leader = leader_for_controlled_shutdown(replicas, state.isr, live, shutting_down)
    if leader is None:
        return None
    isr = tuple(replica for replica in state.isr if replica not in shutting_down)
    return state.with_election(leader, isr)


def without_replicas(state: PartitionState, gone: Collection[BrokerId]) -> PartitionState | None:
    """The state after some replicas stopped serving; None when that changes nothing.

    The last members of an ISR stay in it although they are gone: they are the only ones known to
    hold every committed record. The leader becomes NO_LEADER if it is among those gone.
    """
    isr = tuple(replica for replica in state.isr if replica not in gone) or state.isr
    leader = NO_LEADER if state.leader in gone else state.leader
    if isr == state.isr and leader == state.leader:
        return None
    return state.with_election(leader, isr)
