"""What a member notices by the clock while it does not serve, and what it does about it.

Nobody leads: after a while it shows what it has to clients that ask for no more. It comes no nearer
to its leader: it begins anew on new connections. Its disk is empty and nobody tells it why: it says
who is silent.
"""

from collections.abc import Callable

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.peers import Peers
from ottla.coordinator.settings import CoordinatorSettings
from ottla.runtime.interfaces import Events

READ_ONLY_AFTER_S = 2.0
"""A member without a leader waits so long, or a tick, before it serves reads only."""


class Watching:
    """Owned by the node, which calls `look` in time."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        core: Consensus,
        peers: Peers | None,
        events: Events,
        now: float,
        *,
        last_zxid: Callable[[], int],
        on_read_only_ended: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._core = core
        self._peers = peers
        self._events = events
        self._last_zxid = last_zxid
        self._on_read_only_ended = on_read_only_ended
        self._tick_s = settings.tick_time_ms / 1000
        self.is_read_only = False
        self._looking_since = now
        self._empty_since = now
        self._newcomer = core.newcomer
        self._caught_up = (0, 0)  # what this member held when it last came nearer to its leader
        self._stalled_at = now + settings.init_limit * self._tick_s

    def look(self, now: float, *, is_serving: bool) -> None:
        self._look_after_catching_up(now, is_serving=is_serving)
        self._look_after_founding(now)
        self._look_for_leader(now, is_serving=is_serving)

    def end_read_only(self) -> None:
        if self.is_read_only:
            self.is_read_only = False
            self._events.info("ensemble.read_only_ended")
            self._on_read_only_ended()

    def _look_for_leader(self, now: float, *, is_serving: bool) -> None:
        """`readonlymode.enabled`: a member without a leader shows what it has, after a while."""
        if is_serving or self._core.leader is not None:
            self._looking_since = now
            self.end_read_only()
        elif (
            self._settings.read_only_mode
            and not self.is_read_only
            and now - self._looking_since >= max(READ_ONLY_AFTER_S, self._tick_s)
        ):
            self.is_read_only = True
            self._events.info("ensemble.read_only_began", zxid=f"{self._last_zxid():#x}")

    def _look_after_founding(self, now: float) -> None:
        """A member with an empty disk says who has to answer before it may vote."""
        core = self._core
        newcomer, before = core.newcomer, self._newcomer
        self._newcomer = newcomer
        if newcomer is None and before is not None and before.is_deaf:
            silent = [member for member in core.peers if before.lacks(member)]
            if silent:
                self._events.warning("ensemble.founded_by_majority", silent=silent)
        if newcomer is None or core.leader is not None:
            self._empty_since = now
        elif now - self._empty_since >= 2 * core.timing.election_max_s:
            self._empty_since = float("inf")
            self._events.warning(
                "ensemble.founding_waits",
                silent=[member for member in core.peers if newcomer.lacks(member)],
                answers={m: reply.last_index for m, reply in newcomer.answers.items()},
            )

    def _look_after_catching_up(self, now: float, *, is_serving: bool) -> None:
        """`initLimit`: a member that comes no nearer to its leader begins anew."""
        core = self._core
        leader = core.leader
        held = (core.synced_index, core.snapshot_pieces)
        if is_serving or leader in (None, core.me) or held != self._caught_up:
            self._caught_up = held
            self._stalled_at = now + self._settings.init_limit * self._tick_s
        elif now >= self._stalled_at and self._peers is not None and leader is not None:
            self._events.warning(
                "ensemble.catch_up_stalled", leader=leader, index=held[0], pieces=held[1]
            )
            self._stalled_at = now + self._settings.init_limit * self._tick_s
            self._peers.begin_anew(leader)


__all__ = ["READ_ONLY_AFTER_S", "Watching"]
