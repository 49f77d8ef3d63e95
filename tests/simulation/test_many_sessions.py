"""10 000 sessions of three members: when they expire, and that others are answered meanwhile."""

import random
from collections import Counter

import pytest
import trio

from ottla.coordinator.leading import EXPIRE_MAX
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import CreateSessionRequest
from tests.simulation.consensus_ensemble import ensemble

TICK_S = 2.0
COUNT = 10_000
TIMEOUTS_MS = (4_000, 5_300, 7_000)


async def opened(world, count):
    """session -> (its member, its timeout in s)."""
    found = {}
    done = trio.Event()

    def on_applied(applied, me, timeout_ms):
        found[applied.session_id] = (me, timeout_ms / 1000)
        if len(found) == count:
            done.set()

    for number in range(count):
        me = world.ids[number % len(world.ids)]
        timeout_ms = TIMEOUTS_MS[number % len(TIMEOUTS_MS)]
        body = CreateSessionRequest(timeout_ms).encode()
        world.nodes[me].submit_nowait(
            0, int(OpCode.CREATE_SESSION), body, (),
            lambda applied, me=me, timeout_ms=timeout_ms: on_applied(applied, me, timeout_ms),
        )  # fmt: skip
        if number % 500 == 499:
            await trio.sleep(0.01)
    await done.wait()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True])
async def test_sessions_end_within_a_tick_after_their_timeout_and_never_before(
    autojump_clock, at_once
):
    rng = random.Random(7)
    async with ensemble(3, tick_time_ms=int(TICK_S * 1000)) as world:
        leader = world.nodes[await world.settled()]
        sessions = await opened(world, COUNT)
        heard = {}
        ended = {}

        def on_applied(applied):
            for session_id in applied.closed_sessions:
                ended[session_id] = trio.current_time()

        leader.subscribe_applied(on_applied)

        def touch(session_id):
            world.nodes[sessions[session_id][0]].touch(session_id)
            heard[session_id] = trio.current_time()

        for session_id in sessions:
            touch(session_id)
        for _ in range(60):  # who is silent from when on is chance, or all are at the same time
            await trio.sleep(0.05)
            for session_id in [] if at_once else rng.sample(sorted(sessions), 300):
                touch(session_id)
        assert not ended
        await trio.sleep(max(TIMEOUTS_MS) / 1000 + TICK_S)
        assert ended.keys() == sessions.keys()
        late = [ended[each] - heard[each] - timeout for each, (_, timeout) in sessions.items()]
        assert 0 <= min(late) <= max(late) <= TICK_S
        assert max(Counter(ended.values()).values()) <= 2 * EXPIRE_MAX
