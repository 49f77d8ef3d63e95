"""What is around members changes: names that do not resolve yet, wall clocks that jump."""

import pytest
import trio

from ottla.protocol.zookeeper.errors import ZkError
from tests.simulation.consensus_ensemble import Ensemble, create, ensemble, serving


async def test_member_whose_name_resolves_late_is_found(autojump_clock):
    """The others begin without it, and call it as soon as there is such a host."""
    listed = [1, 2, 3]
    async with trio.open_nursery() as nursery:
        world = Ensemble(nursery, 2)
        for me in (1, 2):
            await world.start(me, listed=listed)
        await world.settled(within_s=60)
        unknown = world.events[1].named("peer.unreachable")
        assert [event.fields["peer"] for event in unknown].count(3) == 1
        await trio.sleep(60)
        assert len(world.events[1].named("peer.unreachable")) == len(unknown)
        world.host(3)
        await world.start(3, listed=listed)
        await serving(world.nodes[3], True, within_s=5)
        assert world.events[1].named("peer.connected")[-1].fields["peer"] == 3
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("jump_ms", [-400 * 86_400_000, 400 * 86_400_000])
async def test_wall_clocks_that_jump_change_nothing(autojump_clock, jump_ms):
    """They are shown in Stat, and ask TTLs; time that passes is taken from another clock."""
    async with ensemble(3) as world:
        leader = await world.settled()
        node = world.nodes[next(me for me in world.ids if me != leader)]
        session = await node.create_session(4000)
        assert (await create(node, session, "/e", ephemeral=True)).error is ZkError.OK
        epoch = node.epoch
        for me in world.ids:
            world.nodes[me]._runtime.wall_clock.advance(jump_ms // me)
            for step in range(4):
                await trio.sleep(1)
                node.touch(session.session_id)
                assert (await create(node, session, f"/{me}-{step}")).error is ZkError.OK
        assert all("/e" in each.tree.nodes for each in world.nodes.values())
        assert (world.leader(), node.epoch) == (leader, epoch)
        await trio.sleep(4 + 2)  # a silent session ends in time all the same
        assert all("/e" not in each.tree.nodes for each in world.nodes.values())
