"""Three coordinator daemons in processes of their own, used by kazoo as any application would."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError, SessionExpiredError
from kazoo.recipe.election import Election
from kazoo.recipe.lock import Lock
from kazoo.recipe.party import Party

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Daemons:
    """Members 1..3; every start and stop is bounded in time, every process ended by its handle."""

    def __init__(self, directory, size=3):
        ports = free_ports(2 * size)
        self.directory = directory
        self.peers = {me: ports[me - 1] for me in range(1, size + 1)} if size > 1 else {}
        self.client_ports = {me: ports[size + me - 1] for me in range(1, size + 1)}
        self.processes: dict[int, subprocess.Popen] = {}

    @property
    def hosts(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.client_ports.values())

    def start(self, me):
        wanted = {
            "me": me,
            "peers": self.peers,
            "data": str(self.directory / f"member-{me}"),
            "client_port": self.client_ports[me],
        }
        with (self.directory / f"{me}.out").open("ab") as out:
            self.processes[me] = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.coordinator_daemon", json.dumps(wanted)],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def word(self, me, word):
        with socket.create_connection(("127.0.0.1", self.client_ports[me]), timeout=2) as sock:
            sock.sendall(word.encode())
            answer = b""
            while data := sock.recv(65536):
                answer += data
            return answer.decode()

    def role(self, me):
        try:
            figures = self.word(me, "mntr")
        except OSError:
            return "down"
        found = [line.split("\t")[1] for line in figures.splitlines() if "server_state" in line]
        return found[0] if found else "looking"

    def wait_leader(self, within_s=10.0):
        """The leader, once all running members serve."""
        deadline = time.monotonic() + within_s
        while True:
            roles = {me: self.role(me) for me in self.processes}
            leaders = [me for me, role in roles.items() if role in ("leader", "standalone")]
            if len(leaders) == 1 and set(roles.values()) <= {"leader", "follower", "standalone"}:
                return leaders[0]
            assert time.monotonic() < deadline, roles
            time.sleep(0.02)

    def kill(self, me):
        process = self.processes.pop(me)
        process.kill()
        process.wait(5)

    def stop(self, me):
        process = self.processes.pop(me)
        process.send_signal(signal.SIGTERM)
        return process.wait(5)

    def end(self):
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(5)


@pytest.fixture
def daemons(tmp_path):
    made = Daemons(tmp_path)
    for me in made.client_ports:
        made.start(me)
    made.wait_leader()
    yield made
    made.end()


@pytest.fixture
def connect(daemons):
    clients = []

    def make(hosts=None, **options):
        client = KazooClient(hosts or daemons.hosts, timeout=10, **options)
        client.start(timeout=10)
        clients.append(client)
        return client

    yield make
    for client in clients:
        with contextlib.suppress(KazooException):
            client.stop()
        client.close()


def retried(action, within_s=12.0):
    """Do it again while the connection is lost, as an application does; how long it took."""
    began = time.monotonic()
    while True:
        try:
            action()
        except SessionExpiredError:
            raise
        except (KazooException, OSError):
            assert time.monotonic() - began < within_s
            time.sleep(0.01)
        else:
            return time.monotonic() - began


def test_session_ephemerals_and_watches_survive_the_kill_of_the_leader(daemons, connect):
    leader = daemons.wait_leader()
    client = connect(f"127.0.0.1:{daemons.client_ports[leader]},{daemons.hosts}")
    session = client.client_id[0]
    client.create("/e", b"", ephemeral=True)
    client.create("/watched", b"before")
    seen = threading.Event()
    client.get("/watched", watch=lambda event: seen.set())
    daemons.kill(leader)
    paused = retried(lambda: client.set("/watched", b"after"))
    assert client.client_id[0] == session
    assert client.exists("/e") is not None
    assert seen.wait(5)
    assert paused < 6
    daemons.start(leader)
    daemons.wait_leader()
    own = connect(f"127.0.0.1:{daemons.client_ports[leader]}")
    own.sync("/watched")
    assert own.get("/watched")[0] == b"after"


def test_acknowledged_writes_survive_the_kill_of_every_member(daemons, connect):
    client = connect()
    client.create("/log", b"")
    for i in range(200):
        client.create(f"/log/{i:04}", b"x")
    for me in list(daemons.processes):
        daemons.kill(me)
    for me in daemons.client_ports:
        daemons.start(me)
    daemons.wait_leader()
    fresh = connect()
    assert sorted(fresh.get_children("/log")) == [f"{i:04}" for i in range(200)]


def test_lock_passes_on_when_the_ensembles_leader_dies(daemons, connect):
    first, second = connect(), connect()
    held = Lock(first, "/lock", "first")
    held.acquire(timeout=10)
    waiting = Lock(second, "/lock", "second")
    got = threading.Event()

    def wait_for_lock():
        retried(lambda: waiting.acquire(timeout=20), within_s=30)
        got.set()

    thread = threading.Thread(target=wait_for_lock, daemon=True)
    thread.start()
    deadline = time.monotonic() + 5
    while len(held.contenders()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    daemons.kill(daemons.wait_leader())
    daemons.wait_leader()
    assert not got.is_set()
    retried(held.release)
    assert got.wait(15)
    retried(waiting.release)
    thread.join(5)


def test_election_moves_on_when_a_candidate_goes(daemons, connect):
    first, second = connect(), connect()
    led: list[str] = []
    first_leads, end_first, second_leads = (threading.Event() for _ in range(3))

    def lead_first():
        led.append("first")
        first_leads.set()
        end_first.wait(20)

    def lead_second():
        led.append("second")
        second_leads.set()

    one = threading.Thread(target=Election(first, "/election", "first").run, args=(lead_first,))
    one.start()
    assert first_leads.wait(10)
    two = threading.Thread(target=Election(second, "/election", "second").run, args=(lead_second,))
    two.start()
    daemons.kill(daemons.wait_leader())
    daemons.wait_leader()
    retried(lambda: first.exists("/election"))
    end_first.set()
    assert second_leads.wait(15)
    one.join(5)
    two.join(5)
    assert led == ["first", "second"]


def test_party_shows_who_is_there_and_survives_a_leader_change(daemons, connect):
    first, second = connect(), connect()
    Party(first, "/party", "first").join()
    there = Party(second, "/party", "second")
    there.join()
    assert sorted(there) == ["first", "second"]
    daemons.kill(daemons.wait_leader())
    daemons.wait_leader()
    retried(lambda: second.exists("/party"))
    assert sorted(there) == ["first", "second"]
    # A client that stops while it is between members cannot say so, and leaves by expiry only.
    retried(lambda: first.exists("/party"))
    first.stop()
    deadline = time.monotonic() + 5
    while sorted(there) != ["second"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_clients_of_the_others_keep_their_connections_when_the_leader_goes(daemons, connect, end):
    """What was with the old leader goes to the next one, each write once and in order."""
    leader = daemons.wait_leader()
    client = connect(
        ",".join(f"127.0.0.1:{port}" for me, port in daemons.client_ports.items() if me != leader)
    )
    client.create("/n", b"")
    states = []
    client.add_listener(states.append)
    before = [client.set_async("/n", b"%d" % n) for n in range(200)]
    getattr(daemons, end)(leader)
    after = [client.set_async("/n", b"%d" % n) for n in range(200, 400)]
    versions = [each.get(timeout=10).version for each in before + after]
    assert versions == list(range(1, 401))
    assert client.get("/n")[0] == b"399"
    assert states == []
    assert daemons.wait_leader() != leader


def test_clean_stop_offers_the_leadership(daemons):
    leader = daemons.wait_leader()
    assert daemons.stop(leader) == 0
    out = (daemons.directory / f"{leader}.out").read_text()
    assert "ensemble.leadership_offered" in out
    assert "coordinator.stopped" in out
    assert daemons.wait_leader() != leader


def test_minority_refuses_and_majority_goes_on(daemons, connect):
    leader = daemons.wait_leader()
    first, second = [me for me in daemons.client_ports if me != leader]
    client = connect()
    client.create("/n", b"0")
    daemons.kill(first)
    retried(lambda: client.set("/n", b"1"))
    daemons.kill(second)
    deadline = time.monotonic() + 5
    while daemons.role(leader) == "leader":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    daemons.start(first)
    daemons.wait_leader()
    retried(lambda: client.set("/n", b"2"))
    assert client.get("/n")[0] == b"2"
    with pytest.raises(NoNodeError):
        client.get("/never")
