"""kazoo, unmodified, against the client port on a loopback socket."""

import threading
import time

import pytest
import trio
from kazoo import exceptions
from kazoo.client import KazooClient, KazooState
from kazoo.security import make_digest_acl

from ottla.coordinator.client_port.port import ClientPort
from ottla.coordinator.settings import CoordinatorSettings
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real import real_runtime
from tests.support.solo_member import SoloEnsemble

pytestmark = [pytest.mark.slow, pytest.mark.integration]


class Server(threading.Thread):
    """A member's client port in a trio loop of its own thread."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ensemble = SoloEnsemble()
        self.ready = threading.Event()

    def run(self):
        trio.run(self._main)

    async def _main(self):
        settings = CoordinatorSettings(
            "/data",
            client_address=Address("127.0.0.1", 0),
            four_letter_whitelist=frozenset({"*"}),
        )
        port = ClientPort(self.ensemble.members[0], settings, real_runtime(RecordingEvents()))
        self.token = trio.lowlevel.current_trio_token()
        self.stopped = trio.Event()
        async with trio.open_nursery() as nursery:
            address = await nursery.start(port.serve)
            self.hosts = f"127.0.0.1:{address.port}"
            self.ready.set()
            await self.stopped.wait()
            nursery.cancel_scope.cancel()

    def call(self, function, *args):
        return trio.from_thread.run_sync(function, *args, trio_token=self.token)

    def stop(self):
        self.token.run_sync_soon(self.stopped.set)
        self.join(10)
        assert not self.is_alive()


@pytest.fixture
def server():
    server = Server()
    server.start()
    assert server.ready.wait(10)
    yield server
    server.stop()


@pytest.fixture
def connect(server):
    clients = []

    def connect(**options):
        client = KazooClient(hosts=server.hosts, timeout=6.0, **options)
        clients.append(client)
        client.start(timeout=10)
        return client

    yield connect
    for client in clients:
        client.stop()
        client.close()


def test_every_call_that_kazoo_has(connect):
    zk = connect()
    assert zk.create("/a/b", b"1", makepath=True) == "/a/b"
    path, stat = zk.create("/a/e", b"22", ephemeral=True, include_data=True)
    assert (path, stat.dataLength, stat.owner_session_id) == ("/a/e", 2, zk.client_id[0])
    assert zk.create("/a/s-", sequence=True) == "/a/s-0000000002"
    assert zk.get("/a/b")[0] == b"1"
    assert zk.set("/a/b", b"2", version=0).version == 1
    with pytest.raises(exceptions.BadVersionError):
        zk.set("/a/b", b"2", version=0)
    assert zk.exists("/none") is None
    assert sorted(zk.get_children("/a")) == ["b", "e", "s-0000000002"]
    children, stat = zk.get_children("/a", include_data=True)
    assert (len(children), stat.children_count, stat.cversion) == (3, 3, 3)
    assert zk.sync("/a") == "/a"
    acls, _ = zk.get_acls("/a")
    assert acls[0].id.scheme == "world"
    with pytest.raises(exceptions.NotEmptyError):
        zk.delete("/a")
    with pytest.raises(exceptions.NoChildrenForEphemeralsError):
        zk.create("/a/e/x")
    with pytest.raises(exceptions.NoNodeError):
        zk.get("/none")
    zk.delete("/a", recursive=True)
    assert zk.exists("/a") is None
    assert zk.server_version() == (3, 9, 5)
    assert zk.command(b"ruok") == "imok"


def test_transactions(connect):
    zk = connect()
    good = zk.transaction()
    good.create("/t", b"x")
    good.check("/t", version=0)
    good.set_data("/t", b"y")
    good.create("/t/gone")
    good.delete("/t/gone")
    results = good.commit()
    assert results[0] == "/t"
    assert results[2].version == 1
    bad = zk.transaction()
    bad.set_data("/t", b"z")
    bad.delete("/none")
    bad.create("/t/x")
    outcome = [type(result) for result in bad.commit()]
    assert outcome == [
        exceptions.RolledBackError, exceptions.NoNodeError, exceptions.RuntimeInconsistency,
    ]  # fmt: skip
    assert zk.get("/t")[0] == b"y"


def test_digest_access(connect):
    owner = connect(auth_data=[("digest", "alice:secret")])
    owner.create("/private", b"x", acl=[make_digest_acl("alice", "secret", all=True)])
    other = connect()
    with pytest.raises(exceptions.NoAuthError):
        other.get("/private")
    other.add_auth("digest", "alice:secret")
    assert other.get("/private")[0] == b"x"


def test_watches_reach_other_clients(connect):
    watcher, writer = connect(), connect()
    seen, done = [], threading.Event()

    @watcher.DataWatch("/w")
    def on_data(data, _stat):
        seen.append(data)
        if data == b"2":
            done.set()

    writer.create("/w", b"1")
    writer.set("/w", b"2")
    assert done.wait(5)
    assert seen[0] is None
    assert seen[-1] == b"2"


def test_recipes(connect):
    first, second = connect(), connect()
    lock = first.Lock("/lock", "first")
    assert lock.acquire(timeout=5)
    rival = second.Lock("/lock", "second")
    assert not rival.acquire(blocking=False)
    lock.release()
    assert rival.acquire(timeout=5)
    rival.release()
    party, twin = first.Party("/party", "a"), second.Party("/party", "b")
    party.join()
    twin.join()
    assert sorted(party) == ["a", "b"]
    elected = threading.Event()
    election = second.Election("/election", "second")
    thread = threading.Thread(target=election.run, args=(elected.set,))
    thread.start()
    assert elected.wait(5)
    thread.join(5)
    counter = first.Counter("/counter")
    counter += 3
    assert second.Counter("/counter").value == 3


def test_a_session_lives_through_a_lost_connection(connect, server):
    zk = connect()
    states, back = [], threading.Event()

    def listen(state):
        states.append(state)
        if state == KazooState.CONNECTED:
            back.set()

    zk.add_listener(listen)
    zk.create("/mine", ephemeral=True)
    session = zk.client_id[0]
    server.call(drop, server.ensemble.members[0], session)
    assert back.wait(10)
    assert states == [KazooState.SUSPENDED, KazooState.CONNECTED]
    assert zk.client_id[0] == session
    assert zk.exists("/mine").owner_session_id == session
    server.call(server.ensemble.expire, session)
    deadline = time.monotonic() + 10
    while KazooState.LOST not in states and time.monotonic() < deadline:
        time.sleep(0.02)
    assert KazooState.LOST in states


def drop(member, session_id):
    """End the session's connection as a broken network would."""
    port = member._serving[0].__self__
    port._by_session[session_id].stream.close()
