"""What `reassign-partitions.sh` asks brokers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from ottla.protocol.kafka.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)
from ottla.protocol.kafka.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
)
from ottla.protocol.kafka.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
)
from ottla.scripts.tools.common import Failure
from ottla.scripts.tools.reassignment_files import ANY, Partition, Plan
from ottla.scripts.tools.wire import Wire

LogDirMoves = dict[tuple[Partition, int], str]
"""(partition, broker) to a directory, or to what keeps it from being there."""


class Ongoing(NamedTuple):
    replicas: list[int]
    adding: list[int]
    removing: list[int]


async def assignments(
    wire: Wire, topics: Sequence[str], *, must_exist: bool = True
) -> dict[Partition, list[int]]:
    """The replicas of all partitions of `topics`, without those that are on their way out."""
    found: dict[Partition, list[int]] = {}
    for topic in (await wire.reach(topics)).topics:
        if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and not must_exist:
            continue
        if topic.error_code:
            raise Failure(f"topic '{topic.name}': {ErrorCode(topic.error_code).name}")
        for each in topic.partitions:
            found[Partition(topic.name, each.partition_index)] = list(each.replica_nodes)
    return dict(sorted(found.items()))


async def ongoing(wire: Wire) -> dict[Partition, Ongoing]:
    """All moves under way."""
    answer = await wire.ask_controller(ListPartitionReassignmentsRequest(), 0)
    if answer.error_code:
        raise Failure(answer.error_message or ErrorCode(answer.error_code).name)
    return {
        Partition(topic.name, each.partition_index): Ongoing(
            list(each.replicas), list(each.adding_replicas), list(each.removing_replicas)
        )
        for topic in answer.topics
        for each in topic.partitions
    }


async def alter(
    wire: Wire, wishes: Mapping[Partition, list[int] | None]
) -> dict[Partition, str | None]:
    """Begin moves, or (None) cancel them; what is wrong with each, if anything."""
    topics: dict[str, ReassignableTopic] = {}
    for each, replicas in wishes.items():
        topic = topics.setdefault(each.topic, ReassignableTopic(name=each.topic))
        topic.partitions.append(
            ReassignablePartition(partition_index=each.number, replicas=replicas)
        )
    request = AlterPartitionReassignmentsRequest(topics=list(topics.values()))
    answer = await wire.ask_controller(request, 0)
    if answer.error_code:
        raise Failure(answer.error_message or ErrorCode(answer.error_code).name)
    return {
        Partition(response.name, each.partition_index): (
            (each.error_message or ErrorCode(each.error_code).name) if each.error_code else None
        )
        for response in answer.responses
        for each in response.partitions
    }


def log_dir_moves(plan: Plan) -> LogDirMoves:
    """The directories that a plan names."""
    return {
        (partition, replica): directory
        for partition, replicas in plan.items()
        for replica, directory in replicas
        if directory != ANY
    }


async def move_log_dirs(wire: Wire, moves: LogDirMoves, *, only_look: bool = False) -> LogDirMoves:
    """Ask for replicas to be in their directories; those that are neither there nor on their way.

    `only_look` asks for nothing, and says of each replica that is not there how far it is.
    """
    left: LogDirMoves = {}
    for broker in sorted({broker for _, broker in moves}):
        mine = {each: path for (each, holder), path in moves.items() if holder == broker}
        states = await (_look(wire, broker, mine) if only_look else _ask(wire, broker, mine))
        left.update({(each, broker): states[each] for each in states})
    if only_look:
        return left
    return {key: moves[key] for key in left}


async def _ask(wire: Wire, broker: int, wanted: Mapping[Partition, str]) -> dict[Partition, str]:
    request = AlterReplicaLogDirsRequest(
        dirs=[
            AlterReplicaLogDir(
                path=path,
                topics=[
                    AlterReplicaLogDirTopic(name=each.topic, partitions=[each.number])
                    for each, where in wanted.items()
                    if where == path
                ],
            )
            for path in sorted(set(wanted.values()))
        ]
    )
    answer = await wire.ask(broker, request, 2)
    refused = {
        Partition(topic.topic_name, each.partition_index): ErrorCode(each.error_code)
        for topic in answer.results
        for each in topic.partitions
        if each.error_code
    }
    for each, code in refused.items():
        if code is not ErrorCode.REPLICA_NOT_AVAILABLE:
            raise Failure(f"broker {broker}: {wanted[each]} for {each}: {code.name}")
    return {each: code.name for each, code in refused.items()}


async def _look(wire: Wire, broker: int, wanted: Mapping[Partition, str]) -> dict[Partition, str]:
    request = DescribeLogDirsRequest(
        topics=[
            DescribableLogDirTopic(topic=each.topic, partitions=[each.number]) for each in wanted
        ]
    )
    answer = await wire.ask(broker, request, 4)
    there: dict[Partition, dict[bool, str]] = {}
    for result in answer.results:
        for topic in result.topics:
            for each in topic.partitions:
                partition = Partition(topic.name, each.partition_index)
                there.setdefault(partition, {})[each.is_future_key] = result.log_dir
    return dict(_states(wanted, there))


def _states(
    wanted: Mapping[Partition, str], there: Mapping[Partition, Mapping[bool, str]]
) -> Iterable[tuple[Partition, str]]:
    for each, path in wanted.items():
        current, future = there.get(each, {}).get(False), there.get(each, {}).get(True)
        if future == path:
            yield each, "is still in progress"
        elif current is None:
            yield each, "cannot be found in any live log directory on broker"
        elif current != path:
            yield each, f"is not being moved: it is in {current} rather than {path}"


__all__ = ["LogDirMoves", "Ongoing", "alter", "assignments", "log_dir_moves", "move_log_dirs",
           "ongoing"]  # fmt: skip
