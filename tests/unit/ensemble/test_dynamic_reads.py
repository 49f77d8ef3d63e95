"""Reading configuration while the ensemble is out of reach for a while."""

import trio

from ottla.broker.dynamic_config import DynamicConfig
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ids import BrokerId
from ottla.config.broker import BrokerConfig


async def test_read_of_topics_outlasts_the_loss_of_every_member(members, new_client, events):
    """A role that the controller gives must not fail for it: it is given once (seed 2)."""
    client = await new_client(timeout_ms=4000)
    await client.ensure_path(paths.config("topics", "t"))
    await client.set_data(
        paths.config("topics", "t"), encodings.encode_config({"retention.ms": "7"})
    )
    dynamic = DynamicConfig(
        BrokerConfig.from_properties({"zookeeper.connect": "h:1"}), client, BrokerId(1), events
    )
    for at in range(3):
        members.stop_member(at)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dynamic.read_topics, ["t"])
        await trio.sleep(30)
        for at in range(3):
            await members.start_member(at)
    assert dynamic.settings("t").log.retention_ms == 7
