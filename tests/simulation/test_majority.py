"""The check that what a member applies is on the disks of a majority, on made-up members."""

from types import SimpleNamespace

from ottla.coordinator.consensus.log import Log
from ottla.coordinator.consensus.values import Position
from ottla.coordinator.tree.values import Applied
from ottla.protocol.peer.entries import Entry
from ottla.protocol.zookeeper.errors import ZkError
from tests.simulation.world.majority import MajorityChecker


class Member:
    """A node of three, with two entries in its log of which `synced` are on its disk."""

    def __init__(self, name: str, synced: int) -> None:
        self.name = name
        self.listeners: list = []
        log = Log(Position(), [Entry(at, 1, (1 << 32) + at, b"") for at in (1, 2)])
        self.replica = SimpleNamespace(
            log=log,
            synced_index=synced,
            memberships=SimpleNamespace(current=SimpleNamespace(voters=(1, 2, 3))),
        )
        node = SimpleNamespace(
            _core=SimpleNamespace(replica=self.replica), subscribe_applied=self.listeners.append
        )
        self.handle = SimpleNamespace(node=node)

    def apply(self, index: int) -> None:
        for listener in self.listeners:
            listener(Applied((1 << 32) + index, 0, None, 0, ZkError.OK, b"", (), ()))


def cluster(*synced: int) -> tuple[list[Member], list[BaseException]]:
    failures: list[BaseException] = []
    checker = MajorityChecker(failures.append)
    members = [Member(f"member-{at}", each) for at, each in enumerate(synced, 1)]
    for member in members:
        checker.watch(member)  # type: ignore[arg-type]
    return members, failures


def test_what_two_of_three_have_on_their_disks_may_be_applied() -> None:
    members, failures = cluster(1, 2, 2)
    members[1].apply(1)
    members[2].apply(2)
    assert not failures


def test_what_one_of_three_has_on_its_disk_may_not() -> None:
    members, failures = cluster(1, 2, 1)
    members[1].apply(1)
    assert not failures
    members[1].apply(2)
    assert "member-2 applies zxid 0x100000002" in str(failures[0])
    assert "member-1 and member-3" in str(failures[0])


def test_a_member_that_does_not_run_may_have_it() -> None:
    members, failures = cluster(1, 2, 1)
    members[2].handle = None
    members[1].apply(2)
    assert not failures


def test_only_the_first_to_apply_it_is_looked_at() -> None:
    members, failures = cluster(2, 2, 2)
    members[0].apply(2)
    members[0].replica.synced_index = 0
    members[1].replica.synced_index = 0
    members[2].apply(2)
    assert not failures
