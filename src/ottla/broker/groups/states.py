"""The states of a group of the classic protocol and the moves between them."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class GroupState(Enum):
    """What a group does in each state, and what moves it on. Values are the names on the wire.

    EMPTY: no members; it stays for its offsets, or waits for the second join of a new member
        heartbeat, sync, leave: UNKNOWN_MEMBER_ID
        commit: accepted when it names neither a member nor a generation
        -> PREPARING_REBALANCE: a member joins
        -> DEAD: its last offset expired or was deleted, or its partition moved away

    PREPARING_REBALANCE: members are called back to join
        join: parked until every known member has joined, or the rebalance timeout
        heartbeat, sync: REBALANCE_IN_PROGRESS
        commit: accepted from members of the generation that ends
        -> COMPLETING_REBALANCE: all members joined, or time was up and some had
        -> EMPTY: time was up, or the last member left, and no member remains
        -> DEAD: its partition moved away

    COMPLETING_REBALANCE: the new generation has its members, and waits for the leader's assignment
        join: same metadata gets the generation again, anything else starts a new rebalance
        sync: parked until the assignment is committed to the log
        heartbeat: accepted; commit: REBALANCE_IN_PROGRESS
        -> STABLE: the leader's assignment is committed
        -> PREPARING_REBALANCE: a join, leave, failure, lost sync or failed write
        -> DEAD: its partition moved away

    STABLE: every member has its assignment
        join: a follower with the same metadata gets the generation again; else a rebalance starts
        sync: answered at once; heartbeat, commit: accepted from the current generation
        -> PREPARING_REBALANCE: a join, leave, failure or lost sync
        -> DEAD: its partition moved away

    DEAD: removed here; it may live on another broker
        everything: COORDINATOR_NOT_AVAILABLE
    """

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


TRANSITIONS: Mapping[GroupState, frozenset[GroupState]] = MappingProxyType(
    {
        GroupState.EMPTY: frozenset({GroupState.PREPARING_REBALANCE, GroupState.DEAD}),
        GroupState.PREPARING_REBALANCE: frozenset(
            {GroupState.COMPLETING_REBALANCE, GroupState.EMPTY, GroupState.DEAD}
        ),
        GroupState.COMPLETING_REBALANCE: frozenset(
            {GroupState.STABLE, GroupState.PREPARING_REBALANCE, GroupState.DEAD}
        ),
        GroupState.STABLE: frozenset({GroupState.PREPARING_REBALANCE, GroupState.DEAD}),
        GroupState.DEAD: frozenset(),
    }
)

__all__ = ["TRANSITIONS", "GroupState"]
