"""The HTTP port: commands as JSON, metrics for Prometheus, health; and clients that misbehave."""

import json

import pytest
import trio

from ottla.coordinator.admin_port.commands import NAMES
from ottla.coordinator.admin_port.port import AdminPort
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.messages import CreateRequest, GetDataRequest
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import memory_runtime

ADMIN = Address("member1", 8080)


@pytest.fixture
async def get(stand, nursery):
    """get(path): status, headers, body."""
    await stand.start()
    runtime = memory_runtime(network=stand.network.at("member1"), events=stand.events)
    await nursery.start(AdminPort(stand.ports[0].facts, Address("", 8080), runtime).serve)

    async def ask(path, method="GET"):
        return await exchange(stand, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    return ask


async def exchange(stand, data):
    stream = await stand.network.connect(ADMIN)
    await stream.send_all(data)
    answer = bytearray()
    buffer = memoryview(bytearray(4096))
    try:
        while count := await stream.receive_into(buffer):
            answer += buffer[:count]
    finally:
        stream.close()
    head, _, body = bytes(answer).decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split(" ")[1]), headers, body


async def test_every_command_answers_json_with_its_name(get):
    for name in NAMES:
        status, headers, body = await get(f"/commands/{name}")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert int(headers["Content-Length"]) == len(body)
        answer = json.loads(body)
        assert (answer["command"], answer["error"]) == (name, None)
    _, _, links = await get("/commands")
    assert all(f"/commands/{name}" in links for name in NAMES)


async def test_commands_tell_of_clients_nodes_and_watches(stand, get):
    client = await stand.connect()
    await client.call(OpCode.CREATE, CreateRequest("/e", b"", OPEN_ACL, 1))
    await client.call(OpCode.GET_DATA, GetDataRequest("/e", watch=True))
    session = client.session.session_id
    _, _, body = await get("/commands/cons")
    found = json.loads(body)["connections"][0]
    assert (found["session_id"], found["last_operation"]) == (session, "GETD")
    _, _, body = await get("/commands/stat")
    assert found.keys() > json.loads(body)["connections"][0].keys()  # the brief form
    _, _, body = await get("/commands/dump")
    assert json.loads(body)["session_id_to_ephemeral_paths"] == {str(session): ["/e"]}
    _, _, body = await get("/commands/wchp")
    assert json.loads(body)["path_to_session_ids"] == {"/e": [session]}
    _, _, body = await get("/commands/srvr")
    assert json.loads(body)["server_stats"]["num_alive_client_connections"] == 1
    _, _, body = await get("/commands/conf")
    assert json.loads(body)["client_port"] == 2181


async def test_metrics_have_the_names_of_zookeepers_prometheus_provider(get):
    status, headers, body = await get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in body.splitlines() if line[0] != "#")
    assert lines["znode_count"] == "5"
    assert any(name.startswith('server_info{version="3.9') for name in lines)
    assert {"uptime", "watch_count", "open_file_descriptor_count"} <= lines.keys()


async def test_health_follows_the_member(stand, get):
    assert (await get("/health/live"))[0] == 200
    assert (await get("/health/ready"))[0] == 200
    stand.member.stop_serving()
    assert (await get("/health/live"))[0] == 200
    assert (await get("/health/ready"))[0] == 503
    assert (await get("/commands/srvr"))[0] == 503
    assert (await get("/commands/environment"))[0] == 200


async def test_what_is_not_there_says_so(get):
    assert (await get("/"))[0] == 404
    status, _, body = await get("/commands/nonsense")
    assert (status, json.loads(body)["error"]) == (404, "Unknown command: nonsense")
    status, headers, _ = await get("/metrics", method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, headers, body = await get("/metrics", method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


async def test_bad_requests_do_no_harm(stand, get, autojump_clock):
    status, _, _ = await exchange(stand, b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
    assert status == 400
    for data in (b"GET / HTTP/1.1\r\n" + b"x" * 9000, b"GET /metr"):
        stream = await stand.network.connect(ADMIN)
        await stream.send_all(data)
        with trio.fail_after(31):
            assert await stream.receive_into(memoryview(bytearray(10))) == 0
    assert (await get("/health/live"))[0] == 200


async def test_a_taken_port_is_an_event_and_no_end(stand, get, nursery):
    runtime = memory_runtime(network=stand.network.at("member1"), events=stand.events)
    second = AdminPort(stand.ports[0].facts, Address("", 8080), runtime)
    await nursery.start(second.serve)
    assert stand.events.named("admin_port.refused")
