"""What was seen on Apache ZooKeeper 3.8, tried on three real members as often as it took there.

The same within one process, on virtual time: tests/simulation/test_faults_of_the_original.py.
"""

import socket
import struct
import threading
import time

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import make_acl

from ottla.protocol.zookeeper.opcodes import XID_NOTIFICATION, AddWatchMode, OpCode
from ottla.protocol.zookeeper.requests import AddWatchRequest
from tests.benchmarks.zookeeper_wire import Client, connect_frame, get_data_frame, request_frame
from tests.integration.test_coordinator_ensemble import Daemons

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OTHER_TRAFFIC_S = 3.0
"""Well below the pings of a session of 30 s, which would end such a wait."""


@pytest.fixture(scope="module")
def daemons(tmp_path_factory):
    made = Daemons(tmp_path_factory.mktemp("members"))
    for me in made.client_ports:
        made.start(me)
    made.wait_leader()
    yield made
    made.end()


@pytest.fixture
def follower_port(daemons):
    leader = daemons.wait_leader()
    return next(port for me, port in daemons.client_ports.items() if me != leader)


def test_a_lone_request_never_waits_for_other_traffic(follower_port):
    """ZOOKEEPER-4537: 4 of 120 000 did."""
    client = Client(follower_port, OTHER_TRAFFIC_S)  # a timeout of the socket is a failure
    client.create("/lone", b"x")
    for number in range(100_000):
        assert client.call(get_data_frame(number + 2, "/lone")) == 0
    for _ in range(2_000):
        client.set_data("/lone", b"y")
    client.close()


def test_a_write_is_judged_by_the_access_list_set_before_it(follower_port):
    """42 of 8 400 were judged by the old one: so 10 of these, and none has a chance of e**-10."""
    client = KazooClient(f"127.0.0.1:{follower_port}")
    client.start(timeout=15)
    read_only = [make_acl("world", "anyone", read=True)]
    try:
        client.create("/acl")
        for number in range(2_000):
            path = f"/acl/{number}"
            made = client.create_async(path, b"")
            listed = client.set_acls_async(path, read_only)
            written = client.set_async(path, b"x")
            made.get(10)
            listed.get(10)
            with pytest.raises(NoAuthError):
                written.get(10)
    finally:
        client.stop()
        client.close()


def test_a_persistent_watch_outlives_a_one_shot_watch_on_the_same_path(follower_port):
    """ZOOKEEPER-4466."""
    writer, watcher = Client(follower_port), Client(follower_port)
    writer.create("/watched")
    add = AddWatchRequest("/watched", AddWatchMode.PERSISTENT).encode()
    assert watcher.call(request_frame(1, OpCode.ADD_WATCH, add)) == 0
    assert watcher.call(get_data_frame(2, "/watched", watch=True)) == 0
    watcher.socket.settimeout(OTHER_TRAFFIC_S)
    for number in range(20):
        writer.set_data("/watched", b"%d" % number)
        (xid,) = struct.unpack_from(">i", watcher.receive())
        assert xid == XID_NOTIFICATION
    writer.close()
    watcher.close()


def test_who_connects_in_the_moment_a_member_binds_is_answered_or_closed(daemons):
    """Each call has an end: an answer, the end of the connection, or none to begin with."""
    leader = daemons.wait_leader()
    me = next(other for other in daemons.client_ports if other != leader)
    port = daemons.client_ports[me]
    for _ in range(5):
        assert daemons.stop(me) == 0
        silent, met = [], []
        stop = threading.Event()

        def knock(silent=silent, met=met, stop=stop):
            while not stop.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", port), OTHER_TRAFFIC_S) as sock:
                        sock.sendall(connect_frame())
                        met.append(len(sock.recv(4)))
                except TimeoutError:
                    silent.append(time.monotonic())
                except OSError:
                    time.sleep(0.0005)

        knocking = [threading.Thread(target=knock, daemon=True) for _ in range(8)]
        for thread in knocking:
            thread.start()
        daemons.start(me)
        deadline = time.monotonic() + 15
        while struct.calcsize(">i") not in met:
            assert time.monotonic() < deadline, "nobody is answered"
            time.sleep(0.01)
        stop.set()
        for thread in knocking:
            thread.join(10)
        assert not silent
        daemons.wait_leader()
