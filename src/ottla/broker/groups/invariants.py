"""What holds for a group between any two calls."""

from typing import TYPE_CHECKING

from ottla.broker.groups.states import GroupState
from ottla.broker.groups.values import NO_GENERATION

if TYPE_CHECKING:
    from ottla.broker.groups.machine import GroupMachine


def check_group(group: "GroupMachine") -> None:
    """Assert every relation between the fields of a group."""
    if group.state is GroupState.DEAD:
        return
    group.members.check()
    group.timers.check()
    group.offsets.check()
    members = group.members.by_id
    assert not group.pending.keys() & members.keys()
    assert group.awaiting_sync.keys() <= members.keys()
    assert all(("pending", member_id) in group.timers for member_id in group.pending)
    if group.state is GroupState.EMPTY:
        assert not members
        assert group.protocol is None
    if group.state in (GroupState.COMPLETING_REBALANCE, GroupState.STABLE):
        assert members
        assert group.protocol is not None
        assert all(m.join_ticket is None and not m.is_new for m in members.values())
    if group.state is not GroupState.COMPLETING_REBALANCE:
        assert all(m.sync_ticket is None for m in members.values())
    if group.state is GroupState.PREPARING_REBALANCE:
        assert ("join", "") in group.timers
        assert not group.awaiting_sync
    else:
        assert group.initial_delay_left_s is None
    assert (("sync", "") in group.timers) == bool(group.awaiting_sync)
    for member in members.values():
        waits = member.join_ticket is not None or member.sync_ticket is not None
        assert waits or ("member", member.member_id) in group.timers
    assert group.generation != NO_GENERATION


__all__ = ["check_group"]
