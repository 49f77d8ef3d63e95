"""Members that talk to each other through TLS, each with a certificate of one authority."""

import pytest
import trio

from ottla.protocol.zookeeper.errors import ZkError
from ottla.runtime.interfaces import Address
from ottla.runtime.tls import TlsSettings
from tests.simulation.consensus_ensemble import create, ensemble, serving
from tests.support.certificates import make_certificates

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("members"), ["c1", "c2", "c3"])


def peer_tls(certificates, **changes):
    stores = {
        "key_store": str(certificates.server_store),
        "trust_store": str(certificates.authority),
    }
    return TlsSettings(**(stores | changes))


async def test_members_elect_and_replicate_large_writes(certificates, autojump_clock):
    async with ensemble(3, peer_tls=peer_tls(certificates)) as world:
        leader = await world.settled()
        node = world.nodes[next(me for me in world.ids if me != leader)]
        session = await node.create_session(10_000)
        async with trio.open_nursery() as nursery:
            for i in range(20):
                nursery.start_soon(create, node, session, f"/n{i}", b"x" * 200_000)
        assert {f"/n{i}" for i in range(20)} <= node.tree.nodes.keys()
        await world.kill(leader)
        await world.settled()
        assert (await create(node, session, "/after")).error is ZkError.OK


async def test_a_stranger_without_a_certificate_is_refused(certificates, autojump_clock):
    async with ensemble(3, peer_tls=peer_tls(certificates)) as world:
        await world.settled()
        stream = await world.network.at("stranger").connect(Address("c1", 2888))
        await stream.send_all(b"\0\0\0\x10" + bytes(16))
        refused = await world.events[1].wait_for("peer.refused")
        assert "TLS" in refused.fields["reason"]
        await world.settled()


async def test_members_of_another_name_are_not_believed(certificates, tmp_path, autojump_clock):
    other = make_certificates(tmp_path, ["elsewhere"])
    async with ensemble(3, peer_tls=peer_tls(other)) as world:
        unreachable = await world.events[1].wait_for("peer.unreachable", count=3)
        assert unreachable
        for node in world.nodes.values():
            assert not node.is_serving
    async with ensemble(3, peer_tls=peer_tls(other), peer_verify_hostname=False) as world:
        await serving(world.nodes[await world.settled()], True)
