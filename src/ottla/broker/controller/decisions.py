"""What the controller wants written, read off its state: functions that change nothing.

Each takes the state and the partitions to look at and returns the writes that are due, so it may
be asked again after some of them lost against another writer.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ottla.broker.controller import elections
from ottla.broker.controller.state import NOT_WRITTEN, ControllerState, StateWrite
from ottla.broker.ensemble.values import INITIAL_LEADER_EPOCH, PartitionState
from ottla.broker.ids import BrokerId, TopicPartition


def decide_liveness(cluster: ControllerState, tps: Iterable[TopicPartition]) -> list[StateWrite]:
    """Leaders for partitions that have none, and ISRs without replicas that are gone."""
    writes = []
    for tp in tps:
        if tp.topic in cluster.deleting or cluster.assignment(tp) is None:
            continue
        state = cluster.partitions.get(tp)
        write = _first_state(cluster, tp) if state is None else _revive(cluster, tp, state)
        if write is not None:
            writes.append(write)
    return writes


def _first_state(cluster: ControllerState, tp: TopicPartition) -> StateWrite | None:
    elected = elections.elect_new(cluster.replicas(tp), cluster.online_replicas(tp))
    if elected is None:
        return None
    leader, isr = elected
    state = PartitionState(leader, INITIAL_LEADER_EPOCH, isr, cluster.epoch, NOT_WRITTEN)
    return StateWrite(tp, state, isr)


def _revive(
    cluster: ControllerState, tp: TopicPartition, state: PartitionState
) -> StateWrite | None:
    serving = cluster.serving_replicas(tp)
    if state.leader not in serving:
        unclean = cluster.unclean.get(tp.topic, cluster.unclean_by_default)
        elected = elections.elect_offline(
            state, cluster.replicas(tp), cluster.online_replicas(tp), unclean=unclean
        )
        if elected is not None:
            return _write(cluster, tp, elected, serving)
    gone = [replica for replica in (state.leader, *state.isr) if replica not in serving]
    shrunk = elections.without_replicas(state, gone) if gone else None
    return None if shrunk is None else _write(cluster, tp, shrunk, serving)


def _write(
    cluster: ControllerState,
    tp: TopicPartition,
    state: PartitionState,
    recipients: Iterable[BrokerId],
) -> StateWrite:
    """Recipients are brokers that serve the partition; others learn it when they start."""
    return StateWrite(tp, replace(state, controller_epoch=cluster.epoch), tuple(recipients))


def decide_restarted(
    cluster: ControllerState, restarted: Mapping[TopicPartition, Collection[BrokerId]]
) -> list[StateWrite]:
    """Take brokers out of leaderships and ISRs that they held in an earlier life.

    `restarted` names the live brokers per partition that registered after its state was written,
    while no controller saw it. Their logs may have lost what only their memory held, so they rejoin
    as followers; where nobody else could lead they lead on, under a new epoch.
    """
    writes = []
    for tp, brokers in restarted.items():
        state = cluster.partitions.get(tp)
        if state is None or tp.topic in cluster.deleting:
            continue
        serving = cluster.serving_replicas(tp)
        new: PartitionState | None
        if state.leader in brokers:
            replicas, online = cluster.replicas(tp), cluster.online_replicas(tp)
            steady = [replica for replica in online if replica not in brokers]
            new = elections.elect_offline(state, replicas, steady, unclean=False)
            new = new or elections.elect_offline(state, replicas, online, unclean=False)
        else:
            new = elections.without_replicas(state, brokers)
        if new is not None:
            writes.append(_write(cluster, tp, new, serving))
    return writes


def decide_controlled_shutdown(
    cluster: ControllerState, broker: BrokerId, tps: Iterable[TopicPartition]
) -> list[StateWrite]:
    """Move leadership and ISR membership away from a broker that is about to stop."""
    assert broker in cluster.shutting_down
    writes = []
    for tp in tps:
        state = cluster.partitions.get(tp)
        replicas = cluster.replicas(tp)
        if state is None or len(replicas) < 2 or tp.topic in cluster.deleting:
            continue
        serving = cluster.serving_replicas(tp)
        if state.leader == broker:
            new = elections.elect_for_controlled_shutdown(
                state, replicas, serving, cluster.shutting_down
            )
            recipients = serving
        else:
            new = elections.without_replicas(state, {broker})
            recipients = [replica for replica in serving if replica != broker]
        if new is not None:
            writes.append(_write(cluster, tp, new, recipients))
    return writes


def decide_preferred(cluster: ControllerState, tps: Iterable[TopicPartition]) -> list[StateWrite]:
    """Give leadership back to first replicas that are live and in sync."""
    writes = []
    for tp in tps:
        state = cluster.partitions.get(tp)
        if state is None or tp.topic in cluster.deleting:
            continue
        new = elections.elect_preferred(state, cluster.replicas(tp), cluster.online_replicas(tp))
        if new is not None:
            writes.append(_write(cluster, tp, new, cluster.serving_replicas(tp)))
    return writes


def decide_unclean(cluster: ControllerState, tps: Iterable[TopicPartition]) -> list[StateWrite]:
    """Elect for leaderless partitions, from outside the ISR if need be: asked by a person."""
    writes = []
    for tp in tps:
        state = cluster.partitions.get(tp)
        if state is None or tp.topic in cluster.deleting or cluster.is_serving(state.leader, tp):
            continue
        new = elections.elect_offline(
            state, cluster.replicas(tp), cluster.online_replicas(tp), unclean=True
        )
        if new is not None:
            writes.append(_write(cluster, tp, new, cluster.serving_replicas(tp)))
    return writes


def imbalanced(cluster: ControllerState, percentage: int) -> list[TopicPartition]:
    """Partitions to give back to preferred leaders that lack more than `percentage` of theirs.

    Only those whose preferred leader could take over now; none while partitions are moving to
    other brokers.
    """
    if cluster.reassigning:
        return []
    preferred: dict[BrokerId, list[TopicPartition]] = {}
    for tp in cluster.all_partitions():
        if tp.topic not in cluster.deleting and (replicas := cluster.replicas(tp)):
            preferred.setdefault(replicas[0], []).append(tp)
    due: list[TopicPartition] = []
    for broker, tps in preferred.items():
        away = [
            tp
            for tp in tps
            if (state := cluster.partitions.get(tp)) is not None and state.leader != broker
        ]
        if len(away) * 100 > percentage * len(tps):
            due += [write.tp for write in decide_preferred(cluster, away)]
    return due
