"""How a broker joins: paths, ids, its znode, and its previous life."""

import random

import pytest
import trio

from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.registration import (
    BrokerIdTaken,
    allocate_broker_id,
    end_previous_session,
    prepare_cluster,
    register_broker,
    update_registration,
)
from ottla.broker.ensemble.replies import SessionId
from ottla.broker.ensemble.stale_session import SessionFile
from ottla.broker.ensemble.values import BrokerInfo, Endpoint
from ottla.runtime.memory import FixedWallClock, MemoryDisk, RecordingEvents

BROKER = BrokerInfo(1, (Endpoint("PLAINTEXT", "h", 9092),))
CLOCK = FixedWallClock()


@pytest.fixture
def session_file():
    return SessionFile(MemoryDisk(), "/session.json")


async def register(client, session_file, events, broker=BROKER):
    return await register_broker(
        client, broker, session_file=session_file, wall_clock=CLOCK, events=events
    )


async def test_cluster_is_prepared_once(autojump_clock, new_client, members):
    first = await new_client(chroot="/kafka")
    cluster_id = await prepare_cluster(first, random.Random(1))
    second = await new_client(chroot="/kafka", seed=2)
    assert await prepare_cluster(second, random.Random(2)) == cluster_id
    assert len(cluster_id) == 22
    for path in paths.PERSISTENT:
        assert f"/kafka{path}" in members.tree.nodes


async def test_broker_ids_are_handed_out_above_the_reserved_ones(autojump_clock, client):
    await prepare_cluster(client, random.Random(1))
    assert await allocate_broker_id(client) == 1001
    assert await allocate_broker_id(client) == 1002


async def test_broker_epoch_is_the_znodes_czxid(autojump_clock, client, events, session_file):
    await prepare_cluster(client, random.Random(1))
    epoch = await register(client, session_file, events)
    data, stat = await client.get_data("/brokers/ids/1")
    assert epoch == stat.czxid
    assert stat.ephemeral_owner == client.session.id
    assert encodings.decode_broker(1, data, epoch=epoch).endpoints == BROKER.endpoints
    assert session_file.load() == client.session
    assert await register(client, session_file, events) == epoch


async def test_lost_answer_does_not_lose_the_registration(
    autojump_clock, client, members, events, session_file
):
    await prepare_cluster(client, random.Random(1))
    members.lose_next_reply = True
    epoch = await register(client, session_file, events)
    assert epoch == (await client.exists("/brokers/ids/1")).czxid


async def test_id_of_another_live_broker_is_refused_with_its_endpoint(
    autojump_clock, client, new_client, events, session_file
):
    await prepare_cluster(client, random.Random(1))
    await register(client, session_file, events)
    other = await new_client(seed=2)
    impostor = BrokerInfo(1, (Endpoint("PLAINTEXT", "elsewhere", 9092),))
    with pytest.raises(BrokerIdTaken, match=r"broker.id 1 .* PLAINTEXT://h:9092"):
        await register(other, SessionFile(MemoryDisk(), "/s"), events, impostor)


async def test_killed_broker_ends_its_old_session_when_it_is_back(
    autojump_clock, client, new_client, events, session_file
):
    await prepare_cluster(client, random.Random(1))
    old_epoch = await register(client, session_file, events)
    successor = await new_client(seed=2)  # the old client's session still lives
    began = trio.current_time()
    await end_previous_session(successor, session_file, events, timeout_s=5)
    epoch = await register(successor, session_file, events)
    assert epoch > old_epoch
    assert trio.current_time() - began < 0.5
    assert session_file.load() == successor.session


async def test_own_old_znode_is_waited_for_when_the_session_file_is_lost(
    autojump_clock, client, new_client, members, events
):
    await prepare_cluster(client, random.Random(1))
    await register(client, SessionFile(MemoryDisk(), "/lost"), events)
    successor = await new_client(seed=2)

    async def session_ends():
        await trio.sleep(3)
        members.expire(client.session.id)

    began = trio.current_time()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session_ends)
            await register(successor, SessionFile(MemoryDisk(), "/s"), events)
    assert trio.current_time() - began >= 3


async def test_endpoints_can_be_rewritten(autojump_clock, client, events, session_file):
    await prepare_cluster(client, random.Random(1))
    epoch = await register(client, session_file, events)
    moved = BrokerInfo(1, (Endpoint("PLAINTEXT", "new", 9092),))
    await update_registration(client, moved, wall_clock=CLOCK)
    data, stat = await client.get_data("/brokers/ids/1")
    assert encodings.decode_broker(1, data, epoch=-1) == moved
    assert stat.czxid == epoch


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"session_id":"x","password":""}', b"\xff"])
async def test_unreadable_session_file_counts_as_none_and_is_told(data):
    disk = MemoryDisk()
    disk.replace("/s", data)
    events = RecordingEvents()
    nobody_is_asked = None
    await end_previous_session(nobody_is_asked, SessionFile(disk, "/s"), events, timeout_s=1)
    (told,) = events.named("ensemble.previous_session_unreadable")
    assert told.fields["reason"].startswith("/s names no session")


@pytest.mark.parametrize("session_id", [1, -1, 0x7FFFFFFFFFFFFFFF, -(1 << 63)])
def test_session_file_round_trip(session_id):
    file = SessionFile(MemoryDisk(), "/s")
    assert file.load() is None
    session = SessionId(session_id, bytes(range(16)))
    file.save(session)
    assert file.load() == session
    file.clear()
    assert file.load() is None


@pytest.mark.parametrize("seed", range(8))
async def test_a_session_that_ends_during_the_start_is_followed_by_another(
    seed, members, new_client, session_file, events
):
    """Nothing that a start does is bound to one session; found by simulation seed 12."""
    rng = random.Random(seed)
    client = await new_client(timeout_ms=4000, seed=seed)

    async def end_sessions():
        for _ in range(rng.randint(1, 4)):
            for _ in range(rng.randint(1, 60)):
                await trio.lowlevel.checkpoint()
            members.expire(client.session.id)
            await client.wait_connected()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_sessions)
        await prepare_cluster(client, random.Random(1))
        await register(client, session_file, events)
    await register(client, session_file, events)
    assert members.tree.nodes[paths.broker(1)].owner == client.session.id
