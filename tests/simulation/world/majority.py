"""What a member of the ensemble applies is on the disks of a majority, at that moment.

Else it may be gone after the next crash, though somebody saw it. Looking at logs finds at once what
clients only show when such a crash comes, and the wrong member leads afterwards.
"""

from collections.abc import Callable

from ottla.coordinator.tree.values import Applied
from tests.simulation.world.history import Violation
from tests.simulation.world.nodes import Node


class MajorityChecker:
    """Looks at the logs of all members each time one of them is the first to apply something."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        self._fail = fail
        self._last_zxid = 0
        self._members: dict[str, Node] = {}

    def watch(self, node: Node) -> None:
        """`node` has started: follow what it applies in this life."""
        self._members[node.name] = node

        def on_applied(applied: Applied) -> None:
            try:
                self._take(node, applied)
            except Violation as violation:
                self._fail(violation)

        node.handle.node.subscribe_applied(on_applied)

    def _take(self, first: Node, applied: Applied) -> None:
        if applied.zxid <= self._last_zxid:
            return
        self._last_zxid = applied.zxid
        voters = first.handle.node._core.replica.memberships.current.voters
        lacking = [
            name
            for name, node in self._members.items()
            if node.handle is not None and _durable_zxid(node) < applied.zxid
        ]
        if len(voters) - len(lacking) <= len(voters) // 2:  # who does not run may have it
            raise Violation(
                f"{first.name} applies zxid {applied.zxid:#x}, which is not on the disks of"
                f" {' and '.join(lacking)}"
            )


def _durable_zxid(node: Node) -> int:
    """Zxids ascend in a log, so whoever has this one on its disk has all entries before it."""
    replica = node.handle.node._core.replica
    at = replica.synced_index
    return replica.log.position_at(at).zxid if at >= replica.log.base.index else 0


__all__ = ["MajorityChecker"]
