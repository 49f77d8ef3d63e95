"""What a Kafka operator finds in the ensemble through kazoo: paths, kinds, JSON keys and values.

The table is compatibility.md's "Znodes of a broker cluster"; Kafka writes the same (ZkData).
"""

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kazoo.client import KazooClient
from kazoo.recipe.watchers import DataWatch

from tests.compat.clients import ConfluentKafka, Record
from tests.compat.conftest import MakeTopic
from tests.support.clusters import wait_until
from tests.support.processes import LocalCluster

pytestmark = [pytest.mark.compat, pytest.mark.integration, pytest.mark.slow]

PERSISTENT = (
    "/admin/delete_topics", "/brokers/ids", "/brokers/seqid", "/brokers/topics", "/cluster/id",
    "/config/brokers", "/config/changes", "/config/clients", "/config/ips", "/config/topics",
    "/config/users", "/consumers", "/controller_epoch", "/feature", "/isr_change_notification",
    "/latest_producer_id_block", "/log_dir_event_notification",
)  # fmt: skip


@pytest.fixture(scope="module")
def zk(cluster: LocalCluster) -> Iterator[KazooClient]:
    client = KazooClient(cluster.connect)
    client.start(10)
    yield client
    client.stop()
    client.close()


def content(zk: KazooClient, path: str) -> dict[str, object]:
    found = json.loads(zk.get(path)[0])
    assert isinstance(found, dict)
    return found


def is_recent(milliseconds: object) -> bool:
    assert isinstance(milliseconds, str)
    return abs(time.time() * 1000 - int(milliseconds)) < 3_600_000


def test_root_has_what_kafka_has(zk: KazooClient) -> None:
    assert set(zk.get_children("/")) == {
        "admin", "brokers", "cluster", "config", "consumers", "controller", "controller_epoch",
        "feature", "isr_change_notification", "latest_producer_id_block",
        "log_dir_event_notification", "zookeeper",
    }  # fmt: skip


@pytest.mark.parametrize("path", PERSISTENT)
def test_paths_are_there_to_stay(zk: KazooClient, path: str) -> None:
    stat = zk.exists(path)
    assert stat is not None
    assert stat.ephemeralOwner == 0


def test_broker_ids(zk: KazooClient, cluster: LocalCluster) -> None:
    assert sorted(zk.get_children("/brokers/ids")) == ["1", "2", "3"]
    for id_ in (1, 2, 3):
        port = cluster.layout.base_port + id_ - 1
        found = content(zk, f"/brokers/ids/{id_}")
        assert is_recent(found.pop("timestamp"))
        assert found == {
            "version": 5,
            "host": "127.0.0.1",
            "port": port,
            "jmx_port": -1,
            "endpoints": [f"PLAINTEXT://127.0.0.1:{port}"],
            "listener_security_protocol_map": {"PLAINTEXT": "PLAINTEXT"},
            "features": {},
        }
        stat = zk.exists(f"/brokers/ids/{id_}")
        assert stat is not None
        assert stat.ephemeralOwner != 0


def test_controller_and_its_epoch(zk: KazooClient, admin: AdminClient) -> None:
    found = content(zk, "/controller")
    assert is_recent(found.pop("timestamp"))
    controller = admin.describe_cluster().result(10).controller.id
    assert found == {"version": 2, "brokerid": controller, "kraftControllerEpoch": -1}
    stat = zk.exists("/controller")
    assert stat is not None
    assert stat.ephemeralOwner != 0
    epoch, stat = zk.get("/controller_epoch")
    assert re.fullmatch(rb"[1-9][0-9]*", epoch)
    assert stat.version >= 1


def test_cluster_id_and_features(zk: KazooClient, admin: AdminClient) -> None:
    found = content(zk, "/cluster/id")
    assert found == {"version": "1", "id": admin.describe_cluster().result(10).cluster_id}
    assert len(urlsafe_b64decode(f"{found['id']}==")) == 16
    assert content(zk, "/feature") == {"version": 2, "status": 1, "features": {}}


def test_topic_and_its_partitions(
    zk: KazooClient, admin: AdminClient, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=2, retention_ms="86400000")
    assert topic in zk.get_children("/brokers/topics")
    found = content(zk, f"/brokers/topics/{topic}")
    topic_id = found.pop("topic_id")
    assert isinstance(topic_id, str)
    assert len(topic_id) == 22
    assert len(urlsafe_b64decode(topic_id + "==")) == 16
    partitions = found.pop("partitions")
    assert found == {"version": 3, "adding_replicas": {}, "removing_replicas": {}}
    assert isinstance(partitions, dict)
    assert sorted(partitions) == ["0", "1"]
    epoch = int(zk.get("/controller_epoch")[0])
    for partition, replicas in partitions.items():
        assert sorted(replicas) == [1, 2, 3]
        assert content(zk, f"/brokers/topics/{topic}/partitions/{partition}/state") == {
            "version": 1,
            "controller_epoch": epoch,
            "leader": replicas[0],
            "leader_epoch": 0,
            "isr": replicas,
        }
    assert content(zk, f"/config/topics/{topic}") == {
        "version": 1,
        "config": {"retention.ms": "86400000"},
    }
    admin.delete_topics([topic])[topic].result(10)
    wait_until(lambda: zk.exists(f"/brokers/topics/{topic}") is None, "the topic's znode is gone")
    wait_until(lambda: not zk.get_children("/admin/delete_topics"), "the wish is gone")
    assert zk.exists(f"/config/topics/{topic}") is None


def test_producer_ids_are_handed_out_in_blocks(
    zk: KazooClient, cluster: LocalCluster, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    ConfluentKafka().produce(
        cluster.bootstrap, topic, [Record(b"k", b"v")], enable_idempotence=True
    )
    found = content(zk, "/latest_producer_id_block")
    assert sorted(found) == ["block_end", "block_start", "broker", "version"]
    assert found["version"] == 1
    assert found["broker"] in {1, 2, 3}
    start, end = found["block_start"], found["block_end"]
    assert isinstance(start, str)
    assert isinstance(end, str)
    assert (int(start) % 1000, int(end)) == (0, int(start) + 999)


def test_topic_deleted_by_znode_is_deleted(
    zk: KazooClient, admin: AdminClient, make_topic: MakeTopic
) -> None:
    """The way of Kafka's oldest tools, and of operators in need."""
    topic = make_topic(partitions=1)
    zk.create(f"/admin/delete_topics/{topic}", b"")
    wait_until(lambda: topic not in admin.list_topics().topics, "the topic is gone")


def test_new_topic_wakes_a_watch(zk: KazooClient, admin: AdminClient) -> None:
    seen: list[bytes | None] = []
    DataWatch(zk, "/brokers/topics/watched", lambda data, _stat: seen.append(data))
    admin.create_topics([NewTopic("watched", 1)])["watched"].result(10)
    wait_until(lambda: len(seen) > 1 and seen[-1] is not None, "the watch")
