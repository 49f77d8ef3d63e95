"""The images and docker-compose.yml: a cluster that works from the host and from other containers.

Needs an engine; `.ci/docker-engine.sh start` makes one where there is none (as root).
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import pytest
from kazoo.client import KazooClient

from ottla.scripts.ports import is_free

pytestmark = [pytest.mark.docker, pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
OUTSIDE = "localhost:9092,localhost:9093,localhost:9094"
ENSEMBLE = "localhost:2181,localhost:2182,localhost:2183"
SERVICES = [f"{kind}-{n}" for kind in ("coordinator", "broker") for n in (1, 2, 3)]
UP_TIMEOUT_S = 120.0


def engine_reason() -> str | None:
    """Why there is nothing to run images with; None when there is."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "the container engine does not answer"
    if done.returncode != 0:
        root = "" if os.geteuid() == 0 else ", as root"
        return f"no container engine runs; .ci/docker-engine.sh start makes one{root}"
    return None


def compose(*words: str, timeout_s: float = 120.0) -> str:
    """Run docker-compose, of either generation."""
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    return run(*program, "--project-name", "ottla-test", *words, timeout_s=timeout_s)


def run(*command: str, timeout_s: float = 60.0) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def containers() -> dict[str, str]:
    """Container id by service."""
    return {name: compose("ps", "-q", name).strip() for name in SERVICES}


def wait_healthy(names: list[str]) -> None:
    ids = containers()
    deadline = time.monotonic() + UP_TIMEOUT_S
    while True:
        states = {
            name: run("docker", "inspect", "--format", "{{.State.Health.Status}}", ids[name])
            for name in names
        }
        sick = {name: state.strip() for name, state in states.items() if "unhealthy" in state}
        waiting = [name for name, state in states.items() if state.strip() != "healthy"]
        if not waiting:
            return
        assert time.monotonic() < deadline, f"{waiting} not healthy, {sick}\n" + compose(
            "logs", "--tail", "20"
        )
        time.sleep(0.5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    reason = engine_reason()
    if reason is not None:
        pytest.skip(reason)
    taken = [p for p in (9092, 9093, 9094, 2181, 2182, 2183) if not is_free("127.0.0.1", p)]
    if taken:
        pytest.skip(f"ports {taken} are taken on this machine")
    compose("build", timeout_s=400)
    try:
        compose("up", "--detach")
        wait_healthy(SERVICES)
        yield
    finally:
        compose("down", "--volumes", "--timeout", "20", timeout_s=180)


def produce(topic: str, values: list[str], *, timeout_s: float = 60.0) -> None:
    """Through the host's listeners, acknowledged by all replicas in sync."""
    failures: list[str] = []
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": OUTSIDE, "acks": "all", "enable.idempotence": True}
    )
    for value in values:
        producer.produce(
            topic, value, on_delivery=lambda err, _: failures.append(str(err)) if err else None
        )
    assert producer.flush(timeout_s) == 0, "not everything was acknowledged"
    assert not failures


def consume(topic: str, count: int, *, timeout_s: float = 60.0) -> list[str]:
    """All values of a topic, through the host's listeners and a group."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": OUTSIDE,
            "group.id": f"{topic}-readers-{time.monotonic_ns()}",
            "auto.offset.reset": "earliest",
        }
    )
    found: list[str] = []
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                found.append(message.value().decode())
    finally:
        consumer.close()
    return found


def create_topic(name: str) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": OUTSIDE})
    topic = confluent_kafka.admin.NewTopic(name, num_partitions=3, replication_factor=3)
    admin.create_topics([topic])[name].result(30)


def in_container(script: str) -> str:
    """Run Python with kafka-python in a container of the cluster's network."""
    found = find_spec("kafka")  # importing it warns here
    assert found is not None
    assert found.origin is not None
    client = Path(found.origin).parent
    return run(
        "docker", "run", "--rm", "--network", "ottla-test_ottla",
        "--volume", f"{client}:/client/kafka:ro", "--env", "PYTHONPATH=/client",
        "--entrypoint", "python", "ottla", "-c", script, timeout_s=120,
    )  # fmt: skip


_ROUND_TRIP = """
from kafka import KafkaConsumer, KafkaProducer
inside = ["broker-1:29092", "broker-2:29092", "broker-3:29092"]
producer = KafkaProducer(bootstrap_servers=inside, acks="all")
for n in range(20):
    producer.send("inside", b"%d" % n).get(30)
producer.close()
consumer = KafkaConsumer("inside", bootstrap_servers=inside, group_id="insiders",
                         auto_offset_reset="earliest", consumer_timeout_ms=20000)
found = []
for record in consumer:
    found.append(int(record.value))
    if len(found) == 20:
        break
consumer.close()
print(sorted(found) == list(range(20)))
"""


def test_round_trip_from_the_host(cluster: None) -> None:
    create_topic("outside")
    values = [f"value {n}" for n in range(200)]
    produce("outside", values)
    assert sorted(consume("outside", 200)) == sorted(values)


def test_round_trip_from_another_container(cluster: None) -> None:
    assert in_container(_ROUND_TRIP).strip() == "True"


def test_brokers_are_told_apart_by_listener(cluster: None) -> None:
    """A client is sent on to the addresses of the listener that it came through."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": "localhost:9093"})
    brokers = admin.list_topics(timeout=30).brokers.values()
    assert sorted(f"{one.host}:{one.port}" for one in brokers) == OUTSIDE.split(",")


def test_ensemble_is_reached_from_the_host(cluster: None) -> None:
    client = KazooClient(hosts=ENSEMBLE)
    client.start(timeout=30)
    try:
        assert sorted(client.get_children("/brokers/ids")) == ["1", "2", "3"]
    finally:
        client.stop()
        client.close()


def test_killed_broker_loses_nothing_and_comes_back(cluster: None) -> None:
    create_topic("survivor")
    produce("survivor", [f"before {n}" for n in range(100)])
    victim = containers()["broker-2"]
    run("docker", "kill", "--signal", "KILL", victim)
    produce("survivor", [f"after {n}" for n in range(100)], timeout_s=90)
    assert len(set(consume("survivor", 200))) == 200
    run("docker", "start", victim)
    wait_healthy(["broker-2"])
    produce("survivor", ["back"])
    assert "back" in consume("survivor", 201)


def test_daemons_do_not_run_as_root(cluster: None) -> None:
    ids = containers()
    for name in SERVICES:
        assert run("docker", "exec", ids[name], "id", "-un").strip() == "ottla"
