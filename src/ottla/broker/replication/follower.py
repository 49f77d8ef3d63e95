"""The follower's side of one partition: where to truncate, where to go on, what is committed.

A core: no I/O, no clock. A follower never truncates to its high watermark, only to where its
history and the leader's diverge (KIP-101, KIP-279); the leader finds that place from the epoch that
each fetch carries (`last_fetched_epoch`, KIP-595 as adopted by Fetch v12).
"""

from dataclasses import dataclass

from ottla.broker.ids import LeaderEpoch, Offset


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut the log so that it ends at `end`."""

    end: Offset


@dataclass(frozen=True, slots=True)
class StartAt:
    """Drop everything and begin at `start`, the leader's log start."""

    start: Offset


def truncation_after_divergence(
    *,
    leader_epoch: LeaderEpoch,
    leader_end: Offset,
    local_epoch: LeaderEpoch,
    local_end: Offset,
    log_end: Offset,
) -> Truncate:
    """Where to cut when the leader reports that `leader_epoch` ends at `leader_end` in its log.

    `local_epoch`, `local_end`: the largest epoch not above `leader_epoch` that the own log knows,
    and where it ends there (-1, -1 when it knows none). If the leader named an epoch that the own
    log lacks, the cut goes to the end of the next lower one and the next fetch asks again from
    there.
    """
    assert leader_end >= 0
    if local_epoch < 0:
        return Truncate(min(leader_end, log_end))
    if local_epoch == leader_epoch:
        return Truncate(min(leader_end, local_end, log_end))
    return Truncate(min(local_end, leader_end, log_end))


def move_after_out_of_range(
    *, log_end: Offset, leader_start: Offset, leader_end: Offset
) -> Truncate | StartAt | None:
    """What to do when the leader says that `log_end` lies outside of its log.

    A leader that ends before us was elected uncleanly: follow it back. A leader that starts after
    us has deleted what we miss: begin again there. None: the leader has moved meanwhile, fetch
    again.
    """
    if leader_end < log_end:
        return Truncate(leader_end)
    if leader_start > log_end:
        return StartAt(leader_start)
    return None


def follower_high_watermark(leader_high_watermark: Offset, log_end: Offset) -> Offset:
    """What a follower may call committed: never more than it has."""
    return min(leader_high_watermark, log_end)
