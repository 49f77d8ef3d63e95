"""The ensemble loses members, or all of them: what brokers and their clients notice."""

import time
from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.clusters import HarmedCluster, harmed_cluster, wait_until, witness

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SESSION_S = 4.0
_numbers = count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarmedCluster]:
    broker = {
        "zookeeper.session.timeout.ms": str(int(SESSION_S * 1000)),
        "auto.leader.rebalance.enable": "false",
    }
    with harmed_cluster(tmp_path_factory.mktemp("ensemble"), broker=broker) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: HarmedCluster) -> Iterator[HarmedCluster]:
    """The module's cluster, whole before and after."""
    shared.heal()
    yield shared
    shared.heal()


def new_topic(cluster: HarmedCluster, leader: int = 1) -> str:
    replicas = [leader, *(broker for broker in (1, 2, 3) if broker != leader)]
    return cluster.create_topic(f"ensemble-{next(_numbers)}", [replicas])


def sessions_lost(cluster: HarmedCluster, since: dict[int, int]) -> list[str]:
    return [
        line
        for broker, start in since.items()
        for line in cluster.logged("broker", broker, start)
        if "session_expired" in line or "controller.resigned" in line
    ]


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_loss_of_one_member_is_not_noticed(cluster: HarmedCluster, role: str) -> None:
    leader = cluster.ensemble_leader()
    victim = leader if role == "leader" else leader % 3 + 1
    since = {broker: cluster.log_size("broker", broker) for broker in (1, 2, 3)}
    controller = cluster.controller()
    with witness(cluster.bootstrap, new_topic(cluster)) as client:
        began = time.monotonic()
        cluster.kill("coordinator", victim)
        after = new_topic(cluster)  # the brokers' other members serve
        client.wait_more(50)
        time.sleep(SESSION_S)  # what is lost would be missed by now
        client.wait_more(50)
        assert client.problems == []
        assert client.gap(began) < SESSION_S
        assert cluster.leader(after) == 1
    assert cluster.controller() == controller
    assert sessions_lost(cluster, since) == []
    cluster.start_member("coordinator", victim)
    wait_until(
        lambda: b"Mode: follower" in cluster.four_letter_word(victim, b"srvr"),
        "the member follows again",
    )


def test_brokers_serve_on_without_any_ensemble_and_rejoin(cluster: HarmedCluster) -> None:
    with witness(cluster.bootstrap, new_topic(cluster)) as client:
        began = time.monotonic()
        for member in (1, 2, 3):
            cluster.kill("coordinator", member)
        for _ in range(2):
            time.sleep(SESSION_S / 4)  # shorter than a session lasts
            client.wait_more(20)
        for member in (1, 2, 3):
            cluster.start_member("coordinator", member)
        cluster.ensemble_leader()
        client.wait_more(50)
        assert client.problems == []
        assert client.gap(began) < SESSION_S
        assert cluster.leader(new_topic(cluster, leader=2)) == 2


def test_brokers_rejoin_after_a_long_time_without_ensemble(cluster: HarmedCluster) -> None:
    """Longer than their sessions last: nothing is lost, and all is well again without help."""
    topic = new_topic(cluster)
    with witness(cluster.bootstrap, topic) as client:
        for member in (1, 2, 3):
            cluster.kill("coordinator", member)
        time.sleep(1.5 * SESSION_S)
        for member in (1, 2, 3):
            cluster.start_member("coordinator", member)
        wait_until(lambda: not cluster.missing(), cluster.missing)
        client.wait_more(50)
        assert not [text for text in client.problems if "not delivered" in text]
    assert cluster.leader(new_topic(cluster, leader=3)) == 3
    wait_until(
        lambda: len({cluster.log_bytes(broker, topic) for broker in (1, 2, 3)}) == 1,
        "the replicas are equal",
    )


def test_paused_broker_whose_session_ended_comes_back(cluster: HarmedCluster) -> None:
    """As after a machine's sleep: it finds its session gone, and others leading."""
    broker = cluster.controller()
    topic = new_topic(cluster, leader=broker)
    since = cluster.log_size("broker", broker)
    with witness(cluster.bootstrap, topic) as client:
        cluster.pause("broker", broker)
        wait_until(
            lambda: (
                topic in cluster.admin.list_topics().topics
                and cluster.leader(topic) not in {-1, broker}
            ),
            "another broker leads",
        )
        client.wait_more()
        cluster.resume("broker", broker)
        cluster.wait_event("broker", broker, "broker.registered", since=since)
        wait_until(lambda: cluster.isr(topic) == {1, 2, 3}, "it is in sync again")
        client.wait_more()
    wait_until(
        lambda: len({cluster.log_bytes(each, topic) for each in (1, 2, 3)}) == 1,
        "the replicas are equal",
    )
