"""TLS over the in-memory network: whole messages, whoever waits; who is believed and who is not."""

import ssl

import pytest
import trio

from ottla.runtime.interfaces import Address, ConnectionLost
from ottla.runtime.memory import MemoryNetwork
from ottla.runtime.tls import (
    TlsSettings,
    TlsStream,
    TlsUnusable,
    distinguished_name,
    server_context,
)
from tests.support.certificates import CLIENT_SUBJECT, make_certificates

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def settings(certificates, **changes):
    stores = {
        "key_store": str(certificates.server_store),
        "trust_store": str(certificates.authority),
    }
    return TlsSettings(**(stores | changes))


async def connected(certificates, *, shows=True, **changes):
    """Both ends, after their handshake, or with what it ended in."""
    network = MemoryNetwork("server", buffer_bytes=2048)
    listener = await network.listen(Address("", 7))
    plain = await network.at("client").connect(Address("server", 7))
    server = TlsStream(await listener.accept(), server_context(settings(certificates, **changes)))
    client = TlsStream(plain, certificates.client_context(shows=shows), server_hostname="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.shake_hands)
        await server.shake_hands()
    return client, server


async def receive(stream, count):
    found = bytearray()
    buffer = memoryview(bytearray(1000))
    while len(found) < count:
        got = await stream.receive_into(buffer)
        if not got:
            break
        found += buffer[:got]
    return bytes(found)


async def test_what_is_sent_arrives_whole_in_both_directions(certificates, autojump_clock):
    client, server = await connected(certificates)
    data = bytes(range(256)) * 2000
    got = {}

    async def take(name, stream):
        got[name] = await receive(stream, len(data))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, data)
        nursery.start_soon(server.send_all, data)
        nursery.start_soon(take, "server", server)
        nursery.start_soon(take, "client", client)
    assert got == {"server": data, "client": data}
    client.close()
    assert await receive(server, 1) == b""


async def test_send_nowait_keeps_what_the_socket_did_not_take(certificates, autojump_clock):
    client, server = await connected(certificates)
    data = b"x" * 100_000
    sent = server.send_nowait(data)
    assert 0 < sent <= len(data)
    assert server.has_pending
    assert server.send_nowait(data) == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, data[sent:])
        assert await receive(client, len(data)) == data
    assert not server.has_pending


async def test_a_client_is_known_by_its_certificate(certificates, autojump_clock):
    _, server = await connected(certificates)
    assert server.peer_subject == CLIENT_SUBJECT
    _, server = await connected(certificates, shows=False, client_auth="want")
    assert server.peer_subject is None


async def test_a_client_without_a_certificate_is_refused(certificates, autojump_clock):
    with pytest.raises(BaseExceptionGroup) as caught:
        await connected(certificates, shows=False)
    assert caught.group_contains(ConnectionLost, match="CERTIFICATE", depth=1)


async def test_who_speaks_no_tls_is_refused(certificates, autojump_clock):
    network = MemoryNetwork("server")
    listener = await network.listen(Address("", 7))
    plain = await network.at("client").connect(Address("server", 7))
    server = TlsStream(await listener.accept(), server_context(settings(certificates)))
    await plain.send_all(b"\0\0\0\x2d" + bytes(45))
    with pytest.raises(ConnectionLost, match="TLS"):
        await server.shake_hands()


def test_stores_that_nothing_can_be_served_with_are_named(certificates, tmp_path):
    keyless = tmp_path / "keyless.pem"
    keyless.write_bytes(certificates.authority.read_bytes())
    for changes, text in (
        ({"key_store": "/nowhere.pem"}, "No such file"),
        ({"key_store": str(keyless)}, "expected PEM"),
        ({"trust_store": str(tmp_path / "none")}, "trust store"),
        ({"trust_store": None}, "no trust store"),
        ({"ciphers": "NONSENSE"}, "NONSENSE"),
    ):
        with pytest.raises(TlsUnusable, match=text):
            server_context(settings(certificates, **changes))


def test_protocols_are_those_asked_for(certificates):
    context = server_context(settings(certificates, protocols=("TLSv1.3",)))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        (((("countryName", "AT"),), (("commonName", "a"),)), "CN=a,C=AT"),
        (((("commonName", "Doe, J"),),), "CN=Doe\\, J"),
        (((("commonName", "#x "),),), "CN=\\#x\\ "),
        (((("commonName", "a"), ("userId", "b")),), "CN=a+UID=b"),
        (((("emailAddress", "a@b"),),), "1.2.840.113549.1.9.1=#1603614062"),
    ],
)
def test_names_are_written_as_in_rfc_2253(subject, name):
    assert distinguished_name(subject) == name
