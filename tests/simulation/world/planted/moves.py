"""Planted bugs of moves: between brokers, between directories of one; and of reads nearby."""

from ottla.broker.controller import reassigning, reassignment
from ottla.broker.controller.controller import Controller
from ottla.broker.partitions import partition
from ottla.broker.partitions.log_moves import LogMoves
from ottla.broker.partitions.replica_set import ReplicaSet
from ottla.broker.replication.read_replica import RACK_AWARE
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.plan import LOG_DIRS
from tests.simulation.world.planted.bugs import Patch, planted

_MOVES = {
    "faults": {"kill_broker": 12.0, "move_controller": 10.0, "power_broker": 30.0},
    "settings": {"auto.leader.rebalance.enable": "false"},
    "changes": {"moves": True},
}


@planted("a broker keeps the replicas that have moved away from it", **_MOVES)
def _moved_replicas_kept() -> list[Patch]:
    return [(ReplicaSet, "drop_moved_away", lambda *_args: None)]


@planted("a move ends before all replicas that stay are in sync", **_MOVES)
def _move_ends_early() -> list[Patch]:
    def completion(cluster, tp):
        state = cluster.partitions.get(tp)
        assignment = cluster.assignment(tp)
        if state is None or assignment is None or not assignment.is_being_reassigned:
            return None
        target = assignment.target
        isr = tuple(each for each in state.isr if each in target)
        if not isr or state.leader not in target:
            return None
        ended = state.with_election(state.leader, isr)
        return reassignment.Step(
            tp, reassignment.Assignment(target), ended, (), assignment.removing, is_last=True
        )

    return [(reassignment, "completion", completion)]


@planted("a move is granted and forgotten", **_MOVES)
def _move_forgotten() -> list[Patch]:
    async def alter(_reign, wishes):
        return dict.fromkeys(wishes, (ErrorCode.NONE, None))

    return [(reassigning, "alter", alter)]


@planted("an election of preferred leaders is answered and not held", **_MOVES)
def _preferred_leaders_not_elected() -> list[Patch]:
    async def elect(_self, partitions, *, unclean: bool):
        del unclean
        return dict.fromkeys(partitions or (), (ErrorCode.NONE, None))

    return [(Controller, "elect_leaders", elect)]


@planted(
    "a log stays in its directory, whatever is asked for",
    faults={"kill_broker": 15.0, "power_broker": 20.0, "full_broker": 20.0},
    settings={"log.dirs": ",".join(LOG_DIRS)},
    changes={"moves_logs": True},
)
def _log_stays() -> list[Patch]:
    return [(LogMoves, "alter", lambda *_args: None)]


@planted(
    "a follower calls all committed that it has, and gives it to consumers",
    faults={"kill_broker": 20.0, "cut_pair": 20.0, "reset": 15.0, "pause": 6.0},
    settings={"replica.selector.class": RACK_AWARE},
    changes={"racks": 3},
)
def _follower_calls_all_committed() -> list[Patch]:
    return [(partition, "follower_high_watermark", lambda _leader, log_end: log_end)]
