"""When a member has to look at the time next: never later than something falls due."""

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.leading import Leading


def next_look(core: Consensus, leading: Leading | None, now: float, report_at: float) -> float:
    """When time alone has something to change. `report_at`: when touches are due, if there are any.

    Whoever changes the epoch or the leader, or ends the leader's lease, asks anew. No lease is
    served a moment longer.
    """
    if leading is not None and leading.is_behind(now):
        return now
    timing, leadership = core.timing, core.leadership
    if core.leader is None:
        grain = timing.election_min_s / 10  # an answer may bring the next election nearer
    elif leadership is None and core.newcomer is None:
        # What its leader says from now on lets a follower wait for as long again, or longer.
        grain = timing.election_min_s
    elif leadership is not None and not leadership.followers:
        grain = timing.election_min_s / 2  # for the sessions alone
    else:
        grain = timing.heartbeat_s
    then = min(core.deadline, now + grain, report_at)
    lease_end = core.lease_end()
    return min(then, lease_end) if lease_end > now else then


__all__ = ["next_look"]
