"""A broker, from its configuration to its end: what `scripts/server-start.sh` runs.

Task tree of `run_broker`: ensemble session > {replica fetchers, groups, configuration watcher, ISR
changes, log upkeep, server, registration keeper, controller candidate}. A clean stop hands leaders
over, ends these tasks, closes the session, flushes the logs and marks them clean. Cancelling
instead is a crash: nothing is written any more.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from ottla.broker.api.api import Services
from ottla.broker.api.dispatch import Dispatcher
from ottla.broker.api.fetch_sessions import FetchSessions
from ottla.broker.api.find_coordinator import ensure_offsets_topic
from ottla.broker.api.registry import find_apis
from ottla.broker.controller.controller import Controller
from ottla.broker.dynamic_config import DynamicConfig
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.config_watcher import ConfigWatcher
from ottla.broker.ensemble.errors import ConnectionLoss, EnsembleError
from ottla.broker.ensemble.registration import (
    BrokerIdTaken,
    allocate_broker_id,
    end_previous_session,
    prepare_cluster,
    register_broker,
)
from ottla.broker.ensemble.stale_session import SessionFile
from ottla.broker.ensemble.values import BrokerInfo, Endpoint
from ottla.broker.groups.home import GroupHome
from ottla.broker.groups.producer_ids import ProducerIdAllocator
from ottla.broker.groups.settings import OFFSETS_TOPIC
from ottla.broker.ids import BrokerEpoch, BrokerId, TopicPartition
from ottla.broker.links import ControllerLink, connector
from ottla.broker.lost_logs import LostLogs
from ottla.broker.mending import Mending
from ottla.broker.metadata import MetadataCache
from ottla.broker.partitions.log_moves import LogMoves
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.partitions.replica_set import ReplicaSet, TopicSettings
from ottla.broker.partitions.values import PartitionServices
from ottla.broker.producer_blocks import ProducerIdBlocks
from ottla.broker.replication.fetcher import Fetchers
from ottla.broker.replication.isr_changes import IsrChanges
from ottla.broker.server.listener import Server
from ottla.broker.shutdown import hand_over
from ottla.broker.slices import (
    controller_settings,
    fetcher_settings,
    group_settings,
    server_settings,
)
from ottla.broker.storage.log_dir import (
    AllLogDirsFailed,
    ForeignLogDir,
    LogDirInUse,
    LogManager,
)
from ottla.broker.upkeep import Upkeep, UpkeepSettings
from ottla.config.broker import BrokerConfig
from ottla.runtime.interfaces import Address, Runtime
from ottla.runtime.supervise import CannotStart, Misconfigured

SESSION_FILE = ".ensemble-session"
END_SESSION_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class BrokerHandle:
    """A broker that serves: its ids, where its listeners are bound, and its parts to look at."""

    broker_id: BrokerId
    cluster_id: str
    addresses: Mapping[str, Address]
    services: Services


async def run_broker(
    config: BrokerConfig,
    runtime: Runtime,
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[BrokerHandle] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set; started once the broker is registered and its listeners accept.

    CannotStart names what keeps the broker from starting, OSError what the system refused;
    AllLogDirsFailed ends it while it serves.
    """
    events = runtime.events
    try:
        logs = LogManager(runtime.disk, config.log_dirs, events=events)
    except (ForeignLogDir, LogDirInUse) as error:
        raise CannotStart(str(error)) from error
    clean = False
    session_file = SessionFile(runtime.disk, f"{logs.dirs[0].path}/{SESSION_FILE}")
    try:
        async with _session(config, runtime, session_file) as client:
            broker = await _prepare(config, runtime, client, logs, session_file)
            await broker.serve(stop, task_status)
        logs.require_a_dir()
        await logs.settle_all()
        clean = True
    finally:
        logs.close(clean=clean)


@asynccontextmanager
async def _session(
    config: BrokerConfig, runtime: Runtime, session_file: SessionFile
) -> AsyncIterator[EnsembleClient]:
    """A connected client of the ensemble; its session is closed, and forgotten, after a clean
    stop.
    """
    timeout_s = config.zookeeper_connection_timeout_ms / 1000
    client = EnsembleClient(
        runtime.network,
        config.str("zookeeper.connect"),
        session_timeout_ms=config.int("zookeeper.session.timeout.ms"),
        rng=runtime.rng,
        events=runtime.events,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        with trio.move_on_after(timeout_s) as waiting:
            await client.wait_connected()
        if waiting.cancelled_caught:
            raise CannotStart(
                f"no member of the ensemble at zookeeper.connect={config.str('zookeeper.connect')}"
                f" answered within {timeout_s:g} s; start the coordinators first"
            )
        yield client
        with trio.move_on_after(CLOSE_TIMEOUT_S) as closing:
            await client.close()
        if not closing.cancelled_caught:
            session_file.clear()
        nursery.cancel_scope.cancel()


async def _prepare(
    config: BrokerConfig,
    runtime: Runtime,
    client: EnsembleClient,
    logs: LogManager,
    session_file: SessionFile,
) -> "Broker":
    """Find out who this broker is, and load its logs."""
    cluster_id = await prepare_cluster(client, runtime.rng)
    broker_id = config.broker_id if config.broker_id >= 0 else logs.meta.broker_id
    if broker_id is None:
        broker_id = await allocate_broker_id(
            client, reserved_max=config.int("reserved.broker.max.id")
        )
    try:
        logs.claim(broker_id=broker_id, cluster_id=cluster_id)
    except ForeignLogDir as error:
        raise CannotStart(str(error)) from error
    await end_previous_session(
        client, session_file, runtime.events, timeout_s=END_SESSION_TIMEOUT_S
    )
    dynamic = DynamicConfig(config, client, BrokerId(broker_id), runtime.events)
    topics = sorted({topic for each in logs.dirs for topic in each.topics()})
    await _read_config(dynamic, client, topics)
    broker = Broker(
        dynamic,
        runtime,
        client,
        logs,
        broker_id=BrokerId(broker_id),
        cluster_id=cluster_id,
        session_file=session_file,
    )
    await broker.load()
    return broker


async def _read_config(
    dynamic: DynamicConfig, client: EnsembleClient, topics: Collection[str]
) -> None:
    while True:
        try:
            await dynamic.read_broker()
            await dynamic.read_topics(topics)
            return
        except ConnectionLoss:
            await client.wait_connected()


class Broker:
    """The parts of one broker, wired. Owner: `run_broker`."""

    def __init__(
        self,
        dynamic: DynamicConfig,
        runtime: Runtime,
        client: EnsembleClient,
        logs: LogManager,
        *,
        broker_id: BrokerId,
        cluster_id: str,
        session_file: SessionFile,
    ) -> None:
        self._dynamic = dynamic
        self._config = config = dynamic.current
        self._runtime = runtime
        self._client = client
        self._logs = logs
        self._broker_id = broker_id
        self._cluster_id = cluster_id
        self._session_file = session_file
        self._epoch = BrokerEpoch(-1)
        events = runtime.events
        connect = connector(runtime.network, config.int("socket.request.max.bytes"))
        self._metadata = MetadataCache()
        self._registry = PartitionRegistry()
        self._controller = Controller(
            client,
            broker_id,
            controller_settings(config),
            network=runtime.network,
            events=events,
            rng=runtime.rng,
            wall_clock=runtime.wall_clock,
        )
        self._controller_link = partial(
            ControllerLink,
            lambda: self._controller.controller_id,
            self._metadata,
            config.inter_broker_listener().name,
            connect,
        )
        self._isr_changes = IsrChanges(
            broker_id, self._broker_epoch, self._controller_link(f"broker-{broker_id}-isr"), events
        )
        self._fetchers = Fetchers(
            fetcher_settings(config, broker_id),
            lambda _leader, address, client_id: connect(address, client_id),
            self._broker_epoch,
            events,
        )
        self._config_watcher = ConfigWatcher(client, events)
        self._config_watcher.subscribe(dynamic.on_change)
        self._config_watcher.subscribe(self._tell_controller)
        dynamic.subscribe(self._on_broker_config, self._on_topic_settings)
        self._services = self._build_services()
        self._server = Server(
            server_settings(config),
            runtime.network,
            Dispatcher(self._services.registry, self._services),
            self._services,
            events,
        )
        self._mending = Mending(
            broker_id, logs, self._registry, self._metadata, mend=self._mend, events=events
        )
        self._upkeep = Upkeep(
            UpkeepSettings.of(config), self._registry, self._services.replicas, logs, runtime
        )

    def _build_services(self) -> Services:
        config, runtime, metadata = self._config, self._runtime, self._metadata
        forward_link = self._controller_link(f"broker-{self._broker_id}-forward")
        groups = GroupHome(
            group_settings(config),
            self._registry.get,
            wall_clock=runtime.wall_clock,
            rng=runtime.rng,
            events=runtime.events,
            partition_count=lambda: metadata.partition_count(OFFSETS_TOPIC),
            ensure_offsets_topic=lambda: ensure_offsets_topic(self._services),
        )
        replicas = ReplicaSet(
            self._registry,
            self._logs,
            self._fetchers,
            PartitionServices(
                broker_id=self._broker_id,
                lag_max=config.int("replica.lag.time.max.ms") / 1000,
                is_alive=lambda broker: broker in metadata.brokers,
                isr_changes=self._isr_changes,
                wall_clock=runtime.wall_clock,
                events=runtime.events,
                lose_log=self._logs.log_lost,
            ),
            topics=self._dynamic,
            broker_epoch=self._broker_epoch,
            role_listeners=(_OffsetsOnly(groups),),
        )
        blocks = ProducerIdBlocks(
            self._broker_id,
            self._broker_epoch,
            self._controller_link(f"broker-{self._broker_id}-producer-ids"),
        )
        return Services(
            broker_id=self._broker_id,
            cluster_id=self._cluster_id,
            config=config,
            wall_clock=runtime.wall_clock,
            rng=runtime.rng,
            events=runtime.events,
            registry=find_apis(),
            metadata=metadata,
            partitions=self._registry,
            replicas=replicas,
            log_manager=self._logs,
            log_moves=LogMoves(
                self._logs,
                self._registry,
                wall_clock=runtime.wall_clock,
                rng=runtime.rng,
                events=runtime.events,
            ),
            fetch_sessions=FetchSessions(
                config.int("max.incremental.fetch.session.cache.slots"), runtime.rng
            ),
            controller=self._controller,
            controller_link=forward_link,
            ensemble=self._client,
            groups=groups,
            producer_ids=ProducerIdAllocator(blocks.next_block),
        )

    def _broker_epoch(self) -> BrokerEpoch:
        return self._epoch

    # Configuration

    async def load(self) -> None:
        """Open the logs on disk."""
        await self._logs.load(
            lambda topic: self._dynamic.settings(topic).log,
            now_ms=self._runtime.wall_clock.now_ms(),
            workers=self._runtime.workers,
            threads=self._config.int("num.recovery.threads.per.data.dir"),
        )

    def _on_broker_config(self, config: BrokerConfig) -> None:
        """Every part that keeps values of keys which change while the broker runs."""
        self._config = self._services.config = config
        self._fetchers.resize(config.int("num.replica.fetchers"))
        self._upkeep.configure(config)
        self._server.limit_connections(
            config.int("max.connections"), config.int("max.connections.per.ip")
        )
        self._controller.allow_unclean_elections(
            by_default=config.bool("unclean.leader.election.enable")
        )

    def _on_topic_settings(self, changed: Mapping[str, TopicSettings]) -> None:
        held: set[str] = set()
        moved = False
        for partition in self._registry:
            topic = partition.tp.topic
            held.add(topic)
            settings = changed.get(topic)
            if settings is not None:
                was_flushed = partition.log.is_flushed_by_count
                partition.log.config = settings.log
                moved = moved or partition.log.is_flushed_by_count != was_flushed
                partition.set_min_isr(settings.min_isr)
        if moved:
            self._fetchers.rearrange()
        self._dynamic.keep_only(held)

    def _tell_controller(self, kind: str, name: str, _config: Mapping[str, str]) -> None:
        if kind == "topics":
            self._controller.topic_config_changed(name)

    # Life

    async def serve(self, stop: trio.Event, task_status: trio.TaskStatus[BrokerHandle]) -> None:
        """Run everything until `stop` is set, then stop cleanly."""
        events = self._runtime.events
        addresses = await self._server.open()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._logs.commits.run)
            await nursery.start(self._fetchers.run)
            await nursery.start(self._services.groups.run)
            await nursery.start(self._config_watcher.run)
            await self._read_config_again()  # what changed before the watch was set
            nursery.start_soon(self._mind_lost_logs, nursery.cancel_scope)
            nursery.start_soon(self._mending.run)
            nursery.start_soon(self._isr_changes.run)
            nursery.start_soon(self._upkeep.run)
            nursery.start_soon(
                partial(
                    self._services.log_moves.run,
                    threads=self._config.optional_int("num.replica.alter.log.dirs.threads"),
                )
            )
            sessions_begun = await self._register(addresses)
            # Not before: a controller may still believe in the previous life of this broker, and
            # without an epoch nothing would tell its orders for that one from those for this.
            nursery.start_soon(self._server.serve)
            nursery.start_soon(self._keep_registered, addresses, sessions_begun)
            await nursery.start(self._controller.run)
            events.info(
                "broker.started",
                broker=self._broker_id,
                cluster=self._cluster_id,
                listeners={name: str(address) for name, address in addresses.items()},
            )
            task_status.started(
                BrokerHandle(self._broker_id, self._cluster_id, addresses, self._services)
            )
            await stop.wait()
            events.info("broker.stopping", broker=self._broker_id)
            if self._config.bool("controlled.shutdown.enable"):
                await hand_over(
                    self._broker_id,
                    self._broker_epoch,
                    self._controller_link(f"broker-{self._broker_id}-shutdown"),
                    attempts=self._config.int("controlled.shutdown.max.retries"),
                    backoff_s=self._config.int("controlled.shutdown.retry.backoff.ms") / 1000,
                    is_alone=lambda: not self._metadata.brokers.keys() - {self._broker_id},
                    events=events,
                )
            nursery.cancel_scope.cancel()
        self._upkeep.note_high_watermarks()

    async def _mind_lost_logs(self, serving: trio.CancelScope) -> None:
        """Ends the serving when nothing is left to serve from; the session still ends cleanly, so
        that leadership moves at once."""

        def take_offline(tps: Iterable[TopicPartition]) -> None:
            self._services.replicas.take_offline(tps)
            self._mending.note_lost(tps)

        lost = LostLogs(self._broker_id, self._logs, self._client, take_offline)
        try:
            await lost.run()
        except AllLogDirsFailed as error:
            self._runtime.events.error("broker.has_no_log_dir", reason=str(error))
            serving.cancel()

    async def _mend(self, tp: TopicPartition) -> None:
        """OSError, KafkaStorageError, EnsembleError."""
        await self._dynamic.read_topics([tp.topic])
        now_ms = self._runtime.wall_clock.now_ms()
        await self._logs.mend(tp, self._dynamic.settings(tp.topic).log, now_ms=now_ms)

    async def _register(self, addresses: Mapping[str, Address]) -> int:
        """Create the broker's znode; which session it belongs to."""
        sessions_begun = self._client.sessions_begun
        try:
            epoch = await register_broker(
                self._client,
                BrokerInfo(
                    self._broker_id,
                    tuple(self._endpoints(addresses)),
                    self._config.optional_str("broker.rack"),
                ),
                session_file=self._session_file,
                wall_clock=self._runtime.wall_clock,
                events=self._runtime.events,
            )
        except BrokerIdTaken as error:
            raise Misconfigured(str(error)) from error
        self._epoch = BrokerEpoch(epoch)
        return sessions_begun

    async def _keep_registered(self, addresses: Mapping[str, Address], sessions_begun: int) -> None:
        """Register again whenever the session expired."""
        while True:
            await self._client.wait_session_over(sessions_begun)
            self._runtime.events.warning("broker.session_expired", broker=self._broker_id)
            await self._read_config_again()
            sessions_begun = await self._register(addresses)

    async def _read_config_again(self) -> None:
        while True:
            try:
                await self._dynamic.read_again()
                return
            except EnsembleError as error:
                self._runtime.events.warning("config.read_interrupted", reason=str(error))
                await self._client.wait_connected()

    def _endpoints(self, addresses: Mapping[str, Address]) -> list[Endpoint]:
        """What the broker advertises, with the bound port where port 0 was asked for."""
        return [
            Endpoint(
                each.name,
                each.host or self._runtime.network.host_name(),
                each.port or addresses[each.name].port,
                each.protocol,
            )
            for each in self._config.advertised_listeners()
        ]


class _OffsetsOnly:
    """Tells the group home about the partitions of its own topic."""

    def __init__(self, groups: GroupHome) -> None:
        self._groups = groups

    def on_leader(self, tp: TopicPartition) -> None:
        if tp.topic == OFFSETS_TOPIC:
            self._groups.on_leader(tp)

    def on_not_leader(self, tp: TopicPartition) -> None:
        if tp.topic == OFFSETS_TOPIC:
            self._groups.on_not_leader(tp)


__all__ = ["BrokerHandle", "run_broker"]
