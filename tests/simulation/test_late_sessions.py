"""Members that are so late that a session is over when its creator hears of it."""

import pytest

from ottla.coordinator.ports import NotServing
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.simulation.consensus_ensemble import ensemble, serving


async def test_session_that_ended_before_its_creator_heard_of_it_is_refused(autojump_clock):
    """A member that was paused applies the creation and the expiry at once. Seeds 74 and 80."""
    async with ensemble(1) as world:
        node = world.nodes[1]
        await serving(node, True)
        submit = node.submit

        async def late(session_id, opcode, body, auth):
            applied = await submit(session_id, opcode, body, auth)
            await submit(applied.session_id, int(OpCode.CLOSE_SESSION), b"", ())
            return applied

        node.submit = late
        with pytest.raises(NotServing):
            await node.create_session(4000)
        node.submit = submit
        assert (await node.create_session(4000)).session_id in node.tree.sessions
