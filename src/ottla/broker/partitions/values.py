"""What a partition is told, what it answers, and what all partitions of a broker share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ottla.broker.ids import BrokerId, LeaderEpoch, Offset, PartitionEpoch
from ottla.broker.replication.isr_changes import IsrChanges
from ottla.broker.storage.log import Log
from ottla.broker.storage.reading import FileRange
from ottla.runtime.interfaces import Events, WallClock


class Role(Enum):
    """NONE: no LeaderAndIsr came yet, or this replica was stopped; answers NOT_LEADER_OR_FOLLOWER.

    LEADER: appends, serves fetches, tracks followers. FOLLOWER: is fed by the replica fetcher.
    """

    NONE = "none"
    LEADER = "leader"
    FOLLOWER = "follower"


class FetchInfo(NamedTuple):
    """What a fetch of one partition gives. `diverging`: (epoch, end) where histories part."""

    records: FileRange | bytes
    high_watermark: Offset
    last_stable_offset: Offset
    log_start: Offset
    diverging: tuple[int, int] | None = None


class PartitionState(NamedTuple):
    """The controller's decision on one partition, from LeaderAndIsr."""

    leader: BrokerId
    leader_epoch: LeaderEpoch
    partition_epoch: PartitionEpoch
    isr: Sequence[BrokerId]
    replicas: Sequence[BrokerId]


@dataclass(frozen=True, slots=True)
class PartitionServices:
    """What all partitions of a broker share."""

    broker_id: BrokerId
    lag_max: float
    is_alive: Callable[[BrokerId], bool]
    isr_changes: IsrChanges
    wall_clock: WallClock
    events: Events
    lose_log: Callable[[Log, str], None] = lambda _log, _reason: None
    """The log is damaged and another replica can take over: take this one offline."""


__all__ = ["FetchInfo", "PartitionServices", "PartitionState", "Role"]
