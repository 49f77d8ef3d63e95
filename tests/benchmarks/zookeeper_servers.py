"""Apache ZooKeeper and Ottla as ensembles of processes on loopback, started alike and surely ended.

Both have the same tickTime, sync every write, and are allowed any number of clients. Apache's logs
nothing (its class path is without its logging backend), and its heap is that of its own start
script, 1000 MB at the most.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.machine import cpu_seconds, resident_mb
from tests.benchmarks.zookeeper_wire import HOST, ask, wait_for_client
from tests.support.processes import ROOT, end_all, free_ports

OTTLA, ZOOKEEPER = "Ottla", "ZooKeeper"
_HEAP_MB = 1000
_START_S = 60.0


class Ensemble:
    """Members of one kind. `libs` is the directory of Apache's jars, unused for Ottla."""

    def __init__(
        self, kind: str, size: int, home: Path, libs: Path, *, tick_ms: int = 2000
    ) -> None:
        self.kind = kind
        self.size = size
        self._home = home
        self._libs = libs
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._lines: dict[int, list[str]] = {}
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
            self._lines[index] = own
        self.configure()

    def configure(self, *more: str) -> None:
        """The files that the next start of a member reads; `more` is lines for all."""
        for index, own in self._lines.items():
            self._config(index).write_text("\n".join([*own, *more]) + "\n")

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
                "java", f"-Xmx{_HEAP_MB}m", "-Djava.awt.headless=true", "-cp", self._class_path(),
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", config,
            ]  # fmt: skip
        log = self._home / f"member-{index + 1}.log"
        with log.open("ab") as output:
            self._processes[index] = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def _class_path(self) -> str:
        jars = sorted(self._libs.glob("*.jar"))
        return ":".join(str(jar) for jar in jars if not jar.name.startswith("logback-"))

    @property
    def pids(self) -> Sequence[int]:
        return [process.pid for process in self._processes.values() if process.poll() is None]

    def cpu_s(self) -> float:
        """CPU time of all members so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)

    def resident_mb(self) -> list[float]:
        return [resident_mb(pid) for pid in self.pids]

    def takes_snapshot(self) -> bool:
        """Whether one of Ottla's members is writing its state down."""
        return any(
            name.name.endswith(".tmp")
            for index in range(self.size)
            for name in (self._data(index) / "version-2").iterdir()
        )

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

    def end(self, index: int) -> None:
        """SIGTERM, without waiting for what comes of it."""
        self._processes[index].send_signal(signal.SIGTERM)

    def freeze(self, index: int) -> None:
        """SIGSTOP: the process is there, and does nothing."""
        self._processes[index].send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Ask all members to end, and see that they do."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # in case it is frozen
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


__all__ = ["OTTLA", "ZOOKEEPER", "Ensemble"]
