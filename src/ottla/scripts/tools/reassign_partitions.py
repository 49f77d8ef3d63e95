"""scripts/reassign-partitions.sh: move partitions to other brokers and log directories.

Flags, files and output as Kafka's tool has them, but for throttles, which brokers do not know.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from random import SystemRandom

import trio

from ottla.broker.controller.placement import Candidate, Refused, assign_replicas
from ottla.broker.ids import BrokerId
from ottla.scripts.tools.common import Failure, Parser, parser, run
from ottla.scripts.tools.reassignment_files import (
    ANY,
    Partition,
    Plan,
    encode_plan,
    read_plan,
    read_topics,
)
from ottla.scripts.tools.reassignment_requests import (
    Ongoing,
    alter,
    assignments,
    log_dir_moves,
    move_log_dirs,
    ongoing,
)
from ottla.scripts.tools.wire import Wire, run_with_wire

PROG = "reassign-partitions.sh"
_LOOK_S = 0.2
_EXISTING = (
    "Cannot execute because there is an existing partition assignment.  Use --additional to"
    " override this and create a new partition assignment in addition to the existing one."
)


def _parser() -> Parser:
    made = parser(PROG, "Moves partitions to other brokers and log directories.")
    action = made.add_mutually_exclusive_group(required=True)
    action.add_argument("--generate", action="store_true",
                        help="propose a placement; nothing is moved")  # fmt: skip
    action.add_argument("--execute", action="store_true", help="begin the moves of a file")
    action.add_argument("--verify", action="store_true", help="how far the moves of a file are")
    action.add_argument("--cancel", action="store_true", help="undo the moves of a file")
    action.add_argument("--list", action="store_true", help="all moves that are under way")
    made.add_argument("--reassignment-json-file", metavar="FILE")
    made.add_argument("--topics-to-move-json-file", metavar="FILE", help="for --generate")
    made.add_argument("--broker-list", metavar="1,2,3", help="for --generate: where to")
    made.add_argument("--disable-rack-aware", action="store_true", help="for --generate")
    made.add_argument("--additional", action="store_true",
                      help="for --execute: though other moves are under way")  # fmt: skip
    made.add_argument("--timeout", type=int, default=10_000, metavar="MS",
                      help="for --execute: how long to wait for log directories")  # fmt: skip
    return made


def main(words: Sequence[str]) -> int:
    arguments = _parser().parse_args(words)
    return run_with_wire(arguments.bootstrap_server, partial(_act, arguments))


async def _act(arguments: argparse.Namespace, wire: Wire) -> int:
    if arguments.list:
        return await _list(wire)
    if arguments.generate:
        return await _generate(arguments, wire)
    if not arguments.reassignment_json_file:
        raise Failure("--reassignment-json-file names the file with the moves")
    plan = read_plan(arguments.reassignment_json_file)
    if arguments.execute:
        return await _execute(arguments, wire, plan)
    return await (_verify(wire, plan) if arguments.verify else _cancel(wire, plan))


# --- --list --------------------------------------------------------------------------------


async def _list(wire: Wire) -> int:
    await wire.reach(())
    found = await ongoing(wire)
    if not found:
        print("No partition reassignments found.")
        return 0
    print("Current partition reassignments:")
    for partition, each in sorted(found.items()):
        line = f"{partition}: replicas: {_listed(each.replicas)}."
        if each.adding:
            line += f" adding: {_listed(each.adding)}."
        if each.removing:
            line += f" removing: {_listed(each.removing)}."
        print(line)
    return 0


def _listed(brokers: Sequence[int]) -> str:
    return ",".join(map(str, brokers))


# --- --generate ----------------------------------------------------------------------------


async def _generate(arguments: argparse.Namespace, wire: Wire) -> int:
    if not arguments.topics_to_move_json_file or not arguments.broker_list:
        raise Failure("--generate needs --topics-to-move-json-file and --broker-list")
    try:
        brokers = [int(each) for each in arguments.broker_list.split(",")]
    except ValueError:
        raise Failure("--broker-list takes numbers, as in 1,2,3") from None
    if len(set(brokers)) != len(brokers):
        raise Failure("Broker list contains duplicate entries")
    topics = read_topics(arguments.topics_to_move_json_file)
    current = await assignments(wire, topics)
    racks = {} if arguments.disable_rack_aware else wire.racks
    unknown = [each for each in brokers if each not in wire.addresses]
    if unknown:
        raise Failure(f"brokers {_listed(unknown)} are not alive")
    if racks and len({racks.get(each) is None for each in brokers}) == 2:
        raise Failure(
            "Not all brokers have rack information. Add --disable-rack-aware in command line"
            " to make replica assignment without rack information."
        )
    candidates = [Candidate(BrokerId(each), racks.get(each)) for each in sorted(brokers)]
    proposed: Plan = {}
    for topic in topics:
        placed = [(each, replicas) for each, replicas in current.items() if each.topic == topic]
        factor = len(placed[0][1])
        try:
            chosen = assign_replicas(candidates, len(placed), factor, SystemRandom())
        except Refused as refusal:
            raise Failure(refusal.message) from refusal
        for (partition, _), replicas in zip(sorted(placed), chosen.values(), strict=True):
            proposed[partition] = [(int(replica), ANY) for replica in replicas]
    print("Current partition replica assignment")
    print(encode_plan(_anywhere(current)))
    print()
    print("Proposed partition reassignment configuration")
    print(encode_plan(proposed))
    return 0


def _anywhere(current: dict[Partition, list[int]]) -> Plan:
    return {each: [(replica, ANY) for replica in replicas] for each, replicas in current.items()}


# --- --execute -----------------------------------------------------------------------------


async def _execute(arguments: argparse.Namespace, wire: Wire, plan: Plan) -> int:
    current = await assignments(wire, sorted({each.topic for each in plan}))
    if not arguments.additional and await ongoing(wire):
        raise Failure(_EXISTING)
    missing = [each for each in plan if each not in current]
    if missing:
        raise Failure(f"there is no partition {', '.join(map(str, missing))}")
    unknown = sorted(
        {replica for replicas in plan.values() for replica, _ in replicas} - wire.addresses.keys()
    )
    if unknown:
        raise Failure(f"Unknown broker id {unknown[0]}")
    print("Current partition replica assignment\n")
    print(encode_plan(_anywhere({each: current[each] for each in plan})))
    print("\nSave this to use as the --reassignment-json-file option during rollback")
    moves = log_dir_moves(plan)
    await move_log_dirs(wire, moves)  # replicas that are not there yet will be made there
    wishes = {each: [replica for replica, _ in replicas] for each, replicas in plan.items()}
    failed = {each: why for each, why in (await alter(wire, wishes)).items() if why}
    if failed:
        print("Error reassigning partition(s):")
        for each, why in sorted(failed.items()):
            print(f"{each}: {why}")
        return 1
    print(f"Successfully started partition reassignment{_s(plan)} for {_names(plan)}")
    if not moves:
        return 0
    left = moves
    with trio.move_on_after(arguments.timeout / 1000):
        while left := await move_log_dirs(wire, left):  # noqa: ASYNC110 - brokers tell nobody
            await trio.sleep(_LOOK_S)
    done = sorted(f"{partition}-{broker}" for partition, broker in moves.keys() - left.keys())
    if done:
        print(f"Successfully started log directory move{_s(done)} for: {','.join(done)}")
    if left:
        raise Failure(
            "Timed out before log directory moves could be started: "
            + ", ".join(f"{partition}-{broker} ({why})" for (partition, broker), why in _why(left))
        )
    return 0


def _why(left: dict[tuple[Partition, int], str]) -> list[tuple[tuple[Partition, int], str]]:
    return sorted(left.items())


def _s(several: Sequence[object] | Plan) -> str:
    return "" if len(several) == 1 else "s"


def _names(partitions: Sequence[Partition] | Plan) -> str:
    return ",".join(str(each) for each in sorted(partitions))


# --- --verify ------------------------------------------------------------------------------


async def _verify(wire: Wire, plan: Plan) -> int:
    current = await assignments(wire, sorted({each.topic for each in plan}), must_exist=False)
    under_way = await ongoing(wire)
    print("Status of partition reassignment:")
    for each, replicas in sorted(plan.items()):
        print(_status(each, [replica for replica, _ in replicas], current.get(each), under_way))
    moves = log_dir_moves(plan)
    if moves:
        states = await move_log_dirs(wire, moves, only_look=True)
        for partition, broker in sorted(moves):
            state = states.get((partition, broker), "is completed")
            print(f"Reassignment of replica {partition}-{broker} {state}.")
    return 0


def _status(
    each: Partition,
    wanted: list[int],
    current: list[int] | None,
    under_way: dict[Partition, Ongoing],
) -> str:
    if each in under_way:
        return f"Reassignment of partition {each} is still in progress."
    if current == wanted:
        return f"Reassignment of partition {each} is completed."
    if current is None:
        return f"There is no partition {each}."
    return (
        f"There is no active reassignment of partition {each},"
        f" but replica set is {_listed(current)} rather than {_listed(wanted)}."
    )


# --- --cancel ------------------------------------------------------------------------------


async def _cancel(wire: Wire, plan: Plan) -> int:
    await wire.reach(())
    active = [each for each in plan if each in await ongoing(wire)]
    if not active:
        print("None of the specified partition reassignments are active.")
        return 0
    failed = {each: why for each, why in (await alter(wire, dict.fromkeys(active))).items() if why}
    if failed:
        raise Failure(
            "Error cancelling partition reassignments: "
            + "; ".join(f"{each}: {why}" for each, why in sorted(failed.items()))
        )
    print(f"Successfully cancelled partition reassignment{_s(active)} for: {_names(active)}")
    return 0


if __name__ == "__main__":
    run(PROG, main)
