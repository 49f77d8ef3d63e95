"""scripts/reassign-partitions.sh against real brokers, under a client that must not notice."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ottla.scripts.cluster_layout import members, prepare
from tests.support.clusters import HarmedCluster, wait_until, witness

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarmedCluster]:
    """Three brokers with two log directories each."""
    home = tmp_path_factory.mktemp("cluster")
    made = HarmedCluster(home)
    prepare(made.home, made.layout)
    for member in members(made.home, made.layout):
        if member.kind == "broker":
            text = member.config.read_text()
            member.config.write_text(re.sub(r"(?m)^log\.dirs=(.*)$", r"log.dirs=\1,\1-2", text))
    try:
        made.start()
        yield made
    finally:
        made.destroy()


@pytest.fixture
def reassign(cluster: HarmedCluster, tmp_path: Path):
    def run(*words: str, plan: object = None, code: int = 0) -> str:
        if plan is not None:
            file = tmp_path / "plan.json"
            file.write_text(json.dumps({"version": 1, "partitions": plan}))
            words = (*words, "--reassignment-json-file", str(file))
        done = subprocess.run(
            [sys.executable, "-m", "ottla.scripts.tools.reassign_partitions",
             "--bootstrap-server", cluster.bootstrap, *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


def test_partition_moves_under_a_client(cluster: HarmedCluster, reassign) -> None:
    topic = cluster.create_topic("moving", [[1, 2]])
    plan = [{"topic": topic, "partition": 0, "replicas": [3, 1]}]
    with witness(cluster.bootstrap, topic) as client:
        client.wait_more()
        out = reassign("--execute", plan=plan)
        assert '{"topic":"moving","partition":0,"replicas":[1,2],"log_dirs":["any","any"]}' in out
        assert "Successfully started partition reassignment for moving-0\n" in out
        wait_until(
            lambda: "moving-0 is completed." in reassign("--verify", plan=plan), "it is completed"
        )
        client.wait_more()
    assert cluster.isr(topic) == {3, 1}
    assert reassign("--list") == "No partition reassignments found.\n"
    old = [{"topic": topic, "partition": 0, "replicas": [2]}]
    assert "rather than 2." in reassign("--verify", plan=old)


def test_move_is_listed_and_cancelled(cluster: HarmedCluster, reassign) -> None:
    controller = cluster.controller()
    target = next(each for each in (1, 2, 3) if each != controller)
    topic = cluster.create_topic("stuck", [[controller]])
    plan = [{"topic": topic, "partition": 0, "replicas": [target]}]
    cluster.pause("broker", target)  # it is alive as far as the cluster knows, for some seconds
    try:
        reassign("--execute", plan=plan)
        line = f"replicas: {target},{controller}. adding: {target}. removing: {controller}."
        assert f"stuck-0: {line}\n" in reassign("--list")
        assert "still in progress" in reassign("--verify", plan=plan)
        assert "cancelled partition reassignment for: stuck-0" in reassign("--cancel", plan=plan)
        assert "None of the specified" in reassign("--cancel", plan=plan)
    finally:
        cluster.resume("broker", target)
    cluster.heal()
    assert cluster.leader(topic) == controller


def test_log_moves_to_the_other_directory(cluster: HarmedCluster, reassign) -> None:
    topic = cluster.create_topic("placed", [[1]], min_insync_replicas="1")
    dirs = [path for path in cluster.home.rglob(f"{topic}-0") if path.is_dir()]
    (there,) = {path.parent for path in dirs}
    (config,) = [
        member.config
        for member in members(cluster.home, cluster.layout)
        if (member.kind, member.id) == ("broker", 1)
    ]
    (line,) = [text for text in config.read_text().splitlines() if text.startswith("log.dirs=")]
    (other,) = set(line.removeprefix("log.dirs=").split(",")) - {str(there)}
    plan = [{"topic": topic, "partition": 0, "replicas": [1], "log_dirs": [other]}]
    with witness(cluster.bootstrap, topic) as client:
        client.wait_more()
        out = reassign("--execute", plan=plan)
        assert "Successfully started log directory move for: placed-0-1\n" in out
        wait_until(
            lambda: "placed-0-1 is completed." in reassign("--verify", plan=plan), "it is there"
        )
        client.wait_more()
    assert Path(other, f"{topic}-0").is_dir()
    assert not (there / f"{topic}-0").exists()


def test_proposal_is_a_plan_that_can_be_executed(
    cluster: HarmedCluster, reassign, tmp_path: Path
) -> None:
    topic = cluster.create_topic("proposed", [[1], [1]])
    topics = tmp_path / "topics.json"
    topics.write_text(json.dumps({"version": 1, "topics": [{"topic": topic}]}))
    out = reassign("--generate", "--topics-to-move-json-file", str(topics), "--broker-list", "2,3")
    plan = json.loads(out.splitlines()[-1])["partitions"]
    assert sorted(each["replicas"] for each in plan) == [[2], [3]]
    reassign("--execute", plan=plan)
    wait_until(
        lambda: reassign("--verify", plan=plan).count("is completed.") == 2, "both are there"
    )


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ([{"topic": "nowhere", "partition": 0, "replicas": [1]}], "UNKNOWN_TOPIC_OR_PARTITION"),
        ([{"topic": "moving", "partition": 0, "replicas": [1, 1]}], "duplicate"),
        ([{"topic": "moving", "partition": 0, "replicas": [9]}], "Unknown broker id 9"),
        ([], "cannot be empty"),
    ],
)
def test_mistakes_are_one_line(reassign, plan, said) -> None:
    out = reassign("--execute", plan=plan, code=1)
    assert said in out
    assert out.startswith("reassign-partitions.sh: ")
