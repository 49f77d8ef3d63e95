"""A broker's configuration: defaults of Kafka 3.9, every problem at once, topics on top."""

from pathlib import Path

import pytest

from ottla.config.broker import BROKER_KEYS, BrokerConfig, Source
from ottla.config.problems import ConfigError

BASE = {"zookeeper.connect": "localhost:2181", "broker.id": "1"}


def config(**more: str) -> BrokerConfig:
    return BrokerConfig.from_properties(
        BASE | {key.replace("_", "."): value for key, value in more.items()}
    )


def problems(**more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(**more)
    return [str(problem).removeprefix("settings: ") for problem in caught.value.problems]


def test_all_problems_of_a_file_are_reported_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "server.properties"
    path.write_text(
        "broker.id=1\nnum.partition=3\nzookeeper.connect=a:x\n\n"
        "num.partitions=abc\nmin.insync.replicas=0\n"
    )
    with pytest.raises(ConfigError) as caught:
        BrokerConfig.load(str(path), ["compression.type=zip"])
    assert [str(one).removeprefix(str(tmp_path) + "/") for one in caught.value.problems] == [
        "--override: compression.type=zip: expected one of"
        " uncompressed, zstd, lz4, snappy, gzip, producer",
        "server.properties:2: num.partition: is no key; did you mean num.partitions?",
        "server.properties:3: zookeeper.connect=a:x: 'a:x' is not host:port",
        "server.properties:5: num.partitions=abc: expected an integer >= 1",
        "server.properties:6: min.insync.replicas=0: expected an integer >= 1",
    ]


def test_overrides_replace_lines(tmp_path: Path) -> None:
    path = tmp_path / "server.properties"
    path.write_text("broker.id=1\nzookeeper.connect=embedded\nnum.partitions=2\n")
    loaded = BrokerConfig.load(str(path), ["num.partitions=7", "broker.id=4"])
    assert (loaded.int("num.partitions"), loaded.broker_id) == (7, 4)
    assert loaded.uses_embedded_coordinator
    assert not loaded.warnings


def test_key_written_twice_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "server.properties"
    path.write_text("broker.id=1\nzookeeper.connect=embedded\nbroker.id=2\n")
    loaded = BrokerConfig.load(str(path))
    assert loaded.broker_id == 2
    assert "server.properties:3: broker.id: was set before" in str(loaded.warnings[0])


def test_known_keys_without_effect_and_strange_keys_are_warnings() -> None:
    loaded = config(num_io_threads="8", acme_audit_plugin_url="x", ssl_keystore_password="s3")
    assert sorted(str(warning) for warning in loaded.warnings) == [
        "settings: acme.audit.plugin.url: is not a key that anything here reads",
        "settings: num.io.threads: is a known key that does nothing here yet",
        "settings: ssl.keystore.password: is a known key that does nothing here yet",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Broker.Id", "broker.id"),
        ("log_dirs", "log.dirs"),
        ("zookeper.connect", "zookeeper.connect"),
        ("default.replication.factors", "default.replication.factor"),
        ("auto.craete.topics.enable", "auto.create.topics.enable"),
    ],
)
def test_misspelt_keys_name_their_neighbour(written: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {meant}"):
        BrokerConfig.from_properties(BASE | {written: "1"})


def test_defaults_are_those_of_kafka() -> None:
    loaded = config()
    assert loaded.int("replica.lag.time.max.ms") == 30_000
    assert loaded.int("socket.request.max.bytes") == 104_857_600
    assert loaded.int("message.max.bytes") == 1_048_588
    assert loaded.bool("unclean.leader.election.enable") is False
    assert loaded.list("log.cleanup.policy") == ("delete",)
    assert loaded.log_dirs == ("/tmp/kafka-logs",)
    assert loaded.zookeeper_connection_timeout_ms == 18_000
    assert [str(one) for one in loaded.listeners()] == ["PLAINTEXT://:9092"]


def test_every_default_is_a_value_its_own_row_accepts() -> None:
    for row in BROKER_KEYS.values():
        text = row.type.format(row.default)
        if text is not None:
            assert row.read(text) == row.default, row.name


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("broker_id", "1_0", "expected an integer >= -1"),
        ("broker_id", "1001", "reserved.broker.max.id"),
        ("node_id", "2", "differs from broker.id=1"),
        ("num_partitions", "3000000000", "expected an integer >= 1"),
        ("delete_topic_enable", "yes", "expected true or false"),
        ("log_cleanup_policy", "delete,shrink", "a list with commas, one of compact, delete"),
        ("log_retention_ms", "0", "an integer >= 1, or -1"),
        ("log_dirs", "/a,/a", "names a directory twice"),
        ("log_dirs", "/a,,/b", "empty place"),
        ("replica_fetch_wait_max_ms", "31000", "above replica.socket.timeout.ms"),
        ("listeners", "PLAINTEXT:9092", "is not NAME://host:port"),
        ("listeners", "PLAINTEXT://:9092,INSIDE://:9092", "INSIDE has no security protocol"),
        ("listeners", "SSL://:9093", "only PLAINTEXT listeners are served yet"),
        ("listeners", "PLAINTEXT://0.0.0.0:9092", "clients cannot connect to 0.0.0.0"),
        ("listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2", "two listeners named PLAINTEXT"),
        ("listeners", "PLAINTEXT://:99999", "port 99999 is above 65535"),
        ("advertised_listeners", "OTHER://a:1", "OTHER has no security protocol"),
        ("inter_broker_listener_name", "INSIDE", "brokers would use the listener INSIDE"),
        ("listener_security_protocol_map", "A", "is not NAME:PROTOCOL"),
        ("zookeeper_connect", "", "is not set"),
        ("zookeeper_connect", "h:1,", None),
        ("zookeeper_connect", "h:1//x", "is not a znode path"),
        ("process_roles", "broker", "KRaft"),
        ("authorizer_class_name", "kafka.Acl", "access control"),
    ],
)
def test_values_and_relations_that_cannot_work(key: str, value: str, text: str | None) -> None:
    if text is None:
        config(**{key: value})
    else:
        found = problems(**{key: value})
        assert any(text in problem for problem in found), found


def test_every_replica_required_but_one_kept_is_a_warning() -> None:
    assert "acks=all" in str(config(min_insync_replicas="2").warnings[0])
    assert not config(min_insync_replicas="2", default_replication_factor="3").warnings


def test_listeners_for_the_inside_and_the_outside() -> None:
    loaded = config(
        listeners="inside://:29092, OUTSIDE://0.0.0.0:9092",
        advertised_listeners="INSIDE://broker-1:29092,OUTSIDE://localhost:9092",
        listener_security_protocol_map="INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
        inter_broker_listener_name="inside",
    )
    assert [one.name for one in loaded.listeners()] == ["INSIDE", "OUTSIDE"]
    assert loaded.advertised_listeners()[1].host == "localhost"
    assert str(loaded.inter_broker_listener()) == "INSIDE://broker-1:29092"


def test_ipv6_listeners_and_ensemble() -> None:
    loaded = config(listeners="PLAINTEXT://[::1]:9092", zookeeper_connect="[::1]:2182,h2 /kafka/")
    assert loaded.listeners()[0].host == "::1"
    ensemble = loaded.zookeeper_connect()
    assert ensemble.servers == (("::1", 2182), ("h2", 2181))
    assert ensemble.chroot == "/kafka"


def test_topic_inherits_what_the_broker_sets_and_overrides_it() -> None:
    loaded = config(log_retention_hours="2", message_max_bytes="1000", min_insync_replicas="1")
    topic = loaded.topic_config({"segment.ms": "5000", "cleanup.policy": "compact,delete"})
    assert topic.int("retention.ms") == 7_200_000
    assert topic.origin("retention.ms").broker_key == "log.retention.hours"
    assert topic.int("max.message.bytes") == 1000
    assert topic.int("segment.ms") == 5000
    assert topic.origin("segment.ms").kind == "topic"
    assert topic.list("cleanup.policy") == ("compact", "delete")
    assert topic.origin("flush.ms").kind == "default"
    assert topic.text("flush.ms") == str(2**63 - 1)


@pytest.mark.parametrize(
    ("key", "value", "expected_ms"),
    [
        ("log_retention_ms", "-1", -1),
        ("log_retention_minutes", "3", 180_000),
        ("log_retention_minutes", "-1", -1),
        ("log_retention_hours", "2147483647", 2147483647 * 3_600_000),
    ],
)
def test_retention_in_any_unit(key: str, value: str, expected_ms: int) -> None:
    assert config(**{key: value}).topic_config().int("retention.ms") == expected_ms


def test_finer_unit_wins_over_the_coarser_one() -> None:
    loaded = config(log_retention_hours="5", log_retention_ms="60000")
    assert loaded.topic_config().int("retention.ms") == 60_000


def test_topic_defaults_equal_an_untouched_broker() -> None:
    topic = config().topic_config()
    assert topic.int("retention.ms") == 604_800_000
    assert topic.int("segment.ms") == 604_800_000
    assert topic.int("segment.jitter.ms") == 0
    assert topic.int("flush.messages") == 2**63 - 1


def test_older_timestamp_key_counts_while_the_newer_are_unset() -> None:
    topic = config().topic_config({"message.timestamp.difference.max.ms": "1000"})
    assert (topic.timestamp_before_max_ms, topic.timestamp_after_max_ms) == (1000, 1000)
    topic = config(log_message_timestamp_after_max_ms="5").topic_config()
    assert topic.timestamp_after_max_ms == 5


def test_topic_faults_are_named_together() -> None:
    with pytest.raises(ConfigError) as caught:
        config().topic_config({"retention.mss": "1", "segment.bytes": "1"}, topic="orders")
    assert [str(problem) for problem in caught.value.problems] == [
        "orders: retention.mss=1: is not a key of a topic; did you mean retention.ms?",
        "orders: segment.bytes=1: expected an integer >= 14",
    ]


def test_dynamic_values_lie_over_the_file() -> None:
    loaded = config(log_segment_bytes="1000").with_dynamic(
        {"log.segment.bytes": "2000", "num.replica.fetchers": "2"}, {"log.segment.bytes": "3000"}
    )
    assert loaded.int("log.segment.bytes") == 3000
    assert loaded.topic_config().int("segment.bytes") == 3000
    assert loaded.source("log.segment.bytes") is Source.DYNAMIC_BROKER
    assert loaded.source("num.replica.fetchers") is Source.DYNAMIC_CLUSTER
    assert loaded.source("broker.id") is Source.STATIC
    assert loaded.source("num.partitions") is Source.DEFAULT


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("broker.id", "2", "restart only"),
        ("nope", "2", "not a key of a broker"),
        ("log.retention.hours", "2", "with a restart"),
        ("log.retention.mss", "2", "did you mean log.retention.ms"),
        ("num.io.threads", "2", "does nothing here yet"),
        ("log.cleaner.dedupe.buffer.size", "5", "less than 1 MiB"),
        ("log.segment.bytes", "x", "expected an integer"),
    ],
)
def test_dynamic_values_that_are_refused(key: str, value: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        config().with_dynamic({key: value}, {})
