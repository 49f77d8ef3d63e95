"""Where Apache ZooKeeper 3.8 was seen to go wrong, and Ottla's members must not."""

import trio

from ottla.protocol.zookeeper.data import ACL, ANYONE, OPEN_ACL
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import CreateRequest, SetACLRequest, SetDataRequest
from ottla.protocol.zookeeper.session import ConnectRequest
from ottla.runtime.interfaces import Address
from tests.simulation.consensus_ensemble import create, ensemble
from tests.support.zk_client import Closed, ZkClient

READ_ONLY = (ACL(1, ANYONE),)


async def test_a_write_is_judged_by_the_access_list_set_before_it(autojump_clock):
    """Seen 42 times in 8400: setACL through a follower, then a write under the old list."""
    async with ensemble(3) as world:
        leader = await world.settled()
        node = world.nodes[next(me for me in world.ids if me != leader)]
        session = await node.create_session(30_000)
        for i in range(100):
            path = f"/n{i}"
            outcomes: list[ZkError] = []
            done = trio.Event()

            def on_applied(applied, outcomes=outcomes, done=done):
                outcomes.append(applied.error)
                if len(outcomes) == 3:
                    done.set()

            for opcode, request in (
                (OpCode.CREATE, CreateRequest(path, b"", OPEN_ACL)),
                (OpCode.SET_ACL, SetACLRequest(path, READ_ONLY)),
                (OpCode.SET_DATA, SetDataRequest(path, b"x")),
            ):
                body = request.encode()
                node.submit_nowait(session.session_id, int(opcode), body, (), on_applied)
            await done.wait()
            assert outcomes == [ZkError.OK, ZkError.OK, ZkError.NOAUTH]


async def test_a_lone_request_never_waits_for_other_traffic(autojump_clock):
    """ZOOKEEPER-4537: seen 4 times in 120 000."""
    async with ensemble(3) as world:
        leader = await world.settled()
        for me in (leader, next(each for each in world.ids if each != leader)):
            node = world.nodes[me]
            session = await node.create_session(30_000)
            for i in range(300):
                began = trio.current_time()
                assert (await create(node, session, f"/{me}-{i}")).error is ZkError.OK
                # Two disk writes and four messages: far below any heartbeat or tick.
                assert trio.current_time() - began < 0.02


async def test_who_connects_in_the_moment_a_member_binds_is_answered_or_closed(autojump_clock):
    async with ensemble(3) as world:
        leader = await world.settled()
        await world.kill(leader)
        ends: list[str] = []

        async def knock():
            while True:
                try:
                    stream = await world.network.at("client").connect(Address(f"c{leader}", 2181))
                except OSError:
                    await trio.sleep(0.0005)
                    continue
                break
            client = ZkClient(stream)
            await stream.send_all(client_frame())
            with trio.fail_after(10):
                try:
                    await client.next_frame()
                    ends.append("answered")
                except Closed:
                    ends.append("closed")

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(knock)
            await trio.sleep(0.01)
            await world.start(leader)
        assert len(ends) == 20
        await world.settled()


def client_frame():
    body = ConnectRequest(0, 0, 10_000).encode()
    return len(body).to_bytes(4, "big") + body
