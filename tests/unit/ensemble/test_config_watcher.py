"""Configuration changes reach every broker, once, and old notices go."""

import random

import pytest
import trio

from ottla.broker.ensemble import paths
from ottla.broker.ensemble.config_watcher import ConfigWatcher, read_config, write_config
from ottla.broker.ensemble.registration import prepare_cluster


@pytest.fixture
async def watcher(autojump_clock, client, events, nursery):
    await prepare_cluster(client, random.Random(1))
    watcher = ConfigWatcher(client, events)
    watcher.told = []
    watcher.subscribe(lambda kind, name, config: watcher.told.append((kind, name, config)))
    return watcher


async def test_changes_are_told_with_the_new_config(autojump_clock, watcher, new_client, nursery):
    other = await new_client(seed=2)
    await write_config(other, "topics", "before", {"a": "1"})
    await nursery.start(watcher.run)
    await write_config(other, "topics", "t", {"retention.ms": "1"})
    await trio.sleep(1)
    await write_config(other, "topics", "t", {"retention.ms": "2"})
    await trio.sleep(1)
    assert watcher.told == [
        ("topics", "t", {"retention.ms": "1"}),
        ("topics", "t", {"retention.ms": "2"}),
    ]
    assert await read_config(other, "topics", "before") == {"a": "1"}
    assert await read_config(other, "topics", "none") == {}


async def test_changes_missed_while_cut_off_are_told_later(
    autojump_clock, watcher, new_client, members, nursery
):
    session = watcher._client.session
    other = await new_client(seed=2)
    await nursery.start(watcher.run)
    members.expire(session.id)
    await write_config(other, "topics", "t", {"a": "1"})
    await trio.sleep(5)
    assert watcher.told == [("topics", "t", {"a": "1"})]
    await write_config(other, "brokers", "1", {"b": "2"})
    await trio.sleep(1)
    assert watcher.told[1:] == [("brokers", "1", {"b": "2"})]


async def test_old_notices_are_removed(autojump_clock, watcher, client, new_client, nursery):
    other = await new_client(seed=2)
    await nursery.start(watcher.run)
    await write_config(other, "topics", "t", {})
    await trio.sleep(14 * 60)
    await write_config(other, "topics", "t", {})
    await trio.sleep(1)
    assert len(await other.get_children(paths.CONFIG_CHANGES)) == 2
    await trio.sleep(60)
    await write_config(other, "topics", "u", {})
    await trio.sleep(1)
    assert sorted(await other.get_children(paths.CONFIG_CHANGES)) == [
        "config_change_0000000001",
        "config_change_0000000002",
    ]


async def test_notice_that_looks_old_stays_until_all_had_the_time_to_read_it(
    autojump_clock, watcher, new_client, nursery
):
    """Simulation, seed 45: a clock an hour ahead, and the other brokers never heard of a change."""
    other = await new_client(seed=2)
    await write_config(other, "topics", "t", {})
    await trio.sleep(14 * 60)
    await nursery.start(watcher.run)
    await trio.sleep(2 * 60)
    await write_config(other, "topics", "u", {})
    await trio.sleep(1)
    assert len(await other.get_children(paths.CONFIG_CHANGES)) == 2


async def test_unreadable_notice_is_skipped(autojump_clock, watcher, new_client, nursery, events):
    other = await new_client(seed=2)
    await nursery.start(watcher.run)
    await other.create("/config/changes/config_change_0000000007", b"?")
    await trio.sleep(1)
    assert watcher.told == []
    assert events.named("config.notice_unreadable")
    assert await read_config(other, "topics", "t") == {}
