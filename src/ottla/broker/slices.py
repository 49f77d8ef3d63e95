"""The broker's configuration cut into what each component needs to know."""

from collections.abc import Mapping

from ottla.broker.controller.settings import ControllerSettings
from ottla.broker.groups.settings import GroupSettings
from ottla.broker.ids import BrokerId
from ottla.broker.partitions.replica_set import TopicSettings
from ottla.broker.replication.fetcher import FetcherSettings
from ottla.broker.server.connection import ConnectionLimits
from ottla.broker.server.listener import ServerSettings
from ottla.broker.storage.cleaner import CleanerSettings
from ottla.broker.storage.log_config import LogConfig, TimestampType
from ottla.config.broker import BrokerConfig
from ottla.config.problems import ConfigError
from ottla.config.topic import TopicConfig
from ottla.config.values import INT32_MAX
from ottla.protocol.kafka.compression import Codec
from ottla.runtime.interfaces import Address

CODECS = {0: Codec.NONE, 1: Codec.GZIP, 2: Codec.SNAPPY, 3: Codec.LZ4, 4: Codec.ZSTD}


def topic_settings(config: TopicConfig, broker: BrokerConfig) -> TopicSettings:
    """What a topic's effective configuration means to its replicas."""
    return TopicSettings(log_config(config, broker), config.int("min.insync.replicas"))


def log_config(config: TopicConfig, broker: BrokerConfig) -> LogConfig:
    return LogConfig(
        segment_bytes=config.int("segment.bytes"),
        segment_ms=config.int("segment.ms"),
        segment_jitter_ms=config.int("segment.jitter.ms"),
        segment_index_bytes=config.int("segment.index.bytes"),
        index_interval_bytes=config.int("index.interval.bytes"),
        retention_ms=config.int("retention.ms"),
        retention_bytes=config.int("retention.bytes"),
        max_message_bytes=config.int("max.message.bytes"),
        flush_messages=config.int("flush.messages"),
        flush_ms=config.int("flush.ms"),
        cleanup_policy=frozenset(config.list("cleanup.policy")),
        timestamp_type=TimestampType(config.str("message.timestamp.type")),
        timestamp_before_max_ms=config.timestamp_before_max_ms,
        timestamp_after_max_ms=config.timestamp_after_max_ms,
        file_delete_delay_ms=config.int("file.delete.delay.ms"),
        compression_type=config.str("compression.type"),
        gzip_level=config.int("compression.gzip.level"),
        lz4_level=config.int("compression.lz4.level"),
        zstd_level=config.int("compression.zstd.level"),
        delete_retention_ms=config.int("delete.retention.ms"),
        min_cleanable_ratio=config.float("min.cleanable.dirty.ratio"),
        min_compaction_lag_ms=config.int("min.compaction.lag.ms"),
        max_compaction_lag_ms=config.int("max.compaction.lag.ms"),
        producer_id_expiration_ms=broker.int("producer.id.expiration.ms"),
    )


def cleaner_settings(config: BrokerConfig) -> CleanerSettings:
    memory = config.int("log.cleaner.dedupe.buffer.size")
    return CleanerSettings(
        enabled=config.bool("log.cleaner.enable"),
        threads=config.int("log.cleaner.threads"),
        keys_bytes=int(memory * config.float("log.cleaner.io.buffer.load.factor")),
        backoff_s=config.int("log.cleaner.backoff.ms") / 1000,
        bytes_per_s=config.float("log.cleaner.io.max.bytes.per.second"),
    )


def fetcher_settings(config: BrokerConfig, broker_id: BrokerId) -> FetcherSettings:
    return FetcherSettings(
        broker_id=broker_id,
        wait_max=config.int("replica.fetch.wait.max.ms") / 1000,
        min_bytes=config.int("replica.fetch.min.bytes"),
        partition_max_bytes=config.int("replica.fetch.max.bytes"),
        response_max_bytes=config.int("replica.fetch.response.max.bytes"),
        backoff=config.int("replica.fetch.backoff.ms") / 1000,
        socket_timeout=config.int("replica.socket.timeout.ms") / 1000,
        fetchers_per_leader=config.int("num.replica.fetchers"),
    )


def controller_settings(config: BrokerConfig) -> ControllerSettings:
    def wrong_topic_config(overrides: Mapping[str, str]) -> str | None:
        try:
            topic_settings(config.topic_config(overrides), config)
        except ConfigError as error:
            return "; ".join(f"{each.key}={each.value}: {each.text}" for each in error.problems)
        return None

    return ControllerSettings(
        inter_broker_listener=config.inter_broker_listener().name,
        default_partitions=config.int("num.partitions"),
        default_replication_factor=config.int("default.replication.factor"),
        delete_topic_enable=config.bool("delete.topic.enable"),
        auto_leader_rebalance_enable=config.bool("auto.leader.rebalance.enable"),
        leader_imbalance_check_interval_s=config.int("leader.imbalance.check.interval.seconds"),
        leader_imbalance_per_broker_percentage=config.int("leader.imbalance.per.broker.percentage"),
        unclean_leader_election_enable=config.bool("unclean.leader.election.enable"),
        request_timeout_s=config.int("controller.socket.timeout.ms") / 1000,
        max_frame_bytes=config.int("socket.request.max.bytes"),
        check_topic_config=wrong_topic_config,
    )


def group_settings(config: BrokerConfig) -> GroupSettings:
    return GroupSettings(
        session_ms_min=config.int("group.min.session.timeout.ms"),
        session_ms_max=config.int("group.max.session.timeout.ms"),
        initial_rebalance_delay_ms=config.int("group.initial.rebalance.delay.ms"),
        size_max=config.int("group.max.size"),
        offset_metadata_max=config.int("offset.metadata.max.bytes"),
        offsets_retention_ms=config.int("offsets.retention.minutes") * 60_000,
        retention_check_interval_ms=config.int("offsets.retention.check.interval.ms"),
        commit_timeout_ms=config.int("offsets.commit.timeout.ms"),
        load_buffer_bytes=config.int("offsets.load.buffer.size"),
        topic_partitions=config.int("offsets.topic.num.partitions"),
        topic_codec=CODECS[config.int("offsets.topic.compression.codec")],
    )


def server_settings(config: BrokerConfig) -> ServerSettings:
    listeners = {each.name: Address(each.host, each.port) for each in config.listeners()}
    request_bytes = config.int("queued.max.request.bytes")
    return ServerSettings(
        listeners=listeners,
        limits=ConnectionLimits(
            max_frame=config.int("socket.request.max.bytes"),
            max_queued=config.int("queued.max.requests"),
        ),
        max_idle_s=config.int("connections.max.idle.ms") / 1000,
        max_connections=min(config.int("max.connections"), INT32_MAX),
        max_connections_per_address=config.int("max.connections.per.ip"),
        send_buffer_bytes=_buffer_bytes(config.int("socket.send.buffer.bytes")),
        receive_buffer_bytes=_buffer_bytes(config.int("socket.receive.buffer.bytes")),
        request_bytes_max=request_bytes if request_bytes > 0 else None,
        # Where brokers have a listener for themselves, no client of the others holds them up.
        unbounded_listener=config.inter_broker_listener().name if len(listeners) > 1 else None,
    )


def _buffer_bytes(configured: int) -> int | None:
    """As Kafka has it, -1 is the system's choice."""
    return None if configured == -1 else configured
