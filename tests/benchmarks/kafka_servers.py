"""The two servers that are compared: Ottla and Apache Kafka 3.9, as processes of this program's.

Both get the same settings: the defaults of Kafka's property file; its JVM has the options of its
start script, `-Xmx1G -Xms1G` among them. Kafka runs in KRaft mode: that is what its users run
today, it starts sooner than with ZooKeeper, and its first node is broker and controller in one
process, as our single broker embeds its coordinator. Of three brokers, Kafka's first is also the
controller; ours have a coordinator process beside them, whose CPU time and memory are counted.
There is no logging library among Kafka's jars, so it logs nothing, which costs it nothing.
"""

import contextlib
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ottla.scripts.cluster_layout import HOST
from tests.benchmarks.kafka_clients import Target
from tests.benchmarks.machine import resident_mb
from tests.support.processes import ROOT, end_all, free_ports

START_S_MAX = 60.0
_JVM = [
    "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15", "-Djava.awt.headless=true",
]  # fmt: skip
_CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
_COMMON = {
    "num.partitions": "1",
    "offsets.topic.num.partitions": "5",
    "log.retention.hours": "168",
    "log.segment.bytes": "1073741824",
    "log.retention.check.interval.ms": "300000",
    "group.initial.rebalance.delay.ms": "0",
}


class Server(ABC):
    """One or more broker processes of one kind; `start` and `end` as often as wanted."""

    name = ""
    compiles = False
    """Whether it gets faster while it runs."""

    def __init__(self, home: Path, brokers: int) -> None:
        self.home = home
        self.brokers = brokers
        self.base_port = free_ports(brokers)
        self.bootstrap = ",".join(f"{HOST}:{self.base_port + n}" for n in range(brokers))
        self._processes: list[subprocess.Popen[bytes]] = []
        home.mkdir(parents=True)

    @property
    def address(self) -> tuple[str, int]:
        """Of broker 1."""
        return HOST, self.base_port

    def target(self, topic: str, partitions: int) -> Target:
        return Target(self.bootstrap, self.address, self.pids, topic, partitions, self.brokers)

    def data(self, broker: int) -> Path:
        return self.home / f"data-{broker}"

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """One for each process, in the order in which they are started."""

    def start(self) -> None:
        """Start all processes; they may not be up yet."""
        assert not self._processes
        with (self.home / "output.log").open("ab") as log:
            for command in self.commands():
                self._processes.append(
                    subprocess.Popen(
                        command,
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )

    def check(self) -> None:
        """AssertionError with what they printed when one has ended."""
        if any(process.poll() is not None for process in self._processes):
            text = (self.home / "output.log").read_text(errors="replace")
            raise AssertionError(f"{self.name} has ended:\n{text[-3000:]}")

    def kill(self) -> None:
        """kill -9 for each, and wait until they are gone."""
        end_all(self._processes)
        self._processes = []

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    @property
    def resident_mb(self) -> float:
        return sum(map(resident_mb, self.pids))


class Ottla(Server):
    name = "Ottla"

    def __init__(self, home: Path, brokers: int) -> None:
        super().__init__(home, brokers)
        self._coordinator_port = free_ports(1)
        connect = "embedded" if brokers == 1 else f"{HOST}:{self._coordinator_port}"
        for n in range(1, brokers + 1):
            _write(home / f"broker-{n}.properties", _COMMON | {
                "broker.id": str(n),
                "listeners": f"PLAINTEXT://{HOST}:{self.base_port + n - 1}",
                "log.dirs": str(self.data(n)),
                "zookeeper.connect": connect,
                "offsets.topic.replication.factor": str(brokers),
            } | ({"embedded.coordinator.client.port": str(self._coordinator_port)}
                 if brokers == 1 else {}))  # fmt: skip
        if brokers > 1:
            _write(home / "coordinator.properties", {
                "dataDir": str(home / "coordinator"),
                "clientPort": str(self._coordinator_port),
                "clientPortAddress": HOST,
                "admin.enableServer": "false",
            })  # fmt: skip

    def commands(self) -> list[list[str]]:
        run = [sys.executable, "-m"]
        commands = [
            [*run, "ottla.scripts.server", str(self.home / f"broker-{n}.properties")]
            for n in range(1, self.brokers + 1)
        ]
        if self.brokers > 1:
            config = str(self.home / "coordinator.properties")
            commands.insert(0, [*run, "ottla.scripts.coordinator", config])
        return commands


class Kafka(Server):
    name = "Kafka"
    compiles = True

    def __init__(self, home: Path, brokers: int, libs: Path) -> None:
        super().__init__(home, brokers)
        self._classpath = f"{libs}/*"
        voter = f"{HOST}:{free_ports(1)}"
        for n in range(1, brokers + 1):
            controls = n == 1
            listener = f"PLAINTEXT://{HOST}:{self.base_port + n - 1}"
            config = home / f"broker-{n}.properties"
            _write(config, _COMMON | {
                "node.id": str(n),
                "process.roles": "broker,controller" if controls else "broker",
                "controller.quorum.voters": f"1@{voter}",
                "controller.listener.names": "CONTROLLER",
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
                "listeners": f"{listener},CONTROLLER://{voter}" if controls else listener,
                "advertised.listeners": listener,
                "inter.broker.listener.name": "PLAINTEXT",
                "log.dirs": str(self.data(n)),
                "num.network.threads": "3",
                "num.io.threads": "8",
                "socket.send.buffer.bytes": "102400",
                "socket.receive.buffer.bytes": "102400",
                "offsets.topic.replication.factor": str(brokers),
                "transaction.state.log.replication.factor": str(brokers),
                "transaction.state.log.min.isr": "1",
            })  # fmt: skip
            subprocess.run(
                ["java", "-Xmx256M", "-cp", self._classpath, "kafka.tools.StorageTool", "format",
                 "-t", _CLUSTER_ID, "-c", str(config)],
                check=True, capture_output=True, timeout=START_S_MAX,
            )  # fmt: skip

    def commands(self) -> list[list[str]]:
        return [
            ["java", *_JVM, f"-Xlog:gc*:file={self.home}/gc-{n}.log:time,tags",
             "-cp", self._classpath, "kafka.Kafka", str(self.home / f"broker-{n}.properties")]
            for n in range(1, self.brokers + 1)
        ]  # fmt: skip


def _write(path: Path, values: dict[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()), encoding="utf-8")


def wait_up(server: Server) -> None:
    """Wait until every broker is there."""
    deadline = time.monotonic() + START_S_MAX
    admin = AdminClient({"bootstrap.servers": server.bootstrap, "log_level": 0})
    while True:
        server.check()
        with contextlib.suppress(KafkaException):
            if len(admin.list_topics(timeout=1).brokers) == server.brokers:
                return
        assert time.monotonic() < deadline, f"{server.name} is not up"
        time.sleep(0.05)


@contextlib.contextmanager
def both(home: Path, brokers: int, libs: Path) -> Iterator[list[Server]]:
    """Ottla and Kafka, up, with `brokers` brokers each; killed and removed at the end."""
    servers: list[Server] = []
    try:
        servers.append(Ottla(home / "ottla", brokers))
        servers.append(Kafka(home / "kafka", brokers, libs))
        for server in servers:
            server.start()
        for server in servers:
            wait_up(server)
        yield servers
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(home)


__all__ = [
    "Kafka",
    "Ottla",
    "Server",
    "both",
    "wait_up",
]
