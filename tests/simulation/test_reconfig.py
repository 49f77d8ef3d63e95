"""Whole members in memory change who they are: they join, leave, move and lose their disks."""

import pytest
import trio

from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import ReconfigRequest
from ottla.runtime.memory import MemoryDisk
from tests.simulation.consensus_ensemble import create, ensemble, serving, set_data

SUPER = [Id("super", "")]
CONFIG = "/zookeeper/config"


def server(me, role="participant", port=2888, client=2181):
    return f"server.{me}=c{me}:{port}:3888:{role};0.0.0.0:{client}"


def old_server(me):
    """As a file without election and client ports is shown."""
    return f"server.{me}=c{me}:2888:2888:participant"


async def reconfig(node, session, *, joining=None, leaving=None, members=None, base=-1, auth=SUPER):
    body = ReconfigRequest(joining, leaving, members, base).encode()
    return await node.submit(session.session_id, int(OpCode.RECONFIG), body, auth)


def lines(node):
    return node.tree.nodes[CONFIG].data.decode().split("\n")


async def eventually(condition, within_s=10.0):
    deadline = trio.current_time() + within_s
    while not condition():
        assert trio.current_time() < deadline
        await trio.sleep(0.0005)


async def test_members_of_the_file_are_shown_with_version_0(autojump_clock):
    async with ensemble(3) as world:
        await world.settled()
        for node in world.nodes.values():
            assert lines(node) == [*map(old_server, (1, 2, 3)), "version=0"]
            assert node.tree.nodes[CONFIG].stat().version == -1


async def test_ensemble_of_one_shows_no_members(autojump_clock):
    async with ensemble(1) as world:
        await serving(world.nodes[1], True)
        assert world.nodes[1].tree.nodes[CONFIG].data == b""


async def test_two_members_join_at_once_and_the_first_three_may_die(autojump_clock):
    async with ensemble(3, reconfig_enabled=True) as world:
        node = world.nodes[await world.settled()]
        session = await node.create_session(40_000)
        for i in range(30):
            await create(node, session, f"/n{i}")
        for me in (4, 5):
            world.host(me)
            await world.start(me, [1, 2, 3, 4, 5])
        applied = await reconfig(node, session, joining=f"{server(4)},{server(5)}")
        assert applied.error is ZkError.OK
        assert Reader(applied.reply).buffer() == node.tree.nodes[CONFIG].data
        shown = [*map(old_server, (1, 2, 3)), server(4), server(5)]
        assert lines(node) == [*shown, f"version={applied.zxid:x}"]
        await world.settled()
        await eventually(lambda: all(lines(other) == lines(node) for other in world.nodes.values()))
        for me in (1, 2):
            await world.kill(me)
        await world.settled(8)
        survivor = world.nodes[4]
        assert survivor.statistics()["server_state"] in ("leader", "follower")
        assert {f"/n{i}" for i in range(30)} <= survivor.tree.nodes.keys()


async def test_leader_that_is_removed_answers_and_hands_over(autojump_clock):
    async with ensemble(3, reconfig_enabled=True, standalone_enabled=False) as world:
        leader = await world.settled()
        node = world.nodes[leader]
        session = await node.create_session(40_000)
        await create(node, session, "/n")
        applied = await reconfig(node, session, leaving=str(leader))
        assert applied.error is ZkError.OK
        began = trio.current_time()
        others = [world.nodes[me] for me in world.ids if me != leader]
        await eventually(lambda: any(other.role == "leader" for other in others))
        assert trio.current_time() - began < 0.5  # not an election's timeout
        await serving(node, False, 5)
        assert await others[0].validate_session(session.session_id, session.password, 40_000)
        assert (await create(others[0], session, "/m")).error is ZkError.OK
        await trio.sleep(10)
        assert node.role == "looking"
        assert {other.epoch for other in others} == {others[0].epoch}
        epoch = others[0].epoch
        await world.kill(leader)
        await world.start(leader)  # its log knows that it is out, its file does not
        await trio.sleep(10)
        assert {other.epoch for other in others} == {epoch}
        assert world.nodes[leader].role == "looking"


async def test_change_survives_the_leader_that_began_it(autojump_clock):
    """A joint configuration in the log is ended by whoever leads next."""
    async with ensemble(3, reconfig_enabled=True) as world:
        leader = await world.settled()
        node = world.nodes[leader]
        session = await node.create_session(40_000)
        for me in (4, 5):
            world.host(me)
            await world.start(me, [1, 2, 3, 4, 5])
        body = ReconfigRequest(f"{server(4)},{server(5)}", "1", None).encode()
        node.submit_nowait(session.session_id, int(OpCode.RECONFIG), body, SUPER, lambda _: None)
        rest = [me for me in world.ids if me != leader]
        await eventually(lambda: any(world.nodes[me]._core.membership.is_joint for me in rest), 20)
        await world.kill(leader)
        await eventually(
            lambda: any(n.role == "leader" and n.tree.config_version for n in world.nodes.values())
        )
        ruler = next(n for n in world.nodes.values() if n.role == "leader")
        assert ruler._core.membership.voters == (2, 3, 4, 5)
        assert not ruler._core.membership.is_joint


async def test_client_of_another_member_hears_once_of_a_change_that_outlived_its_leader(
    autojump_clock,
):
    """The next leader ends it and answers; it must not be asked for a second time."""
    async with ensemble(3, reconfig_enabled=True) as world:
        leader = await world.settled()
        rest = [me for me in world.ids if me != leader]
        asked = world.nodes[rest[0]]
        session = await asked.create_session(40_000)
        for me in (4, 5):
            world.host(me)
            await world.start(me, [1, 2, 3, 4, 5])
        body = ReconfigRequest(f"{server(4)},{server(5)}", None, None).encode()
        told, seen = [], []
        asked.subscribe_applied(seen.append)
        asked.submit_nowait(session.session_id, int(OpCode.RECONFIG), body, SUPER, told.append)
        await eventually(lambda: all(world.nodes[me]._core.membership.is_joint for me in rest), 20)
        await world.kill(leader)
        await eventually(lambda: told)
        await trio.sleep(5)
        assert [applied.error for applied in told] == [ZkError.OK]
        assert [one.error for one in seen if one.opcode == OpCode.RECONFIG] == [ZkError.OK]
        assert "server.5=" in "\n".join(lines(asked))


async def test_change_that_a_leader_is_asked_for_at_once_waits_for_its_first_entry(autojump_clock):
    async with ensemble(3, reconfig_enabled=True) as world:
        leader = await world.settled()
        rest = [world.nodes[me] for me in world.ids if me != leader]
        sessions = {node: await node.create_session(40_000) for node in rest}
        world.nursery.start_soon(world.stop, leader)
        await eventually(lambda: any(node._core.leadership for node in rest))
        (node,) = [node for node in rest if node._core.leadership]
        assert not node._core.is_settled_leader
        applied = await reconfig(node, sessions[node], joining=server(9, "observer"))
        assert applied.error is ZkError.OK


@pytest.mark.parametrize(
    ("arguments", "auth", "error"),
    [
        ({"joining": "some thing"}, [], ZkError.BADARGUMENTS),
        ({"joining": server(999, "observer")}, [], ZkError.NOAUTH),
        ({"joining": server(999, "observer")}, SUPER, ZkError.BADARGUMENTS),
        ({"joining": "server.4=c4:2888:3888"}, SUPER, ZkError.BADARGUMENTS),
        ({"joining": "server.4=c4:2888:2888;2181"}, SUPER, ZkError.BADARGUMENTS),
        ({"joining": "server.4=c1:2888:3888;2181"}, SUPER, ZkError.BADARGUMENTS),
        ({"joining": "server.x=c4:2888:3888;2181"}, SUPER, ZkError.MARSHALLINGERROR),
        ({"leaving": "one"}, SUPER, ZkError.MARSHALLINGERROR),
        ({"leaving": "1,2"}, SUPER, ZkError.BADARGUMENTS),
        ({"leaving": "1", "base": 77}, [], ZkError.BADVERSION),
        ({"members": server(1) + ",x=y"}, SUPER, ZkError.BADARGUMENTS),
        ({"members": f"{server(7)},{server(8)},{server(9)}"}, SUPER, ZkError.NEWCONFIGNOQUORUM),
        ({"leaving": "3"}, [], ZkError.NOAUTH),
    ],
)
async def test_change_that_may_not_be_is_refused_as_in_zookeeper(
    autojump_clock, arguments, auth, error
):
    async with ensemble(3, reconfig_enabled=True, tick_time_ms=200) as world:
        await world.settled()
        follower = next(n for n in world.nodes.values() if n.role == "follower")
        session = await follower.create_session(4_000)
        before = lines(follower)
        assert (await reconfig(follower, session, **arguments, auth=auth)).error is error
        assert lines(follower) == before
        applied = await reconfig(follower, session, joining=server(9, "observer"))
        assert applied.error is ZkError.OK


@pytest.mark.parametrize(
    ("size", "settings", "error"),
    [
        (3, {}, ZkError.RECONFIGDISABLED),
        (1, {"reconfig_enabled": True}, ZkError.UNIMPLEMENTED),
    ],
)
async def test_where_members_do_not_change_that_is_said(autojump_clock, size, settings, error):
    async with ensemble(size, **settings) as world:
        await serving(world.nodes[1], True, 5)
        session = await world.nodes[1].create_session(4_000)
        assert (await reconfig(world.nodes[1], session, leaving="1")).error is error


async def test_second_change_waits_for_the_first(autojump_clock):
    async with ensemble(3, reconfig_enabled=True) as world:
        node = world.nodes[await world.settled()]
        session = await node.create_session(40_000)
        body = ReconfigRequest(server(7), None, None).encode()
        answers = []
        node.submit_nowait(session.session_id, int(OpCode.RECONFIG), body, SUPER, answers.append)
        second = await reconfig(node, session, leaving="7")
        assert second.error is ZkError.RECONFIGINPROGRESS
        await set_data(node, session, "/", b"not held up")
        assert not answers
        # Nobody answers as member 7, but three of four are here: so it is, after a while.
        await eventually(lambda: answers, 30)
        assert answers[0].error is ZkError.OK
        assert (await reconfig(node, session, leaving="7")).error is ZkError.OK


async def test_roles_and_addresses_change(autojump_clock):
    async with ensemble(3, reconfig_enabled=True, standalone_enabled=False) as world:
        leader = await world.settled()
        node = world.nodes[leader]
        session = await node.create_session(40_000)
        one, two = (me for me in world.ids if me != leader)
        applied = await reconfig(node, session, joining=server(one, "observer"))
        assert applied.error is ZkError.OK
        await eventually(lambda: world.nodes[one].role == "observer")
        moved = await reconfig(node, session, joining=server(two, port=4888))
        assert moved.error is ZkError.OK
        assert world.events[two].named("peer.listening_moved") or await _moved(world, two)
        await world.settled()
        assert (await create(node, session, "/n")).error is ZkError.OK
        back = await reconfig(node, session, joining=server(one))
        assert back.error is ZkError.OK
        await eventually(lambda: world.nodes[one].role == "follower")


async def _moved(world, me):
    await eventually(lambda: world.events[me].named("peer.listening_moved"))
    return True


async def test_members_start_with_the_configuration_of_their_log(autojump_clock):
    async with ensemble(3, reconfig_enabled=True, snap_count=20) as world:
        leader = await world.settled()
        node = world.nodes[leader]
        session = await node.create_session(40_000)
        world.host(4)
        await world.start(4, [1, 2, 3, 4])
        leaving = 3 if leader != 3 else 2
        stay = [me for me in (1, 2, 3, 4) if me != leaving]
        applied = await reconfig(node, session, joining=server(4), leaving=str(leaving))
        await create(node, session, "/a")
        for i in range(100):
            await set_data(node, session, "/a", b"%d" % i)
        for me in list(world.nodes):
            await world.kill(me)
        for me in stay:
            await world.start(me, [1, 2, 3, 4])  # out of date: one of them left
            assert world.events[me].named("coordinator.opened")[-1].fields["snapshot_index"]
        await world.settled()
        for me in stay:
            assert world.nodes[me].tree.config_version == applied.zxid
            assert world.nodes[me]._core.membership.voters == tuple(stay)


async def test_change_is_written_beside_the_configuration_file(autojump_clock):
    async with ensemble(3, reconfig_enabled=True, dynamic_config_file="/data/zoo.cfg.dynamic") as w:
        node = w.nodes[await w.settled()]
        session = await node.create_session(40_000)
        applied = await reconfig(node, session, joining=server(4, "observer"))
        await trio.sleep(1)
        for me in w.ids:
            written = w.disks[me].read(f"/data/zoo.cfg.dynamic.{applied.zxid:x}").decode()
            assert written.rstrip("\n").split("\n") == lines(node)


async def test_one_member_grows_to_three(autojump_clock):
    async with ensemble(1, reconfig_enabled=True, standalone_enabled=False) as world:
        await world.kill(1)
        await world.start(1, [1])
        node = world.nodes[1]
        await serving(node, True, 5)
        assert node.role == "leader"
        session = await node.create_session(40_000)
        for me in (2, 3):
            world.host(me)
            await world.start(me, [1, 2, 3])
        joining = f"{server(2)},{server(3)}"
        assert (await reconfig(node, session, joining=joining)).error is ZkError.OK
        await world.kill(1)
        await eventually(lambda: any(other.role == "leader" for other in world.nodes.values()))


async def test_wiped_member_does_not_elect_one_that_lacks_a_committed_write(autojump_clock):
    """Two of three are empty or behind: nobody leads until the third is back."""
    async with ensemble(3) as world:
        leader = await world.settled()
        node = world.nodes[leader]
        session = await node.create_session(40_000)
        behind, lost = (me for me in world.ids if me != leader)
        await world.kill(behind)
        assert (await create(node, session, "/acknowledged")).error is ZkError.OK
        await world.kill(leader)
        await world.kill(lost)
        world.disks[lost] = MemoryDisk(sync_delay_s=0.002)
        await world.start(lost)
        await world.start(behind)
        await trio.sleep(20)
        assert world.leader() is None
        await world.start(leader)
        await world.settled()
        assert all("/acknowledged" in node.tree.nodes for node in world.nodes.values())


async def test_new_ensemble_waits_for_all_of_its_voters_or_for_a_word(autojump_clock):
    async with ensemble(3) as world:
        for me in world.ids:
            await world.kill(me)
            world.disks[me] = MemoryDisk(sync_delay_s=0.002)
        for me in (1, 2):
            await world.start(me)
        await trio.sleep(10)
        assert world.leader() is None
        missing = world.events[1].named("ensemble.founding_waits")
        assert missing
        assert missing[0].fields["silent"] == [3]
        for me in (1, 2):
            await world.kill(me)
            world.disks[me].replace("/data/initialize", b"")
            await world.start(me)
        await world.settled()
        assert not world.disks[1].exists("/data/initialize")
