"""What the ensemble holds becomes configuration: good values count, others are told and left."""

import random

import pytest
import trio

from ottla.broker.dynamic_config import DynamicConfig
from ottla.broker.ensemble import paths
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.config_watcher import (
    ABSENT,
    ConfigWatcher,
    read_configs,
    read_versioned,
    write_config,
)
from ottla.broker.ensemble.errors import NoNode
from ottla.broker.ensemble.registration import prepare_cluster
from ottla.config.broker import BrokerConfig, Source
from ottla.config.broker_checks import check_steps
from ottla.config.problems import Place
from ottla.protocol.zookeeper.opcodes import CreateMode
from ottla.runtime.memory import MemoryNetwork, RecordingEvents
from tests.unit.ensemble.members import Members

FILE = {"broker.id": "1", "zookeeper.connect": "localhost:2181", "log.segment.bytes": "1000"}


@pytest.fixture
def events():
    return RecordingEvents()


@pytest.fixture
async def client(autojump_clock, nursery, events):
    network = MemoryNetwork()
    members = Members(network, nursery)
    await members.start(1)
    client = EnsembleClient(
        network.at("broker"),
        members.connect,
        session_timeout_ms=6000,
        rng=random.Random(1),
        events=events,
    )
    await nursery.start(client.run)
    await client.wait_connected()
    await prepare_cluster(client, random.Random(1))
    return client


@pytest.fixture
def dynamic(client, events):
    return DynamicConfig(BrokerConfig.from_properties(FILE), client, 1, events)


async def test_values_past_our_checks_are_told_and_the_rest_counts(client, dynamic, events):
    await write_config(
        client, "brokers", "<default>", {"log.retention.ms": "5", "broker.id": "9", "what": "1"}
    )
    await write_config(
        client, "brokers", "1", {"log.retention.ms": "soon", "log.segment.bytes": "2000"}
    )
    await dynamic.read_broker()
    assert dynamic.current.int("log.retention.ms") == 5
    assert dynamic.current.int("log.segment.bytes") == 2000
    assert dynamic.current.int("broker.id") == 1
    told = [event.fields["reason"] for event in events.named("config.value_refused")]
    assert len(told) == 3
    assert any("broker.id=9" in reason for reason in told)
    assert any("log.retention.ms=soon" in reason for reason in told)


async def test_values_that_contradict_each_other_leave_the_file_in_force(client, dynamic, events):
    # Each is well formed; together the cleaner has less than 1 MiB for a thread.
    await write_config(client, "brokers", "1", {"log.cleaner.threads": "1000"})
    await dynamic.read_broker()
    assert dynamic.current.int("log.cleaner.threads") == 1
    assert events.named("config.value_refused")


async def test_a_topic_keeps_its_good_values_beside_bad_ones(client, dynamic, events):
    overrides = {"retention.ms": "7", "segment.bytes": "few", "local.retention.ms": "1"}
    await write_config(client, "topics", "t", overrides)
    await dynamic.read_topics(["t", "none"])
    assert dynamic.settings("t").log.retention_ms == 7
    assert dynamic.settings("t").log.segment_bytes == 1000
    assert dynamic.settings("none").log.segment_bytes == 1000
    assert len(events.named("config.value_refused")) == 2


async def test_an_entity_that_cannot_be_read_is_told_and_passed_over(client, dynamic, events):
    await client.create("/config/brokers/1", b"no json")
    await write_config(client, "brokers", "<default>", {"log.segment.bytes": "3000"})
    await dynamic.read_broker()
    assert dynamic.current.int("log.segment.bytes") == 3000
    (event,) = events.named("config.entity_unreadable")
    assert event.fields["entity"] == "brokers/1"


async def test_a_notice_about_an_unreadable_entity_ends_nothing(
    autojump_clock, client, events, nursery
):
    watcher = ConfigWatcher(client, events)
    told = []
    watcher.subscribe(lambda kind, name, config: told.append((name, config)))
    await nursery.start(watcher.run)
    await write_config(client, "topics", "bad", {})
    await client.set_data("/config/topics/bad", b"no json")
    await trio.sleep(1)
    told.clear()
    notice = b'{"version":2,"entity_path":"topics/bad"}'
    await client.create(paths.CONFIG_CHANGE_PREFIX, notice, CreateMode.PERSISTENT_SEQUENTIAL)
    await trio.sleep(1)
    assert events.named("config.unreadable")
    await write_config(client, "topics", "good", {"a": "1"})
    await trio.sleep(1)
    assert told == [("good", {"a": "1"})]
    assert (await read_configs(client, "topics", ["good", "bad"])) == {"good": {"a": "1"}}


async def test_what_was_told_while_reading_is_not_taken_back(client, dynamic):
    class Slow:
        """Answers reads as things were before the notice."""

        def start_get_data(self, path: str):
            reply = client.start_get_data(path)
            dynamic.on_change("topics", "t", {"retention.ms": "2"})
            return reply

    await write_config(client, "topics", "t", {"retention.ms": "1"})
    dynamic._client = Slow()
    await dynamic.read_topics(["t"])
    assert dynamic.settings("t").log.retention_ms == 2


async def test_only_what_changed_is_told_after_reading_again(client, dynamic):
    told = []
    dynamic.subscribe(lambda _config: told.append("broker"), told.append)
    await dynamic.read_topics(["a", "b"])
    await dynamic.read_again()
    assert told == []
    await write_config(client, "topics", "b", {"retention.ms": "4"})
    await dynamic.read_again()
    (changed,) = told
    assert {name: each.log.retention_ms for name, each in changed.items()} == {"b": 4}


async def test_a_write_finds_out_that_it_came_too_late(client):
    assert await write_config(client, "topics", "t", {"a": "1"}, expected=ABSENT)
    assert not await write_config(client, "topics", "t", {"a": "2"}, expected=ABSENT)
    config, version = await read_versioned(client, "topics", "t")
    assert config == {"a": "1"}
    assert await write_config(client, "topics", "t", {"a": "3"}, expected=version)
    assert not await write_config(client, "topics", "t", {"a": "4"}, expected=version)
    await client.delete("/config/topics/t")
    assert not await write_config(client, "topics", "t", {"a": "5"}, expected=version + 1)
    with pytest.raises(NoNode):
        await write_config(client, "topics", "t", {}, beside=paths.topic("t"))
    # A notice for each that was written, none for the others.
    assert len(await client.get_children(paths.CONFIG_CHANGES)) == 2


def test_layers_are_told_apart():
    config = BrokerConfig.from_properties(FILE).with_dynamic(
        {"log.segment.bytes": "2000"}, {"log.segment.bytes": "3000"}
    )
    found = [config.layer(source).get("log.segment.bytes") for source in Source]
    assert found == [3000, 2000, 1000, 1 << 30]


@pytest.mark.parametrize(("wanted", "refused"), [(2, 0), (4, 0), (8, 0), (1, 1), (9, 1)])
def test_sizes_change_at_most_to_half_or_double(wanted, refused):
    now = BrokerConfig.from_properties(FILE | {"num.replica.fetchers": "4"})
    then = now.with_dynamic({"num.replica.fetchers": str(wanted)}, {})
    assert len(check_steps(now, then, Place("broker"))) == refused


def test_a_cleaner_without_threads_does_not_keep_other_keys_from_changing():
    now = BrokerConfig.from_properties(FILE | {"log.cleaner.threads": "0"})
    then = now.with_dynamic({"log.retention.ms": "5"}, {})
    assert check_steps(now, then, Place("broker")) == []
