"""What the client port asks of the member that it belongs to; `node.Node` is one.

Order is the contract. For every transaction, on the loop's one thread and without a wait between:
`tree.apply` → the `applied` subscribers, in zxid order → the `on_applied` of the request that this
member submitted, if it was one. So a watch is delivered before any answer that shows what it tells.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import Applied, Session
from ottla.coordinator.tree.watches import Watches
from ottla.protocol.zookeeper.data import Id

OnApplied = Callable[[Applied], None]


class NotServing(Exception):
    """The member has no leader or no majority: it can neither read nor write for anybody."""


class Member(Protocol):
    """One member of the ensemble, as its client port sees it."""

    @property
    def member_id(self) -> int: ...

    @property
    def tree(self) -> Tree:
        """Read-only use. A member may replace it while it is not serving."""
        ...

    @property
    def watches(self) -> Watches:
        """Written by the client port only: it adds, triggers and forgets watches."""
        ...

    @property
    def is_serving(self) -> bool: ...

    @property
    def is_read_only(self) -> bool:
        """Whether it shows what it has to clients that asked for no more; never while serving."""
        ...

    @property
    def role(self) -> str:
        """ "leader", "follower", "observer", "looking", "read-only" or "standalone"."""
        ...

    def submit_nowait(
        self, session_id: int, opcode: int, body: bytes, auth: Sequence[Id], on_applied: OnApplied
    ) -> None:
        """Send a request on its way to the leader's `Decider`; the order of calls is kept.

        `on_applied` is called once it has been applied here, or never: then the member stopped
        serving meanwhile, and said so to `subscribe_serving`. Raises NotServing.
        """
        ...

    async def create_session(self, timeout_ms: int) -> Session:
        """Raises NotServing."""
        ...

    async def validate_session(
        self, session_id: int, password: bytes, timeout_ms: int
    ) -> Session | None:
        """Move a session here, with a new timeout; None: unknown, expired or a wrong password.

        A transaction (`values.REOPEN_SESSION`): when it returns, this member has applied all that
        the session wrote elsewhere. Raises NotServing.
        """
        ...

    def touch(self, session_id: int) -> None:
        """A client was heard from. Cheap: reported to the leader in batches."""
        ...

    def subscribe_applied(
        self, callback: OnApplied, at_end: Callable[[], None] | None = None
    ) -> None:
        """`at_end` is called once behind each run of applied entries and their callbacks."""
        ...

    def subscribe_serving(self, callback: Callable[[bool], None]) -> None:
        """Called after every change of `is_serving`, and when `is_read_only` ends."""
        ...

    def statistics(self) -> Mapping[str, int | float | str]:
        """Figures for `mntr`, by ZooKeeper's names without `zk_`; at least `outstanding_requests`.

        The client port adds its own (packets, connections, latency, znodes, watches, version).
        """
        ...


__all__ = ["Member", "NotServing", "OnApplied"]
