"""The operator's tools against one broker with its own coordinator, as a user types them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ottla.scripts.first_write import wait_first_write
from tests.support.processes import ROOT, end_all, free_ports

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Tools:
    """`tools("topics", "--list")` runs scripts/topics.sh's program against the broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def __call__(
        self, name: str, *words: str, text: str = "", bootstrap: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"ottla.scripts.tools.{name.replace('-', '_')}",
             "--bootstrap-server", bootstrap or self.bootstrap, *words],
            input=text, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def out(self, name: str, *words: str, text: str = "") -> str:
        """What a run that has to succeed printed."""
        done = self(name, *words, text=text)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, name: str, *words: str, text: str = "") -> str:
        """The one line that a run printed which has to fail."""
        done = self(name, *words, text=text)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def topic(self, name: str, partitions: int = 1, *words: str) -> str:
        self.out("topics", "--create", "--topic", name, "--partitions", str(partitions), *words)
        return name

    def write(self, topic: str, *lines: str, properties: str = "") -> None:
        words = ["--property", properties] if properties else []
        text = "".join(f"{line}\n" for line in lines)
        self.out("console-producer", "--topic", topic, *words, text=text)

    def consume(self, topic: str, count: int, *words: str) -> list[str]:
        return self.out(
            "console-consumer", "--topic", topic, "--from-beginning",
            "--max-messages", str(count), "--timeout-ms", "20000", *words,
        ).splitlines()  # fmt: skip


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    home = tmp_path_factory.mktemp("broker")
    port = free_ports(2)
    properties = home / "server.properties"
    properties.write_text(
        f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={home}/logs\n"
        f"zookeeper.connect=embedded\nembedded.coordinator.client.port={port + 1}\n"
        "offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n"
        "group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n"
    )
    with (home / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ottla.scripts.server", str(properties),
             "--run-dir", str(home / "run")],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_first_write([("127.0.0.1", port)], 1, time.monotonic() + 20)
        yield Tools(f"127.0.0.1:{port}")
    finally:
        end_all([process])


# Topics


def test_topic_from_creation_to_deletion(tools: Tools) -> None:
    made = tools.out(
        "topics", "--create", "--topic", "life", "--partitions", "2", "--replication-factor", "1",
        "--config", "retention.ms=5000",
    )  # fmt: skip
    assert made == "Created topic life.\n"
    assert "life" in tools.out("topics", "--list").splitlines()
    head, *rows = tools.out("topics", "--describe", "--topic", "life").splitlines()
    assert re.fullmatch(
        r"Topic: life\tTopicId: [\w-]{22}\tPartitionCount: 2\tReplicationFactor: 1"
        r"\tConfigs: retention.ms=5000",
        head,
    )
    assert rows == [
        f"\tTopic: life\tPartition: {n}\tLeader: 1\tReplicas: 1\tIsr: 1"
        "\tElr: N/A\tLastKnownElr: N/A"
        for n in range(2)
    ]
    assert tools.out("topics", "--alter", "--topic", "life", "--partitions", "3") == ""
    assert "PartitionCount: 3" in tools.out("topics", "--describe", "--topic", "li.e")
    assert tools.out("topics", "--delete", "--topic", "life") == ""
    assert "life" not in tools.out("topics", "--list").splitlines()


def test_topics_by_placement_and_by_the_brokers_defaults(tools: Tools) -> None:
    tools.out("topics", "--create", "--topic", "placed", "--replica-assignment", "1,1")
    assert "PartitionCount: 2" in tools.out("topics", "--describe", "--topic", "placed")
    tools.out("topics", "--create", "--topic", "plain")
    assert "PartitionCount: 1" in tools.out("topics", "--describe", "--topic", "plain")
    shown = tools.out("topics", "--describe", "--under-replicated-partitions")
    assert shown == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--create"], "--topic is needed"),
        (["--create", "--topic", "x", "--partitions", "0"], "above 0"),
        (["--create", "--topic", "x", "--replication-factor", "3"], "error while executing"),
        (["--create", "--topic", "x", "--config", "retention.mss=1"], "retention.mss"),
        (["--create", "--topic", "x", "--config", "nonsense"], "key=value"),
        (["--create", "--topic", "bad name"], "is invalid"),
        (["--describe", "--topic", "nope"], "'nope' does not exist"),
        (["--delete", "--topic", "nope"], "'nope' does not exist"),
        (["--alter", "--topic", "nope"], "--partitions"),
        (["--alter", "--topic", "nope", "--config", "a=b"], "configs.sh"),
        (["--list", "--describe"], "not allowed with"),
        ([], "is required"),
    ],
)
def test_topics_says_what_is_wrong(tools: Tools, words: list[str], text: str) -> None:
    assert text in tools.refused("topics", *words)


def test_existing_and_missing_topics_may_be_passed_over(tools: Tools) -> None:
    tools.topic("twice")
    assert "already exists" in tools.refused("topics", "--create", "--topic", "twice")
    assert tools.out("topics", "--create", "--topic", "twice", "--if-not-exists") == ""
    assert tools.out("topics", "--delete", "--topic", "nope", "--if-exists") == ""


def test_brokers_that_are_not_there_are_named(tools: Tools) -> None:
    nowhere = f"127.0.0.1:{free_ports(1)}"
    for name, *words in (
        ("topics", "--list"),
        ("consumer-groups", "--list"),
        ("get-offsets",),
        ("configs", "--describe", "--entity-type", "brokers", "--entity-default"),
    ):
        done = tools(name, *words, bootstrap=nowhere)
        assert done.returncode == 1
        assert f"no broker of {nowhere} answered" in done.stderr


# Configuration


def test_topic_settings_are_set_shown_and_deleted(tools: Tools) -> None:
    tools.topic("conf")
    topic = ["--entity-type", "topics", "--entity-name", "conf"]
    done = tools.out(
        "configs", "--alter", *topic,
        "--add-config", "retention.ms=7000,cleanup.policy=[compact,delete]",
    )  # fmt: skip
    assert done == "Completed updating config for topic conf.\n"
    head, *rows = tools.out("configs", "--describe", *topic).splitlines()
    assert head == "Dynamic configs for topic conf are:"
    assert [row.split(" synonyms=")[0] for row in rows] == [
        "  cleanup.policy=compact,delete sensitive=false",
        "  retention.ms=7000 sensitive=false",
    ]
    assert "synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=7000" in rows[1]
    tools.out("configs", "--alter", "--topic", "conf", "--delete-config", "cleanup.policy")
    assert "cleanup.policy" not in tools.out("configs", "--describe", "--topic", "conf")
    every = tools.out("configs", "--describe", "--topic", "conf", "--all")
    assert every.startswith("All configs for topic conf are:\n")
    assert "  segment.bytes=1073741824 sensitive=false" in every


def test_broker_settings_are_set_for_one_and_for_all(tools: Tools) -> None:
    broker = ["--entity-type", "brokers", "--entity-name", "1"]
    everyone = ["--entity-type", "brokers", "--entity-default"]
    done = tools.out("configs", "--alter", *broker, "--add-config", "log.segment.bytes=5000000")
    assert done == "Completed updating config for broker 1.\n"
    done = tools.out("configs", "--alter", *everyone, "--add-config", "log.segment.bytes=6000000")
    assert done == "Completed updating default config for brokers in the cluster.\n"
    head, row = tools.out("configs", "--describe", *broker).splitlines()
    assert head == "Dynamic configs for broker 1 are:"
    assert row.startswith("  log.segment.bytes=5000000 sensitive=false synonyms={DYNAMIC_BROKER")
    assert tools.out("configs", "--describe", *everyone) == (
        "Default configs for brokers in the cluster are:\n  log.segment.bytes=6000000"
        " sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.segment.bytes=6000000}\n"
    )
    tools.out("configs", "--alter", *broker, "--delete-config", "log.segment.bytes")
    every = tools.out("configs", "--describe", *broker, "--all")
    assert "  log.segment.bytes=6000000 sensitive=false" in every
    tools.out("configs", "--alter", *everyone, "--delete-config", "log.segment.bytes")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--alter"], "--entity-type"),
        (["--alter", "--entity-type", "users", "--entity-name", "u"], "not there yet"),
        (["--alter", "--entity-type", "topics", "--entity-default"], "no default entity"),
        (["--alter", "--entity-type", "topics"], "--entity-name"),
        (["--alter", "--topic", "refuse"], "needs --add-config"),
        (["--alter", "--topic", "refuse", "--add-config", "oops"], "key=value"),
        (["--alter", "--topic", "nope", "--add-config", "a=b"], "'nope' does not exist"),
        (["--alter", "--topic", "refuse", "--add-config", "retention.ms=x"], "expected an integer"),
        (["--alter", "--topic", "refuse", "--delete-config", "retention.ms"], "not set"),
        (["--alter", "--broker", "1", "--add-config", "broker.id=2"], "with a restart only"),
        (["--alter", "--broker", "7", "--add-config", "log.retention.ms=2"], "no broker 7"),
        (["--alter", "--broker", "one", "--add-config", "log.retention.ms=2"], "a number"),
        (["--alter", "--broker-defaults", "--add-config", "log.retention.mss=2"], "did you mean"),
        (["--describe", "--topic", "nope"], "'nope' does not exist"),
    ],
)
def test_configs_says_what_is_wrong(tools: Tools, words: list[str], text: str) -> None:
    tools.out("topics", "--create", "--topic", "refuse", "--if-not-exists")
    assert text in tools.refused("configs", *words)


# Records


def test_lines_are_written_and_read_with_keys_and_headers(tools: Tools) -> None:
    topic = tools.topic("lines")
    text = "h1:v1,h2:v2\tk1;one\nNO\tNO;two\n"
    tools.out(
        "console-producer", "--topic", topic, "--property", "parse.key=true",
        "--property", "key.separator=;", "--property", "parse.headers=true",
        "--property", "null.marker=NO", text=text,
    )  # fmt: skip
    rows = tools.consume(
        topic, 2, "--property", "print.key=true", "--property", "print.headers=true",
        "--property", "print.offset=true", "--property", "print.partition=true",
        "--property", "key.separator=|",
    )  # fmt: skip
    assert rows == [
        "Partition:0|Offset:0|h1:v1,h2:v2|k1|one",
        "Partition:0|Offset:1|NO_HEADERS|null|two",
    ]
    (first,) = tools.consume(topic, 1, "--property", "print.timestamp=true")
    assert re.fullmatch(r"CreateTime:\d{13}\tone", first)


def test_a_line_without_its_key_is_named(tools: Tools) -> None:
    topic = tools.topic("keyless")
    words = ["--topic", topic, "--property", "parse.key=true"]
    wrong = tools.refused("console-producer", *words, text="k\tv\nnothing\n")
    assert "no key found on line number 2: 'nothing'" in wrong
    assert tools.consume(topic, 1) == ["v"]
    tools.out("console-producer", *words, "--property", "ignore.error=true", text="nothing\n")
    assert tools.consume(topic, 2) == ["v", "nothing"]


def test_one_partition_from_an_offset(tools: Tools) -> None:
    topic = tools.topic("ranged")
    tools.write(topic, *map(str, range(10)))
    rows = tools.out(
        "console-consumer", "--topic", topic, "--partition", "0", "--offset", "7",
        "--max-messages", "3", "--timeout-ms", "20000",
    )  # fmt: skip
    assert rows.splitlines() == ["7", "8", "9"]


def test_a_consumer_that_waits_in_vain_ends_after_its_time(tools: Tools) -> None:
    topic = tools.topic("silent")
    done = tools("console-consumer", "--topic", topic, "--timeout-ms", "500")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("Processed a total of 0 messages\n")


@pytest.mark.parametrize(
    ("name", "words", "text"),
    [
        ("console-producer", ["--topic", "t", "--property", "parse.keys=true"], "parse.keys"),
        ("console-producer", ["--topic", "t", "--producer-property", "nope=1"], "nope"),
        ("console-producer", ["--topic", "t", "--compression-codec", "rar"], "invalid choice"),
        ("console-consumer", ["--topic", "t", "--property", "print.keys=true"], "print.keys"),
        ("console-consumer", ["--topic", "t", "--partition", "0", "--group", "g"], "exclude"),
        ("console-consumer", ["--topic", "t", "--partition", "0", "--offset", "x"], "--offset"),
    ],
)
def test_console_tools_say_what_is_wrong(
    tools: Tools, name: str, words: list[str], text: str
) -> None:
    assert text in tools.refused(name, *words)


def test_a_record_that_is_too_large_is_an_exit_code(tools: Tools) -> None:
    topic = tools.topic("small", 1, "--config", "max.message.bytes=100")
    wrong = tools.refused("console-producer", "--topic", topic, text="x" * 1000 + "\n")
    assert "a record was not written" in wrong


# Offsets and groups


def test_offsets_at_the_start_the_end_and_a_time(tools: Tools) -> None:
    topic = tools.topic("offsets", 2)
    before = time.time_ns() // 1_000_000
    tools.write(topic, *(f"k\t{n}" for n in range(4)), properties="parse.key=true")
    ends = tools.out("get-offsets", "--topic", topic).splitlines()
    assert sorted(int(line.split(":")[2]) for line in ends) == [0, 4]
    assert (
        tools.out("get-offsets", "--topic", topic, "--time", "-2") == "offsets:0:0\noffsets:1:0\n"
    )
    at = tools.out("get-offsets", "--topic", topic, "--time", str(before)).splitlines()
    assert sorted(line.split(":")[2] for line in at) == ["", "0"]
    one = tools.out("get-offsets", "--topic-partitions", "offsets:1", "--time", "earliest")
    assert one == "offsets:1:0\n"
    assert "no topic-partitions" in tools.refused("get-offsets", "--topic", "nope")
    assert "--time" in tools.refused("get-offsets", "--time", "noon")


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_group_is_listed_described_moved_and_deleted(tools: Tools) -> None:
    topic = tools.topic("grouped")
    tools.write(topic, *map(str, range(5)))
    assert tools.consume(topic, 3, "--group", "readers") == ["0", "1", "2"]
    assert "readers" in tools.out("consumer-groups", "--list").splitlines()
    assert ["readers", "Empty"] in rows(tools.out("consumer-groups", "--list", "--state"))
    done = tools("consumer-groups", "--describe", "--group", "readers")
    assert done.returncode == 0, done.stderr
    assert "has no active members" in done.stderr
    head, row = rows(done.stdout)
    assert head[:6] == ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"]
    at = int(row[3])
    assert row[:3] == ["readers", "grouped", "0"]
    assert row[4:] == ["5", str(5 - at), "-", "-", "-"]

    def reset(*words: str) -> str:
        return tools.out("consumer-groups", "--reset-offsets", "--group", "readers", *words)

    moved = rows(reset("--topic", topic, "--to-offset", "1"))
    assert moved[1] == ["readers", topic, "0", "1"]
    assert rows(tools.out("consumer-groups", "--describe", "--group", "readers"))[1][3] == str(at)
    for words, to in (
        (["--to-offset", "2"], "2"),
        (["--shift-by", "1"], "3"),
        (["--shift-by", "-100"], "0"),
        (["--to-latest"], "5"),
        (["--to-datetime", "2001-01-01T00:00:00.000"], "0"),
        (["--by-duration", "PT0S"], "5"),
        (["--to-earliest"], "0"),
    ):
        assert rows(reset("--topic", f"{topic}:0", "--execute", *words))[1][3] == to
        described = rows(tools.out("consumer-groups", "--describe", "--group", "readers"))
        assert described[1][3] == to
    assert reset("--all-topics", "--to-latest", "--export") == "grouped,0,5\n"
    deleted = tools.out("consumer-groups", "--delete", "--group", "readers")
    assert deleted == "Deletion of requested consumer groups ('readers') was successful.\n"
    assert "readers" not in tools.out("consumer-groups", "--list").splitlines()
    wrong = tools.refused("consumer-groups", "--delete", "--group", "readers")
    assert "could not be deleted" in wrong


def test_live_group_shows_its_members_and_keeps_its_offsets(tools: Tools) -> None:
    topic = tools.topic("live", 2)
    tools.write(topic, "one")
    member = subprocess.Popen(
        [sys.executable, "-m", "ottla.scripts.tools.console_consumer", "--bootstrap-server",
         tools.bootstrap, "--topic", topic, "--group", "alive", "--from-beginning",
         "--timeout-ms", "40000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert member.stdout is not None
        assert member.stdout.readline() == b"one\n"
        found = rows(tools.out("consumer-groups", "--describe", "--group", "alive", "--members"))
        assert (found[1][0], found[1][-1]) == ("alive", "2")
        found = rows(
            tools.out("consumer-groups", "--describe", "--group", "alive", "--members", "--verbose")
        )
        assert found[1][-1] == "live(0,1)"
        state = rows(tools.out("consumer-groups", "--describe", "--group", "alive", "--state"))
        assert state[1][-2:] == ["Stable", "1"]
        wrong = tools.refused(
            "consumer-groups", "--reset-offsets", "--group", "alive", "--topic", topic,
            "--to-earliest", "--execute",
        )  # fmt: skip
        assert "while it has no members" in wrong
    finally:
        end_all([member])
        for pipe in (member.stdout, member.stderr):
            if pipe is not None:
                pipe.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--describe"], "--group or --all-groups"),
        (["--describe", "--group", "nobody"], "'nobody' does not exist"),
        (["--list", "--state", "Lazy"], "no state"),
        (["--reset-offsets", "--group", "g", "--to-latest"], "--topic, --all-topics"),
        (["--reset-offsets", "--group", "g", "--topic", "nope", "--to-latest"], "does not exist"),
        (["--reset-offsets", "--group", "g", "--all-topics"], "needs one of"),
    ],
)
def test_consumer_groups_says_what_is_wrong(tools: Tools, words: list[str], text: str) -> None:
    assert text in tools.refused("consumer-groups", *words)


# The shell


def test_scripts_run_the_tools(tools: Tools) -> None:
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("the scripts' own environment is not there")
    for name in (
        "topics", "configs", "consumer-groups", "get-offsets", "console-producer",
        "console-consumer",
    ):  # fmt: skip
        done = subprocess.run(
            [ROOT / "scripts" / f"{name}.sh", "--help"],
            capture_output=True, text=True, timeout=120, check=False, env=os.environ,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"usage: {name}.sh" in done.stdout
        assert "--bootstrap-server" in done.stdout


def test_output_may_be_cut_off(tools: Tools, tmp_path: Path) -> None:
    topic = tools.topic("piped")
    tools.write(topic, *("x" * 1000 for _ in range(300)))
    command = (
        f"{sys.executable} -m ottla.scripts.tools.console_consumer --bootstrap-server"
        f" {tools.bootstrap} --topic {topic} --from-beginning --timeout-ms 10000"
        f" 2>{tmp_path}/err | head -n 1 >{tmp_path}/out"
    )
    subprocess.run(["bash", "-c", command], timeout=60, check=True)
    assert (tmp_path / "out").read_text() == "x" * 1000 + "\n"
    assert "Traceback" not in (tmp_path / "err").read_text()
