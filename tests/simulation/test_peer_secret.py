"""Members that prove to each other that they know a secret, and callers that do not know it."""

import hashlib
import hmac
import random
import struct

import pytest
import trio

from ottla.coordinator.calling import PATIENCE
from ottla.coordinator.entrance import HELLO_TIMEOUT_S, STRANGERS_MAX
from ottla.coordinator.peer_security import MAGIC
from ottla.protocol.peer.codec import FORMAT_VERSION, encode
from ottla.protocol.peer.messages import Hello, VoteRequest
from ottla.protocol.zookeeper.errors import ZkError
from ottla.runtime.interfaces import Address, ConnectionLost
from ottla.runtime.tls import TlsSettings
from tests.simulation.consensus_ensemble import create, ensemble, serving
from tests.support.certificates import make_certificates

SECRET = b"known to all members"
LISTED = "1:2888,2:2888,3:2888"
HELLO = encode(Hello(FORMAT_VERSION, LISTED, 2, 1, "c2", 2888, "")) + encode(
    VoteRequest(99, 9, 9, True)
)


def opening(sender=2, receiver=1):
    nonce = random.Random(1).randbytes(32)
    return struct.pack(">I", 48) + MAGIC + struct.pack(">II", sender, receiver) + nonce


async def read(stream):
    """What is there until the other side ends the connection."""
    found = bytearray()
    buffer = memoryview(bytearray(4096))
    while True:
        try:
            count = await stream.receive_into(buffer)
        except ConnectionLost:
            return bytes(found)
        if not count:
            return bytes(found)
        found += buffer[:count]


async def call(world, *said):
    """A stranger at member 1's port who says all this, whatever the answer; the answer."""
    stream = await world.network.at("stranger").connect(Address("c1", 2888))
    for data in said:
        await stream.send_all(data)
        await trio.sleep(0.1)
    with trio.fail_after(2 * HELLO_TIMEOUT_S):
        return await read(stream)


async def test_members_elect_write_and_take_in_a_wiped_one(autojump_clock):
    async with ensemble(3, peer_secret=SECRET) as world:
        leader = await world.settled()
        node = world.nodes[next(me for me in world.ids if me != leader)]
        session = await node.create_session(10_000)
        assert (await create(node, session, "/n", b"x" * 200_000)).error is ZkError.OK
        await world.kill(leader)
        world.host(leader)
        await world.start(leader)
        await world.settled(15)
        assert "/n" in world.nodes[leader].tree.nodes
        for me in world.ids:
            assert not world.events[me].named("peer.refused")
            assert not world.events[me].named("ensemble.peer_port_open")


async def test_observers_and_members_to_be_know_the_secret_too(autojump_clock):
    changing = {"reconfig_enabled": True, "peer_secret": SECRET}
    async with ensemble(3, observers=frozenset({3}), **changing) as world:
        await world.settled()
        assert world.nodes[3].role == "observer"
        world.host(4)
        await world.start(4, listed=[1, 2, 3, 4])
        await world.events[1].wait_for("peer.connected", count=3)
        connected = world.events[1].named("peer.connected")
        assert {event.fields["peer"] for event in connected} >= {2, 3, 4}


@pytest.mark.parametrize("secret", [b"the secret of another ensemble", None], ids=["other", "none"])
async def test_member_without_the_secret_is_left_out(autojump_clock, secret):
    async with ensemble(3, peer_secret=SECRET) as world:
        leader = await world.settled()
        outside = next(me for me in world.ids if me != leader)
        await world.kill(outside)
        world.settings["peer_secret"] = secret
        await world.start(outside)
        await trio.sleep(8)
        assert not world.nodes[outside].is_serving
        assert world.leader() == leader
        refused = world.events[leader].named("peer.refused")
        wanted = "another secret" if secret else "does not know of a shared secret"
        assert [event for event in refused if wanted in event.fields["reason"]]
        assert len(refused) < 4, "the same is said again and again"
        unreachable = world.events[leader].named("peer.unreachable")
        wanted = "another secret" if secret else "no shared secret"
        assert wanted in unreachable[-1].fields["reason"]
        if secret is None:
            told = world.events[outside].named("peer.refused")
            assert "this member has none" in told[0].fields["reason"]


@pytest.mark.parametrize("secret", [b"the secret of another ensemble", None], ids=["other", "none"])
async def test_member_that_is_not_wanted_calls_less_and_less_and_says_so_once(
    autojump_clock, secret
):
    async with ensemble(3, peer_secret=SECRET) as world:
        leader = await world.settled()
        outside = next(me for me in world.ids if me != leader)
        await world.kill(outside)
        world.settings["peer_secret"] = secret
        await world.start(outside)
        await trio.sleep(60)
        own = world.events[outside]
        before = 2  # of its first life
        assert len(own.named("peer.connected")) <= before + 2
        told = "peer.not_wanted" if secret is None else "peer.unreachable"
        about = [
            event.fields["peer"]
            for event in own.named(told)
            if "secret" in event.fields.get("reason", "secret")
        ]
        assert about.count(leader) == 1
        for me, other in ((outside, leader), (leader, outside)):
            calls = world.nodes[me]._peers._links[other].calling.refusals
            assert PATIENCE < calls < 35
        await world.kill(outside)
        world.settings["peer_secret"] = SECRET
        await world.start(outside)
        await serving(world.nodes[outside], True, within_s=3)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([HELLO], id="a hello"),
        pytest.param([opening(), bytes(32), HELLO], id="a guess"),
        pytest.param([opening(receiver=3), bytes(32)], id="another member"),
        pytest.param([opening()], id="no proof"),
        pytest.param([b"\xff" * 100_000], id="noise"),
        pytest.param([], id="nothing"),
        pytest.param([opening()[:20]], id="a part"),
    ],
)
async def test_stranger_gets_nothing_and_harms_nobody(autojump_clock, said):
    async with ensemble(3, peer_secret=SECRET) as world:
        leader = await world.settled()
        epoch = world.nodes[1].epoch
        try:
            answer = await call(world, *said)
        except ConnectionLost:
            answer = b""
        assert answer[:8] in (b"", MAGIC)
        assert len(answer) in (0, len(MAGIC) + 32), "more than a challenge"
        assert world.events[1].named("peer.refused")
        assert (world.leader(), world.nodes[1].epoch) == (leader, epoch)
        assert not world.events[1].named("peer.disconnected")


async def test_proof_of_one_connection_or_side_is_none_for_another(autojump_clock):
    """What a member proved to an impostor is of no use at the real one, nor sent back to it."""
    async with ensemble(3, peer_secret=SECRET) as world:
        await world.settled()
        stream = await world.network.at("stranger").connect(Address("c1", 2888))
        await stream.send_all(opening())
        challenge = bytearray(40)
        assert await stream.receive_into(memoryview(challenge)) == 40
        said = opening() + bytes(challenge)
        wrong = hmac.new(SECRET, b"called" + said, hashlib.sha256).digest()
        await stream.send_all(wrong + HELLO)
        assert await read(stream) == b""
        right = hmac.new(SECRET, b"caller" + said, hashlib.sha256).digest()
        assert len(await call(world, opening(), right)) == len(challenge)
        reasons = [one.fields["reason"] for one in world.events[1].named("peer.refused")]
        assert reasons == ["who calls as member 2 has another secret"]


async def test_member_does_not_call_itself_by_another_name_than_it_proved(autojump_clock):
    async with ensemble(3, peer_secret=SECRET) as world:
        await world.settled()
        stream = await world.network.at("stranger").connect(Address("c1", 2888))
        await stream.send_all(opening(sender=3))
        challenge = bytearray(40)
        assert await stream.receive_into(memoryview(challenge)) == 40
        said = opening(sender=3) + bytes(challenge)
        await stream.send_all(hmac.new(SECRET, b"caller" + said, hashlib.sha256).digest() + HELLO)
        assert len(await read(stream)) == 32
        [refused] = world.events[1].named("peer.refused")
        assert refused.fields["reason"] == "member 3 calls itself 2"


async def test_crowd_of_silent_strangers_keeps_no_member_out(autojump_clock):
    async with ensemble(3, peer_secret=SECRET) as world:
        leader = await world.settled()
        crowd = [
            await world.network.at("stranger").connect(Address(f"c{leader}", 2888))
            for _ in range(2 * STRANGERS_MAX)
        ]
        follower = next(me for me in world.ids if me != leader)
        await world.kill(follower)
        await world.start(follower)
        await serving(world.nodes[follower], True, 3)
        assert world.leader() == leader
        for stream in crowd:
            stream.close()


@pytest.mark.slow
async def test_secret_behind_tls(tmp_path, autojump_clock):
    made = make_certificates(tmp_path, ["c1", "c2", "c3"])
    tls = TlsSettings(key_store=str(made.server_store), trust_store=str(made.authority))
    async with ensemble(3, peer_tls=tls, peer_secret=SECRET) as world:
        node = world.nodes[await world.settled()]
        session = await node.create_session(10_000)
        assert (await create(node, session, "/n", b"x" * 300_000)).error is ZkError.OK


async def test_open_peer_port_is_warned_of_at_the_start(autojump_clock):
    async with ensemble(3) as world:
        warned = world.events[1].named("ensemble.peer_port_open")
        assert warned[0].fields["interface"] == "c1"
    async with ensemble(1) as world:
        assert not world.events[1].named("ensemble.peer_port_open")
