"""Each election is told of with its reason and how long it took."""

import trio

from tests.simulation.consensus_ensemble import ensemble

ELECTION_MIN_MS, ELECTION_MAX_MS = 1000, 2000  # at the default tickTime


def told(world, me):
    return world.events[me].named("ensemble.leader_changed")


async def changed(world, me, count, within_s=10.0):
    """The event number `count` of a member, as soon as it is there."""
    with trio.fail_after(within_s):
        await world.events[me].wait_for("ensemble.leader_changed", count=count)
    return told(world, me)[count - 1].fields


def others(world, leader):
    return [me for me in world.ids if me != leader]


async def test_the_first_election_is_told_of_with_the_start(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        for me in world.ids:
            fields = await changed(world, me, 1)
            assert (fields["leader"], fields["before"]) == (leader, None)
            assert fields["reason"] == "start"
            assert 0 <= fields["took_ms"] < 5000


async def test_a_leader_whose_process_ended(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        await world.kill(leader)
        await world.settled()
        for me in others(world, leader):
            fields = await changed(world, me, 2)
            assert fields["leader"] == world.leader()
            assert fields["before"] == leader
            assert fields["reason"] == "ended"
            assert fields["took_ms"] < ELECTION_MIN_MS


async def test_a_leader_that_falls_silent(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        await trio.sleep(3)
        world.nodes[leader]._peers.flush = lambda: None  # nothing leaves it any more
        reasons = set()
        for me in others(world, leader):
            fields = await changed(world, me, 2)
            assert fields["before"] == leader
            reasons.add(fields["reason"])
            if fields["reason"] == "silence":
                assert ELECTION_MIN_MS * 0.9 < fields["took_ms"] < 2 * ELECTION_MAX_MS
        assert "silence" in reasons
        fields = await changed(world, leader, 2)
        assert fields["leader"] is None
        assert fields["reason"] == "no majority"


async def test_a_leader_that_stops_cleanly(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        await trio.sleep(1)
        await world.stop(leader)
        for me in others(world, leader):
            fields = await changed(world, me, 2)
            assert fields["before"] == leader
            assert fields["reason"] == "handover"
            assert fields["took_ms"] < 300
        assert told(world, leader)[-1].fields["reason"] in {"start", "handover"}
