"""What has to come back once the faults are over; every function names what has not."""

import json

from ottla.broker.ids import TopicPartition
from ottla.coordinator.tree.tree import Tree
from tests.simulation.world.clients.consumers import Reader
from tests.simulation.world.clients.groups import GroupMember
from tests.simulation.world.history import History
from tests.simulation.world.nodes import Node


class NotConverged(AssertionError):
    """The faults are over and something did not come back in time."""


def nodes(members: list[Node], brokers: list[Node]) -> list[str]:
    """Daemons that do not run, or an ensemble that does not serve."""
    down = [node.name for node in (*members, *brokers) if node.handle is None]
    if down:
        return [f"{name} does not run" for name in down]
    if not all(node.handle.node.is_serving for node in members):
        return ["the ensemble does not serve"]
    return []


def partitions(states: dict[TopicPartition, dict], tree: Tree) -> list[str]:
    """Partitions without a leader or whose replicas are not all in sync, topics half deleted."""
    missing = []
    for tp, state in states.items():
        topic = tree.nodes.get(f"/brokers/topics/{tp.topic}")
        if topic is None:
            continue
        replicas = set(json.loads(topic.data)["partitions"][str(tp.partition)])
        if state["leader"] < 0:
            missing.append(f"{tp} has no leader")
        elif set(state["isr"]) != replicas:
            missing.append(f"{tp} is in sync on {state['isr']} of {sorted(replicas)}")
    deleting = tree.nodes["/admin/delete_topics"].children
    if deleting:
        missing.append(f"topics wait for their deletion: {list(deleting)}")
    return missing


def readers(history: History, readers: list[Reader], healed_at: float) -> list[str]:
    """Readers that are not at the end, or did not read since."""
    return [
        f"the reader of {reader.tp} is at {reader.position}"
        for reader in readers
        if reader.caught_up_at < healed_at or _is_behind(history, reader)
    ]


def _is_behind(history: History, reader: Reader) -> bool:
    """What was acknowledged, or seen by others, is yet to come; nearby it comes later."""
    acked, seen = history.acked.get(reader.tp, {}), history.content.get(reader.tp, {})
    last = max(max(acked.values(), default=-1), max(seen, default=-1))
    return reader.tp not in history.excused and reader.position <= last


def group(
    history: History, name: str, members: list[GroupMember], tps: list[TopicPartition]
) -> list[str]:
    """A group that is not stable, or has not seen every acknowledged record."""
    if any(member.stable_since < 0 for member in members):
        return [f"{name} is not stable"]
    missing = []
    for tp in tps:
        acked = set(history.acked.get(tp, {}).values()) - {-1}
        left = acked - history.consumed.get((name, tp), set())
        if left and tp not in history.excused:
            missing.append(f"{name} did not see {len(left)} records of {tp}")
    return missing
