"""TLS over any `Stream`: what is read and sent goes through OpenSSL's memory buffers.

Works over a real socket and over the in-memory network alike. A reader and a sender may be two
tasks, as with every Stream. Key and trust stores are PEM files.
"""

import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from ottla.runtime.interfaces import Address, BytesLike, ConnectionLost, File, Stream
from ottla.runtime.readiness import receive_each

_RECORD_BYTES = 16384
_CHUNK_BYTES = 256 * 1024
Subject = Sequence[Sequence[tuple[str, str]]]
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class TlsUnusable(Exception):
    """Certificates, keys or ciphers that nothing can be served with; the text is one line."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """A server's side, or that of members among themselves.

    `client_auth` is "none", "want" or "need".
    """

    key_store: str
    """PEM: the private key, its certificate, and those up to the authority's."""
    trust_store: str | None = None
    """PEM: the authorities whose clients are believed."""
    key_password: str | None = None
    client_auth: str = "need"
    protocols: Sequence[str] = ("TLSv1.3", "TLSv1.2")
    ciphers: str | None = None
    """In OpenSSL's form; for TLS 1.2."""


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """For whoever accepts. Raises TlsUnusable."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, settings)
    if settings.client_auth != "none":
        _load_authorities(context, settings)
        is_needed = settings.client_auth == "need"
        context.verify_mode = ssl.CERT_REQUIRED if is_needed else ssl.CERT_OPTIONAL
    return context


def client_context(settings: TlsSettings, *, verify_hostname: bool) -> ssl.SSLContext:
    """For whoever connects, and shows the same certificate. Raises TlsUnusable."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, settings)
    context.check_hostname = verify_hostname
    _load_authorities(context, settings)
    return context


def _context(protocol: int, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.options |= ssl.OP_NO_RENEGOTIATION
    versions = sorted(_VERSIONS[name] for name in settings.protocols)
    context.minimum_version, context.maximum_version = versions[0], versions[-1]
    password = settings.key_password or ""
    try:
        # A password is always given: without one OpenSSL would ask at the terminal.
        context.load_cert_chain(settings.key_store, password=lambda: password)
    except OSError as error:
        raise TlsUnusable(f"key store {settings.key_store}: {_reason(error)}") from error
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError as error:
            raise TlsUnusable(f"ciphers {settings.ciphers}: {error}") from error
    return context


def _load_authorities(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.trust_store is None:
        raise TlsUnusable("certificates are asked for, but there is no trust store")
    try:
        context.load_verify_locations(settings.trust_store)
    except OSError as error:
        raise TlsUnusable(f"trust store {settings.trust_store}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{getattr(error, 'reason', None) or error} (expected PEM, and the right password)"
    return error.strerror or str(error)


class TlsStream:
    """A `Stream` inside another one, which it owns. `shake_hands` comes before anything else."""

    __slots__ = ("_incoming", "_outgoing", "_pending", "_received", "_stream", "_tls")

    def __init__(
        self, stream: Stream, context: ssl.SSLContext, *, server_hostname: str | None = None
    ) -> None:
        """With a `server_hostname` the client's side, without one the server's."""
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._pending = b""  # encrypted, and not taken by the stream yet
        self._received = memoryview(bytearray(4 * _RECORD_BYTES))

    @property
    def local(self) -> Address:
        return self._stream.local

    @property
    def peer(self) -> Address:
        return self._stream.peer

    @property
    def has_pending(self) -> bool:
        """Whether `flush` has something to do: `send_nowait` may take more than went out."""
        return bool(self._pending)

    @property
    def peer_subject(self) -> str | None:
        """The subject of the peer's certificate, which was verified; None: it showed none."""
        certificate = self._tls.getpeercert()
        if not certificate or "subject" not in certificate:
            return None
        return distinguished_name(cast("Subject", certificate["subject"]))

    async def shake_hands(self) -> None:
        """Raises ConnectionLost, with what OpenSSL says of the peer."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._receive()
            except ssl.SSLError as error:
                self._push()  # the alert that tells the peer why
                raise self._broken(error) from error
            else:
                await self.flush()
                return

    async def receive_into(self, buffer: memoryview) -> int:
        while True:
            try:
                # With a buffer it is a count that comes back, whatever the stub says.
                return cast("int", cast("object", self._tls.read(len(buffer), buffer)))
            except ssl.SSLWantReadError:
                self._push()
                await self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0
            except ssl.SSLError as error:
                raise self._broken(error) from error

    async def receive_while(
        self,
        buffer: Callable[[], memoryview],
        take: Callable[[int], bool | None],
        settle: Callable[[], bool] | None = None,
    ) -> bool:
        return await receive_each(self, buffer, take, settle)

    def send_nowait(self, data: BytesLike) -> int:
        """How much was taken; some of it may still be `pending`, which takes a `flush`."""
        sent = 0
        with memoryview(data) as view:
            while sent < len(view) and self._push():
                try:
                    sent += self._tls.write(view[sent : sent + _CHUNK_BYTES])
                except ssl.SSLError as error:
                    raise self._broken(error) from error
        self._push()
        return sent

    def send_file_nowait(self, file: File, offset: int, count: int) -> int:
        data = file.read_at(offset, min(count, _CHUNK_BYTES))
        if not data:
            raise ConnectionLost(f"the file ends before byte {offset}; the reply is cut off")
        return self.send_nowait(data)

    async def wait_writable(self) -> None:
        await self.flush()
        await self._stream.wait_writable()

    async def send_all(self, data: BytesLike) -> None:
        sent = self.send_nowait(data)
        with memoryview(data) as view:
            while sent < len(view):
                await self.wait_writable()
                sent += self.send_nowait(view[sent:])
        await self.flush()

    async def flush(self) -> None:
        """Wait until the stream has taken all that is encrypted."""
        while not self._push():
            await self._stream.wait_writable()

    def close(self) -> None:
        with suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()  # says goodbye, and does not wait for the answer
        with suppress(ConnectionLost):
            self._push()
        self._stream.close()

    def _push(self) -> bool:
        """Hand over what is encrypted; whether all of it went."""
        if self._outgoing.pending:
            self._pending += self._outgoing.read()
        if self._pending:
            sent = self._stream.send_nowait(self._pending)
            self._pending = self._pending[sent:]
        return not self._pending

    async def _receive(self) -> None:
        count = await self._stream.receive_into(self._received)
        if count:
            self._incoming.write(self._received[:count])
        else:
            self._incoming.write_eof()

    def _broken(self, error: ssl.SSLError) -> ConnectionLost:
        return ConnectionLost(f"TLS with {self.peer}: {getattr(error, 'reason', None) or error}")


_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_EMAIL = "1.2.840.113549.1.9.1"


def distinguished_name(subject: Subject) -> str:
    """As RFC 2253 writes it, the last part first, which is how Java names a subject.

    `subject` is in the form of `SSLObject.getpeercert`.
    """
    return ",".join("+".join(_attribute(*pair) for pair in part) for part in reversed(subject))


def _attribute(name: str, value: str) -> str:
    if name == "emailAddress":  # not among the RFC's short names: its number, and DER (IA5String)
        raw = value.encode()
        length = bytes([len(raw)]) if len(raw) < 128 else bytes([0x81, len(raw) & 0xFF])
        der = b"\x16" + length + raw
        return f"{_EMAIL}=#{der.hex()}"
    escaped = "".join(f"\\{char}" if char in ',+"\\<>;' else char for char in value)
    if escaped[:1] in {"#", " "}:
        escaped = "\\" + escaped
    if value.endswith(" ") and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return f"{_SHORT.get(name, name)}={escaped}"


def _conforms(stream: TlsStream) -> Stream:
    return stream


__all__ = [
    "TlsSettings",
    "TlsStream",
    "TlsUnusable",
    "client_context",
    "distinguished_name",
    "server_context",
]
