"""What a member tells of each election: why it came about, and how long it took.

| reason | the leader before |
|---|---|
| `start` | there was none: this member has just started |
| `ended` | its process is gone, as its host says, or the connection to it |
| `silence` | was not heard of for an election timeout |
| `handover` | is there, and gave the leadership away: a clean stop, or a change of members |
| `no majority` | was this member, and its lease is over |

It took from the last sign of the leader before, as this member saw it, to the first of the next.
"""

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.peers import Peers
from ottla.runtime.interfaces import Events


class Elections:
    """Owned by the node."""

    __slots__ = ("_core", "_epoch", "_events", "_leader", "_peers", "_reason", "_since")

    def __init__(self, core: Consensus, peers: Peers | None, events: Events, now: float) -> None:
        self._core = core
        self._peers = peers
        self._events = events
        self._leader: int | None = None  # the last one that was known
        self._epoch = 0  # which it led
        self._reason = "start"  # why there will be another; empty: there is one
        self._since = now

    def leader_ended(self, now: float) -> None:
        """The leader's host says that its process is gone."""
        if not self._reason:
            self._reason, self._since = "ended", now

    def saw(self, now: float) -> None:
        """The epoch or the leader changed."""
        core = self._core
        before, leader = self._leader, core.leader
        if not self._reason:  # there was a leader, and it is no more the one of this epoch
            assert before is not None
            self._reason, self._since = self._reason_now(now, before)
            if leader is None and before == core.me:
                self._tell(now, before)
        if leader is not None:
            self._tell(now, before)
            self._leader, self._epoch, self._reason = leader, core.hard.epoch, ""

    def _reason_now(self, now: float, before: int) -> tuple[str, float]:
        core = self._core
        if before == core.me:
            # One that steps down by itself stays in its epoch.
            return ("no majority" if core.hard.epoch == self._epoch else "handover"), now
        heard = min(max(core.last_heard, self._since), now)
        if self._peers is None or not self._peers.is_connected(before):
            return "ended", heard
        is_silent = now - heard >= core.timing.election_min_s
        return "silence" if is_silent else "handover", heard

    def _tell(self, now: float, before: int | None) -> None:
        self._events.info(
            "ensemble.leader_changed",
            epoch=self._core.hard.epoch,
            leader=self._core.leader,
            before=before,
            reason=self._reason,
            took_ms=round((now - self._since) * 1000),
        )


__all__ = ["Elections"]
