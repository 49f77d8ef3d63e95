"""The commands that a user types, with real processes: start, stop, resume, and clear refusals."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ottla.scripts import run_files
from ottla.scripts.first_write import wait_first_write
from tests.support.processes import (
    LocalCluster,
    end_all,
    free_layout,
    free_ports,
    run_script,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]

_COMMAND = [sys.executable, "-m", "ottla.scripts.server"]


class Server:
    """One broker with its own coordinator, in the foreground."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_ports(2)
        self.log = home / "output.log"
        self.properties = home / "server.properties"
        self.properties.write_text(
            f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{self.port}\nlog.dirs={home}/logs\n"
            f"zookeeper.connect=embedded\nembedded.coordinator.client.port={self.port + 1}\n"
        )
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                [*_COMMAND, str(self.properties), "--run-dir", str(self.home / "run"), *words],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def wait_up(self) -> None:
        wait_first_write([("127.0.0.1", self.port)], 1, time.monotonic() + 20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    try:
        yield made
    finally:
        end_all(made.processes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_lone_server_takes_writes_and_stops_cleanly(server: Server, number: signal.Signals) -> None:
    process = server.start()
    server.wait_up()
    assert [one.pid for one in run_files.find([server.home / "run"], "broker", 1)] == [process.pid]
    process.send_signal(number)
    assert process.wait(20) == 0, server.log.read_text()
    assert "Traceback" not in server.log.read_text()
    assert list((server.home / "run").iterdir()) == []
    assert not (server.home / "logs" / ".ensemble-session").exists()


def test_killed_server_starts_again_over_its_data(server: Server) -> None:
    process = server.start()
    server.wait_up()
    process.kill()
    process.wait(10)
    assert (server.home / "logs" / ".ensemble-session").exists()
    server.start()
    server.wait_up()
    assert "ensemble.previous_session_ended" in server.log.read_text()


def test_second_signal_ends_at_once(server: Server) -> None:
    process = server.start()
    server.wait_up()
    os.kill(process.pid, signal.SIGSTOP)  # so that both signals are there when it goes on
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(10) == 1


def test_signal_during_the_start_is_heeded(server: Server) -> None:
    nobody = free_ports(1)
    process = server.start("--override", f"zookeeper.connect=127.0.0.1:{nobody}")
    time.sleep(1.0)  # it cannot say that it waits for an ensemble that is not there
    assert process.poll() is None, server.log.read_text()
    process.terminate()
    assert process.wait(10) == 0, server.log.read_text()


def test_taken_port_is_one_line_with_key_and_address(server: Server) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", server.port))
        sock.listen()
        process = server.start()
        assert process.wait(20) == 1
    text = server.log.read_text()
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if "cannot start" in line]
    assert f"127.0.0.1:{server.port}" in line
    assert f"pid {os.getpid()}" in line
    assert "listeners (" in line


def test_second_server_over_the_same_data_is_refused(server: Server) -> None:
    server.start()
    server.wait_up()
    ports = free_ports(2)
    done = run_script(
        "server", str(server.properties),
        "--override", f"listeners=PLAINTEXT://127.0.0.1:{ports}",
        "--override", f"embedded.coordinator.client.port={ports + 1}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot start" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_daemon_returns_once_it_is_up_and_is_stopped_by_its_id(server: Server) -> None:
    log = server.home / "daemon.log"
    run_dir = str(server.home / "run")
    done = run_script(
        "server", "-daemon", str(server.properties), "--run-dir", run_dir, "--log-file", str(log)
    )
    assert done.returncode == 0, done.stderr + log.read_text()
    (running,) = run_files.find([server.home / "run"], "broker", 1)
    assert done.stdout == f"broker 1 runs, pid {running.pid}; it writes to {log}\n"
    server.wait_up()
    done = run_script("stop", "broker", "--run-dir", run_dir, "--broker-id", "1")
    assert (done.returncode, done.stdout) == (0, f"broker 1 (pid {running.pid}) stopped\n")


def test_daemon_that_cannot_start_says_why(server: Server) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", server.port))
        sock.listen()
        done = run_script(
            "server", "-daemon", str(server.properties),
            "--log-file", str(server.home / "daemon.log"),
        )  # fmt: skip
    assert done.returncode == 1
    assert "cannot start" in done.stderr


def test_coordinator_alone(tmp_path: Path) -> None:
    port = free_ports(1)
    properties = tmp_path / "coordinator.properties"
    properties.write_text(f"dataDir={tmp_path}/data\nclientPort={port}\n")
    log = tmp_path / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ottla.scripts.coordinator", str(properties),
             "--run-dir", str(tmp_path / "run")],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while run_script("health", "--coordinator", str(port)).returncode != 0:
            assert time.monotonic() < deadline, log.read_text()
        process.terminate()
        assert process.wait(10) == 0, log.read_text()
    finally:
        end_all([process])


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    made = LocalCluster(tmp_path_factory.mktemp("local"), free_layout())
    try:
        made.start()
        yield made
    finally:
        made.destroy()


def test_cluster_start_tells_what_to_know(local: LocalCluster) -> None:
    local.stop()
    told = local.start()
    for text in (local.bootstrap, local.connect, str(local.home), "logs", "run", "Next:"):
        assert text in told
    assert len(run_files.find([local.home / "run"], "broker")) == 3
    assert len(run_files.find([local.home / "run"], "coordinator")) == 3


def test_running_cluster_is_not_started_again(local: LocalCluster) -> None:
    done = run_script("cluster", "start", "--data", str(local.home))
    assert done.returncode == 1
    assert "is running" in done.stderr
    assert "cluster-stop" in done.stderr


def test_ports_of_another_cluster_are_named(local: LocalCluster, tmp_path: Path) -> None:
    done = run_script(
        "cluster", "start", "--data", str(tmp_path / "other"),
        "--base-port", str(local.layout.base_port),
        "--coordinator-base-port", str(free_ports(3, 1000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert f"port {local.layout.base_port} is taken by" in done.stderr
    assert "--base-port" in done.stderr
    assert not (tmp_path / "other").exists()


def test_cluster_keeps_its_layout(local: LocalCluster) -> None:
    local.stop()
    done = run_script("cluster", "start", "--data", str(local.home), "--coordinators", "1")
    assert done.returncode == 1
    assert "was made with 3" in done.stderr
    done = run_script("cluster", "start", "--data", str(local.home), "--wait", "60", timeout_s=90)
    assert done.returncode == 0, done.stderr + local.logs()


def test_broker_killed_is_stopped_and_started_alone(local: LocalCluster) -> None:
    local.kill("broker", 2)
    local.start_member("broker", 2)
    local.terminate("broker", 2)
    local.start_member("broker", 2)
    ports = [("127.0.0.1", local.layout.base_port + n) for n in range(3)]
    wait_first_write(ports, 3, time.monotonic() + 30)


def test_wipe_removes_the_data(local: LocalCluster) -> None:
    done = run_script("cluster", "stop", "--data", str(local.home), "--wipe", timeout_s=130)
    assert done.returncode == 0, done.stderr + local.logs()
    assert not local.home.exists()
