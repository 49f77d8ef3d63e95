"""The link to another broker: pipelining without a task of its own, loss, time limits, retries."""

import pytest
import trio

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.link import BrokerLink, LinkLost
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ottla.runtime.interfaces import Address
from ottla.runtime.memory_network import MemoryNetwork
from tests.support.served import Served, serving


async def echo(request: HeartbeatRequest, ctx: RequestContext) -> HeartbeatResponse:
    """Answers with the generation, after as many seconds as the group id says."""
    if request.group_id:
        await trio.sleep(float(request.group_id))
    return HeartbeatResponse(throttle_time_ms=request.generation_id)


ECHO = Api(ApiKey.HEARTBEAT, versions=(0, 4), request_type=HeartbeatRequest, handle=echo)


def beat(number: int, seconds: float = 0) -> HeartbeatRequest:
    return HeartbeatRequest(group_id=str(seconds) if seconds else "", generation_id=number)


def link_to(served: Served, max_frame: int = 1 << 20) -> BrokerLink:
    return BrokerLink(served.network, served.address, "broker-1", max_frame)


async def test_many_tasks_get_their_own_answers_over_one_connection(autojump_clock):
    async with serving(ECHO) as served:
        link = link_to(served)
        got: dict[int, int] = {}

        async def ask(number: int) -> None:
            answer = await link.request(beat(number, 0.1), version=4, timeout_s=30)
            got[number] = answer.throttle_time_ms

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
        assert got == {number: number for number in range(50)}
        assert served.server.connection_count == 1
        link.close()


async def test_a_cancelled_request_does_not_disturb_the_others(autojump_clock):
    async with serving(ECHO) as served:
        link = link_to(served)
        got: list[int] = []

        async def ask(number: int) -> None:
            answer = await link.request(beat(number, 1), version=4, timeout_s=30)
            got.append(answer.throttle_time_ms)

        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.5):
                await link.request(beat(1, 1), version=4, timeout_s=30)
            nursery.start_soon(ask, 2)
            nursery.start_soon(ask, 3)
        assert sorted(got) == [2, 3]
        assert served.server.connection_count == 1
        link.close()


async def test_the_reading_is_handed_over_when_the_reader_is_cancelled(autojump_clock):
    async with serving(ECHO) as served:
        link = link_to(served)
        got: list[int] = []

        async def ask(number: int) -> None:
            answer = await link.request(beat(number, 1), version=4, timeout_s=30)
            got.append(answer.throttle_time_ms)

        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def ask_in_vain() -> None:
                with scope:
                    await ask(1)

            nursery.start_soon(ask_in_vain)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, 2)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
        assert got == [2]
        link.close()


async def test_a_request_out_of_time_is_lost_and_the_next_one_connects_anew(autojump_clock):
    async with serving(ECHO) as served:
        link = link_to(served)
        started = trio.current_time()
        with pytest.raises(LinkLost, match="within 2 s"):
            await link.request(beat(1, 60), version=4, timeout_s=2)
        assert trio.current_time() - started == 2
        answer = await link.request(beat(2), version=4, timeout_s=2)
        assert answer.throttle_time_ms == 2
        link.close()


async def test_a_disconnect_ends_a_request_without_a_timer(autojump_clock):
    async with serving(ECHO) as served:
        link = link_to(served)
        for pause_s in (0, 1):  # before there is a connection, and while the answer is awaited
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cut_after, link, pause_s)
                with pytest.raises(LinkLost, match="disconnected"):
                    await link.request_unbounded(beat(1, 60), 4)
        answer = await link.request_unbounded(beat(2), 4)
        assert answer.throttle_time_ms == 2
        link.close()


async def _cut_after(link: BrokerLink, seconds: float) -> None:
    if seconds:
        await trio.sleep(seconds)
    link.disconnect()


async def test_everybody_who_waits_learns_of_a_loss(autojump_clock):
    async with serving(ECHO) as served:
        link = link_to(served)
        lost: list[str] = []

        async def ask(number: int) -> None:
            try:
                await link.request(beat(number, 60), version=4, timeout_s=100)
            except LinkLost as error:
                lost.append(str(error))

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(ask, number)
            await trio.sleep(1)
            link.close()
        assert len(lost) == 3
        with pytest.raises(LinkLost, match="closed"):
            await link.request(beat(1), version=4, timeout_s=1)


async def test_nobody_listening_is_lost_at_once_and_attempts_are_spaced(autojump_clock):
    network = MemoryNetwork()
    link = BrokerLink(network, Address("localhost", 9), "broker-1", 1 << 20)
    started = trio.current_time()
    for _ in range(6):
        with pytest.raises(LinkLost, match="cannot connect"):
            await link.request(beat(1), version=4, timeout_s=10)
    assert 1 < trio.current_time() - started < 5


async def test_a_peer_that_breaks_the_protocol_is_lost(autojump_clock):
    network = MemoryNetwork()
    listener = await network.listen(Address("", 0))
    link = BrokerLink(network, listener.address, "broker-1", 1 << 20)

    async def answer_garbage() -> None:
        stream = await listener.accept()
        await stream.receive_into(memoryview(bytearray(1000)))
        await stream.send_all(b"\0\0\0\x06\0\0\0\x63\0\0")
        await trio.sleep(1)
        stream.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_garbage)
        with pytest.raises(LinkLost, match="broke the protocol"):
            await link.request(beat(1), version=4, timeout_s=10)


async def test_requests_larger_than_the_peer_takes_at_once_stay_whole(autojump_clock):
    """Senders wait for each other in the middle of a frame."""
    async with serving(ECHO, buffer_bytes=1_000) as served:
        link = link_to(served)
        got = []

        async def ask(number: int) -> None:
            request = HeartbeatRequest(generation_id=number, member_id="m" * 5_000)
            answer = await link.request(request, version=4, timeout_s=30)
            got.append(answer.throttle_time_ms)

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ask, number)
        assert sorted(got) == list(range(5))
        assert not served.refusals()
        link.close()
