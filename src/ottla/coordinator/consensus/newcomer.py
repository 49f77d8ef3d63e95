"""A member whose disk holds nothing: it may be new, or have lost what it promised.

Raft relies on members that remember their votes and entries. One that lost its disk must not help
to elect a leader that lacks what it once acknowledged, nor acknowledge anything to a leader that
was replaced with its help. So it calls the roll (as in Liskov and Cowling, "Viewstamped Replication
Revisited", 4.3, with leases in place of a second majority) until one of two things is known:

* *Founding.* Every other voter has answered, after this start, that its log is empty too, and names
  the same voters. Then there is nothing to lose; this member votes, but in no epoch up to theirs.
  Or a grace is over (`Timing.founding_s`), and whoever answered, a majority with this member, has
  never taken part in an election either: what may be lost then is told in docs/decisions/007.
* *Recovery.* A leader within its lease has answered. Nobody else leads a later epoch by then, and
  no election can succeed with a vote that this member gave before it started, since a whole
  election timeout has passed. So it follows that leader's epoch or later ones, without a vote until
  its log holds all that the leader's held when it answered: everything acknowledged before is in
  there. Epoch and abstention are on disk, so a crash in between changes nothing.

| state | hears | votes | becomes |
|---|---|---|---|
| deaf | answers to its roll call | no | an ordinary member (founding), or catching up |
| catching up | its leader, and all the rest | no | an ordinary member |
"""

from collections.abc import Iterable, Sequence

from ottla.coordinator.consensus.quorum import majority
from ottla.protocol.peer.messages import RollCallReply


class Newcomer:
    """Volatile; the core drops it once the member is an ordinary one."""

    __slots__ = (
        "_answers",
        "ask_at",
        "deaf_until",
        "hold",
        "is_deaf",
        "leaders",
        "life",
        "matched",
        "rolls",
    )

    def __init__(self, life: int, now: float, *, is_deaf: bool, deaf_until: float) -> None:
        self.life = life
        self.is_deaf = is_deaf
        self.deaf_until = deaf_until
        self.ask_at = now
        self.rolls = 0
        """How often all were asked, and had the time to answer. A clock that stood still for the
        process, or ran on without it, makes no grace shorter."""
        self.leaders: dict[int, None] = {}
        """Who sent us what only leaders send: to be asked too, member or not."""
        self.hold: tuple[int, int] | None = None
        """(epoch, index) up to which the leader's log must be here; only while catching up."""
        self.matched = 0
        """How far the log is known to be the leader's, in the epoch of `hold`."""
        self._answers: dict[int, RollCallReply] = {}

    def whom_to_ask(self, peers: Iterable[int], leader: int | None) -> Iterable[int]:
        """Who may know something: everybody, or the leader alone once the way back is clear."""
        if self.is_deaf:
            return dict.fromkeys((*peers, *self.leaders))
        if leader is None:
            return peers
        return () if self.hold is not None else (leader,)

    def lacks(self, member: int) -> bool:
        """Whether a member has not answered yet."""
        return member not in self._answers

    def answered(self, member: int, reply: RollCallReply) -> None:
        self._answers[member] = reply

    def founding_epoch(
        self, voters: tuple[int, ...], others: Sequence[int], *, is_grace_over: bool
    ) -> int | None:
        """The greatest epoch that an empty member is in, when all are empty; None: not known.

        When the grace is over, a majority is enough. In one that is not all, nobody may be in an
        epoch: a member whose log is empty, but which voted, may have seen the ensemble of a member
        that is silent.
        """
        answers = self._answers
        listed = [answers[member] for member in others if member in answers]
        if any(answer.last_index or answer.voters != voters for answer in listed):
            return None
        if len(listed) == len(others):
            return max([answer.epoch for answer in listed])
        knows_of_none = self.is_deaf and not (
            self.leaders or any(answer.epoch or answer.last_index for answer in answers.values())
        )
        is_majority = 1 + len(listed) >= majority(len(voters))
        return 0 if is_grace_over and knows_of_none and is_majority else None

    def believes(self, reply: RollCallReply, now: float) -> bool:
        """Whether an answer ends the first, deaf part of a recovery; true ever after."""
        if not reply.leads or (self.is_deaf and now < self.deaf_until):
            return False
        self.is_deaf = False
        return True

    def catch_up_to(self, reply: RollCallReply) -> None:
        self.hold = (reply.epoch, reply.last_index)
        self.matched = 0

    def has_caught_up(self, epoch: int, synced_index: int) -> bool:
        """Whether all that `hold` names is here, and durable."""
        if self.hold is None:
            return False
        if self.hold[0] != epoch:
            self.hold = None  # of a leader that is gone: ask the new one
            return False
        return min(self.matched, synced_index) >= self.hold[1]

    @property
    def answers(self) -> dict[int, RollCallReply]:
        """Who said what so far, for the shell's events."""
        return self._answers


__all__ = ["Newcomer"]
