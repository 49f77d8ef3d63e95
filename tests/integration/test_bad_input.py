"""Peers that break the rules, on real daemons: each gets its error, and nobody else notices.

Beside every one of them a witness writes to and reads from the same broker all the time.
"""

import json
import re
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.headers import encode_request_frame
from ottla.protocol.kafka.messages.metadata import MetadataRequest
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import build_batch
from tests.support.clusters import (
    HarmedCluster,
    Witness,
    call,
    harmed_cluster,
    receive,
    wait_until,
    witness,
)
from tests.support.processes import free_ports, run_script

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BROKER = 2
NOTICED_S = 2.0  # a broken connection or a held loop would be longer, a busy machine is not
_numbers = count(1)
ZOOKEEPER_HELLO = struct.pack(">iiqiqi", 44, 0, 0, 30_000, 0, 16) + bytes(16)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarmedCluster]:
    settings = {"auto.create.topics.enable": "false", "message.max.bytes": "100000"}
    with harmed_cluster(tmp_path_factory.mktemp("bad"), broker=settings) as made:
        yield made


@pytest.fixture
def bystander(cluster: HarmedCluster) -> Iterator[Witness]:
    """A client of the same broker that must see no error and no pause."""
    topic = cluster.create_topic(f"witness-{next(_numbers)}", [[BROKER, 1, 3]])
    with witness(cluster.bootstrap, topic) as running:
        yield running
        running.wait_more(30)
        assert running.problems == []
        assert running.gap() < NOTICED_S


@pytest.fixture
def send(cluster: HarmedCluster, bystander: Witness) -> Callable[..., bytes]:
    """send(data): what the broker answers to these bytes until it closes the connection."""

    def talk(data: bytes, *, then_close: bool = False) -> bytes:
        with socket.create_connection(("127.0.0.1", cluster.port(BROKER)), timeout=10) as sock:
            sock.sendall(data)
            if then_close:
                sock.shutdown(socket.SHUT_WR)
            return read_to_end(sock)

    return talk


def read_to_end(sock: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := sock.recv(4096):
            answer += piece
    except ConnectionResetError:
        pass  # the broker closed with some of our bytes unread
    return answer


def refusal(cluster: HarmedCluster, since: int, *words: str) -> str:
    return cluster.wait_event("broker", BROKER, "connection.peer_refused", *words, since=since)


# Not the protocol


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ["guess='looks like HTTP'"]),
        (b"\xff" * 100, ["guess=unknown"]),
        (bytes(range(128, 256)) * 50, ["limit=104857600"]),
        (ZOOKEEPER_HELLO, ["guess='looks like ZooKeeper'"]),
        (struct.pack(">i", 2**31 - 1) + b"\x00\x00", ["2147483647", "limit=104857600"]),
        (struct.pack(">i", -5), ["-5"]),
        (struct.pack(">i", 2) + b"\x00\x12", ["guess=unknown"]),
        (struct.pack(">ihhih", 10, 18, 3, 7, 1000), ["guess=unknown"]),
    ],
    ids=["http", "ones", "noise", "zookeeper", "2-GB", "negative", "no-header", "cut-client-id"],
)
def test_strangers_are_hung_up_on_with_a_guess(
    cluster: HarmedCluster, send: Callable[..., bytes], data: bytes, words: list[str]
) -> None:
    since = cluster.log_size("broker", BROKER)
    assert send(data) == b""
    line = refusal(cluster, since, *words)
    assert "127.0.0.1" in line
    assert "listener=PLAINTEXT" in line
    text = "\n".join(cluster.logged("broker", BROKER, since))
    assert "Traceback" not in text


def test_tls_hello_is_recognised(cluster: HarmedCluster, bystander: Witness) -> None:
    since = cluster.log_size("broker", BROKER)
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", cluster.port(BROKER)), timeout=10) as sock,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(sock, server_hostname="localhost")
    refusal(cluster, since, "guess='looks like TLS'")


def test_claimed_length_takes_no_memory(cluster: HarmedCluster, bystander: Witness) -> None:
    """Fifty peers claim a hundred megabytes each, and send nothing of it."""
    before = resident(cluster.pid("broker", BROKER))
    sockets = []
    try:
        for _ in range(50):
            sock = socket.create_connection(("127.0.0.1", cluster.port(BROKER)), timeout=10)
            sockets.append(sock)
            sock.sendall(struct.pack(">i", 100_000_000) + bytes(100))
        bystander.wait_more(50)
        assert resident(cluster.pid("broker", BROKER)) - before < 20_000_000
    finally:
        for sock in sockets:
            sock.close()


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_request_cut_in_its_middle(cluster: HarmedCluster, send: Callable[..., bytes]) -> None:
    whole = encode_request_frame(MetadataRequest(topics=None), 9, 1, "cut")
    since = cluster.log_size("broker", BROKER)
    assert send(whole[: len(whole) // 2], then_close=True) == b""
    refusal(cluster, since, "closed in the middle of a request")
    since = cluster.log_size("broker", BROKER)
    # Its frame is whole, what is in it is not.
    cut = whole[4:-3]
    assert send(struct.pack(">i", len(cut)) + cut) == b""
    refusal(cluster, since)


def test_request_in_small_pieces_is_answered(cluster: HarmedCluster, bystander: Witness) -> None:
    frame = encode_request_frame(MetadataRequest(topics=[]), 9, 77, "slow")
    with socket.create_connection(("127.0.0.1", cluster.port(BROKER)), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(frame)):
            sock.sendall(frame[position : position + 1])
        size = int.from_bytes(receive(sock, 4), "big")
        assert int.from_bytes(receive(sock, size)[:4], "big") == 77


# Not an API


@pytest.mark.parametrize(
    ("key", "version", "text"),
    [
        (999, 0, "unknown API key 999"),
        (-1, 0, "unknown API key -1"),
        (ApiKey.FETCH, 99, "FETCH version 99"),
        (ApiKey.METADATA, -1, "METADATA version -1"),
    ],
)
def test_unknown_api_or_version_closes_the_connection(
    cluster: HarmedCluster, send: Callable[..., bytes], key: int, version: int, text: str
) -> None:
    since = cluster.log_size("broker", BROKER)
    assert send(struct.pack(">ihhih4s", 14, key, version, 1, 4, b"test")) == b""
    refusal(cluster, since, text)


def test_too_new_api_versions_is_answered_in_the_oldest_form(
    cluster: HarmedCluster, bystander: Witness
) -> None:
    """KIP-511: error 35 and the list, so that the client can try again on this connection."""
    with socket.create_connection(("127.0.0.1", cluster.port(BROKER)), timeout=10) as sock:
        body = struct.pack(">hhih4s", 18, 90, 5, 4, b"test") + b"whatever it may be"
        sock.sendall(struct.pack(">i", len(body)) + body)
        answer = receive(sock, int.from_bytes(receive(sock, 4), "big"))
        correlation_id, error, number = struct.unpack_from(">ihi", answer)
        assert (correlation_id, error) == (5, ErrorCode.UNSUPPORTED_VERSION)
        assert len(answer) == 10 + 6 * number
        sock.sendall(encode_request_frame(MetadataRequest(topics=[]), 1, 6, "again"))
        answer = receive(sock, int.from_bytes(receive(sock, 4), "big"))
        assert int.from_bytes(answer[:4], "big") == 6


# Not records


def produce(cluster: HarmedCluster, topic: str, records: bytes) -> PartitionProduceResponse:
    data = [PartitionProduceData(index=0, records=records)]
    request = ProduceRequest(
        acks=-1, timeout_ms=5000, topic_data=[TopicProduceData(name=topic, partition_data=data)]
    )
    answer = call(cluster.port(BROKER), request, ApiKey.PRODUCE, 9)
    found = answer.responses[0].partition_responses[0]
    assert isinstance(found, PartitionProduceResponse)
    return found


def batch(value: bytes = b"value") -> bytes:
    return build_batch([(None, value, 1_700_000_000_000, [])])


@pytest.fixture
def topic(cluster: HarmedCluster, bystander: Witness) -> str:
    return cluster.create_topic(f"records-{next(_numbers)}", [[BROKER, 1, 3]])


def old_format() -> bytes:
    """A message of format v1, as clients before Kafka 0.11 sent."""
    message = struct.pack(">BBqi", 1, 0, 1_700_000_000_000, -1) + struct.pack(">i3s", 3, b"old")
    return struct.pack(">qiI", 0, 4 + len(message), 0) + message


@pytest.mark.parametrize(
    ("records", "code"),
    [
        (batch()[:-2] + b"\x00\x00", ErrorCode.CORRUPT_MESSAGE),
        (batch()[:30], ErrorCode.INVALID_RECORD),
        (b"\x00" * 100, None),
        (b"", None),
        (batch(b"x" * 100_001), ErrorCode.MESSAGE_TOO_LARGE),
        (old_format(), ErrorCode.INVALID_RECORD),
        (batch() + batch()[:-5], ErrorCode.INVALID_RECORD),
        (batch() + batch(), ErrorCode.INVALID_RECORD),
    ],
    ids=["crc", "cut", "zeros", "nothing", "too-large", "v1", "one-and-a-half", "two"],
)
def test_records_that_cannot_be_kept_are_refused(
    cluster: HarmedCluster, topic: str, records: bytes, code: ErrorCode | None
) -> None:
    found = produce(cluster, topic, records)
    assert found.error_code != ErrorCode.NONE
    assert found.error_code != ErrorCode.UNKNOWN_SERVER_ERROR
    if code is not None:
        assert found.error_code == code
    good = produce(cluster, topic, batch())
    assert (good.error_code, good.base_offset) == (ErrorCode.NONE, 0)


def test_unknown_topic_is_not_made(cluster: HarmedCluster, bystander: Witness) -> None:
    """auto.create.topics.enable=false"""
    found = produce(cluster, "nobody", batch())
    assert found.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert "nobody" not in cluster.admin.list_topics().topics


# The coordinator's port


@pytest.fixture
def zk(cluster: HarmedCluster) -> Iterator[KazooClient]:
    """A session with the member that is offended, which has to last."""
    client = KazooClient(f"127.0.0.1:{cluster.coordinator_port(1)}")
    client.start(10)
    states: list[object] = []
    client.add_listener(states.append)
    yield client
    client.get("/controller")
    assert states == []
    client.stop()
    client.close()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode_request_frame(MetadataRequest(topics=None), 9, 1, "lost"), ["Kafka"]),
        (b"GET /commands/stat HTTP/1.1\r\n\r\n", ["HTTP"]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), ["TLS"]),
        (struct.pack(">i", 2**31 - 1), ["2147483647", "1048575"]),
        (b"\xff" * 64, []),
    ],
    ids=["kafka", "http", "tls", "2-GB", "ones"],
)
def test_strangers_on_the_coordinators_port(
    cluster: HarmedCluster, bystander: Witness, zk: KazooClient, data: bytes, words: list[str]
) -> None:
    since = cluster.log_size("coordinator", 1)
    with socket.create_connection(("127.0.0.1", cluster.coordinator_port(1)), timeout=10) as sock:
        sock.sendall(data)
        assert read_to_end(sock) == b""
    cluster.wait_event("coordinator", 1, "client_port.peer_refused", *words, since=since)


def test_unknown_opcode_keeps_the_session(cluster: HarmedCluster, bystander: Witness) -> None:
    with socket.create_connection(("127.0.0.1", cluster.coordinator_port(1)), timeout=10) as sock:
        sock.sendall(ZOOKEEPER_HELLO)
        answer = receive(sock, int.from_bytes(receive(sock, 4), "big"))
        assert struct.unpack_from(">q", answer, 8)[0] != 0  # a session
        for opcode, body in ((77, b""), (11, b"")):
            sock.sendall(struct.pack(">iii", 8 + len(body), 1 if opcode == 77 else -2, opcode))
            reply = receive(sock, int.from_bytes(receive(sock, 4), "big"))
            xid, _, error = struct.unpack_from(">iqi", reply)
            assert (xid, error) == ((1, -6) if opcode == 77 else (-2, 0))


# Bad configuration


def test_all_mistakes_in_a_file_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text(
        "broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:19092\n"
        "zookeper.connect=127.0.0.1:2181\nlog.retention.hours=soon\nnum.partitions=0\n"
    )
    done = run_script("server", str(file))
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    (misspelt,) = [line for line in lines if "zookeper.connect" in line and ":3" in line]
    assert "zookeeper.connect" in misspelt
    (bad_number,) = [line for line in lines if "log.retention.hours" in line]
    assert "soon" in bad_number
    assert ":4" in bad_number
    (out_of_range,) = [line for line in lines if "num.partitions" in line]
    assert ":5" in out_of_range
    assert "Traceback" not in done.stderr
    assert run_script("server", "--check-config", str(file)).returncode == 78
    assert not (tmp_path / "data").exists()


def test_coordinators_mistakes_are_told_too(tmp_path: Path) -> None:
    file = tmp_path / "coordinator.properties"
    file.write_text(f"dataDir={tmp_path}/data\nclientPort=many\ntickTme=5\n")
    done = run_script("coordinator", str(file))
    assert done.returncode == 78
    assert "clientPort" in done.stderr
    assert "tickTime" in done.stderr


def test_second_broker_with_the_same_id_is_refused(
    cluster: HarmedCluster, bystander: Witness, tmp_path: Path
) -> None:
    file = tmp_path / "server.properties"
    file.write_text(
        f"broker.id={BROKER}\nlisteners=PLAINTEXT://127.0.0.1:{free_ports(1)}\n"
        f"zookeeper.connect={cluster.connect}\nlog.dirs={tmp_path}/data\n"
    )
    done = run_script("server", str(file), "--run-dir", str(tmp_path))
    assert done.returncode == 78, done.stdout + done.stderr
    assert f"broker.id {BROKER}" in done.stderr
    assert f"127.0.0.1:{cluster.port(BROKER)}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert {node.id for node in cluster.admin.list_topics().brokers.values()} == {1, 2, 3}


def test_events_are_json_when_asked(tmp_path: Path) -> None:
    """What a log collector reads of all this."""
    port = free_ports(2)
    (tmp_path / "logging.yaml").write_text("level: info\nformat: json\ndestination: stdout\n")
    file = tmp_path / "server.properties"
    file.write_text(
        f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={tmp_path}/data\n"
        f"zookeeper.connect=embedded\nembedded.coordinator.client.port={port + 1}\n"
    )
    log = tmp_path / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ottla.scripts.server", str(file), "--run-dir", str(tmp_path)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "broker.started" in log.read_text(), "the broker is up")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert read_to_end(sock) == b""
        wait_until(lambda: "connection.peer_refused" in log.read_text(), "the event")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    (event,) = [each for each in found if each["event"] == "connection.peer_refused"]
    assert event["guess"] == "looks like HTTP"
    assert event["level"] == "warning"
