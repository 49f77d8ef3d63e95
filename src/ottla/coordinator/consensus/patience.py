"""How long a member waits for a leader, and whether it believes that one is alive.

Sections are those of Ongaro's dissertation: random timeouts 3.4, stickiness 4.2.3, leases 6.4.1.
"""

import random

from ottla.coordinator.consensus.values import Timing

NEVER = float("-inf")


class Patience:
    """Part of the core. `ends` is when it asks who would vote for it, if it hears no leader."""

    __slots__ = ("_rng", "_timing", "_whole_s", "ends", "heard")

    def __init__(
        self, timing: Timing, rng: random.Random, now: float, *, ran_before: bool, is_alone: bool
    ) -> None:
        """A new ensemble elects at once. One that ran before keeps any lease given."""
        self._timing = timing
        self._rng = rng
        self._whole_s = timing.election_max_s  # as drawn for this leader, or for want of one
        self.heard = now if ran_before and not is_alone else NEVER
        if is_alone:
            self.ends = now
        elif ran_before:
            self.begin_anew(now)
        else:
            self.end_soon(now)

    def begin_anew(self, now: float) -> None:
        timing = self._timing
        self._whole_s = self._rng.uniform(timing.election_min_s, timing.election_max_s)
        self.ends = now + self._whole_s

    def hear_leader(self, now: float) -> None:
        """A leader of this epoch is alive. So is one's own lease, when one leads no more.

        Called for every message of a leader: chance decides once for all of them.
        """
        self.heard = now
        self.ends = now + self._whole_s

    def leader_ended(self, now: float) -> None:
        self.heard = NEVER
        self.ends = min(self.ends, now + self._rng.uniform(0, self._timing.election_min_s / 20))

    def end_soon(self, now: float) -> None:
        """Nobody can have led before: only the members' first steps must not coincide."""
        self.ends = now + self._rng.uniform(0, 0.4 * self._timing.election_min_s)

    def ask_again(self, now: float) -> None:
        """Asking who would vote costs nothing, so do it sooner than an election is repeated."""
        self.ends = now + self._rng.uniform(0.25, 0.5) * self._timing.election_min_s

    def lost_election(self, now: float) -> None:
        retry = now + self._rng.uniform(0.1, 0.5) * self._timing.election_min_s
        self.ends = min(self.ends, retry)

    def is_sticky(self, now: float) -> bool:
        """Whether a leader was heard so lately that this member votes for nobody."""
        return now - self.heard < self._timing.election_min_s


__all__ = ["NEVER", "Patience"]
