"""Planted bugs of consumer groups and their offsets."""

from ottla.broker.groups.group import Group
from ottla.broker.groups.machine import GroupMachine
from ottla.broker.groups.offsets import OffsetTable
from ottla.broker.groups.replay import Replay
from ottla.broker.groups.shard import Shard
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.planted.bugs import Patch, planted

_SPLITS = {"halves": 8.0, "isolate": 8.0, "kill_broker": 10.0, "pause": 10.0}
_GROUPS = {"groups": 2, "group_members": 3}


@planted(
    "an offset commit is accepted from a past generation",
    faults={"pause_client": 4.0},
    changes=_GROUPS | {"records_per_s": 8.0},
)
def _commit_from_the_past() -> list[Patch]:
    return [(Group, "decide_commit", lambda self, *_who: ErrorCode.NONE)]


@planted("an offset is not replaced by a later commit", changes=_GROUPS)
def _commit_kept_once() -> list[Patch]:
    original = OffsetTable.apply

    def apply(self, tp, entry, log_offset: int) -> None:
        known = self.get(tp)
        if entry is not None and known is not None and log_offset % 5 == 0:
            entry = known
        original(self, tp, entry, log_offset)

    return [(OffsetTable, "apply", apply)]


@planted(
    "an offset commit is answered before other brokers have it", faults=_SPLITS, changes=_GROUPS
)
def _commit_before_replication() -> list[Patch]:
    original = Shard.append

    def append(self, write) -> None:
        original(self, write)
        while self._queue:
            self._commit_head(self.now())

    return [(Shard, "append", append)]


@planted(
    "a group's new home reads its log up to the high watermark that it knows",
    faults={"kill_broker": 5.0, "reset": 10.0},
    changes=_GROUPS | {"delay_s": 0.02},
)
def _home_that_reads_too_little() -> list[Patch]:
    original = Replay.run

    class Shorter:
        def __init__(self, log, end: int) -> None:
            self._log = log
            self.log_end = end

        def __getattr__(self, name: str):
            return getattr(self._log, name)

    class Partition:
        def __init__(self, partition) -> None:
            self.tp = partition.tp
            self.log = Shorter(partition.log, partition.high_watermark)

    async def run(self) -> None:
        self.partition = Partition(self.partition)
        await original(self)

    return [(Replay, "run", run)]


@planted("a rebalance hands out partitions under the old generation", changes=_GROUPS)
def _generation_not_raised() -> list[Patch]:
    original = GroupMachine._complete_join

    def complete(self, now, out) -> None:
        if self.generation > 1:
            self.generation -= 1
        original(self, now, out)

    return [(GroupMachine, "_complete_join", complete)]


@planted("a member is given what an older generation had assigned to it", changes=_GROUPS)
def _assignment_of_the_past() -> list[Patch]:
    original = GroupMachine._sync_reply
    first: dict[str, bytes] = {}

    def reply(self, member):
        if member.assignment:
            member.assignment = first.setdefault(member.member_id, member.assignment)
        return original(self, member)

    return [(GroupMachine, "_sync_reply", reply)]
