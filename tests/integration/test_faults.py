"""Brokers are killed, stopped and restarted in a real cluster; what clients and files then show."""

import time
from collections.abc import Iterator
from itertools import count

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.find_coordinator import FindCoordinatorRequest
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.clusters import HarmedCluster, call, harmed_cluster, wait_until, witness

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SESSION_S = 4.0
LAG_S = 1.5
_numbers = count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarmedCluster]:
    broker = {
        "zookeeper.session.timeout.ms": str(int(SESSION_S * 1000)),
        "replica.lag.time.max.ms": str(int(LAG_S * 1000)),
        "auto.leader.rebalance.enable": "false",
        "offsets.topic.num.partitions": "5",
    }
    with harmed_cluster(tmp_path_factory.mktemp("faults"), broker=broker) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: HarmedCluster) -> Iterator[HarmedCluster]:
    """The module's cluster, whole before and after."""
    shared.heal()
    yield shared
    shared.heal()


def new_topic(cluster: HarmedCluster, *replicas: int, **config: str) -> str:
    return cluster.create_topic(f"faults-{next(_numbers)}", [list(replicas)], **config)


def produce(
    cluster: HarmedCluster, broker: int, topic: str, *values: bytes, acks: int = -1
) -> ErrorCode:
    """One request to one broker, which is not tried again."""
    batch = build_batch([(None, value, int(time.time() * 1000), []) for value in values])
    data = PartitionProduceData(index=0, records=batch)
    request = ProduceRequest(
        acks=acks,
        timeout_ms=5000,
        topic_data=[TopicProduceData(name=topic, partition_data=[data])],
    )
    answer = call(cluster.port(broker), request, ApiKey.PRODUCE, 9)
    return ErrorCode(answer.responses[0].partition_responses[0].error_code)


def read_all(cluster: HarmedCluster, topic: str, number: int) -> list[bytes]:
    """The first records of partition 0, by a client that follows leaders."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes] = []
    try:
        wait_until(
            lambda: (
                found.extend(
                    message.value()
                    for message in consumer.consume(100, 0.1)
                    if message.error() is None
                )
                or len(found) >= number
            ),
            f"{number} records of {topic}",
        )
    finally:
        consumer.close()
    return found


def wait_same_logs(cluster: HarmedCluster, topic: str) -> bytes:
    """Wait until all three replicas have the same bytes; those."""
    wait_until(
        lambda: len({cluster.log_bytes(broker, topic) for broker in (1, 2, 3)}) == 1,
        f"the replicas of {topic} are equal",
    )
    return cluster.log_bytes(1, topic)


def others(*brokers: int) -> list[int]:
    return [broker for broker in (1, 2, 3) if broker not in brokers]


def test_writes_are_refused_below_min_insync_replicas_and_resume(cluster: HarmedCluster) -> None:
    leader = cluster.controller()  # so that the controller lives on
    followers = others(leader)
    topic = new_topic(cluster, leader, *followers, min_insync_replicas="2")
    assert produce(cluster, leader, topic, b"before") == ErrorCode.NONE
    for follower in followers:
        cluster.kill("broker", follower)
    wait_until(lambda: cluster.isr(topic) == {leader}, "the leader is alone")
    assert produce(cluster, leader, topic, b"refused") == ErrorCode.NOT_ENOUGH_REPLICAS
    assert produce(cluster, leader, topic, b"not for all", acks=1) == ErrorCode.NONE

    delivered: list[object] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "log_level": 0})
    producer.produce(topic, b"waits", on_delivery=lambda error, _message: delivered.append(error))
    producer.poll(1.0)
    assert delivered == []
    cluster.start_member("broker", followers[0])
    wait_until(lambda: producer.poll(0.1) < 0 or bool(delivered), "the write went through")
    assert delivered == [None]
    assert read_all(cluster, topic, 3) == [b"before", b"not for all", b"waits"]


def test_silent_follower_leaves_the_isr_and_returns(cluster: HarmedCluster) -> None:
    leader = cluster.controller()
    silent, other = others(leader)
    topic = new_topic(cluster, leader, other, silent)
    assert produce(cluster, leader, topic, b"1") == ErrorCode.NONE
    since = cluster.log_size("broker", leader)
    cluster.pause("broker", silent)
    try:
        assert produce(cluster, leader, topic, b"2") == ErrorCode.NONE  # once the ISR has shrunk
        assert cluster.isr(topic) == {leader, other}
    finally:
        cluster.resume("broker", silent)
    wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "the follower is back")
    cluster.wait_event("broker", leader, "isr.shrink_wanted", f"{topic}-0", since=since)
    cluster.wait_event("broker", leader, "isr.expansion_wanted", f"{topic}-0", since=since)
    wait_same_logs(cluster, topic)


def test_killed_leader_comes_back_as_a_follower_without_its_divergent_tail(
    cluster: HarmedCluster,
) -> None:
    """KIP-101: what only the old leader had was never committed, and goes."""
    coordinator = cluster.controller()
    leader = others(coordinator)[0]
    followers = others(leader)
    topic = new_topic(cluster, leader, *followers, min_insync_replicas="1")
    for number in range(10):
        assert produce(cluster, leader, topic, b"kept %d" % number) == ErrorCode.NONE
    for follower in followers:
        cluster.pause("broker", follower)
    for number in range(5):
        assert produce(cluster, leader, topic, b"lost %d" % number, acks=1) == ErrorCode.NONE
    cluster.kill("broker", leader)
    for follower in followers:
        cluster.resume("broker", follower)
    wait_until(lambda: cluster.leader(topic) in followers, "a new leader")
    new_leader = cluster.leader(topic)
    for number in range(20):
        assert produce(cluster, new_leader, topic, b"new %d" % number) == ErrorCode.NONE
    since = cluster.log_size("broker", leader)
    cluster.start_member("broker", leader)
    wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "the old leader is in sync")
    assert cluster.leader(topic) == new_leader
    cluster.wait_event("broker", leader, "log.truncated", f"{topic}-0", since=since)
    wait_same_logs(cluster, topic)
    # A fetch that waited at the old leader may have carried the first one away in time.
    found = read_all(cluster, topic, 30)
    survived = [value for value in found if value.startswith(b"lost")]
    assert survived in ([], [b"lost 0"])
    kept, new = [b"kept %d" % n for n in range(10)], [b"new %d" % n for n in range(20)]
    assert found == (kept + survived + new)[: len(found)]


def test_killed_leader_is_replaced_and_nothing_acknowledged_is_lost(
    cluster: HarmedCluster,
) -> None:
    leader = others(cluster.controller())[0]
    topic = new_topic(cluster, leader, *others(leader))
    with witness(cluster.bootstrap, topic) as client:
        cluster.kill("broker", leader)
        wait_until(lambda: cluster.leader(topic) != leader, "a new leader")
        client.wait_more()
        cluster.start_member("broker", leader)
        wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "all in sync")
        client.wait_more()
    wait_same_logs(cluster, topic)


def test_killed_controller_is_replaced(cluster: HarmedCluster) -> None:
    first = cluster.controller()
    leader = others(first)[0]
    topic = new_topic(cluster, leader, *others(leader))
    with witness(cluster.bootstrap, topic) as client:
        cluster.kill("broker", first)
        wait_until(lambda: cluster.controller() not in {-1, first}, "a new controller")
        after = new_topic(cluster, *others(first))
        assert produce(cluster, others(first)[0], after, b"by the new one") == ErrorCode.NONE
        cluster.start_member("broker", first)
        wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "all in sync")
        client.wait_more()
    assert cluster.controller() != first


@pytest.mark.parametrize("role", ["controller", "other"])
def test_clean_stop_moves_leaders_first(cluster: HarmedCluster, role: str) -> None:
    controller = cluster.controller()
    leader = controller if role == "controller" else others(controller)[0]
    topic = new_topic(cluster, leader, *others(leader))
    with witness(cluster.bootstrap, topic) as client:
        since = cluster.log_size("broker", leader)
        began = time.monotonic()
        cluster.terminate("broker", leader)
        cluster.wait_event("broker", leader, "broker.handed_over", since=since)
        client.wait_more()
        assert not [text for text in client.problems if "not delivered" in text]
        assert client.gap(began) < SESSION_S, "writes went on before a session's end"
        assert cluster.leader(topic) != leader
        cluster.start_member("broker", leader)
        wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "all in sync")
    wait_same_logs(cluster, topic)


def test_topic_deleted_while_a_broker_is_down_goes_there_on_its_return(
    cluster: HarmedCluster,
) -> None:
    away = others(cluster.controller())[0]
    topic = new_topic(cluster, *others(away), away)
    assert produce(cluster, others(away)[0], topic, b"x") == ErrorCode.NONE
    assert cluster.partition_dir(away, topic).is_dir()
    cluster.kill("broker", away)
    patient = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    patient.delete_topics([topic])[topic].result(30)
    wait_until(
        lambda: not any(cluster.partition_dir(b, topic).exists() for b in others(away)),
        "the living have deleted it",
    )
    cluster.start_member("broker", away)
    wait_until(lambda: not cluster.partition_dir(away, topic).exists(), "the returned has, too")
    wait_until(lambda: topic not in cluster.admin.list_topics().topics, "nobody knows it")
    assert topic not in new_topic(cluster, 1, 2, 3)


def test_restart_after_a_kill_waits_for_no_timeout(cluster: HarmedCluster) -> None:
    broker = others(cluster.controller())[0]
    since = cluster.log_size("broker", broker)
    began = time.monotonic()
    cluster.kill("broker", broker)
    cluster.start_member("broker", broker)
    assert time.monotonic() - began < SESSION_S
    cluster.wait_event("broker", broker, "ensemble.previous_session_ended", since=since)
    log = "\n".join(cluster.logged("broker", broker, since))
    assert "broker.waits_for_own_znode" not in log


def group_home(cluster: HarmedCluster, group: str) -> int:
    """The broker that keeps a group, as any of the living answers; -1 while there is none."""
    for broker in (1, 2, 3):
        if cluster.is_running("broker", broker):
            request = FindCoordinatorRequest(key_type=0, coordinator_keys=[group])
            answer = call(cluster.port(broker), request, ApiKey.FIND_COORDINATOR, 4)
            return int(answer.coordinators[0].node_id)
    return -1


def test_group_survives_the_loss_of_its_broker(cluster: HarmedCluster) -> None:
    controller = cluster.controller()
    topic = new_topic(cluster, controller, *others(controller))
    # A group whose home is not the controller, so that this is about nothing else.
    group = next(
        name
        for name in (f"group-{topic}-{n}" for n in range(100))
        if wait_home(cluster, name) != controller
    )
    home = group_home(cluster, group)
    for number in range(20):
        assert produce(cluster, controller, topic, b"%d" % number) == ErrorCode.NONE
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 500,
            "log_level": 0,
        }
    )
    assigned: list[int] = []
    consumer.subscribe([topic], on_assign=lambda _consumer, given: assigned.append(len(given)))
    try:
        found: list[bytes] = []
        take = lambda: found.extend(m.value() for m in consumer.consume(20 - len(found), 0.2))  # noqa: E731
        wait_until(lambda: take() or len(found) == 20, "twenty records")
        consumer.commit(offsets=[TopicPartition(topic, 0, 15)], asynchronous=False)
        cluster.kill("broker", home)
        wait_until(lambda: group_home(cluster, group) not in {-1, home}, "a new home")
        (kept,) = consumer.committed([TopicPartition(topic, 0)], 30)
        assert kept.offset == 15
        assert produce(cluster, controller, topic, b"later") == ErrorCode.NONE
        found.clear()
        wait_until(
            lambda: found.extend(m.value() for m in consumer.consume(1, 0.2)) or bool(found),
            "the member reads on",
        )
        consumer.commit(offsets=[TopicPartition(topic, 0, 21)], asynchronous=False)
        assert assigned == [1], "the member was never thrown out"
    finally:
        consumer.close()
    cluster.start_member("broker", home)


def wait_home(cluster: HarmedCluster, group: str) -> int:
    """The group's broker; the first question makes the offsets topic."""
    wait_until(lambda: group_home(cluster, group) > 0, "the group has a home")
    return group_home(cluster, group)


def test_cluster_killed_whole_comes_back_with_everything(cluster: HarmedCluster) -> None:
    topic = new_topic(cluster, 1, 2, 3)
    for number in range(10):
        assert produce(cluster, 1, topic, b"%d" % number) == ErrorCode.NONE
    for kind in ("broker", "coordinator"):
        for id_ in (1, 2, 3):
            cluster.kill(kind, id_)
    cluster.start()
    cluster.heal()
    assert read_all(cluster, topic, 10) == [b"%d" % number for number in range(10)]
    wait_same_logs(cluster, topic)
