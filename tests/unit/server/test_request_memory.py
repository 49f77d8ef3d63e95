"""`queued.max.request.bytes`: what is not answered yet is bounded, and nothing waits for ever."""

import pytest
import trio

from ottla.broker.api.api import Api
from ottla.config.broker import BrokerConfig
from ottla.config.problems import ConfigError
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.framing import BUSY_SIZE
from ottla.protocol.kafka.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ottla.protocol.kafka.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from tests.support.served import serving

LIMIT = 100_000
LIST = ListGroupsRequest()


def heartbeat(size: int = 40_000) -> HeartbeatRequest:
    half = "x" * (size // 2)
    return HeartbeatRequest(group_id=half, generation_id=1, member_id=half)


class Gate:
    """Answers that come when the test opens it."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.asked = 0

    def handle(self, request, ctx) -> "Gate":
        self.asked += 1
        return self

    async def wait(self) -> HeartbeatResponse:
        await self.opened.wait()
        return HeartbeatResponse()


def apis(gate: Gate) -> tuple[Api, Api]:
    return (
        Api(ApiKey.HEARTBEAT, versions=(0, 4), request_type=HeartbeatRequest, handle=gate.handle),
        Api(
            ApiKey.LIST_GROUPS,
            versions=(0, 4),
            request_type=ListGroupsRequest,
            handle=lambda _request, _ctx: ListGroupsResponse(),
        ),
    )


def bounded(*served_apis: Api, limit: int = LIMIT):
    return serving(*served_apis, request_bytes_max=limit, buffer_bytes=1 << 20)


async def test_at_the_bound_large_requests_wait_until_others_are_answered(autojump_clock):
    gate = Gate()
    async with bounded(*apis(gate)) as served:
        peers = [await served.connect() for _ in range(10)]
        for peer in peers:
            await peer.send(heartbeat(), 0)
        await trio.sleep(1)
        memory = served.server.request_memory
        assert gate.asked == 3, "the third passed the bound"
        assert LIMIT <= memory.used <= LIMIT + 41_000
        assert memory.stopped == 10, "those that are owed an answer, too"
        gate.opened.set()
        for peer in peers:
            assert (await peer.answer())[1].error_code == 0
        assert gate.asked == 10
        assert memory.used == memory.stopped == 0


async def test_at_the_bound_small_requests_of_others_are_answered(autojump_clock):
    gate = Gate()
    async with bounded(*apis(gate)) as served:
        for _ in range(4):
            await (await served.connect()).send(heartbeat(), 0)
        await trio.sleep(1)
        other = await served.connect()
        for _ in range(20):
            assert (await other.ask(LIST, 0)).groups == []
        assert gate.asked == 3


async def test_at_the_bound_who_owes_replies_is_not_read_on(autojump_clock):
    gate = Gate()
    async with bounded(*apis(gate)) as served:
        peer = await served.connect()
        memory = served.server.request_memory
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_all, [(heartbeat(), 0)] * 100)
            await trio.sleep(1)
            assert 3 <= gate.asked < 20
            assert memory.used <= LIMIT + BUSY_SIZE, "the bound, and what one receive brought"
            gate.opened.set()
            for _ in range(100):
                await peer.answer()
        assert memory.used == 0


async def test_a_request_above_the_bound_is_taken(autojump_clock):
    gate = Gate()
    gate.opened.set()
    async with bounded(*apis(gate), limit=20_000) as served:
        one, two = await served.connect(), await served.connect()
        async with trio.open_nursery() as nursery:
            for peer in (one, two):
                nursery.start_soon(peer.ask, heartbeat(32_000), 0)
        assert gate.asked == 2
        assert served.server.request_memory.used == 0


async def test_large_fetches_of_brokers_are_taken_at_the_bound(autojump_clock):
    """Parked produces wait for the followers, whose fetches may not wait for the produces."""
    gate = Gate()
    fetched = []
    fetch = Api(
        ApiKey.FETCH,
        versions=(4, 17),
        request_type=FetchRequest,
        handle=lambda request, _ctx: fetched.append(request),
    )
    asked = [FetchPartition(partition=index) for index in range(2_000)]
    request = FetchRequest(topics=[FetchTopic(topic="t", partitions=asked)])
    async with bounded(*apis(gate), fetch) as served:
        for _ in range(4):
            await (await served.connect()).send(heartbeat(), 0)
        follower = await served.connect()
        await trio.sleep(1)
        await follower.send(request, 11)
        await trio.sleep(1)
        assert gate.asked == 3
        assert len(fetched) == 1


async def test_a_connection_that_ends_gives_back_what_it_held(autojump_clock):
    gate = Gate()
    async with bounded(*apis(gate)) as served:
        begun, owed, waiting = [await served.connect() for _ in range(3)]
        await begun.stream.send_all((90_000).to_bytes(4, "big") + b"\x00\x0c" + b"x" * 100)
        await owed.send(heartbeat(), 0)
        await waiting.send(heartbeat(), 0)
        await trio.sleep(1)
        memory = served.server.request_memory
        assert (gate.asked, memory.stopped) == (1, 2)
        begun.stream.close()
        await trio.sleep(1)
        assert (gate.asked, memory.stopped) == (2, 0)
        owed.stream.close()
        waiting.stream.close()
        await trio.sleep(1)
        assert memory.used == 0


async def test_who_waits_for_room_is_not_idle(autojump_clock):
    gate = Gate()
    async with serving(*apis(gate), request_bytes_max=1, max_idle_s=30) as served:
        one, two = await served.connect(), await served.connect()
        await one.send(heartbeat(), 0)
        await two.send(heartbeat(), 0)
        await trio.sleep(120)
        gate.opened.set()
        for peer in (one, two):
            assert (await peer.answer())[1].error_code == 0


def test_the_bound_is_no_smaller_than_the_largest_request() -> None:
    """As Kafka checks it."""
    given = {"broker.id": "1", "zookeeper.connect": "c:2181", "queued.max.request.bytes": "1000"}
    with pytest.raises(ConfigError, match=r"is below socket\.request\.max\.bytes"):
        BrokerConfig.from_properties(given)
    BrokerConfig.from_properties(given | {"socket.request.max.bytes": "1000"})
