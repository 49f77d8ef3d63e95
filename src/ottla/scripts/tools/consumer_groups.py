"""scripts/consumer-groups.sh: groups are listed, described with their lag, deleted, set back."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaException

from ottla.scripts.tools import group_offsets
from ottla.scripts.tools.common import (
    REQUEST_S,
    Cluster,
    Failure,
    Parser,
    parser,
    run,
    said,
)

PROG = "consumer-groups.sh"
STATES = {
    "unknown": "Unknown", "preparing_rebalancing": "PreparingRebalance",
    "completing_rebalancing": "CompletingRebalance", "stable": "Stable", "dead": "Dead",
    "empty": "Empty",
}  # fmt: skip


def _parser() -> Parser:
    made = parser(PROG, "Lists, describes, deletes consumer groups, and moves their offsets.")
    action = made.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="names of all groups")
    action.add_argument("--describe", action="store_true", help="offsets and lag of a group")
    action.add_argument("--delete", action="store_true", help="delete groups without members")
    action.add_argument("--reset-offsets", action="store_true",
                        help="move the offsets of a group without members")  # fmt: skip
    made.add_argument("--group", action="append", help="a group; may be repeated")
    made.add_argument("--all-groups", action="store_true")
    made.add_argument("--state", nargs="?", const="", metavar="STATE,...",
                      help="with --list: states, or only groups in these; with --describe: the"
                      " group's state")  # fmt: skip
    made.add_argument("--members", action="store_true", help="with --describe: the members")
    made.add_argument("--offsets", action="store_true", help="with --describe: what it does anyway")
    made.add_argument("--verbose", action="store_true", help="with --members: what each has")
    group_offsets.add_flags(made)
    return made


def main(words: Sequence[str]) -> int:
    arguments = _parser().parse_args(words)
    if not arguments.list and not arguments.group and not arguments.all_groups:
        raise Failure("--group or --all-groups is needed")
    cluster = Cluster(arguments)
    try:
        if arguments.list:
            return _list(cluster, arguments)
        groups = _groups(cluster) if arguments.all_groups else arguments.group
        if arguments.delete:
            return _delete(cluster, groups)
        if arguments.reset_offsets:
            for group in groups:
                group_offsets.reset(cluster, group, _describe_one(cluster, group), arguments)
            return 0
        return max((_describe(cluster, group, arguments) for group in groups), default=0)
    except KafkaException as error:
        raise Failure(f"error while executing consumer group command: {said(error)}") from error


def _listed(cluster: Cluster, states: Iterable[str] = ()) -> list[Any]:
    wanted = set()
    for name in states:
        folded = name.strip().lower()
        found = [key for key, shown in STATES.items() if shown.lower() == folded]
        if not found:
            raise Failure(f"{name} is no state; states are {', '.join(STATES.values())}")
        wanted.add(ConsumerGroupState[found[0].upper()])
    more = {"states": wanted} if wanted else {}
    answer = cluster.admin.list_consumer_groups(request_timeout=REQUEST_S, **more)
    result = answer.result(REQUEST_S + 5)
    for error in result.errors:
        print(f"{PROG}: {said(error)}", file=sys.stderr)
    return sorted(result.valid, key=lambda group: group.group_id)


def _groups(cluster: Cluster) -> list[str]:
    return [group.group_id for group in _listed(cluster)]


def _list(cluster: Cluster, arguments: argparse.Namespace) -> int:
    states = [each for each in (arguments.state or "").split(",") if each]
    found = _listed(cluster, states)
    if arguments.state is None:
        for group in found:
            print(group.group_id)
    else:
        _table([("GROUP", "STATE"), *((each.group_id, _state(each.state)) for each in found)])
    return 0


def _state(state: ConsumerGroupState | None) -> str:
    return "Unknown" if state is None else STATES[state.name.lower()]


def _delete(cluster: Cluster, groups: Sequence[str]) -> int:
    answers = cluster.admin.delete_consumer_groups(list(groups), request_timeout=REQUEST_S)
    done, failed = [], []
    for group, future in answers.items():
        try:
            future.result(REQUEST_S + 5)
            done.append(f"'{group}'")
        except KafkaException as error:
            failed.append(f"* Group '{group}' could not be deleted due to: {said(error)}")
    if done:
        print(f"Deletion of requested consumer groups ({', '.join(done)}) was successful.")
    if failed:
        print("Error: Deletion of some consumer groups failed:", *failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _describe_one(cluster: Cluster, group: str) -> Any:  # noqa: ANN401 - a ConsumerGroupDescription
    answers = cluster.admin.describe_consumer_groups([group], request_timeout=REQUEST_S)
    return answers[group].result(REQUEST_S + 5)


def _describe(cluster: Cluster, group: str, arguments: argparse.Namespace) -> int:
    """Exit code 1 for a group that is not there."""
    described = _describe_one(cluster, group)
    state = _state(described.state)
    if arguments.state is not None:
        node = described.coordinator
        where = "-" if node is None else f"{node.host}:{node.port} ({node.id})"
        _table(
            [
                ("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"),
                (group, where, described.partition_assignor, state, str(len(described.members))),
            ]
        )
        return 0
    if state == "Dead":
        print(f"{PROG}: Consumer group '{group}' does not exist.", file=sys.stderr)
        return 1
    if state == "Empty":
        print(f"Consumer group '{group}' has no active members.", file=sys.stderr)
    elif state != "Stable":
        print(f"Warning: Consumer group '{group}' is rebalancing.", file=sys.stderr)
    rows = (
        _members(group, described, verbose=arguments.verbose)
        if arguments.members
        else _offsets(cluster, group, described)
    )
    _table(rows)
    return 0


def _members(group: str, described: Any, *, verbose: bool) -> list[tuple[str, ...]]:  # noqa: ANN401
    rows: list[tuple[str, ...]] = [
        ("GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT")
    ]
    for member in described.members:
        had: dict[str, list[int]] = {}
        for tp in member.assignment.topic_partitions:
            had.setdefault(tp.topic, []).append(tp.partition)
        shown = ", ".join(
            f"{topic}({','.join(map(str, sorted(which)))})" for topic, which in sorted(had.items())
        )
        count = str(sum(map(len, had.values())))
        rows.append((group, member.member_id, member.host, member.client_id, count, shown or "-"))
    return rows if verbose else [row[:-1] for row in rows]


def _offsets(cluster: Cluster, group: str, described: Any) -> list[tuple[str, ...]]:  # noqa: ANN401
    committed = group_offsets.committed(cluster, group)
    owners = {
        (tp.topic, tp.partition): member
        for member in described.members
        for tp in member.assignment.topic_partitions
    }
    ends = group_offsets.ends(cluster, sorted(committed.keys() | owners.keys()))
    rows: list[tuple[str, ...]] = [
        ("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID",
         "HOST", "CLIENT-ID"),
    ]  # fmt: skip
    for place in sorted(committed.keys() | owners.keys()):
        at, end, owner = committed.get(place), ends.get(place), owners.get(place)
        lag = None if at is None or end is None else max(0, end - at)
        who = ("-", "-", "-") if owner is None else (owner.member_id, owner.host, owner.client_id)
        figures = ("-" if each is None else str(each) for each in (at, end, lag))
        rows.append((group, place[0], str(place[1]), *figures, *who))
    return rows


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as what is in them; an empty line before, as Kafka's tool has it."""
    widths = [max(15, *map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print(" ".join(cells).rstrip())


if __name__ == "__main__":
    run(PROG, main)
