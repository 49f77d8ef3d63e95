"""Coordinators as users start them: from three to five and to other three, under load."""

import base64
import hashlib
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, NoAuthError, SessionExpiredError

from tests.support.processes import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
TICK_MS = 500
WRITERS = 3
PASSWORD = "super:secret"
DIGEST = base64.b64encode(hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).digest()).decode()


class Coordinators:
    """Members 1 to 5; every process is ended by its handle."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.secret = home / "secret"
        self.secret.write_bytes(secrets.token_hex(32).encode())
        self.secret.chmod(0o600)
        base = free_ports(15)
        self.ports = {me: (base + 3 * me - 3, base + 3 * me - 2) for me in range(1, 6)}
        self.clients = {me: base + 3 * me - 1 for me in range(1, 6)}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def server(self, me: int) -> str:
        peer, election = self.ports[me]
        return f"server.{me}={HOST}:{peer}:{election}:participant;{HOST}:{self.clients[me]}"

    def file(self, me: int) -> Path:
        return self.home / f"coordinator-{me}.properties"

    def start(self, me: int, listed: list[int], *more: str) -> None:
        data = self.home / f"data-{me}"
        data.mkdir(exist_ok=True)
        (data / "myid").write_text(str(me))
        settings = [
            f"dataDir={data}",
            f"clientPort={self.clients[me]}",
            f"tickTime={TICK_MS}",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "reconfigEnabled=true",
            f"quorum.auth.secretFile={self.secret}",
            f"DigestAuthenticationProvider.superDigest=super:{DIGEST}",
            *map(self.server, listed),
            *more,
        ]
        self.file(me).write_text("\n".join(settings) + "\n")
        command = [sys.executable, "-m", "ottla.scripts.coordinator", str(self.file(me))]
        with (self.home / f"{me}.log").open("ab") as log:
            self.processes[me] = subprocess.Popen(
                [*command, "--run-dir", str(self.home / f"run-{me}")],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self, me: int, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.processes.pop(me)
        process.send_signal(how)
        process.wait(15)

    @contextmanager
    def client(self, *members: int, auth: bool = False) -> Iterator[KazooClient]:
        hosts = ",".join(f"{HOST}:{self.clients[me]}" for me in members)
        credentials = [("digest", PASSWORD)] if auth else None
        client = KazooClient(hosts=hosts, timeout=8, auth_data=credentials)
        client.start(timeout=30)
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def word(self, me: int, word: str) -> str:
        try:
            with socket.create_connection((HOST, self.clients[me]), timeout=2) as sock:
                sock.sendall(word.encode())
                return b"".join(iter(lambda: sock.recv(65_536), b"")).decode()
        except OSError:
            return ""

    def leader(self) -> int:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for me in self.processes:
                if "Mode: leader" in self.word(me, "srvr"):
                    return me
            time.sleep(0.1)
        raise AssertionError("no leader")


class Writers:
    """Clients that create numbered znodes and remember which were acknowledged."""

    def __init__(self, coordinators: Coordinators) -> None:
        self.acknowledged: list[str] = []
        self._stop = threading.Event()
        self._coordinators = coordinators
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, number: int) -> None:
        count = 0
        with self._coordinators.client(1, 2, 3, 4, 5) as client:
            while not self._stop.is_set():
                path = f"/w{number}-{count}"
                count += 1
                try:
                    client.create(path)
                except (ConnectionLoss, SessionExpiredError):
                    continue
                self.acknowledged.append(path)

    def wait_for(self, more: int) -> None:
        wanted = len(self.acknowledged) + more
        deadline = time.monotonic() + 30
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, "no writes any more"
            time.sleep(0.02)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def coordinators(tmp_path: Path):
    found = Coordinators(tmp_path)
    yield found
    for process in found.processes.values():
        process.kill()
        process.wait()


def change(coordinators: Coordinators, joining: str | None, leaving: str | None) -> str:
    """Ask until it is done: the member that was asked may be the one that leaves."""
    for _ in range(5):
        with coordinators.client(*coordinators.processes, auth=True) as admin:
            try:
                return admin.reconfig(joining, leaving, None)[0].decode()
            except (ConnectionLoss, SessionExpiredError):
                continue
    raise AssertionError("five connections were lost")


def test_three_members_become_five_and_other_three_and_no_write_is_lost(coordinators) -> None:
    for me in (1, 2, 3):
        coordinators.start(me, [1, 2, 3])
    coordinators.leader()
    writers = Writers(coordinators)
    try:
        writers.wait_for(50)
        with coordinators.client(1) as stranger, pytest.raises(NoAuthError):
            stranger.reconfig(joining=None, leaving="3", new_members=None)
        for me in (4, 5):
            coordinators.start(me, [1, 2, 3, 4, 5])
        with coordinators.client(1, 2, 3) as watcher:
            told = threading.Event()
            watcher.get("/zookeeper/config", watch=lambda _event: told.set())
            both = ",".join(map(coordinators.server, (4, 5)))
            grown = change(coordinators, both, None)
            assert told.wait(10)
        assert all(coordinators.server(me) in grown for me in range(1, 6))
        writers.wait_for(50)

        leader = coordinators.leader()
        gone = [leader, next(me for me in (2, 3, 1) if me != leader)]
        shrunk = change(coordinators, None, ",".join(map(str, gone)))
        stay = sorted({1, 2, 3, 4, 5} - set(gone))
        assert shrunk.split("\n")[:-1] == [coordinators.server(me) for me in stay]
        for me in gone:
            coordinators.end(me, signal.SIGKILL)
        writers.wait_for(50)

        # One more dies: two of the three that are left go on, whatever their files say.
        coordinators.end(stay[0], signal.SIGKILL)
        writers.wait_for(50)
        coordinators.start(stay[0], [1, 2, 3, 4, 5])
        coordinators.leader()
    finally:
        writers.end()
    with coordinators.client(*stay) as reader:
        reader.sync("/")
        there = set(reader.get_children("/"))
    assert not [path for path in writers.acknowledged if path[1:] not in there]
    version = shrunk.rpartition("version=")[2]
    written = Path(f"{coordinators.file(stay[1])}.dynamic.{version}").read_text()
    assert written.rstrip("\n") == shrunk


def test_member_reads_its_servers_from_a_dynamic_file(coordinators) -> None:
    coordinators.start(1, [1])
    with coordinators.client(1) as client:
        assert client.get("/zookeeper/config")[0] == b""
    coordinators.end(1)
    dynamic = coordinators.home / "servers.dynamic"
    dynamic.write_text(coordinators.server(1) + "\nversion=0\n")
    coordinators.start(1, [], f"dynamicConfigFile={dynamic}", "standaloneEnabled=false")
    with coordinators.client(1) as client:
        shown = client.get("/zookeeper/config")[0].decode()
    assert shown == coordinators.server(1) + "\nversion=0"


def test_majority_of_a_new_ensemble_serves_after_the_grace_and_the_third_joins(
    coordinators,
) -> None:
    """ZooKeeper's ensembles start with a majority; `docs/decisions/007` says why this waits."""
    listed = [1, 2, 3]
    for me in (1, 2):
        coordinators.start(me, listed, "initLimit=5")
    began = time.monotonic()
    coordinators.leader()
    assert time.monotonic() - began > 5 * TICK_MS / 1000 / 2
    with coordinators.client(1, 2) as client:
        client.create("/first", b"one")
    assert "ensemble.founded_by_majority" in (coordinators.home / "1.log").read_text()
    coordinators.start(3, listed, "initLimit=5")
    with coordinators.client(3) as client:
        client.sync("/")
        assert client.get("/first")[0] == b"one"
    # The third has a vote by now: it and another one are a majority.
    coordinators.end(coordinators.leader(), signal.SIGKILL)
    with coordinators.client(*coordinators.processes) as client:
        client.create("/second", b"two")
