"""The group APIs over a connection: every version, and what is special about some of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from ottla.broker.api import (
    delete_groups,
    describe_groups,
    find_coordinator,
    heartbeat,
    init_producer_id,
    join_group,
    leave_group,
    list_groups,
    offset_commit,
    offset_delete,
    offset_fetch,
    sync_group,
)
from ottla.broker.api.api import Api
from ottla.broker.errors import BrokerNotAvailable, GroupHomeNotAvailable
from ottla.broker.groups.home import GroupHome
from ottla.broker.groups.producer_ids import ProducerIdAllocator
from ottla.broker.groups.reply import Reply
from ottla.broker.groups.settings import OFFSETS_TOPIC
from ottla.broker.metadata import MetadataCache
from ottla.protocol.kafka import codec
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages import update_metadata as um
from ottla.protocol.kafka.messages.delete_groups import DeleteGroupsRequest
from ottla.protocol.kafka.messages.describe_groups import DescribeGroupsRequest
from ottla.protocol.kafka.messages.find_coordinator import FindCoordinatorRequest
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest
from ottla.protocol.kafka.messages.init_producer_id import InitProducerIdRequest
from ottla.protocol.kafka.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from ottla.protocol.kafka.messages.leave_group import LeaveGroupRequest, MemberIdentity
from ottla.protocol.kafka.messages.list_groups import ListGroupsRequest
from ottla.protocol.kafka.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from ottla.protocol.kafka.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from ottla.protocol.kafka.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)
from ottla.protocol.kafka.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.support.group_home import Stage
from tests.support.served import Peer, serving

APIS = [
    module.API
    for module in (
        delete_groups,
        describe_groups,
        find_coordinator,
        heartbeat,
        init_producer_id,
        join_group,
        leave_group,
        list_groups,
        offset_commit,
        offset_delete,
        offset_fetch,
        sync_group,
    )
]


def know(metadata: MetadataCache, topic: str, partitions: int, leader: int = 1) -> None:
    """What the controller would tell about a topic."""
    metadata.apply(
        um.UpdateMetadataRequest(
            live_brokers=[
                um.UpdateMetadataBroker(
                    id=1,
                    endpoints=[
                        um.UpdateMetadataEndpoint(host="one", port=9092, listener="PLAINTEXT")
                    ],
                )
            ],
            topic_states=[
                um.UpdateMetadataTopicState(
                    topic_name=topic,
                    partition_states=[
                        um.UpdateMetadataPartitionState(
                            partition_index=index, leader=leader, replicas=[1], isr=[1]
                        )
                        for index in range(partitions)
                    ],
                )
            ],
        )
    )


@asynccontextmanager
async def broker() -> AsyncIterator[tuple[Peer, GroupHome, Stage]]:
    """A peer of a broker that is home of all groups, and knows topic t with two partitions."""
    stage, metadata = Stage(), MetadataCache()
    know(metadata, OFFSETS_TOPIC, 2)
    know(metadata, "t", 2)
    blocks = iter([(1000, 2), (5000, 1)])

    async def next_block() -> tuple[int, int]:
        for block in blocks:
            return block
        raise BrokerNotAvailable("no controller")

    async with (
        stage.home() as home,
        serving(
            *APIS, metadata=metadata, groups=home, producer_ids=ProducerIdAllocator(next_block)
        ) as served,
    ):
        yield await served.connect(), home, stage


def join(version: int, member_id: str = "", **more: Any) -> JoinGroupRequest:
    if version >= 1:
        more.setdefault("rebalance_timeout_ms", 60_000)
    return JoinGroupRequest(
        group_id="g",
        session_timeout_ms=10_000,
        member_id=member_id,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=b"sub")],
        **more,
    )


async def joined(peer: Peer, version: int = 9) -> tuple[str, int]:
    """Join alone and sync; (member id, generation)."""
    reply = await peer.ask(join(version), version)
    if version >= 4:
        assert reply.error_code == ErrorCode.MEMBER_ID_REQUIRED
        reply = await peer.ask(join(version, reply.member_id), version)
    assert reply.error_code == ErrorCode.NONE
    assert reply.leader == reply.member_id
    assert [(m.member_id, m.metadata) for m in reply.members] == [(reply.member_id, b"sub")]
    sync_version = min(version, 5)
    named = {"protocol_type": "consumer", "protocol_name": "range"} if sync_version >= 5 else {}
    share = SyncGroupRequestAssignment(member_id=reply.member_id, assignment=b"0,1")
    synced = await peer.ask(
        SyncGroupRequest(
            group_id="g",
            generation_id=reply.generation_id,
            member_id=reply.member_id,
            assignments=[share],
            **named,
        ),
        sync_version,
    )
    assert (synced.error_code, synced.assignment) == (ErrorCode.NONE, b"0,1")
    return reply.member_id, reply.generation_id


@pytest.mark.parametrize("version", range(10))
async def test_member_joins_lives_and_leaves(version: int) -> None:
    async with broker() as (peer, home, _):
        member_id, generation = await joined(peer, version)
        assert member_id.startswith("tester-")
        beat = HeartbeatRequest(group_id="g", generation_id=generation, member_id=member_id)
        assert (await peer.ask(beat, min(version, 4))).error_code == ErrorCode.NONE
        rebalance_ms = home.describe("g").members[member_id].rebalance_ms
        assert rebalance_ms == (60_000 if version else 10_000)
        leave_version = min(version, 5)
        if leave_version < 3:
            leave = LeaveGroupRequest(group_id="g", member_id=member_id)
        else:
            identities = [MemberIdentity(member_id=member_id), MemberIdentity(member_id="x")]
            leave = LeaveGroupRequest(group_id="g", members=identities)
        left = await peer.ask(leave, leave_version)
        assert left.error_code == ErrorCode.NONE
        if leave_version >= 3:
            assert [m.error_code for m in left.members] == [0, ErrorCode.UNKNOWN_MEMBER_ID]
        else:
            again = await peer.ask(leave, leave_version)
            assert again.error_code == ErrorCode.UNKNOWN_MEMBER_ID
        gone = await peer.ask(beat, min(version, 4))
        assert gone.error_code == ErrorCode.UNKNOWN_MEMBER_ID


async def test_parked_join_does_not_hold_up_the_requests_of_other_connections() -> None:
    async with broker() as (peer, home, _):
        member_id, generation = await joined(peer)
        await peer.send_all([(join(3), 3)])
        await trio.testing.wait_all_tasks_blocked()
        error = home.heartbeat("g", member_id, None, generation)
        assert error is ErrorCode.REBALANCE_IN_PROGRESS


async def test_error_of_a_join_has_no_protocol_in_the_form_of_its_version() -> None:
    async with broker() as (peer, _, _):
        for version in range(10):
            reply = await peer.ask(join(version, "stranger"), version)
            assert reply.error_code == ErrorCode.UNKNOWN_MEMBER_ID
            assert reply.member_id == "stranger"
            assert reply.protocol_name == (None if version >= 7 else "")
            assert reply.generation_id == -1


async def test_sync_has_to_name_the_protocol_from_version_5_on() -> None:
    async with broker() as (peer, _, _):
        reply = await peer.ask(SyncGroupRequest(group_id="g", member_id="m"), 5)
        assert reply.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def commit(member_id: str, generation: int, **more: Any) -> OffsetCommitRequest:
    def partition(index: int, offset: int, note: str | None) -> OffsetCommitRequestPartition:
        return OffsetCommitRequestPartition(
            partition_index=index, committed_offset=offset, committed_metadata=note
        )

    return OffsetCommitRequest(
        group_id="g",
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        topics=[
            OffsetCommitRequestTopic(
                name="t",
                partitions=[
                    partition(0, 42, None),
                    partition(1, 43, "x" * 4097),
                    partition(9, 44, ""),
                ],
            ),
            OffsetCommitRequestTopic(name="unknown", partitions=[partition(0, 1, "")]),
        ],
        **more,
    )


@pytest.mark.parametrize("version", range(2, 10))
async def test_commit_has_an_outcome_for_each_partition(version: int) -> None:
    async with broker() as (peer, home, _):
        reply = await peer.ask(commit("", -1), version)
        codes = [[p.error_code for p in topic.partitions] for topic in reply.topics]
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert codes == [[0, ErrorCode.OFFSET_METADATA_TOO_LARGE, unknown], [unknown]]
        refused = await peer.ask(commit("nobody", 3), version)
        assert refused.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_MEMBER_ID
        _, [found] = home.fetch("g", None, require_stable=False)
        assert (found.entry.offset, found.entry.metadata, found.entry.expire_ms) == (42, "", -1)


async def test_commit_may_bring_its_own_retention_up_to_version_4() -> None:
    async with broker() as (peer, home, stage):
        await peer.ask(commit("", -1, retention_time_ms=1000), 4)
        _, [found] = home.fetch("g", None, require_stable=False)
        assert found.entry.expire_ms == stage.wall_clock.now_ms() + 1000


@pytest.mark.parametrize("version", range(1, 10))
async def test_fetch_tells_offsets_and_their_absence(version: int) -> None:
    async with broker() as (peer, _, _):
        await peer.ask(commit("", -1), 9)
        if version < 8:
            asked = OffsetFetchRequestTopic(name="t", partition_indexes=[0, 1])
            reply = await peer.ask(OffsetFetchRequest(group_id="g", topics=[asked]), version)
            topics = reply.topics
        else:
            some = OffsetFetchRequestTopics(name="t", partition_indexes=[0, 1])
            groups = [
                OffsetFetchRequestGroup(group_id="g", topics=[some]),
                OffsetFetchRequestGroup(group_id="other", topics=None),
            ]
            reply = await peer.ask(OffsetFetchRequest(groups=groups), version)
            assert [g.group_id for g in reply.groups] == ["g", "other"]
            assert reply.groups[1].topics == []
            topics = reply.groups[0].topics
        offsets = [
            (p.partition_index, p.committed_offset, p.metadata) for p in topics[0].partitions
        ]
        assert offsets == [(0, 42, ""), (1, -1, "")]
        if 2 <= version < 8:
            reply = await peer.ask(OffsetFetchRequest(group_id="g", topics=None), version)
            assert [p.committed_offset for p in reply.topics[0].partitions] == [42]


async def test_fetch_from_the_wrong_broker_says_so_where_the_version_can() -> None:
    async with broker() as (peer, home, stage):
        for tp in stage.partitions:
            home.on_not_leader(tp)
        asked = OffsetFetchRequestTopic(name="t", partition_indexes=[0])
        for version in range(1, 8):
            reply = await peer.ask(OffsetFetchRequest(group_id="g", topics=[asked]), version)
            if version == 1:
                assert reply.topics[0].partitions[0].error_code == ErrorCode.NOT_COORDINATOR
            else:
                assert (reply.error_code, reply.topics) == (ErrorCode.NOT_COORDINATOR, [])
        groups = [OffsetFetchRequestGroup(group_id="g", topics=None)]
        reply = await peer.ask(OffsetFetchRequest(groups=groups), 8)
        assert reply.groups[0].error_code == ErrorCode.NOT_COORDINATOR


@pytest.mark.parametrize("version", range(6))
async def test_groups_are_listed_and_described(version: int) -> None:
    async with broker() as (peer, _, _):
        member_id, _ = await joined(peer)
        listed = await peer.ask(ListGroupsRequest(), version)
        assert [(g.group_id, g.protocol_type) for g in listed.groups] == [("g", "consumer")]
        if version >= 4:
            assert listed.groups[0].group_state == "Stable"
            none = await peer.ask(ListGroupsRequest(states_filter=["empty"]), version)
            some = await peer.ask(ListGroupsRequest(states_filter=["STABLE"]), version)
            assert (none.groups, some.groups) == ([], listed.groups)
        if version >= 5:
            assert listed.groups[0].group_type == "classic"
            other = await peer.ask(ListGroupsRequest(types_filter=["consumer"]), version)
            assert other.groups == []
        described = await peer.ask(DescribeGroupsRequest(groups=["g", "none"]), version)
        group, none = described.groups
        assert (group.group_state, group.protocol_data) == ("Stable", "range")
        [member] = group.members
        assert (member.member_id, member.client_id) == (member_id, "tester")
        assert (member.member_metadata, member.member_assignment) == (b"sub", b"0,1")
        assert member.client_host.startswith("/")
        assert (none.error_code, none.group_state) == (ErrorCode.NONE, "Dead")


@pytest.mark.parametrize("version", range(3))
async def test_groups_are_deleted_when_they_are_empty(version: int) -> None:
    async with broker() as (peer, home, _):
        member_id, _ = await joined(peer)
        request = DeleteGroupsRequest(groups_names=["g", "none"])
        reply = await peer.ask(request, version)
        assert [(r.group_id, r.error_code) for r in reply.results] == [
            ("g", ErrorCode.NON_EMPTY_GROUP),
            ("none", ErrorCode.GROUP_ID_NOT_FOUND),
        ]
        members = [MemberIdentity(member_id=member_id)]
        await peer.ask(LeaveGroupRequest(group_id="g", members=members), 5)
        reply = await peer.ask(request, version)
        assert reply.results[0].error_code == ErrorCode.NONE
        assert home.groups() == (ErrorCode.NONE, [])


async def test_single_offsets_are_deleted() -> None:
    async with broker() as (peer, home, _):
        await peer.ask(commit("", -1), 9)
        partitions = [OffsetDeleteRequestPartition(partition_index=i) for i in (0, 7)]
        topics = [OffsetDeleteRequestTopic(name="t", partitions=partitions)]
        reply = await peer.ask(OffsetDeleteRequest(group_id="g", topics=topics), 0)
        codes = [p.error_code for p in reply.topics[0].partitions]
        assert codes == [ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
        assert home.fetch("g", None, require_stable=False) == (ErrorCode.NONE, [])
        reply = await peer.ask(OffsetDeleteRequest(group_id="none", topics=topics), 0)
        assert reply.error_code == ErrorCode.GROUP_ID_NOT_FOUND


@pytest.mark.parametrize("version", range(7))
async def test_coordinator_is_the_leader_of_the_groups_partition(version: int) -> None:
    async with broker() as (peer, _, _):
        if version >= 4:
            request = FindCoordinatorRequest(coordinator_keys=["g", "h"])
            first, second = (await peer.ask(request, version)).coordinators
            assert (first.key, second.key) == ("g", "h")
        else:
            first = await peer.ask(FindCoordinatorRequest(key="g"), version)
        found = (first.error_code, first.node_id, first.host, first.port)
        assert found == (ErrorCode.NONE, 1, "one", 9092)
        if version < 1:
            return
        keys = {"coordinator_keys": ["tx"]} if version >= 4 else {"key": "tx"}
        reply = await peer.ask(FindCoordinatorRequest(key_type=1, **keys), version)
        refused = reply.coordinators[0] if version >= 4 else reply
        assert refused.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert "transactions" in refused.error_message
        assert (refused.node_id, refused.host, refused.port) == (-1, "", -1)
        reply = await peer.ask(FindCoordinatorRequest(key_type=7, **keys), version)
        refused = reply.coordinators[0] if version >= 4 else reply
        assert refused.error_code == ErrorCode.INVALID_REQUEST


class Homeless:
    """Stands for a home whose topic does not exist yet."""

    def __init__(self, failure: str | None, on_asked: Any = None) -> None:
        self.failure = failure
        self.on_asked = on_asked

    def partition_for(self, _group_id: str) -> int:
        return 0

    def want_offsets_topic(self) -> Reply[Any]:
        if self.on_asked is not None:
            self.on_asked()
        return Reply.of(None if self.failure is None else GroupHomeNotAvailable(self.failure))


async def test_first_question_makes_the_topic(autojump_clock: trio.testing.MockClock) -> None:
    metadata = MetadataCache()
    made = Homeless(None, lambda: know(metadata, OFFSETS_TOPIC, 1))
    async with serving(*APIS, metadata=metadata, groups=made) as served:
        reply = await (await served.connect()).ask(FindCoordinatorRequest(key="g"), 2)
        assert (reply.error_code, reply.node_id) == (ErrorCode.NONE, 1)
        assert trio.current_time() < 1.0


async def test_topic_that_cannot_be_made_is_explained(
    autojump_clock: trio.testing.MockClock,
) -> None:
    home = Homeless("3 brokers needed")
    async with serving(*APIS, metadata=MetadataCache(), groups=home) as served:
        reply = await (await served.connect()).ask(FindCoordinatorRequest(key="g"), 2)
        assert reply.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert reply.error_message == "3 brokers needed"
        home.failure = None
        reply = await (await served.connect()).ask(FindCoordinatorRequest(key="g"), 2)
        assert reply.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE


@pytest.mark.parametrize("version", range(6))
async def test_producer_ids_are_never_given_twice(version: int) -> None:
    async with broker() as (peer, _, _):
        request = InitProducerIdRequest(transactional_id=None)
        given = [await peer.ask(request, version) for _ in range(4)]
        assert [(g.error_code, g.producer_id, g.producer_epoch) for g in given] == [
            (0, 1000, 0),
            (0, 1001, 0),
            (0, 5000, 0),
            (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, -1, -1),
        ]
        refused = await peer.ask(InitProducerIdRequest(transactional_id="tx"), version)
        assert refused.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        if version >= 3:
            odd = await peer.ask(
                InitProducerIdRequest(transactional_id=None, producer_id=5), version
            )
            assert odd.error_code == ErrorCode.INVALID_REQUEST


async def test_one_request_gets_the_block_for_all_who_wait() -> None:
    asked = 0

    async def next_block() -> tuple[int, int]:
        nonlocal asked
        asked += 1
        await trio.testing.wait_all_tasks_blocked()
        return asked * 1000, 1000

    allocator = ProducerIdAllocator(next_block)
    given: list[int] = []

    async def ask() -> None:
        given.append(await allocator.next())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert sorted(given) == [1000, 1001, 1002, 1003, 1004]
    assert asked == 1


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.key.name)
def test_refusal_of_a_whole_request_has_a_form_in_every_version(api: Api) -> None:
    first, last = api.versions
    for version in range(first, last + 1):
        request = api.request_type()
        if api.key is ApiKey.FIND_COORDINATOR and version >= 4:
            request.coordinator_keys = ["g"]
        if api.key is ApiKey.OFFSET_FETCH and version >= 8:
            request.groups = [OffsetFetchRequestGroup(group_id="g")]
        response = api.failure(request, ErrorCode.UNKNOWN_SERVER_ERROR, "why")
        data = codec.encode(response, version)
        assert codec.decode(type(response), version, data) is not None
