"""The ensemble client against members in memory, on a clock that jumps."""

import random

import pytest
import trio

from ottla.broker.ensemble.client import (
    EnsembleClient,
    check_op,
    create_op,
    delete_op,
    parse_connect_string,
    set_data_op,
)
from ottla.broker.ensemble.errors import (
    BadVersion,
    ConnectionLoss,
    MultiFailed,
    NodeExists,
    NoNode,
    NotEmpty,
    SessionExpired,
)
from ottla.broker.ensemble.replies import SessionState
from ottla.protocol.zookeeper.opcodes import CreateMode, EventType, OpCode
from ottla.runtime.interfaces import Address


@pytest.mark.parametrize(
    ("text", "members", "chroot"),
    [
        ("localhost", [Address("localhost", 2181)], ""),
        ("a:1,b:2", [Address("a", 1), Address("b", 2)], ""),
        ("a:1, b:2/kafka", [Address("a", 1), Address("b", 2)], "/kafka"),
        ("a/x/y/", [Address("a", 2181)], "/x/y"),
        ("[::1]:2182/", [Address("::1", 2182)], ""),
        ("[::1]", [Address("::1", 2181)], ""),
    ],
)
def test_connect_string(text, members, chroot):
    assert parse_connect_string(text) == (members, chroot)


@pytest.mark.parametrize("text", ["", "/kafka", "a:0", "a:x", "a:70000", "a:1/x//y"])
def test_bad_connect_string_is_refused(text):
    with pytest.raises(ValueError, match=r"port|host|chroot"):
        parse_connect_string(text)


async def test_reads_show_what_was_written(autojump_clock, client):
    assert await client.create("/a", b"1") == "/a"
    path, stat = await client.create2("/a/b", b"2")
    assert path == "/a/b"
    assert stat.czxid > 0
    assert (await client.get_data("/a"))[0] == b"1"
    assert (await client.set_data("/a", b"3", 0)).version == 1
    assert await client.get_children("/a") == ["b"]
    assert (await client.exists("/a/b")).version == 0
    assert await client.exists("/c") is None
    await client.sync()
    await client.delete("/a/b")
    assert await client.get_children("/a") == []


async def test_errors_are_typed(autojump_clock, client):
    await client.create("/a", b"")
    with pytest.raises(NodeExists, match="/a"):
        await client.create("/a", b"")
    with pytest.raises(NoNode):
        await client.get_data("/b")
    with pytest.raises(BadVersion):
        await client.set_data("/a", b"", 7)
    await client.create("/a/b", b"")
    with pytest.raises(NotEmpty):
        await client.delete("/a")


async def test_sequential_names_are_returned(autojump_clock, client):
    first = await client.create("/s-", b"", CreateMode.PERSISTENT_SEQUENTIAL)
    second = await client.create("/s-", b"", CreateMode.PERSISTENT_SEQUENTIAL)
    assert first.startswith("/s-")
    assert len(first) == len("/s-") + 10
    assert second > first


async def test_multi_is_all_or_nothing(autojump_clock, client):
    await client.create("/a", b"")
    results = await client.multi(
        [check_op("/a", 0), create_op("/b", b"x"), set_data_op("/a", b"y", 0), delete_op("/b")]
    )
    assert results[0] is None
    assert results[1] == "/b"
    assert results[2].version == 1
    with pytest.raises(MultiFailed) as failure:
        await client.multi([create_op("/c", b""), check_op("/a", 0), delete_op("/a")])
    assert failure.value.index == 1
    assert isinstance(failure.value.cause, BadVersion)
    assert await client.exists("/c") is None


async def test_requests_travel_together_and_answers_keep_their_order(
    autojump_clock, client, members
):
    replies = [client.start_create(f"/n{at}", str(at).encode()) for at in range(500)]
    reads = [client.start_get_data(f"/n{at}") for at in range(500)]
    assert [await reply.get() for reply in replies] == [f"/n{at}" for at in range(500)]
    assert [(await read.get())[0] for read in reads] == [str(at).encode() for at in range(500)]


async def test_chroot_is_created_and_invisible(autojump_clock, new_client, members):
    client = await new_client(chroot="/x/kafka")
    await client.create_chroot()
    await client.create_chroot()
    path = await client.create("/a", b"1")
    assert path == "/a"
    assert await client.get_children("/") == ["a"]
    assert "/x/kafka/a" in members.tree.nodes
    results = await client.multi([create_op("/b", b"")])
    assert results == ["/b"]


async def test_ensure_path_makes_parents(autojump_clock, client):
    await client.ensure_path("/p/q/r")
    await client.ensure_path("/p/q/r")
    assert await client.get_children("/p/q") == ["r"]


class Seen:
    def __init__(self):
        self.events = []
        self.happened = trio.Event()

    def __call__(self, event):
        self.events.append((event.kind, event.path))
        self.happened.set()


async def test_watches_fire_once_with_the_whole_path(autojump_clock, client, new_client):
    other = await new_client(seed=2)
    await client.create("/a", b"")
    data, child, absent = Seen(), Seen(), Seen()
    await client.get_data("/a", watch=data)
    await client.get_data("/a", watch=data)
    await client.get_children("/a", watch=child)
    assert await client.exists("/z", watch=absent) is None
    await other.set_data("/a", b"1")
    await other.set_data("/a", b"2")
    await other.create("/a/b", b"")
    await other.create("/z", b"")
    await client.sync()
    assert data.events == [(EventType.NODE_DATA_CHANGED, "/a")]
    assert child.events == [(EventType.NODE_CHILDREN_CHANGED, "/a")]
    assert absent.events == [(EventType.NODE_CREATED, "/z")]


async def test_session_survives_a_cut_and_watches_are_armed_again(
    autojump_clock, client, new_client, members
):
    other = await new_client(seed=2)
    session = client.session
    missed, later = Seen(), Seen()
    await client.create("/a", b"", CreateMode.EPHEMERAL)
    await client.create("/b", b"")
    await client.get_data("/b", watch=missed)
    await client.exists("/later", watch=later)
    states = []
    client.on_state(states.append)
    members.cut(session.id)
    with trio.fail_after(10):
        await other.set_data("/b", b"1")
        await missed.happened.wait()
    assert client.session == session
    assert client.sessions_begun == 1
    assert states == [SessionState.SUSPENDED, SessionState.CONNECTED]
    await other.create("/later", b"")
    with trio.fail_after(10):
        await later.happened.wait()
    assert await other.exists("/a") is not None


async def test_client_moves_on_to_another_member(autojump_clock, client, members):
    await client.create("/a", b"", CreateMode.EPHEMERAL)
    at = int(client.member.host.removeprefix("member-"))
    members.stop_member(at)
    with trio.fail_after(10):
        assert (await client.exists("/a")).ephemeral_owner == client.session.id
    assert client.member.host != f"member-{at}"
    assert client.sessions_begun == 1


async def test_pings_keep_an_idle_session(autojump_clock, client, members):
    await client.create("/a", b"", CreateMode.EPHEMERAL)
    await trio.sleep(600)
    assert await client.exists("/a") is not None
    assert client.sessions_begun == 1


async def test_silent_member_is_given_up_before_the_session_ends(autojump_clock, client, members):
    await client.create("/a", b"", CreateMode.EPHEMERAL)
    members.answer_pings = False
    began = trio.current_time()
    while client.state is SessionState.CONNECTED:
        await client._keeper.changed.wait()
    assert trio.current_time() - began <= client.session_timeout_ms / 1000
    members.answer_pings = True
    await client.wait_connected()
    assert client.sessions_begun == 1


async def test_write_whose_answer_is_lost_is_reported_not_repeated(autojump_clock, client, members):
    """ZooKeeper clients cannot know whether such a write happened; nor do they send it twice."""
    members.lose_next_reply = True
    with trio.fail_after(10), pytest.raises(ConnectionLoss):
        await client.create("/a", b"")
    assert await client.exists("/a") is not None
    assert members.requests.count(OpCode.CREATE) == 1


async def test_reads_under_way_are_sent_again(autojump_clock, client, members):
    await client.create("/a", b"1")
    members.lose_next_reply = True
    write = client.start_set_data("/a", b"2")
    read = client.start_get_data("/a")
    with pytest.raises(ConnectionLoss):
        await write.get()
    with trio.fail_after(10):
        assert (await read.get())[0] == b"2"


async def test_requests_wait_for_a_member_up_to_a_session_timeout(
    autojump_clock, new_client, members
):
    client = await new_client()
    for at in range(3):
        members.stop_member(at)
    await trio.sleep(0.1)
    early = client.start_create("/a", b"")
    await trio.sleep(1)
    await members.start_member(0)
    with trio.fail_after(4):
        assert await early.get() == "/a"
    members.stop_member(0)
    await trio.sleep(0.1)
    began = trio.current_time()
    with pytest.raises(ConnectionLoss):
        await client.create("/b", b"")
    assert 6 <= trio.current_time() - began <= 9


async def test_expiry_fails_what_is_open_and_begins_a_new_session(
    autojump_clock, client, members, events
):
    await client.create("/a", b"", CreateMode.EPHEMERAL)
    first = client.session
    states = []
    client.on_state(states.append)
    for at in range(3):
        members.stop_member(at)
    open_read = client.start_exists("/a")
    await trio.sleep(0.1)
    members.expire(first.id)
    for at in range(3):
        await members.start_member(at)
    with trio.fail_after(20), pytest.raises(SessionExpired):
        await open_read.get()
    await client.wait_connected()
    assert client.session.id != first.id
    assert client.sessions_begun == 2
    assert SessionState.EXPIRED in states
    with trio.fail_after(1):
        await client.wait_session_over(1)
    assert await client.exists("/a") is None
    assert events.named("ensemble.session_expired")


async def test_close_removes_ephemerals_at_once(autojump_clock, client, new_client):
    other = await new_client(seed=2)
    await client.create("/a", b"", CreateMode.EPHEMERAL)
    await client.close()
    assert client.state is SessionState.CLOSED
    assert await other.exists("/a") is None
    with pytest.raises(ConnectionLoss):
        await client.get_data("/a")


async def test_stale_session_of_a_killed_process_is_ended(
    autojump_clock, new_client, members, network, events
):
    client = await new_client()
    async with trio.open_nursery() as nursery:
        killed = EnsembleClient(
            network.at("broker"),
            members.connect,
            session_timeout_ms=6000,
            rng=random.Random(5),
            events=events,
        )
        await nursery.start(killed.run)
        await killed.create("/a", b"", CreateMode.EPHEMERAL)
        nursery.cancel_scope.cancel()
    assert await client.exists("/a") is not None
    assert await client.close_session(killed.session, timeout_s=5)
    assert await client.exists("/a") is None
    assert await client.close_session(killed.session, timeout_s=5)


async def test_stale_session_cannot_be_ended_without_members(autojump_clock, client, members):
    for at in range(3):
        members.stop_member(at)
    began = trio.current_time()
    assert not await client.close_session(client.session, timeout_s=5)
    assert trio.current_time() - began == pytest.approx(5)


async def test_garbage_from_a_member_ends_that_connection_only(
    autojump_clock, network, nursery, events
):
    listener = await network.at("m").listen(Address("m", 2181))

    async def garbage():
        while True:
            stream = await listener.accept()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    nursery.start_soon(garbage)
    client = EnsembleClient(
        network.at("b"), "m:2181", session_timeout_ms=600, rng=random.Random(1), events=events
    )
    await nursery.start(client.run)
    with trio.fail_after(10), pytest.raises(ConnectionLoss):
        await client.get_data("/a")
    assert client.state is SessionState.CONNECTING


@pytest.mark.parametrize("steps", range(16))
async def test_closing_a_session_that_expires_meanwhile_is_no_failure(
    steps, autojump_clock, members, new_client
):
    """Whenever in the next handshake it is asked for; found by simulation seed 32."""
    client = await new_client(timeout_ms=4000)
    members.expire(client.session.id)
    while client.state is SessionState.CONNECTED:
        await trio.lowlevel.checkpoint()
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    with trio.fail_after(30):
        await client.close()
    assert client.state is SessionState.CLOSED
