"""Real members on hosts of their own, between which the network is cut or one of which freezes.

Clients of every member write and read one znode all the time; all that they saw has to be
linearizable, and both sides of a cut have to go on once it heals.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    OperationTimeoutError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from tests.simulation.world.linearizability import (
    Call,
    Kind,
    Operation,
    Outcome,
    contradiction,
)
from tests.support.namespaces import Hosts, are_possible, hosts

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(not are_possible(), reason="needs root and `ip netns`"),
]

ROOT = Path(__file__).resolve().parents[2]
CLIENT_PORT, PEER_PORT = 2181, 3888
TICK_MS = 400
MEMBERS = (1, 2, 3)
UNKNOWN = (
    ConnectionLoss, ConnectionClosedError, OperationTimeoutError, SessionExpiredError,
    KazooTimeoutError,
)  # fmt: skip
PATH = "/register"
PAUSE_S = 0.03


class Ensemble:
    """Three members, each on a host of its own."""

    def __init__(self, directory: Path, net: Hosts) -> None:
        self.net = net
        self._directory = directory
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, me: int) -> None:
        wanted = {
            "me": me,
            "peers": dict.fromkeys(MEMBERS, PEER_PORT),
            "hosts": {each: self.net.address(each) for each in MEMBERS},
            "data": str(self._directory / f"member-{me}"),
            "client_port": CLIENT_PORT,
            "tick_time_ms": TICK_MS,
        }
        daemon = [sys.executable, "-m", "tests.integration.coordinator_daemon", json.dumps(wanted)]
        with (self._directory / f"{me}.out").open("ab") as out:
            self._processes[me] = subprocess.Popen(
                self.net.command(me, *daemon), cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
            )

    def signal(self, me: int, number: signal.Signals) -> None:
        self._processes[me].send_signal(number)

    def end(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(10)

    def role(self, me: int) -> str:
        try:
            with socket.create_connection((self.net.address(me), CLIENT_PORT), timeout=1) as sock:
                sock.sendall(b"mntr")
                answer = b""
                while data := sock.recv(65536):
                    answer += data
        except OSError:
            return "down"
        found = [line for line in answer.decode().splitlines() if "server_state" in line]
        return found[0].split("\t")[1] if found else "looking"

    def leader(self, among: tuple[int, ...] = MEMBERS, within_s: float = 20.0) -> int:
        """The leader, once all of `among` serve."""
        deadline = time.monotonic() + within_s
        while True:
            roles = {me: self.role(me) for me in among}
            if sorted(roles.values()) == ["follower"] * (len(among) - 1) + ["leader"]:
                return next(me for me, role in roles.items() if role == "leader")
            assert time.monotonic() < deadline, roles
            time.sleep(0.05)


class Worker(threading.Thread):
    """A client of one member that reads the register after a sync and sets it, in turns."""

    def __init__(self, address: str, name: str) -> None:
        super().__init__(name=name)
        self.calls: list[Call] = []
        self.done = 0
        self.stopping = threading.Event()
        self._address = address
        self._client: KazooClient | None = None

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(PAUSE_S):
            number += 1
            with contextlib.suppress(*UNKNOWN):
                self._turn(self._connected(), b"%s.%d" % (self.name.encode(), number))
                self.done += 1
                continue
            self._forget()
        self._forget()

    def _turn(self, client: KazooClient, data: bytes) -> None:
        call = self._begin(Operation(Kind.READ))
        client.sync(PATH)
        value, stat = client.get(PATH)
        self._end(call, (stat.version, value))
        call = self._begin(Operation(Kind.SET, data, stat.version))
        try:
            self._end(call, client.set(PATH, data, stat.version).version)
        except BadVersionError:
            self._end(call, Outcome.BAD_VERSION)

    def _begin(self, operation: Operation) -> Call:
        call = Call(self.name, operation, time.monotonic())
        self.calls.append(call)
        return call

    def _end(self, call: Call, result: object) -> None:
        call.result = result
        call.returned = time.monotonic()

    def _connected(self) -> KazooClient:
        if self._client is None:
            self._client = KazooClient(f"{self._address}:{CLIENT_PORT}", timeout=4)
            self._client.start(timeout=2)
        return self._client

    def _forget(self) -> None:
        if self._client is not None:
            self._client.stop()
            self._client.close()
            self._client = None


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with hosts(len(MEMBERS)) as net:
        made = Ensemble(tmp_path_factory.mktemp("partitioned"), net)
        try:
            for me in MEMBERS:
                made.start(me)
            made.leader()
            yield made
        finally:
            made.end()


@pytest.fixture
def workers(ensemble: Ensemble) -> Iterator[dict[int, Worker]]:
    """One per member, over a register that is there anew."""
    ensemble.leader()
    client = KazooClient(f"{ensemble.net.address(1)}:{CLIENT_PORT}", timeout=10)
    client.start(timeout=10)
    if client.exists(PATH):
        client.delete(PATH)
    client.create(PATH, b"first")
    client.stop()
    client.close()
    made = {me: Worker(ensemble.net.address(me), f"of {me}") for me in MEMBERS}
    for worker in made.values():
        worker.start()
    yield made
    for worker in made.values():
        worker.stopping.set()
    for worker in made.values():
        worker.join(30)


def both_ways(net: Hosts, one: int, other: int) -> None:
    net.cut(one, other)
    net.cut(other, one)


def isolated_leader(ensemble: Ensemble, leader: int) -> None:
    for other in MEMBERS:
        if other != leader:
            both_ways(ensemble.net, leader, other)


def mute_leader(ensemble: Ensemble, leader: int) -> None:
    for other in MEMBERS:
        if other != leader:
            ensemble.net.cut(leader, other)


def deaf_leader(ensemble: Ensemble, leader: int) -> None:
    for other in MEMBERS:
        if other != leader:
            ensemble.net.cut(other, leader)


def frozen_leader(ensemble: Ensemble, leader: int) -> None:
    ensemble.signal(leader, signal.SIGSTOP)


def lost_follower(ensemble: Ensemble, leader: int) -> None:
    """The leader keeps its majority and must not be disturbed afterwards."""
    follower = leader % 3 + 1
    for other in MEMBERS:
        if other != follower:
            both_ways(ensemble.net, follower, other)


def wait_more(workers: dict[int, Worker], members: tuple[int, ...], more: int) -> None:
    before = {me: workers[me].done for me in members}
    deadline = time.monotonic() + 20
    while any(workers[me].done < before[me] + more for me in members):
        assert time.monotonic() < deadline, {me: workers[me].done for me in members}
        time.sleep(0.05)


def check(workers: dict[int, Worker]) -> None:
    for worker in workers.values():
        worker.stopping.set()
    for worker in workers.values():
        worker.join(30)
    calls = [call for worker in workers.values() for call in worker.calls]
    assert len(calls) > 100
    found = contradiction(calls, initial=(0, b"first"))
    assert found is None, found


@pytest.mark.parametrize(
    "harm", [isolated_leader, mute_leader, deaf_leader, frozen_leader], ids=lambda one: one.__name__
)
def test_the_others_go_on_without_their_leader(
    ensemble: Ensemble, workers: dict[int, Worker], harm: Callable[[Ensemble, int], None]
) -> None:
    wait_more(workers, MEMBERS, 10)
    leader = ensemble.leader()
    others = tuple(me for me in MEMBERS if me != leader)
    harm(ensemble, leader)
    try:
        assert ensemble.leader(others) != leader
        wait_more(workers, others, 20)
        if harm is not frozen_leader:
            assert ensemble.role(leader) == "looking"
            stuck = workers[leader].done
            wait_more(workers, others, 10)
            assert workers[leader].done == stuck
    finally:
        ensemble.net.heal()
        ensemble.signal(leader, signal.SIGCONT)
    ensemble.leader()
    wait_more(workers, MEMBERS, 10)
    check(workers)


def test_a_follower_that_comes_back_does_not_unseat_the_leader(
    ensemble: Ensemble, workers: dict[int, Worker]
) -> None:
    wait_more(workers, MEMBERS, 10)
    leader = ensemble.leader()
    lost_follower(ensemble, leader)
    try:
        others = tuple(me for me in MEMBERS if me != leader % 3 + 1)
        deadline = time.monotonic() + 10
        while ensemble.role(leader % 3 + 1) != "looking":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        wait_more(workers, others, 30)
    finally:
        ensemble.net.heal()
    assert ensemble.leader() == leader
    wait_more(workers, MEMBERS, 10)
    check(workers)
