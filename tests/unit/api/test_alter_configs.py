"""AlterConfigs and IncrementalAlterConfigs: what is written, what is refused, what is not lost."""

import random
from contextlib import asynccontextmanager

import pytest
import trio

from ottla.broker.api import alter_configs, describe_configs, incremental_alter_configs
from ottla.broker.ensemble import paths
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.config_watcher import read_config, write_config
from ottla.broker.ensemble.errors import ConnectionLoss
from ottla.broker.ensemble.registration import prepare_cluster
from ottla.broker.metadata import MetadataCache
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages import alter_configs as legacy
from ottla.protocol.kafka.messages import incremental_alter_configs as incremental
from ottla.runtime.memory import MemoryNetwork, RecordingEvents
from tests.support.images import partition, topic, update
from tests.support.served import serving
from tests.unit.ensemble.members import Members

TOPIC, BROKER, LOGGER, CLIENT_METRICS = 2, 4, 8, 16
SET, DELETE, APPEND, SUBTRACT = range(4)
APIS = (alter_configs.API, incremental_alter_configs.API, describe_configs.API)


def replace(kind: int, name: str, *configs: tuple[str, str | None], **more):
    return legacy.AlterConfigsRequest(resources=[replaced(kind, name, *configs)], **more)


def replaced(kind: int, name: str, *configs: tuple[str, str | None]):
    return legacy.AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=[legacy.AlterableConfig(name=key, value=value) for key, value in configs],
    )


def change(kind: int, name: str, *operations: tuple[str, int, str | None], **more):
    return incremental.IncrementalAlterConfigsRequest(
        resources=[changed(kind, name, *operations)], **more
    )


def changed(kind: int, name: str, *operations: tuple[str, int, str | None]):
    return incremental.AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=[
            incremental.AlterableConfig(name=key, config_operation=operation, value=value)
            for key, operation, value in operations
        ],
    )


@asynccontextmanager
async def broker(*topics: str, znodes: bool = True, **config: str):
    """Broker 1 with an ensemble; `served.ensemble` is another client of it."""
    network = MemoryNetwork()
    async with trio.open_nursery() as nursery:
        members = Members(network, nursery)
        await members.start(1)
        clients = []
        for seed in (1, 2):
            client = EnsembleClient(
                network.at(f"client-{seed}"),
                members.connect,
                session_timeout_ms=6000,
                rng=random.Random(seed),
                events=RecordingEvents(),
            )
            await nursery.start(client.run)
            await client.wait_connected()
            clients.append(client)
        await prepare_cluster(clients[1], random.Random(1))
        metadata = MetadataCache()
        metadata.apply(
            update(*(topic(name, at + 1, partition(0, 1)) for at, name in enumerate(topics)))
        )
        if znodes:
            for name in topics:
                await clients[1].create(paths.topic(name), b"{}")
        settings = {key.replace("_", "."): value for key, value in config.items()}
        async with serving(
            *APIS, ensemble=clients[0], metadata=metadata, config=settings
        ) as served:
            served.ensemble = clients[1]
            served.peer = await served.connect()
            yield served
        nursery.cancel_scope.cancel()


async def only(served, request, version: int):
    (found,) = (await served.peer.ask(request, version)).responses
    return found


async def test_every_version_writes_the_znode_and_the_notice(autojump_clock):
    async with broker("t") as served:
        requests = [
            *((replace(TOPIC, "t", ("retention.ms", str(v))), v) for v in range(3)),
            *((change(TOPIC, "t", ("retention.ms", SET, str(10 + v))), v) for v in range(2)),
        ]
        for request, version in requests:
            found = await only(served, request, version)
            assert (found.error_code, found.error_message) == (0, None)
            assert (found.resource_type, found.resource_name) == (TOPIC, "t")
            wanted = request.resources[0].configs[0].value
            stored = await read_config(served.ensemble, "topics", "t")
            assert stored == {"retention.ms": wanted}
        notices = sorted(await served.ensemble.get_children(paths.CONFIG_CHANGES))
        assert len(notices) == len(requests)
        data, _ = await served.ensemble.get_data(f"{paths.CONFIG_CHANGES}/{notices[0]}")
        assert data == b'{"version":2,"entity_path":"topics/t"}'


async def test_alter_configs_replaces_all_and_incremental_one(autojump_clock):
    async with broker("t") as served:
        await only(served, replace(TOPIC, "t", ("retention.ms", "1"), ("segment.ms", "2")), 2)
        await only(served, change(TOPIC, "t", ("segment.ms", SET, "3")), 1)
        stored = await read_config(served.ensemble, "topics", "t")
        assert stored == {"retention.ms": "1", "segment.ms": "3"}
        await only(served, replace(TOPIC, "t", ("flush.ms", "4")), 2)
        assert await read_config(served.ensemble, "topics", "t") == {"flush.ms": "4"}
        await only(served, change(TOPIC, "t", ("flush.ms", DELETE, None)), 1)
        assert await read_config(served.ensemble, "topics", "t") == {}


@pytest.mark.parametrize(
    ("before", "operation", "value", "after"),
    [
        (None, APPEND, "compact", "delete,compact"),  # to the default
        ("compact", APPEND, "delete", "compact,delete"),
        ("compact", APPEND, "compact", "compact"),
        ("compact,delete", SUBTRACT, "compact", "delete"),
        (None, SUBTRACT, "delete", ""),
        ("delete", SUBTRACT, "compact", "delete"),
    ],
)
async def test_lists_are_added_to_and_taken_from(autojump_clock, before, operation, value, after):
    async with broker("t") as served:
        if before is not None:
            await write_config(served.ensemble, "topics", "t", {"cleanup.policy": before})
        found = await only(served, change(TOPIC, "t", ("cleanup.policy", operation, value)), 1)
        assert found.error_code == 0, found.error_message
        stored = await read_config(served.ensemble, "topics", "t")
        assert stored == {"cleanup.policy": after}


async def test_brokers_own_and_shared_values_have_znodes_of_their_own(autojump_clock):
    async with broker() as served:
        assert not (
            await only(served, change(BROKER, "", ("log.retention.ms", SET, "5")), 1)
        ).error_code
        assert not (
            await only(served, change(BROKER, "1", ("log.retention.ms", SET, "6")), 1)
        ).error_code
        stored = await read_config(served.ensemble, "brokers", "<default>")
        assert stored == {"log.retention.ms": "5"}
        assert await read_config(served.ensemble, "brokers", "1") == {"log.retention.ms": "6"}


REFUSED = [
    (TOPIC, "t", "retention.ms", "soon", "INVALID_CONFIG", "retention.ms=soon: expected"),
    (TOPIC, "t", "retention.mss", "1", "INVALID_CONFIG", "did you mean retention.ms?"),
    (TOPIC, "t", "cleanup.policy", "shred", "INVALID_CONFIG", "one of compact, delete"),
    (TOPIC, "", "retention.ms", "1", "INVALID_REQUEST", "no default topic"),
    (TOPIC, "nope", "retention.ms", "1", "UNKNOWN_TOPIC_OR_PARTITION", "nope does not exist"),
    (BROKER, "1", "broker.id", "2", "INVALID_REQUEST", "with a restart only"),
    (BROKER, "1", "log.retention.hours", "2", "INVALID_REQUEST", "with a restart only"),
    (BROKER, "1", "log.retention.mss", "2", "INVALID_REQUEST", "did you mean log.retention.ms?"),
    (BROKER, "1", "num.io.threads", "2", "INVALID_REQUEST", "does nothing here yet"),
    (BROKER, "", "log.retention.ms", "x", "INVALID_REQUEST", "expected an integer"),
    (BROKER, "1", "num.replica.fetchers", "9", "INVALID_REQUEST", "half and double"),
    (BROKER, "1", "log.cleaner.dedupe.buffer.size", "9", "INVALID_REQUEST", "1 MiB for each"),
    (BROKER, "2", "log.retention.ms", "1", "INVALID_REQUEST", "ask broker 2 itself"),
    (BROKER, "one", "log.retention.ms", "1", "INVALID_REQUEST", "a number"),
    (LOGGER, "1", "root", "DEBUG", "INVALID_REQUEST", "loggers"),
    (CLIENT_METRICS, "m", "interval.ms", "1", "INVALID_REQUEST", "of type 16"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_says_why_and_writes_nothing(autojump_clock, case):
    kind, name, key, value, code, text = case
    async with broker("t") as served:
        for request, version in (
            (replace(kind, name, (key, value)), 2),
            (change(kind, name, (key, SET, value)), 1),
        ):
            found = await only(served, request, version)
            assert found.error_code == ErrorCode[code], found.error_message
            assert text in found.error_message
        assert await served.ensemble.get_children(paths.CONFIG_CHANGES) == []


@pytest.mark.parametrize(
    ("operations", "code", "text"),
    [
        ([("retention.ms", SET, None)], "INVALID_REQUEST", "null is no value"),
        ([("retention.ms", SET, "1"), ("retention.ms", DELETE, None)], "INVALID_REQUEST", "once"),
        ([("retention.ms", 4, "1")], "INVALID_REQUEST", "no operation 4"),
        ([("retention.ms", APPEND, "1")], "INVALID_CONFIG", "only lists"),
        ([("retention.ms", SUBTRACT, "1")], "INVALID_CONFIG", "only lists"),
        ([("retention.mss", APPEND, "1")], "INVALID_CONFIG", "not a key"),
        ([("cleanup.policy", APPEND, "shred")], "INVALID_CONFIG", "one of compact, delete"),
        (
            [("min.compaction.lag.ms", SET, "9"), ("max.compaction.lag.ms", SET, "8")],
            "INVALID_CONFIG",
            "above max.compaction.lag.ms",
        ),
    ],
)
async def test_operations_that_are_refused(autojump_clock, operations, code, text):
    async with broker("t") as served:
        found = await only(served, change(TOPIC, "t", *operations), 1)
        assert found.error_code == ErrorCode[code], found.error_message
        assert text in found.error_message
        assert await read_config(served.ensemble, "topics", "t") == {}


async def test_legacy_refusals_of_form(autojump_clock):
    async with broker("t") as served:
        for configs, text in (
            ([("retention.ms", None)], "null is no value"),
            ([("retention.ms", "1"), ("retention.ms", "2")], "once"),
        ):
            found = await only(served, replace(TOPIC, "t", *configs), 2)
            assert found.error_code == ErrorCode.INVALID_REQUEST
            assert text in found.error_message


async def test_a_resource_named_twice_is_refused_both_times_and_others_go_on(autojump_clock):
    async with broker("t", "u") as served:
        request = incremental.IncrementalAlterConfigsRequest(
            resources=[
                changed(TOPIC, "t", ("retention.ms", SET, "1")),
                changed(TOPIC, "u", ("retention.ms", SET, "2")),
                changed(TOPIC, "t", ("retention.ms", SET, "3")),
            ]
        )
        found = (await served.peer.ask(request, 1)).responses
        refused = ErrorCode.INVALID_REQUEST
        assert [each.error_code for each in found] == [refused, 0, refused]
        request = legacy.AlterConfigsRequest(
            resources=[replaced(TOPIC, "t", ("retention.ms", "1"))] * 2
        )
        found = (await served.peer.ask(request, 2)).responses
        assert [each.error_code for each in found] == [refused, refused]
        assert await read_config(served.ensemble, "topics", "t") == {}
        assert await read_config(served.ensemble, "topics", "u") == {"retention.ms": "2"}


async def test_validation_alone_finds_faults_and_writes_nothing(autojump_clock):
    async with broker("t") as served:
        good = change(TOPIC, "t", ("retention.ms", SET, "1"), validate_only=True)
        bad = replace(TOPIC, "t", ("retention.ms", "x"), validate_only=True)
        assert (await only(served, good, 1)).error_code == 0
        assert (await only(served, bad, 2)).error_code == ErrorCode.INVALID_CONFIG
        assert await served.ensemble.exists("/config/topics/t") is None
        assert await served.ensemble.get_children(paths.CONFIG_CHANGES) == []


async def test_changes_made_at_the_same_time_are_all_kept(autojump_clock):
    keys = ["retention.ms", "segment.ms", "flush.ms", "segment.bytes", "retention.bytes"]
    async with broker("t") as served:

        async def one(key: str) -> None:
            peer = await served.connect()
            (found,) = (await peer.ask(change(TOPIC, "t", (key, SET, "1000")), 1)).responses
            assert found.error_code == 0, found.error_message

        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(one, key)
        stored = await read_config(served.ensemble, "topics", "t")
        assert sorted(stored) == sorted(keys)


async def test_keys_of_other_programs_are_kept(autojump_clock):
    async with broker("t") as served:
        await write_config(served.ensemble, "topics", "t", {"local.retention.ms": "7"})
        await write_config(served.ensemble, "brokers", "1", {"num.io.threads": "7"})
        assert not (await only(served, change(TOPIC, "t", ("flush.ms", SET, "1")), 1)).error_code
        assert not (
            await only(served, change(BROKER, "1", ("message.max.bytes", SET, "9")), 1)
        ).error_code
        stored = await read_config(served.ensemble, "topics", "t")
        assert stored == {"local.retention.ms": "7", "flush.ms": "1"}
        stored = await read_config(served.ensemble, "brokers", "1")
        assert stored == {"num.io.threads": "7", "message.max.bytes": "9"}
        assert not (
            await only(served, change(BROKER, "1", ("num.io.threads", DELETE, None)), 1)
        ).error_code
        assert await read_config(served.ensemble, "brokers", "1") == {"message.max.bytes": "9"}


async def test_a_topic_that_was_just_deleted_leaves_no_configuration(autojump_clock):
    async with broker("t", znodes=False) as served:
        for request, version in (
            (change(TOPIC, "t", ("flush.ms", SET, "1")), 1),
            (replace(TOPIC, "t", ("flush.ms", "1")), 2),
        ):
            found = await only(served, request, version)
            assert found.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert await served.ensemble.exists("/config/topics/t") is None


class CutOff:
    """An ensemble that cannot be reached."""

    async def get_data(self, path: str) -> tuple[bytes, None]:
        raise ConnectionLoss(path)

    async def multi(self, operations) -> None:
        raise ConnectionLoss(operations[0].path)


async def test_without_the_ensemble_a_change_is_refused_for_now(autojump_clock):
    metadata = MetadataCache()
    metadata.apply(update(topic("t", 7, partition(0, 1))))
    async with serving(*APIS, ensemble=CutOff(), metadata=metadata) as served:
        peer = await served.connect()
        for request, version in (
            (change(TOPIC, "t", ("flush.ms", SET, "1")), 1),
            (replace(BROKER, "", ("log.retention.ms", "1")), 2),
        ):
            (found,) = (await peer.ask(request, version)).responses
            assert found.error_code == ErrorCode.REQUEST_TIMED_OUT
            assert "ensemble" in found.error_message
