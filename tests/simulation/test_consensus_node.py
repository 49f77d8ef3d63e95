"""Ensembles of whole members in memory: leaders die, members return, sessions live on."""

import itertools

import pytest
import trio

from ottla.coordinator.ports import NotServing
from ottla.protocol.peer.codec import encode
from ottla.protocol.peer.messages import ForwardedRequest, Hello
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.opcodes import CreateMode, OpCode
from ottla.protocol.zookeeper.requests import (
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    SetDataRequest,
)
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import MemoryDisk
from tests.simulation.consensus_ensemble import create, ensemble, serving, set_data


async def test_one_member_serves_and_keeps_its_writes_over_a_power_cut(autojump_clock):
    async with ensemble(1) as world:
        node = world.nodes[1]
        await serving(node, True)
        assert node.role == "standalone"
        session = await node.create_session(4000)
        for i in range(20):
            applied = await create(node, session, f"/n{i}", b"x")
            assert applied.error is ZkError.OK
        await world.kill(1)
        await world.start(1)
        await serving(world.nodes[1], True)
        assert {f"/n{i}" for i in range(20)} <= world.nodes[1].tree.nodes.keys()


async def test_session_and_ephemerals_survive_the_leader(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        follower = next(me for me in world.ids if me != leader)
        node = world.nodes[follower]
        session = await node.create_session(10_000)
        assert (await create(node, session, "/e", ephemeral=True)).error is ZkError.OK
        await world.kill(leader)
        began = trio.current_time()
        await world.settled()
        assert trio.current_time() - began < 2.5
        moved_to = next(me for me in world.nodes if me != follower)
        other = world.nodes[moved_to]
        again = await other.validate_session(session.session_id, session.password, 8_000)
        assert again is not None
        assert (again.timeout_ms, again.owner) == (8_000, moved_to)
        assert "/e" in other.tree.nodes
        applied = await create(other, session, "/e2", ephemeral=True)
        assert applied.error is ZkError.OK
        refused = await create(world.nodes[follower], session, "/e3")
        assert refused.error is ZkError.SESSIONMOVED


async def test_wrong_password_and_unknown_session_are_refused(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        node = world.nodes[leader]
        session = await node.create_session(10_000)
        assert await node.validate_session(session.session_id, bytes(16), 10_000) is None
        assert await node.validate_session(12345, session.password, 10_000) is None


async def test_silent_session_expires_and_touched_one_does_not(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        follower = world.nodes[next(me for me in world.ids if me != leader)]
        silent = await follower.create_session(4000)
        touched = await follower.create_session(4000)
        await create(follower, silent, "/silent", ephemeral=True)
        await create(follower, touched, "/touched", ephemeral=True)
        for _ in range(20):
            await trio.sleep(0.5)
            follower.touch(touched.session_id)
        for node in world.nodes.values():
            assert "/touched" in node.tree.nodes
            assert "/silent" not in node.tree.nodes
            assert node.tree.session(silent.session_id) is None


async def test_member_that_was_suspended_takes_no_session_for_dead(autojump_clock):
    """What clients sent meanwhile waits unread when it looks at the time: SIGSTOP, a full core."""
    async with ensemble(1) as world:
        node = world.nodes[1]
        await serving(node, True)
        session = await node.create_session(4000)
        autojump_clock.jump(30)
        await trio.sleep(2)
        assert node.tree.session(session.session_id) is not None
        node.touch(session.session_id)
        await trio.sleep(3.9)
        assert node.tree.session(session.session_id) is not None
        await trio.sleep(2.1)
        assert node.tree.session(session.session_id) is None


async def test_write_keeps_its_session_though_its_member_reports_nothing_more(autojump_clock):
    """The link may break between the write and the report. Seed 6240, three minutes."""
    async with ensemble(3) as world:
        leader = await world.settled()
        follower = world.nodes[next(me for me in world.ids if me != leader)]
        session = await follower.create_session(4000)
        await trio.sleep(3.5)
        assert (await create(follower, session, "/last")).error is ZkError.OK
        await trio.sleep(3.9)
        assert world.nodes[leader].tree.session(session.session_id) is not None
        await trio.sleep(2.2)
        assert world.nodes[leader].tree.session(session.session_id) is None


async def test_new_leader_grants_every_session_its_full_timeout(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        node = world.nodes[next(me for me in world.ids if me != leader)]
        session = await node.create_session(4000)
        await trio.sleep(3)
        await world.kill(leader)
        await world.settled()
        await trio.sleep(3)
        assert next(iter(world.nodes.values())).tree.session(session.session_id) is not None


async def test_member_without_majority_stops_serving_and_returns(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        for me in world.ids:
            if me != leader:
                await world.kill(me)
        left = world.nodes[leader]
        session_id = 1
        await serving(left, False)
        with pytest.raises(NotServing):
            await left.submit(session_id, 5, b"", ())
        for me in world.ids:
            if me != leader:
                await world.start(me)
        await world.settled()


async def test_clean_stop_hands_the_leadership_over_at_once(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        began = trio.current_time()
        await world.stop(leader)
        await world.settled()
        assert trio.current_time() - began < 0.3
        assert world.events[leader].named("ensemble.leadership_offered")


@pytest.mark.parametrize("was_sent", [False, True])
async def test_what_waits_for_a_leader_is_not_overtaken_when_this_member_is_it(
    autojump_clock, was_sent
):
    async with ensemble(1) as world:
        node = world.nodes[1]
        await serving(node, True)
        session = await node.create_session(4000)
        applied_first = []

        # As a member that begins to lead finds them, before its first turn as the leader.
        requests = node._requests
        body = SetDataRequest("/", b"first", -1).encode()
        tag = requests.wait_for(applied_first.append)
        first = ForwardedRequest(tag, session.session_id, int(OpCode.SET_DATA), body, ())
        if was_sent:
            requests.were_sent((first,), node.epoch - 1)
        else:
            requests.unsent.append((1, first))
        await set_data(node, session, "/", b"second")
        assert len(applied_first) == 1
        assert node.tree.nodes["/"].data == b"second"


async def test_member_far_behind_gets_a_snapshot(autojump_clock):
    async with ensemble(3, snap_count=40) as world:
        leader = await world.settled()
        behind = next(me for me in world.ids if me != leader)
        node = world.nodes[leader]
        session = await node.create_session(40_000)
        await create(node, session, "/a")
        await world.kill(behind)
        world.disks[behind].remove_tree("/data")
        for i in range(100):
            await set_data(node, session, "/a", b"%d" % i)
        core = node._core
        core.log.drop_through(core.applied_index - 3)
        await world.start(behind)
        await world.settled()
        assert world.events[behind].named("ensemble.snapshot_installed")
        await set_data(node, session, "/a", b"last")
        await trio.sleep(0.5)
        assert world.nodes[behind].tree.nodes["/a"].data == b"last"
        await world.kill(behind)
        await world.start(behind)
        await world.settled()
        assert world.nodes[behind].tree.nodes["/a"].data == b"last"


async def test_snapshots_are_taken_and_used_at_the_next_start(autojump_clock):
    async with ensemble(1, snap_count=20) as world:
        node = world.nodes[1]
        await trio.sleep(0.5)
        session = await node.create_session(40_000)
        await create(node, session, "/a")
        for i in range(100):
            await set_data(node, session, "/a", b"%d" % i)
        assert len(world.events[1].named("ensemble.snapshot_taken")) >= 3
        await world.kill(1)
        await world.start(1)
        await trio.sleep(0.5)
        opened = world.events[1].named("coordinator.opened")[1].fields
        assert opened["log_entries"] < 30
        assert world.nodes[1].tree.nodes["/a"].data == b"99"


async def test_sync_waits_for_what_the_leader_committed(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        follower = world.nodes[next(me for me in world.ids if me != leader)]
        session = await world.nodes[leader].create_session(10_000)
        for i in range(5):
            await create(world.nodes[leader], session, f"/s{i}")
            await follower.sync()
            assert f"/s{i}" in follower.tree.nodes


@pytest.mark.slow
async def test_concurrent_writers_survive_repeated_leader_kills(autojump_clock):
    """Every acknowledged write is there at the end, on all members alike."""
    async with ensemble(3) as world:
        acknowledged: list[str] = []
        done = trio.Event()

        async def writer(number):
            session = None
            count = 0
            while not done.is_set():
                node = next((n for n in world.nodes.values() if n.is_serving), None)
                if node is None:
                    await trio.sleep(0.05)
                    continue
                try:
                    if session is None:
                        session = await node.create_session(20_000)
                    elif (
                        await node.validate_session(session.session_id, session.password, 20_000)
                        is None
                    ):
                        session = None
                        continue
                    path = f"/w{number}-{count}"
                    count += 1
                    if (await create(node, session, path)).error is ZkError.OK:
                        acknowledged.append(path)
                    await trio.sleep(0.001)  # the world takes no time, and time has to pass
                except NotServing:
                    await trio.sleep(0.02)

        async with trio.open_nursery() as writers:
            for number in range(4):
                writers.start_soon(writer, number)
            for _ in range(4):
                leader = await world.settled(8)
                await trio.sleep(0.3)
                await world.kill(leader)
                await trio.sleep(0.2)
                await world.start(leader)
            await world.settled(8)
            done.set()
        await trio.sleep(1)
        assert len(acknowledged) > 100
        trees = [node.tree for node in world.nodes.values()]
        for tree in trees:
            assert set(acknowledged) <= tree.nodes.keys()
        assert len({b"".join(tree.dump()) for tree in trees}) == 1


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "over the limit"),
        (encode(Hello(9, "1:2888,2:2888,3:2888", 2, 1, "c2", 2888, "")), "format 9"),
        (encode(Hello(3, "7:2888", 7, 1, "c7", 2888, "")), "ensemble 7:2888"),
        (encode(Hello(3, "1:2888,2:2888,3:2888", 9, 1, "c9", 2888, "")), "member 9 calls"),
        (b"", "TooSlow"),
    ],
    ids=["http", "format", "ensemble", "unknown member", "silent"],
)
async def test_stranger_on_the_peer_port_is_refused_with_an_event(autojump_clock, hello, reason):
    async with ensemble(3) as world:
        leader = await world.settled()
        stream = await world.networks[2].connect(Address("c1", 2888))
        await stream.send_all(hello)
        buffer = memoryview(bytearray(10))
        with trio.fail_after(20):
            assert await stream.receive_into(buffer) == 0
        refusals = world.events[1].named("peer.refused")
        if hello:
            assert reason in str(refusals[0].fields["reason"])
        assert refusals
        assert world.leader() == leader


async def test_leader_collects_used_containers_and_ttl_nodes_at_their_time(autojump_clock):
    async with ensemble(3, extended_types=True, container_check_interval_ms=1000) as world:
        node = world.nodes[await world.settled()]
        session = await node.create_session(40_000)
        for path in ("/used", "/unused"):
            body = CreateRequest(path, b"", OPEN_ACL, int(CreateMode.CONTAINER)).encode()
            await node.submit(session.session_id, int(OpCode.CREATE_CONTAINER), body, ())
        mode = int(CreateMode.PERSISTENT_WITH_TTL)
        body = CreateTTLRequest("/brief", b"", OPEN_ACL, mode, 3000).encode()
        applied = await node.submit(session.session_id, int(OpCode.CREATE_TTL), body, ())
        assert applied.error is ZkError.OK
        await create(node, session, "/used/child")
        await trio.sleep(2)
        assert {"/used", "/unused", "/brief"} <= node.tree.nodes.keys()
        body = DeleteRequest("/used/child", -1).encode()
        await node.submit(session.session_id, int(OpCode.DELETE), body, ())
        await trio.sleep(1.3)
        assert "/used" not in node.tree.nodes
        await trio.sleep(2.5)
        for member in world.nodes.values():
            assert "/brief" not in member.tree.nodes
            assert "/unused" in member.tree.nodes


async def test_collection_goes_in_portions(autojump_clock):
    settings = {"container_check_interval_ms": 1000, "container_max_per_minute": 120}
    async with ensemble(1, **settings) as world:
        node = world.nodes[1]
        await serving(node, True)
        session = await node.create_session(40_000)
        for i in range(6):
            body = CreateRequest(f"/c{i}", b"", OPEN_ACL, int(CreateMode.CONTAINER)).encode()
            await node.submit(session.session_id, int(OpCode.CREATE_CONTAINER), body, ())
            await create(node, session, f"/c{i}/x")
            body = DeleteRequest(f"/c{i}/x", -1).encode()
            await node.submit(session.session_id, int(OpCode.DELETE), body, ())
        left = []
        for _ in range(5):
            await trio.sleep(1)
            left.append(sum(path.startswith("/c") for path in node.tree.nodes))
        assert left[-1] == 0
        assert all(before - after <= 4 for before, after in itertools.pairwise([6, *left]))
        assert left[0] > 0


async def test_member_that_comes_no_nearer_to_its_leader_begins_anew(autojump_clock):
    async with ensemble(3, init_limit=2) as world:
        leader = await world.settled()
        lame = next(me for me in world.ids if me != leader)
        await world.kill(lame)
        world.disks[lame] = MemoryDisk(sync_delay_s=7)  # a disk that hangs
        await world.start(lame)
        await trio.sleep(8)
        assert world.events[lame].named("ensemble.catch_up_stalled")


async def test_member_with_a_new_disk_catches_up(autojump_clock):
    async with ensemble(3) as world:
        node = world.nodes[await world.settled()]
        session = await node.create_session(40_000)
        await create(node, session, "/n")
        lost = next(me for me in world.ids if me != node.member_id)
        await world.kill(lost)
        world.disks[lost] = MemoryDisk(sync_delay_s=0.002)
        await world.start(lost)
        await world.settled()
        assert "/n" in world.nodes[lost].tree.nodes


async def test_member_left_alone_shows_what_it_has_until_it_has_a_leader(autojump_clock):
    async with ensemble(3, read_only_mode=True) as world:
        leader = await world.settled()
        left = next(me for me in world.ids if me != leader)
        others = [me for me in world.ids if me != left]
        for me in others:
            await world.kill(me)
        node = world.nodes[left]
        await serving(node, False, within_s=3)
        assert not node.is_read_only
        await trio.sleep(3)
        assert node.is_read_only
        assert node.role == "read-only"
        for me in others:
            await world.start(me)
        await world.settled()
        assert not node.is_read_only


async def test_observer_serves_reads_and_writes_and_never_leads(autojump_clock):
    async with ensemble(4, observers=frozenset({4})) as world:
        leader = await world.settled()
        observer = world.nodes[4]
        assert observer.role == "observer"
        assert world.nodes[leader].statistics()["synced_observers"] == 1
        session = await observer.create_session(10_000)
        assert (await create(observer, session, "/n", b"1")).error is ZkError.OK
        await world.kill(leader)
        await world.settled()
        assert observer.role == "observer"
        again = await observer.validate_session(session.session_id, session.password, 10_000)
        assert again is not None
        assert (await set_data(observer, session, "/n", b"2")).error is ZkError.OK
        await world.stop(world.leader())
        await serving(observer, False, within_s=3)


async def test_observers_make_no_majority(autojump_clock):
    async with ensemble(5, observers=frozenset({4, 5})) as world:
        leader = await world.settled()
        for voter in {1, 2, 3} - {leader}:
            await world.kill(voter)
        for member in (leader, 4, 5):
            await serving(world.nodes[member], False, within_s=3)
        await trio.sleep(5)
        assert world.leader() is None


async def test_lone_voter_with_an_observer_that_was_away(autojump_clock):
    async with ensemble(2, observers=frozenset({2})) as world:
        await world.settled()
        await world.kill(2)
        node = world.nodes[1]
        session = await node.create_session(40_000)
        assert (await create(node, session, "/n")).error is ZkError.OK
        await world.start(2)
        await world.settled()
        assert "/n" in world.nodes[2].tree.nodes
