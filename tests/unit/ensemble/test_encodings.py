"""Znode data byte for byte: what Kafka 3.9 writes, written out by hand."""

from uuid import UUID

import pytest

from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.encodings import MalformedZnode, ProducerIdBlock
from ottla.broker.ensemble.values import (
    Assignment,
    BrokerInfo,
    Endpoint,
    PartitionState,
    TopicAssignment,
)
from ottla.broker.ids import TopicPartition

TOPIC_ID = UUID("3d5f0c1e-8a7b-4c2d-9e10-fbff00112233")
TOPIC_ID_TEXT = "PV8MHop7TC2eEPv_ABEiMw"
T1 = TopicPartition("t", 1)


def test_uuids_are_url_safe_base64_without_padding():
    assert encodings.encode_uuid(TOPIC_ID) == TOPIC_ID_TEXT
    assert encodings.decode_uuid(TOPIC_ID_TEXT) == TOPIC_ID
    assert encodings.encode_uuid(UUID(int=0)) == "A" * 22


def test_broker_znode():
    broker = BrokerInfo(
        1,
        (
            Endpoint("INSIDE", "in", 29092, "SASL_PLAINTEXT"),
            Endpoint("PLAINTEXT", "localhost", 9092),
            Endpoint("SIX", "::1", 9093, "SSL"),
        ),
        "r1",
        77,
    )
    data = (
        b'{"features":{},"listener_security_protocol_map":{"INSIDE":"SASL_PLAINTEXT",'
        b'"PLAINTEXT":"PLAINTEXT","SIX":"SSL"},"endpoints":["INSIDE://in:29092",'
        b'"PLAINTEXT://localhost:9092","SIX://[::1]:9093"],"jmx_port":-1,"port":9092,'
        b'"host":"localhost","version":5,"timestamp":"1700000000000","rack":"r1"}'
    )
    assert encodings.encode_broker(broker, timestamp_ms=1_700_000_000_000) == data
    assert encodings.decode_broker(1, data, epoch=77) == broker


def test_broker_without_plaintext_endpoint_names_no_host():
    broker = BrokerInfo(1, (Endpoint("SSL", "h", 9092, "SSL"),))
    data = encodings.encode_broker(broker, timestamp_ms=0)
    assert b'"port":-1,"host":null,' in data


@pytest.mark.parametrize(
    ("data", "endpoint"),
    [
        (
            b'{"version":1,"host":"h","port":9092,"jmx_port":9999,"timestamp":"2"}',
            Endpoint("PLAINTEXT", "h", 9092),
        ),
        (
            b'{"version":2,"host":"h","port":1,"jmx_port":1,"timestamp":"2",'
            b'"endpoints":["SSL://x:9093"]}',
            Endpoint("SSL", "x", 9093, "SSL"),
        ),
    ],
)
def test_older_broker_znodes_are_read(data, endpoint):
    assert encodings.decode_broker(3, data, epoch=1).endpoints == (endpoint,)


def test_topic_znode():
    topic = TopicAssignment(
        TOPIC_ID, {0: Assignment((1, 2, 3)), 1: Assignment((4, 2), adding=(4,), removing=(1,))}
    )
    data = (
        b'{"removing_replicas":{"1":[1]},"partitions":{"0":[1,2,3],"1":[4,2]},'
        b'"topic_id":"PV8MHop7TC2eEPv_ABEiMw","adding_replicas":{"1":[4]},"version":3}'
    )
    assert encodings.encode_topic(topic) == data
    assert encodings.decode_topic("t", data) == topic


def test_topic_znode_from_before_topic_ids_is_read():
    old = encodings.decode_topic("t", b'{"version":1,"partitions":{"0":[1]}}')
    assert old == TopicAssignment(None, {0: Assignment((1,))})


def test_partition_state_znode():
    state = PartitionState(2, 5, (2, 3), 9, 4)
    data = b'{"controller_epoch":9,"leader":2,"version":1,"leader_epoch":5,"isr":[2,3]}'
    assert encodings.encode_partition_state(state) == data
    assert encodings.decode_partition_state(T1, data, 4) == state
    recovering = PartitionState(2, 5, (2,), 9, 4, recovering=True)
    data = (
        b'{"controller_epoch":9,"leader":2,"version":1,"leader_epoch":5,"isr":[2],'
        b'"leader_recovery_state":1}'
    )
    assert encodings.encode_partition_state(recovering) == data
    assert encodings.decode_partition_state(T1, data, 4) == recovering


def test_controller_znodes():
    data = b'{"version":2,"brokerid":3,"timestamp":"17","kraftControllerEpoch":-1}'
    assert encodings.encode_controller(3, timestamp_ms=17) == data
    assert encodings.decode_controller(data) == 3
    assert encodings.encode_controller_epoch(12) == b"12"
    assert encodings.decode_controller_epoch(b"12") == 12


def test_producer_id_block_znode():
    block = ProducerIdBlock(1, 0, 999)
    data = b'{"version":1,"broker":1,"block_start":"0","block_end":"999"}'
    assert encodings.encode_producer_id_block(block) == data
    assert encodings.decode_producer_id_block(data) == block
    assert block.count == 1000
    assert encodings.decode_producer_id_block(b"") is None
    assert encodings.decode_producer_id_block(None) is None


def test_config_znodes():
    data = b'{"version":1,"config":{"retention.ms":"1000"}}'
    assert encodings.encode_config({"retention.ms": "1000"}) == data
    assert encodings.decode_config("t", data) == {"retention.ms": "1000"}
    assert encodings.decode_config("t", None) == {}
    change = b'{"version":2,"entity_path":"topics/t"}'
    assert encodings.encode_config_change("topics/t") == change
    assert encodings.decode_config_change(change) == ("topics", "t")
    old = b'{"version":1,"entity_type":"topics","entity_name":"t"}'
    assert encodings.decode_config_change(old) == ("topics", "t")


def test_notification_znodes():
    data = b'{"version":1,"partitions":[{"topic":"t","partition":1}]}'
    assert encodings.encode_partitions([T1]) == data
    assert encodings.decode_partitions("x", data) == [T1]
    event = b'{"version":1,"broker":2,"event":1}'
    assert encodings.encode_log_dir_event(2) == event
    assert encodings.decode_log_dir_event(event) == 2


def test_cluster_znodes():
    data = b'{"version":"1","id":"PV8MHop7TC2eEPv_ABEiMw"}'
    assert encodings.encode_cluster_id(TOPIC_ID_TEXT) == data
    assert encodings.decode_cluster_id(data) == TOPIC_ID_TEXT
    assert encodings.encode_features() == b'{"features":{},"version":2,"status":1}'


@pytest.mark.parametrize("data", [None, b"", b"{", b"[]", b"7", b"{}", b"\xff", b'{"version":[]}'])
@pytest.mark.parametrize(
    "decode",
    [
        lambda data: encodings.decode_broker(1, data, epoch=1),
        lambda data: encodings.decode_partition_state(T1, data, 0),
        encodings.decode_controller,
        encodings.decode_config_change,
        encodings.decode_log_dir_event,
        encodings.decode_cluster_id,
        lambda data: encodings.decode_partitions("x", data),
    ],
)
def test_anything_else_is_malformed_and_nothing_worse(decode, data):
    with pytest.raises(MalformedZnode):
        decode(data)


def test_endpoints_that_make_no_sense_are_malformed():
    for endpoint in ("PLAINTEXT:/h:1", "X://h:1", "PLAINTEXT://h"):
        data = b'{"version":5,"endpoints":["%s"]}' % endpoint.encode()
        with pytest.raises(MalformedZnode):
            encodings.decode_broker(1, data, epoch=1)


def test_paths():
    assert paths.partition_state(T1) == "/brokers/topics/t/partitions/1/state"
    assert paths.parents("/a/b/c") == ["/a", "/a/b"]
    assert paths.config("topics", "t") == "/config/topics/t"
