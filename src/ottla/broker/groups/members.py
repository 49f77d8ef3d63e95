"""The members of one group, with the counts that a rebalance asks for."""

from collections import Counter

from ottla.broker.groups.values import GroupRecord, Join, JoinedMember, MemberRecord, Ticket

Protocols = tuple[tuple[str, bytes], ...]


class Member:
    """One consumer of the group, or its successor under the same instance id."""

    __slots__ = (
        "assignment",
        "client_host",
        "client_id",
        "instance_id",
        "is_new",
        "join_ticket",
        "member_id",
        "protocols",
        "rebalance_ms",
        "session_ms",
        "sync_ticket",
    )

    def __init__(
        self,
        *,
        member_id: str,
        instance_id: str | None,
        client_id: str,
        client_host: str,
        session_ms: int,
        rebalance_ms: int,
        protocols: Protocols,
    ) -> None:
        self.member_id = member_id
        self.instance_id = instance_id  # static exactly when it is not None
        self.client_id = client_id
        self.client_host = client_host
        self.session_ms = session_ms
        self.rebalance_ms = rebalance_ms
        self.protocols = protocols  # most wanted first
        self.assignment = b""
        self.is_new = False  # its first join was not answered yet
        self.join_ticket: Ticket | None = None  # a parked join; set through Members.park
        self.sync_ticket: Ticket | None = None  # a parked sync; in COMPLETING_REBALANCE only

    @classmethod
    def joining(cls, member_id: str, command: Join) -> "Member":
        return cls(
            member_id=member_id,
            instance_id=command.instance_id,
            client_id=command.client_id,
            client_host=command.client_host,
            session_ms=command.session_ms,
            rebalance_ms=command.rebalance_ms,
            protocols=command.protocols,
        )

    @classmethod
    def recorded(cls, record: MemberRecord, protocol: str) -> "Member":
        member = cls(
            member_id=record.member_id,
            instance_id=record.instance_id,
            client_id=record.client_id,
            client_host=record.client_host,
            session_ms=record.session_ms,
            rebalance_ms=record.rebalance_ms,
            protocols=((protocol, record.subscription),),
        )
        member.assignment = record.assignment
        return member

    def metadata(self, protocol: str) -> bytes:
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        raise AssertionError(f"{self.member_id} does not support {protocol}")

    def to_record(self, protocol: str, assignment: bytes) -> MemberRecord:
        return MemberRecord(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            session_ms=self.session_ms,
            rebalance_ms=self.rebalance_ms,
            subscription=self.metadata(protocol),
            assignment=assignment,
        )


class Members:
    """Members by id in the order of their arrival. `leader` is one of them while there are any."""

    __slots__ = ("_support", "by_id", "instances", "leader", "parked")

    def __init__(self) -> None:
        self.by_id: dict[str, Member] = {}
        self.instances: dict[str, str] = {}  # instance id -> the member id that holds it now
        self.leader: str | None = None
        self.parked = 0  # members with a join ticket
        self._support: Counter[str] = Counter()  # protocol -> members that support it

    def __len__(self) -> int:
        return len(self.by_id)

    def __contains__(self, member_id: str) -> bool:
        return member_id in self.by_id

    def __getitem__(self, member_id: str) -> Member:
        return self.by_id[member_id]

    def add(self, member: Member) -> None:
        assert member.member_id not in self.by_id
        if member.instance_id is not None:
            assert member.instance_id not in self.instances
            self.instances[member.instance_id] = member.member_id
        self.by_id[member.member_id] = member
        self._support.update(_names(member.protocols))
        if self.leader is None:
            self.leader = member.member_id

    def remove(self, member_id: str) -> Member:
        """Take a member out; its tickets, if any, are the caller's to answer first."""
        member = self.by_id.pop(member_id)
        assert member.join_ticket is None
        assert member.sync_ticket is None
        self._support.subtract(_names(member.protocols))
        self._support += Counter()  # forget protocols that nobody supports
        if member.instance_id is not None:
            del self.instances[member.instance_id]
        if self.leader == member_id:
            self.leader = next(iter(self.by_id), None)
        return member

    def rename(self, instance_id: str, new_id: str) -> Member:
        """Give a static member the id of its new process; it keeps everything else."""
        old_id = self.instances[instance_id]
        member = self.by_id.pop(old_id)
        member.member_id = new_id
        self.by_id[new_id] = member
        self.instances[instance_id] = new_id
        if self.leader == old_id:
            self.leader = new_id
        return member

    def update(self, member: Member, command: Join) -> None:
        """Take over what a member said when it joined again."""
        self._support.subtract(_names(member.protocols))
        member.protocols = command.protocols
        self._support.update(_names(member.protocols))
        member.session_ms = command.session_ms
        member.rebalance_ms = command.rebalance_ms

    def park(self, member: Member, ticket: Ticket) -> None:
        assert member.join_ticket is None
        member.join_ticket = ticket
        self.parked += 1

    def unpark(self, member: Member) -> Ticket | None:
        ticket = member.join_ticket
        if ticket is not None:
            member.join_ticket = None
            self.parked -= 1
        return ticket

    def support(self, protocols: Protocols) -> bool:
        """Whether everybody here supports one of these protocols."""
        count = len(self.by_id)
        return any(self._support[name] == count for name, _ in protocols)

    def select_protocol(self) -> str:
        """The protocol with the most votes among those that all members support.

        A member votes for the first such protocol in its list; a tie goes to the one voted for
        first.
        """
        assert self.by_id
        count = len(self.by_id)
        votes: Counter[str] = Counter()
        for member in self.by_id.values():
            for name, _ in member.protocols:
                if self._support[name] == count:
                    votes[name] += 1
                    break
        return votes.most_common(1)[0][0]

    def elect_parked_leader(self) -> bool:
        """Make sure that the leader is a member that joined again; False when none did."""
        if self.leader is not None and self.by_id[self.leader].join_ticket is not None:
            return True
        for member in self.by_id.values():
            if member.join_ticket is not None:
                self.leader = member.member_id
                return True
        return False

    def metadata(self, protocol: str) -> tuple[JoinedMember, ...]:
        return tuple(
            JoinedMember(member.member_id, member.instance_id, member.metadata(protocol))
            for member in self.by_id.values()
        )

    def rebalance_timeout_s(self) -> float:
        return max((m.rebalance_ms for m in self.by_id.values()), default=0) / 1000

    def load(self, record: GroupRecord) -> None:
        assert not self.by_id
        for member in record.members:
            # A key twice in one record is disk content, not our bug: the first one stands.
            if member.member_id not in self.by_id and (
                member.instance_id is None or member.instance_id not in self.instances
            ):
                self.add(Member.recorded(member, record.protocol or ""))
        if record.leader in self.by_id:
            self.leader = record.leader

    def check(self) -> None:
        assert self.parked == sum(m.join_ticket is not None for m in self.by_id.values())
        assert (self.leader is None) == (not self.by_id)
        assert self.leader is None or self.leader in self.by_id
        assert all(key == member.member_id for key, member in self.by_id.items())
        static = {
            m.instance_id: m.member_id for m in self.by_id.values() if m.instance_id is not None
        }
        assert static == self.instances
        support = Counter(n for m in self.by_id.values() for n in _names(m.protocols))
        assert +self._support == +support


def _names(protocols: Protocols) -> list[str]:
    """Each name once, though a client may repeat one."""
    return list(dict(protocols))


__all__ = ["Member", "Members", "Protocols"]
