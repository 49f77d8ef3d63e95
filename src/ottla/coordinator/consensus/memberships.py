"""Which configuration of the ensemble holds: the newest one in the log, committed or not.

A member uses the latest configuration in its log from the moment it is appended, so one that is cut
off again is undone (Ongaro's dissertation, 4.1).
"""

from collections.abc import Sequence
from itertools import pairwise

from ottla.coordinator.consensus.log import Log
from ottla.protocol.peer.entries import Entry
from ottla.protocol.peer.membership import MARK, Membership, decode


class Memberships:
    """Configurations by the index of their entries, ascending; never empty.

    The first one holds at the log's base; index 0 is what the ensemble began with. Consecutive ones
    follow each other (`Membership.follows`): no two of them have disjoint majorities.
    """

    __slots__ = ("_known",)

    def __init__(self, initial: Membership, index: int) -> None:
        self._known: list[tuple[int, Membership]] = [(index, initial)]

    @property
    def current(self) -> Membership:
        return self._known[-1][1]

    @property
    def index(self) -> int:
        """The entry that the current one came with; up to the log's base it may be earlier."""
        return self._known[-1][0]

    @property
    def oldest(self) -> Membership:
        """The one that holds at the log's base."""
        return self._known[0][1]

    def was_voter(self, member: int) -> bool:
        """Whether the configuration before the current one lets a member vote."""
        if len(self._known) < 2:
            return False
        before = self._known[-2][1]
        return member in before.voters or member in before.outgoing

    def learn(self, entries: Sequence[Entry]) -> None:
        """Take in what is being appended. ProtocolError."""
        self._known.extend(
            [(entry.index, decode(entry.payload)) for entry in entries if entry.payload[:1] == MARK]
        )

    def cut_from(self, index: int) -> None:
        """Entries from `index` on are gone."""
        while len(self._known) > 1 and self._known[-1][0] >= index:
            self._known.pop()

    def drop_through(self, index: int) -> None:
        """The log's base moved to `index`."""
        while len(self._known) > 1 and self._known[1][0] <= index:
            del self._known[0]

    def replace(self, index: int, membership: Membership) -> None:
        """The log begins anew behind a snapshot of `index`."""
        self._known = [(index, membership)]

    def check(self, log: Log) -> None:
        """Against the log itself, entry by entry."""
        entries = log.entries(log.base.index + 1, log.last_index)
        found = [(one.index, decode(one.payload)) for one in entries if one.payload[:1] == MARK]
        assert self._known[0][0] <= log.base.index
        assert self._known[1:] == found
        # A member that joins may begin with a configuration of its own making, at index 0.
        chain = self._known if self._known[0][0] else self._known[1:]
        for (_, earlier), (_, later) in pairwise(chain):
            assert later.follows(earlier), (earlier, later)


__all__ = ["Memberships"]
