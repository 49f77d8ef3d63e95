"""Whether a member answers its clients: when it may begin, when it must end, and who is told."""

from collections.abc import Callable

from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.values import Position, Role
from ottla.runtime.interfaces import Events


class Serving:
    """Owned by the node, which looks at it in every turn."""

    __slots__ = ("_core", "_events", "_told", "is_on")

    def __init__(self, core: Consensus, events: Events) -> None:
        self._core = core
        self._events = events
        self._told: list[Callable[[bool], None]] = []
        self.is_on = False

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        self._told.append(callback)

    def may_serve(self, now: float, applied: Position, *, decides: bool) -> bool:
        """Whether what is here is new enough to be shown. `decides`: the leader's work began."""
        core = self._core
        if core.leadership is not None:
            # One that took over, or hands over, goes on with the clients that it has.
            if self.is_on:
                return core.leadership.patience_end() > now
            return decides and core.lease_end() > now
        if core.role is not Role.FOLLOWER:
            # A candidate that was left, not cut off, shows nothing older than the others do.
            return self.is_on and core.left_at + core.timing.election_min_s > now
        if core.leader is None:
            return self.is_on  # between two leaders: until silence makes this member a candidate
        return self.is_on or (
            core.catch_up_to is not None
            and applied.index >= core.catch_up_to
            and applied.epoch == core.hard.epoch
        )

    def tell_begun(self, role: str) -> None:
        self._events.info("ensemble.serving_began", role=role, epoch=self._core.hard.epoch)
        self.tell()

    def end(self, reason: str) -> None:
        if self.is_on:
            self.is_on = False
            self._events.info("ensemble.serving_ended", reason=reason, epoch=self._core.hard.epoch)
            self.tell()

    def tell(self) -> None:
        for callback in self._told:
            callback(self.is_on)


__all__ = ["Serving"]
