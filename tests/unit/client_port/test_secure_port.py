"""The port for clients that speak TLS: certificates are identities."""

import pytest

from ottla.protocol.zookeeper.data import ACL, Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.framing import frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    GetDataRequest,
    GetDataResponse,
    WhoAmIResponse,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.runtime.interfaces import Address
from ottla.runtime.tls import TlsSettings, TlsStream
from tests.support.certificates import CLIENT_SUBJECT, make_certificates
from tests.support.zk_client import ZkClient

pytestmark = pytest.mark.slow
SECURE = Address("member1", 2281)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


async def start(stand, certificates, **more):
    tls = TlsSettings(str(certificates.server_store), str(certificates.authority))
    await stand.start(tls=tls, **more)


async def connect(stand, certificates):
    stream = TlsStream(
        await stand.network.connect(SECURE),
        certificates.client_context(),
        server_hostname="localhost",
    )
    await stream.shake_hands()
    client = ZkClient(stream)
    await stream.send_all(frame(ConnectRequest(0, 0, 10_000).encode()))
    client.session = ConnectResponse.decode(Reader(await client.next_frame()))
    return client


async def test_a_certificates_owner_keeps_znodes_to_itself(stand, certificates):
    await start(stand, certificates)
    alice, anybody = await connect(stand, certificates), await stand.connect()
    _, who = await alice.call(OpCode.WHO_AM_I, None, WhoAmIResponse)
    assert [tuple(info) for info in who.client_info][1] == ("x509", CLIENT_SUBJECT)
    data = b"d" * 100_000
    acl = (ACL(31, Id("auth", "")),)
    header, _ = await alice.call(OpCode.CREATE, CreateRequest("/mine", data, acl))
    assert header.error == 0
    header, _ = await anybody.call(OpCode.GET_DATA, GetDataRequest("/mine"))
    assert header.error == ZkError.NOAUTH
    _, found = await alice.call(OpCode.GET_DATA, GetDataRequest("/mine"), GetDataResponse)
    assert found.data == data


async def test_pipelined_answers_come_in_order_through_full_buffers(stand, certificates):
    await start(stand, certificates)
    client = await connect(stand, certificates)
    data = b"d" * 50_000
    acl = (ACL(31, Id("auth", "")),)
    await client.call(OpCode.CREATE, CreateRequest("/n", data, acl))
    requests = [client.encode(OpCode.GET_DATA, GetDataRequest("/n")) for _ in range(40)]
    await client.stream.send_all(b"".join(requests))
    xids = []
    for _ in requests:
        header, found = await client.reply(GetDataResponse)
        xids.append(header.xid)
        assert found.data == data
    assert xids == sorted(xids)


async def test_the_super_user_by_its_subject(stand, certificates):
    await start(stand, certificates, x509_super_user=CLIENT_SUBJECT)
    anybody, boss = await stand.connect(), await connect(stand, certificates)
    acl = (ACL(31, Id("digest", "x:y")),)
    await anybody.call(OpCode.CREATE, CreateRequest("/theirs", b"", acl))
    header, _ = await boss.call(OpCode.GET_DATA, GetDataRequest("/theirs"))
    assert header.error == 0


async def test_who_speaks_no_tls_is_named_in_an_event(stand, certificates):
    await start(stand, certificates)
    stream = await stand.network.connect(SECURE)
    await stream.send_all(frame(ConnectRequest(0, 0, 10_000).encode()))
    event = await stand.events.wait_for("client_port.peer_refused")
    assert "TLS" in event.fields["reason"]
    assert (await stand.connect()).session.session_id
