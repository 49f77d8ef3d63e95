import random

import pytest
import trio

from ottla.broker.ensemble.client import EnsembleClient
from ottla.runtime.memory import MemoryNetwork, RecordingEvents
from tests.unit.ensemble.members import Members


@pytest.fixture
def events():
    return RecordingEvents()


@pytest.fixture
def network():
    return MemoryNetwork()


@pytest.fixture
async def members(autojump_clock, network, nursery):
    members = Members(network, nursery)
    await members.start(3)
    return members


@pytest.fixture
async def new_client(members, network, events, nursery):
    """Makes connected clients, each with its own session."""

    async def make(*, chroot="", timeout_ms=6000, seed=1) -> EnsembleClient:
        client = EnsembleClient(
            network.at("broker"),
            members.connect + chroot,
            session_timeout_ms=timeout_ms,
            rng=random.Random(seed),
            events=events,
        )
        await nursery.start(client.run)
        with trio.fail_after(30):
            await client.wait_connected()
        return client

    return make


@pytest.fixture
async def client(new_client):
    return await new_client()
