"""Real daemons on loopback, started by the commands that a user types, and surely ended.

`LocalCluster` is what `scripts/cluster-start.sh` makes, on free ports and in a directory of its
own; single daemons of it can be killed and started again. Every wait has a bound.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ottla.scripts import local_members, run_files
from ottla.scripts.cluster_layout import HOST, Layout, members

ROOT = Path(__file__).parents[2]
# Below the ports that the system hands out to clients, so that none of those is in the way.
_PORTS = range(20_000, 31_000)


def free_ports(count: int, *offsets: int) -> int:
    """The first of `count` free ports in a row; each also free at every offset above it."""
    choose = random.Random(os.getpid() ^ time.monotonic_ns())
    for _ in range(200):
        base = choose.randrange(_PORTS.start, _PORTS.stop - count)
        wanted = [base + offset + n for offset in (0, *offsets) for n in range(count)]
        if all(_is_free(port) for port in wanted):
            return base
    raise AssertionError("no free ports were found")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
        return True


def run_script(
    *words: str, timeout_s: float = 60.0, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an entry module (`server FILE ...`) to its end."""
    module, *rest = words
    return subprocess.run(
        [sys.executable, "-m", f"ottla.scripts.{module}", *rest],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | (env or {}),
        check=False,
    )


class LocalCluster:
    """A whole cluster of real processes."""

    def __init__(self, home: Path, layout: Layout) -> None:
        self.home = home
        self.layout = layout
        self.bootstrap = layout.bootstrap
        self.connect = layout.connect

    def start(self, wait_s: float = 60.0) -> str:
        """cluster-start; what it printed. AssertionError with its message when it failed."""
        layout = self.layout
        done = run_script(
            "cluster", "start", "--data", str(self.home),
            "--brokers", str(layout.brokers), "--coordinators", str(layout.coordinators),
            "--base-port", str(layout.base_port),
            "--coordinator-base-port", str(layout.coordinator_base_port),
            "--wait", str(wait_s), timeout_s=wait_s + 30,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def stop(self, *, wait_s: float = 60.0) -> None:
        """cluster-stop, which has to be clean."""
        done = run_script("cluster", "stop", "--data", str(self.home), timeout_s=2 * wait_s + 10)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()

    def pid(self, kind: str, id_: int) -> int:
        found = run_files.find([self.home / "run"], kind, id_)
        assert len(found) == 1, f"{kind} {id_} does not run\n{self.logs()}"
        return found[0].pid

    def kill(self, kind: str, id_: int) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(kind, id_, signal.SIGKILL, wait_s=10)

    def terminate(self, kind: str, id_: int, *, wait_s: float = 30.0) -> None:
        """A clean stop."""
        self.signal(kind, id_, signal.SIGTERM, wait_s=wait_s)

    def signal(self, kind: str, id_: int, number: signal.Signals, *, wait_s: float) -> None:
        found = run_files.find([self.home / "run"], kind, id_)
        assert found, f"{kind} {id_} does not run\n{self.logs()}"
        os.kill(found[0].pid, number)
        assert not run_files.wait_ended(found, wait_s), f"{kind} {id_} goes on\n{self.logs()}"

    def start_member(self, kind: str, id_: int, *, wait_s: float = 30.0) -> None:
        """Start one daemon again and wait until it is up."""
        (member,) = (m for m in members(self.home, self.layout) if (m.kind, m.id) == (kind, id_))
        local_members.start(member, wait_s)

    def logs(self) -> str:
        """The end of every log, for the message of a failed assertion."""
        parts = []
        for path in sorted((self.home / "logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-25:]
            parts.append(f"--- {path.name}\n" + "\n".join(lines))
        return "\n".join(parts)

    def destroy(self) -> None:
        """Kill whatever still runs; for the end of a test, whatever happened."""
        for kind in local_members.MODULES:
            found = run_files.find([self.home / "run"], kind)
            for daemon in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(daemon.pid, signal.SIGKILL)
            run_files.wait_ended(found, 10)


@contextlib.contextmanager
def local_cluster(home: Path, *, brokers: int = 3, coordinators: int = 3) -> Iterator[LocalCluster]:
    """A started cluster, ended by force at the end if the test has not stopped it."""
    cluster = LocalCluster(home, free_layout(brokers, coordinators))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()


def free_layout(brokers: int = 3, coordinators: int = 3) -> Layout:
    return Layout(
        brokers=brokers,
        coordinators=coordinators,
        base_port=free_ports(brokers),
        coordinator_base_port=free_ports(coordinators, 1000),
    )


def wait_for_output(path: Path, text: str, timeout_s: float = 10.0) -> None:
    """Wait until a log has a text."""
    deadline = time.monotonic() + timeout_s
    while text not in (path.read_text(errors="replace") if path.exists() else ""):
        assert time.monotonic() < deadline, f"no {text!r} in {path}:\n{path.read_text()}"
        time.sleep(0.02)


def end_all(processes: Sequence["subprocess.Popen[bytes] | subprocess.Popen[str]"]) -> None:
    """Kill processes a test started, by id, and reap them."""
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait(10)


__all__ = [
    "ROOT",
    "LocalCluster",
    "end_all",
    "free_layout",
    "free_ports",
    "local_cluster",
    "run_script",
    "wait_for_output",
]
