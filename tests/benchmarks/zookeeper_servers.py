"""Apache ZooKeeper and Ottla as ensembles of processes on loopback, started alike and surely ended.

Apache's jars come from the directory that OTTLA_ZOOKEEPER_LIBS names, or from Maven Central by way
of `mvn dependency:copy-dependencies` in a scratch directory. Both servers have the same tickTime,
sync every write, and are allowed any number of clients. Apache's logs nothing (there is no logging
backend on its class path), and its heap is that of its own start script, 1000 MB at the most.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.machine import cpu_seconds, progress, resident_mb
from tests.benchmarks.zookeeper_wire import HOST, ask, wait_for_client
from tests.support.processes import ROOT, end_all, free_ports

VERSION = "3.9.3"
LIBRARIES = "OTTLA_ZOOKEEPER_LIBS"
OTTLA, ZOOKEEPER = "Ottla", "ZooKeeper"
_HEAP_MB = 1000
_START_S = 60.0
# What Apache's server needs beside its own dependencies, in the versions of its release.
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ottla.benchmarks</groupId><artifactId>peer</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId>
      <version>{VERSION}</version>
      <exclusions><exclusion><groupId>ch.qos.logback</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>
    <dependency>
      <groupId>io.dropwizard.metrics</groupId><artifactId>metrics-core</artifactId>
      <version>4.1.12.1</version>
    </dependency>
    <dependency>
      <groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId>
      <version>1.1.10.5</version>
    </dependency>
  </dependencies>
</project>
"""


class NoPeer(Exception):
    """Apache ZooKeeper cannot be had here; the message says what is missing."""


def libraries(scratch: Path) -> Path:
    """The directory with Apache ZooKeeper's jars. NoPeer."""
    if shutil.which("java") is None:
        raise NoPeer("there is no `java` on the PATH; Apache ZooKeeper needs a JVM")
    given = os.environ.get(LIBRARIES)
    if given is not None:
        if not any(Path(given).glob("zookeeper-[0-9]*.jar")):
            raise NoPeer(f"{LIBRARIES}={given} holds no zookeeper-*.jar")
        return Path(given)
    if shutil.which("mvn") is None:
        raise NoPeer(f"there is no `mvn` on the PATH, and {LIBRARIES} names no directory of jars")
    progress(f"fetching Apache ZooKeeper {VERSION} from Maven Central ...")
    (scratch / "pom.xml").write_text(_POM, encoding="utf-8")
    target = scratch / "lib"
    done = subprocess.run(
        ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={target}"],
        cwd=scratch, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NoPeer(
            f"mvn could not fetch Apache ZooKeeper:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return target


class Ensemble:
    """Members of one kind. `libs` is Apache's class path, unused for Ottla."""

    def __init__(
        self, kind: str, size: int, home: Path, libs: Path, *, tick_ms: int = 2000
    ) -> None:
        self.kind = kind
        self.size = size
        self._home = home
        self._libs = libs
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        base = free_ports(3 * size)
        self.ports = [base + index for index in range(size)]
        lines = [
            f"tickTime={tick_ms}", "initLimit=10", "syncLimit=5", "maxClientCnxns=0",
            "4lw.commands.whitelist=*", "admin.enableServer=false", "forceSync=yes",
        ]  # fmt: skip
        if size > 1:
            lines += [
                f"server.{index + 1}={HOST}:{base + size + index}:{base + 2 * size + index}"
                for index in range(size)
            ]
        for index, port in enumerate(self.ports):
            data = self._data(index)
            data.mkdir(parents=True)
            (data / "myid").write_text(f"{index + 1}\n")
            own = [*lines, f"dataDir={data}", f"clientPort={port}", f"clientPortAddress={HOST}"]
            self._config(index).write_text("\n".join(own) + "\n")

    def _data(self, index: int) -> Path:
        return self._home / f"member-{index + 1}"

    def _config(self, index: int) -> Path:
        return self._home / f"member-{index + 1}.cfg"

    def start(self) -> float:
        """Start all members; seconds until the first client had a session from one of them."""
        began = time.monotonic()
        for index in range(self.size):
            self.start_member(index)
        wait_for_client(self.ports[-1], began + _START_S).close()
        took = time.monotonic() - began
        for port in self.ports:
            wait_for_client(port, began + _START_S).close()
        return took

    def start_member(self, index: int) -> None:
        config = str(self._config(index))
        if self.kind == OTTLA:
            command = [sys.executable, "-m", "ottla.scripts.coordinator", config]
        else:
            command = [
                "java", f"-Xmx{_HEAP_MB}m", "-Djava.awt.headless=true", "-cp", f"{self._libs}/*",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", config,
            ]  # fmt: skip
        log = self._home / f"member-{index + 1}.log"
        with log.open("ab") as output:
            self._processes[index] = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def pids(self) -> Sequence[int]:
        return [process.pid for process in self._processes.values() if process.poll() is None]

    def cpu_s(self) -> float:
        """CPU time of all members so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)

    def resident_mb(self) -> list[float]:
        return [resident_mb(pid) for pid in self.pids]

    def leader(self) -> int:
        """The index of the member that leads."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            for index, port in enumerate(self.ports):
                if index in self._processes and any(
                    f"Mode: {mode}" in ask(port, "srvr") for mode in ("leader", "standalone")
                ):
                    return index
            time.sleep(0.05)
        raise TimeoutError(f"{self.kind}: nobody leads\n{self.logs()}")

    def kill(self, index: int) -> None:
        """kill -9, and wait until it is gone."""
        process = self._processes.pop(index)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        """Ask all members to end, and see that they do."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.1))
        end_all(list(self._processes.values()))
        self._processes.clear()

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}"
            for path in sorted(self._home.glob("*.log"))
        )


__all__ = ["LIBRARIES", "OTTLA", "VERSION", "ZOOKEEPER", "Ensemble", "NoPeer", "libraries"]
