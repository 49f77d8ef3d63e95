"""Consumer groups of outside clients: rebalances, static members, what each has read."""

from collections.abc import Callable, Iterator

import pytest

from tests.compat.clients import ConfluentKafka, Record, kafka
from tests.compat.conftest import MakeTopic
from tests.compat.group_members import (
    AioKafkaMember,
    ConfluentMember,
    CooperativeMember,
    KafkaPythonMember,
    Member,
    stop_all,
    wait_shared,
)
from tests.support.clusters import wait_until

pytestmark = [pytest.mark.compat, pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 6
KINDS = [ConfluentMember, CooperativeMember, KafkaPythonMember, AioKafkaMember]
Join = Callable[..., Member]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[Member]:
    found: type[Member] = request.param
    return found


@pytest.fixture
def topic(make_topic: MakeTopic) -> str:
    return make_topic(partitions=PARTITIONS)


@pytest.fixture
def join(bootstrap: str, topic: str) -> Iterator[Join]:
    """join(kind, instance=None): one more member of the test's group."""
    joined: list[Member] = []

    def add(kind: type[Member], instance: str | None = None) -> Member:
        joined.append(kind(bootstrap, topic, "group-" + topic, instance).start())
        return joined[-1]

    yield add
    stop_all(joined)


def produce(bootstrap: str, topic: str, first: int, count: int) -> set[bytes]:
    values = [b"%d" % number for number in range(first, first + count)]
    ConfluentKafka().produce(bootstrap, topic, [Record(value, value) for value in values])
    return set(values)


def test_members_come_and_go(kind: type[Member], join: Join, bootstrap: str, topic: str) -> None:
    sent = produce(bootstrap, topic, 0, 100)
    first = join(kind)
    wait_shared([first], PARTITIONS)
    second = join(kind)
    wait_shared([first, second], PARTITIONS)
    sent |= produce(bootstrap, topic, 100, 100)
    third = join(kind)
    wait_shared([first, second, third], PARTITIONS)
    sent |= produce(bootstrap, topic, 200, 100)
    second.stop()
    wait_shared([first, third], PARTITIONS)
    sent |= produce(bootstrap, topic, 300, 100)
    wait_until(lambda: set(first.values + second.values + third.values) == sent, "all records read")


def test_cooperative_members_keep_what_they_can(join: Join) -> None:
    first = join(CooperativeMember)
    wait_shared([first], PARTITIONS)
    before = first.owned
    second = join(CooperativeMember)
    wait_shared([first, second], PARTITIONS)
    assert first.owned < before
    assert first.revoked == [second.owned], "only what the other one got was given up"


def test_static_member_comes_back_without_a_rebalance(kind: type[Member], join: Join) -> None:
    first, second = join(kind, "one"), join(kind, "two")
    wait_shared([first, second], PARTITIONS)
    owned, changes = first.owned, second.assignments
    first.stop()
    again = join(kind, "one")
    wait_shared([again, second], PARTITIONS)
    assert again.owned == owned
    assert second.assignments == changes
    assert second.owned == frozenset(range(PARTITIONS)) - owned


def test_static_member_removed_by_hand_loses_its_share(
    bootstrap: str, topic: str, join: Join
) -> None:
    """Leaving, it stays a member for its session's timeout; the others need not wait for that."""
    first, second = join(ConfluentMember, "one"), join(ConfluentMember, "two")
    wait_shared([first, second], PARTITIONS)
    first.stop()
    client = kafka.admin.KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        gone = kafka.admin.MemberToRemove(group_instance_id="one")
        client.remove_group_members("group-" + topic, [gone])
    finally:
        client.close()
    wait_shared([second], PARTITIONS)


def test_members_of_different_clients_share_a_group(join: Join) -> None:
    """All of them know `range`."""
    members = [join(ConfluentMember), join(KafkaPythonMember)]
    wait_shared(members, PARTITIONS)
