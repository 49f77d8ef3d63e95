"""Disks of a majority are lost, and the others begin anew: both histories must not mix.

docs/decisions/007: a majority vote promises nothing beyond a lost minority. But whoever comes back
with the old data must not erase the new ones, nor lose his own, without a word.
"""

import pytest
import trio

from ottla.protocol.zookeeper.errors import ZkError
from ottla.runtime.memory import MemoryDisk
from tests.simulation.consensus_ensemble import create, ensemble, serving


async def begun_anew(world, survivor):
    """All but one lose their disks, found a new ensemble while that one is away, and write."""
    await world.settled()
    node = world.nodes[survivor]
    session = await node.create_session(40_000)
    assert (await create(node, session, "/old")).error is ZkError.OK
    await trio.sleep(1)
    for me in world.ids:
        await world.kill(me)
        if me != survivor:
            world.disks[me] = MemoryDisk(sync_delay_s=0.002)
    others = [me for me in world.ids if me != survivor]
    for me in others:
        await world.start(me)
    await world.settled(within_s=60)
    assert world.events[others[0]].named("ensemble.founded_by_majority")
    node = world.nodes[others[0]]
    session = await node.create_session(40_000)
    assert (await create(node, session, "/new")).error is ZkError.OK
    return others


@pytest.mark.parametrize("survivor", [1, 3])
async def test_member_of_an_earlier_founding_is_kept_apart_and_told(autojump_clock, survivor):
    async with ensemble(3) as world:
        others = await begun_anew(world, survivor)
        await world.start(survivor)
        await trio.sleep(30)
        assert world.leader() in others
        assert not world.nodes[survivor].is_serving
        for me in others:
            assert world.nodes[me].is_serving
            assert "/new" in world.nodes[me].tree.nodes
        for me in world.ids:
            reasons = [event.fields["reason"] for event in world.events[me].named("peer.refused")]
            assert any("another founding" in reason for reason in reasons), me
        # What it has is still there, for whoever decides which of the two is worth more.
        for me in others:
            await world.kill(me)
            world.host(me)
            await world.start(me)
        await trio.sleep(15)
        answers = world.events[others[0]].named("ensemble.founding_waits")[-1].fields["answers"]
        assert answers[survivor] > 0


async def test_member_of_an_earlier_founding_joins_once_its_disk_is_wiped(autojump_clock):
    async with ensemble(3) as world:
        await begun_anew(world, 3)
        await world.start(3)
        await trio.sleep(10)
        await world.kill(3)
        world.host(3)
        await world.start(3)
        await serving(world.nodes[3], True, within_s=10)
        assert "/new" in world.nodes[3].tree.nodes


async def test_members_know_their_founding_after_every_way_to_get_the_state(autojump_clock):
    """By applying the first session, by a snapshot of the leader's, by a start from an own one."""
    async with ensemble(3, snap_count=20) as world:
        leader = await world.settled()
        late = next(me for me in world.ids if me != leader)
        await world.kill(late)
        world.host(late)
        node = world.nodes[leader]
        session = await node.create_session(40_000)
        for i in range(100):
            await create(node, session, f"/{i}", bytes(100_000))
        await world.start(late)
        await world.settled(15)
        path = "/data/version-2/founding"
        for damaged in (None, b"", b"0123456789abcdef 00000000\n", b"\xff"):
            names = {world.disks[me].read(path) for me in world.ids}
            assert len(names) == 1
            await world.kill(late)
            if damaged is None:  # as before there was such a file
                world.disks[late].remove(path)
            else:
                world.disks[late].replace(path, damaged)
            await world.start(late)
            await world.settled(15)
