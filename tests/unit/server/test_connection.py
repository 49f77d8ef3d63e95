"""One connection: order of replies, pipelining, what a slow or vanished peer costs."""

import struct

import pytest
import trio

from ottla.broker.api.api import Api, HangUp, RequestContext
from ottla.broker.errors import NotController
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.api_versions import ApiVersionsRequest
from ottla.protocol.kafka.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ottla.protocol.kafka.messages.list_groups import (
    ListedGroup,
    ListGroupsRequest,
    ListGroupsResponse,
)
from tests.support.served import serving

HEARTBEAT = HeartbeatRequest(group_id="g", generation_id=1, member_id="m")
LIST = ListGroupsRequest()


def heartbeat(handle):
    return Api(ApiKey.HEARTBEAT, versions=(0, 4), request_type=HeartbeatRequest, handle=handle)


def list_groups(handle):
    return Api(ApiKey.LIST_GROUPS, versions=(0, 4), request_type=ListGroupsRequest, handle=handle)


class Gate:
    """A parked answer that comes when the test opens it."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.asked = 0

    def handle(self, request: HeartbeatRequest, ctx: RequestContext) -> "Gate":
        self.asked += 1
        return self

    async def wait(self) -> HeartbeatResponse:
        await self.opened.wait()
        return HeartbeatResponse(error_code=7)


def empty_list(request: ListGroupsRequest, ctx: RequestContext) -> ListGroupsResponse:
    return ListGroupsResponse()


async def test_replies_leave_in_request_order_with_a_parked_one_in_between(autojump_clock):
    gate = Gate()
    async with serving(heartbeat(gate.handle), list_groups(empty_list)) as served:
        peer = await served.connect()
        await peer.send_all([(LIST, 3), (HEARTBEAT, 4), (LIST, 0), (LIST, 4)])
        assert await peer.answer() == (1, ListGroupsResponse())
        with trio.move_on_after(10) as scope:
            await peer.frame()
        assert scope.cancelled_caught, "a reply overtook the parked one before it"
        gate.opened.set()
        assert [(await peer.answer())[0] for _ in range(3)] == [2, 3, 4]


async def test_requests_behind_a_parked_one_are_handled_meanwhile(autojump_clock):
    gate = Gate()
    async with serving(heartbeat(gate.handle)) as served:
        peer = await served.connect()
        await peer.send_all([(HEARTBEAT, 4)] * 5)
        await trio.sleep(1)
        assert gate.asked == 5
        gate.opened.set()
        assert [(await peer.answer())[0] for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_an_async_handler_ends_before_the_next_request_is_handled(autojump_clock):
    running = []

    async def slow(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        running.append(f"begin {ctx.correlation_id}")
        await trio.sleep(1)
        running.append(f"end {ctx.correlation_id}")
        return HeartbeatResponse()

    async with serving(heartbeat(slow)) as served:
        peer = await served.connect()
        await peer.send_all([(HEARTBEAT, 0), (HEARTBEAT, 0)])
        await peer.answer()
        await peer.answer()
    assert running == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_requests_that_come_byte_by_byte_are_answered(autojump_clock):
    from ottla.protocol.kafka.headers import encode_request_frame

    async with serving(list_groups(empty_list)) as served:
        peer = await served.connect()
        frame = encode_request_frame(LIST, 3, 9, None)
        for byte in frame:
            await peer.stream.send_all(bytes([byte]))
            await trio.sleep(0.01)
        assert (await peer.frame())[:4] == struct.pack(">i", 9)


async def test_no_answer_is_sent_for_none_and_the_next_request_goes_on(autojump_clock):
    def silent(request: HeartbeatRequest, ctx: RequestContext) -> None:
        return None

    async with serving(heartbeat(silent), list_groups(empty_list)) as served:
        peer = await served.connect()
        await peer.send_all([(HEARTBEAT, 4), (LIST, 4)])
        assert (await peer.answer())[0] == 2


async def test_a_hang_up_closes_without_blaming_the_peer(autojump_clock):
    def hang_up(request: HeartbeatRequest, ctx: RequestContext) -> None:
        raise HangUp("on purpose")

    async with serving(heartbeat(hang_up)) as served:
        peer = await served.connect()
        await peer.send(HEARTBEAT, 4)
        assert await peer.is_closed()
        assert not served.refusals()


async def test_a_peer_that_does_not_read_stops_only_its_own_requests(autojump_clock):
    handled = {"greedy": 0, "modest": 0}

    def large(request: ListGroupsRequest, ctx: RequestContext) -> ListGroupsResponse:
        handled["greedy"] += 1
        group = ListedGroup(group_id="x" * 10_000, protocol_type="")
        return ListGroupsResponse(groups=[group])

    def small(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        handled["modest"] += 1
        return HeartbeatResponse()

    limits = {"max_queued_bytes": 50_000, "buffer_bytes": 20_000}
    async with serving(list_groups(large), heartbeat(small), **limits) as served:
        greedy = await served.connect()
        await greedy.send_all([(LIST, 0)] * 200)
        modest = await served.connect()
        for _ in range(20):
            await modest.ask(HEARTBEAT, 0)
        assert handled["modest"] == 20
        assert handled["greedy"] <= 10, "replies pile up for a peer that does not read them"
        for expected in range(1, 201):
            assert (await greedy.answer())[0] == expected
        assert handled["greedy"] == 200


async def test_the_number_of_parked_replies_of_a_connection_is_bounded(autojump_clock):
    gate = Gate()
    async with serving(heartbeat(gate.handle), max_queued=3) as served:
        peer = await served.connect()
        await peer.send_all([(HEARTBEAT, 0)] * 10)
        await trio.sleep(1)
        assert gate.asked <= 4
        gate.opened.set()
        assert [(await peer.answer())[0] for _ in range(10)] == list(range(1, 11))


async def test_a_peer_that_goes_away_cancels_its_parked_replies(autojump_clock):
    ended = []

    class Endless:
        async def wait(self) -> HeartbeatResponse:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(True)
            raise AssertionError

    async with serving(heartbeat(lambda request, ctx: Endless())) as served:
        peer = await served.connect()
        await peer.send(HEARTBEAT, 0)
        await trio.sleep(1)
        assert served.server.connection_count == 1
        peer.stream.close()
        await trio.sleep(1)
        assert ended == [True]
        assert served.server.connection_count == 0


async def test_an_idle_connection_is_closed_and_an_active_one_is_not(autojump_clock):
    async with serving(list_groups(empty_list), max_idle_s=60) as served:
        idle, active = await served.connect(), await served.connect()
        started = trio.current_time()
        closed_at = []

        async def wait_closed() -> None:
            assert await idle.is_closed()
            closed_at.append(trio.current_time() - started)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_closed)
            for _ in range(20):
                await trio.sleep(10)
                await active.ask(LIST, 0)
        assert 60 <= closed_at[0] <= 70


async def test_a_connection_whose_request_is_worked_on_is_not_idle(autojump_clock):
    gate = Gate()
    async with serving(heartbeat(gate.handle), max_idle_s=60) as served:
        peer = await served.connect()
        await peer.send(HEARTBEAT, 0)
        await trio.sleep(200)
        gate.opened.set()
        assert (await peer.answer())[0] == 1


async def test_connections_above_the_limit_are_refused_with_one_event(autojump_clock):
    async with serving(list_groups(empty_list), max_connections=2) as served:
        peers = [await served.connect() for _ in range(5)]
        await trio.sleep(1)
        assert served.server.connection_count == 2
        assert await peers[0].ask(LIST, 0) == ListGroupsResponse()
        for peer in peers[2:]:
            assert await peer.is_closed()
        assert len(served.events.named("connections.refused")) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_broker_error_becomes_the_error_code_of_the_response(autojump_clock, is_async):
    def refuse(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        raise NotController("elsewhere")

    async def refuse_async(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        raise NotController("elsewhere")

    async with serving(heartbeat(refuse_async if is_async else refuse)) as served:
        peer = await served.connect()
        answer = await peer.ask(HEARTBEAT, 4)
        assert answer.error_code == ErrorCode.NOT_CONTROLLER
        assert not served.events.named("request.failed")


async def test_a_bug_in_a_handler_is_an_error_response_and_an_event(autojump_clock):
    def broken(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        raise ZeroDivisionError

    async with serving(heartbeat(broken), list_groups(empty_list)) as served:
        peer = await served.connect()
        answer = await peer.ask(HEARTBEAT, 4)
        assert answer.error_code == ErrorCode.UNKNOWN_SERVER_ERROR
        assert isinstance(served.events.named("request.failed")[0].fields["exc_info"], Exception)
        assert await peer.ask(LIST, 0) == ListGroupsResponse(), "the connection is kept"


async def test_an_unencodable_response_is_a_bug_like_any_other(autojump_clock):
    def too_much(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        return HeartbeatResponse(error_code=1 << 20)

    async with serving(heartbeat(too_much)) as served:
        peer = await served.connect()
        answer = await peer.ask(HEARTBEAT, 4)
        assert answer.error_code == ErrorCode.UNKNOWN_SERVER_ERROR


async def test_a_parked_reply_may_hang_up(autojump_clock):
    class HangsUp:
        async def wait(self) -> HeartbeatResponse:
            await trio.sleep(1)
            raise HangUp("on purpose")

    async with serving(heartbeat(lambda request, ctx: HangsUp())) as served:
        peer = await served.connect()
        await peer.send(HEARTBEAT, 0)
        assert await peer.is_closed()
        assert served.server.connection_count == 0


async def test_a_failure_that_has_no_form_in_the_version_closes_the_connection(autojump_clock):
    def refuse(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        raise NotController("elsewhere")

    def unfit(request, code, message):
        return HeartbeatResponse(error_code=1 << 20)

    api = Api(
        ApiKey.HEARTBEAT,
        versions=(0, 4),
        request_type=HeartbeatRequest,
        handle=refuse,
        failed=unfit,
    )
    async with serving(api) as served:
        peer = await served.connect()
        await peer.send(HEARTBEAT, 0)
        assert await peer.is_closed()
        assert len(served.events.named("request.failed")) == 1
        assert not served.refusals()


class Unreadable:
    """A range of a file whose disk fails."""

    offset = 0

    def __init__(self, size: int) -> None:
        self._size = size

    @property
    def file(self) -> "Unreadable":
        return self

    def __len__(self) -> int:
        return self._size

    def read(self) -> bytes:
        raise OSError(5, "input/output error")

    def read_at(self, offset: int, count: int) -> bytes:
        return self.read()


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("is_parked", [False, True])
async def test_a_failing_disk_ends_the_connection_of_the_reader_alone(
    autojump_clock, size, is_parked
):
    def answer() -> FetchResponse:
        data = PartitionData(partition_index=0, records=Unreadable(size))
        return FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[data])])

    class Later:
        async def wait(self) -> FetchResponse:
            await trio.sleep(1)
            return answer()

    def fetch(request: FetchRequest, ctx: RequestContext) -> FetchResponse | Later:
        return Later() if is_parked else answer()

    api = Api(ApiKey.FETCH, versions=(4, 12), request_type=FetchRequest, handle=fetch)
    async with serving(api, list_groups(empty_list)) as served:
        peer, other = await served.connect(), await served.connect()
        await peer.send(FetchRequest(), 12)
        assert await peer.is_closed()
        assert len(served.events.named("connection.file_unreadable")) == 1
        assert await other.ask(LIST, 0) == ListGroupsResponse()


async def test_a_broken_invariant_ends_the_server(autojump_clock):
    def broken(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        raise AssertionError("no such state")

    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True):
        async with serving(heartbeat(broken)) as served:
            peer = await served.connect()
            await peer.send(HEARTBEAT, 4)
            await trio.sleep(1)


async def test_api_versions_newer_than_ours_is_answered_in_version_0(autojump_clock):
    """KIP-511: error 35, and our versions, in the form that every client can read."""
    async with serving(list_groups(empty_list)) as served:
        peer = await served.connect()
        header = struct.pack(">hhih", ApiKey.API_VERSIONS, 99, 3, 2) + b"ab" + b"\0\x05junk"
        await peer.stream.send_all(struct.pack(">i", len(header)) + header)
        frame = await peer.frame()
        assert struct.unpack_from(">ihi", frame) == (3, ErrorCode.UNSUPPORTED_VERSION, 2)
        assert struct.unpack_from(">hhhhhh", frame, 10) == (16, 0, 4, 18, 0, 4)
        answer = await peer.ask(
            ApiVersionsRequest(client_software_name="t", client_software_version="1"), 3
        )
        assert answer.error_code == 0


async def test_a_long_pipeline_leaves_others_their_turn(autojump_clock):
    """Thousands of requests may come in one receive; they are not handled in one go."""
    order: list[str] = []

    def many(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
        order.append("many")
        return HeartbeatResponse()

    def one(request: ListGroupsRequest, ctx: RequestContext) -> ListGroupsResponse:
        order.append("one")
        return ListGroupsResponse()

    async with serving(heartbeat(many), list_groups(one), buffer_bytes=1 << 20) as served:
        busy, other = await served.connect(), await served.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy.send_all, [(HEARTBEAT, 0)] * 10_000)
            while order.count("many") < 10_000:
                await other.ask(LIST, 0)
        runs = "".join(word[0] for word in order).split("o")
        assert max(map(len, runs)) < 200
