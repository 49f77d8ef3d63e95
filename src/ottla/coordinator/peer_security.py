"""How members know each other on the peer port: TLS, a shared secret, or both.

Where there is a secret (`quorum.auth.secretFile`), each side proves that it knows it before a byte
of the peer protocol is read. Behind the TLS handshake, if there is one, go

| from | bytes |
|---|---|
| caller | u32 48, `OTTLAPA1`, u32 id of the caller, u32 id of the called, 32 random bytes |
| called | `OTTLAPA1`, 32 random bytes |
| caller | HMAC-SHA-256(secret, `caller` + both messages above) |
| called | HMAC-SHA-256(secret, `called` + both messages above) |

Who calls proves first, so a stranger gets nothing to try secrets on. The words tell the two proofs
apart, so none can be sent back; the ids bind a proof to the two members. The first message has the
form of a frame, so that a member without a secret can say what it lacks. What follows is neither
encrypted nor signed: who can change packets on their way needs TLS to be kept out.
"""

import hashlib
import hmac
import random
import ssl
import struct
from dataclasses import dataclass

from ottla.protocol.peer.errors import ProtocolError
from ottla.runtime.interfaces import ConnectionLost, Stream
from ottla.runtime.tls import TlsStream

MAGIC = b"OTTLAPA1"
_NONCE_BYTES = 32
_PROOF_BYTES = 32
_OPENING = struct.Struct(">I8sII")
_START = struct.pack(">I", _OPENING.size - 4 + _NONCE_BYTES) + MAGIC


@dataclass(frozen=True, slots=True)
class PeerTls:
    """Members show each other their certificates: contexts of the one that calls and the called."""

    calling: ssl.SSLContext
    called: ssl.SSLContext


class NotProven(ConnectionLost):
    """Whoever was called does not show that it knows the secret, or did not believe this member."""


class PeerSecurity:
    """What one member asks of every connection with another one. Immutable."""

    def __init__(
        self, me: int, rng: random.Random, *, tls: PeerTls | None, secret: bytes | None
    ) -> None:
        self._me = me
        self._rng = rng
        self._tls = tls
        self._secret = secret

    async def secure_call(self, plain: Stream, member: int, host: str) -> Stream:
        """A connection on which the called member is known. ConnectionLost; `plain` is closed."""
        stream = plain
        try:
            if self._tls is not None:
                stream = TlsStream(plain, self._tls.calling, server_hostname=host)
                await stream.shake_hands()
            if self._secret is not None:
                await self._prove_as_caller(stream, member, self._secret)
        except BaseException:
            stream.close()
            raise
        return stream

    def begin_answer(self, plain: Stream) -> Stream:
        """The connection as it is used from now on, before a byte has passed."""
        return plain if self._tls is None else TlsStream(plain, self._tls.called)

    async def secure_answer(self, stream: Stream) -> int | None:
        """Who calls, where there is a secret. ProtocolError, ConnectionLost."""
        if isinstance(stream, TlsStream):
            try:
                await stream.shake_hands()
            except ConnectionLost as error:
                raise ProtocolError(str(error)) from error
        return None if self._secret is None else await self._prove_as_called(stream, self._secret)

    async def _prove_as_caller(self, stream: Stream, member: int, secret: bytes) -> None:
        opening = _START + struct.pack(">II", self._me, member) + self._rng.randbytes(_NONCE_BYTES)
        try:
            await stream.send_all(opening)
            challenge = await _exactly(stream, len(MAGIC) + _NONCE_BYTES)
        except ConnectionLost:
            raise NotProven("it ended the connection, and may have no shared secret") from None
        if not challenge.startswith(MAGIC):
            raise NotProven("it does not ask for a proof of the shared secret")
        said = opening + challenge
        try:
            await stream.send_all(_proof(secret, b"caller", said))
            proof = await _exactly(stream, _PROOF_BYTES)
        except ConnectionLost:
            raise NotProven("it ended the connection, and may have another secret") from None
        if not hmac.compare_digest(proof, _proof(secret, b"called", said)):
            raise NotProven("it has another secret")

    async def _prove_as_called(self, stream: Stream, secret: bytes) -> int:
        start = await _exactly(stream, len(_START))
        if start != _START:
            raise ProtocolError("whoever calls does not know of a shared secret")
        rest = await _exactly(stream, _OPENING.size - len(_START) + _NONCE_BYTES)
        sender, receiver = struct.unpack_from(">II", rest)
        if receiver != self._me:
            raise ProtocolError(f"member {sender} calls member {receiver} here")
        challenge = MAGIC + self._rng.randbytes(_NONCE_BYTES)
        await stream.send_all(challenge)
        said = start + rest + challenge
        proof = await _exactly(stream, _PROOF_BYTES)
        if not hmac.compare_digest(proof, _proof(secret, b"caller", said)):
            raise ProtocolError(f"who calls as member {sender} has another secret")
        await stream.send_all(_proof(secret, b"called", said))
        return int(sender)


def is_opening(frame: bytes) -> bool:
    """Whether a frame is the first message of a member that has a secret."""
    return frame.startswith(MAGIC)


def _proof(secret: bytes, side: bytes, said: bytes) -> bytes:
    return hmac.new(secret, side + said, hashlib.sha256).digest()


async def _exactly(stream: Stream, count: int) -> bytes:
    """So many bytes and none behind them: those are the next reader's."""
    data = bytearray(count)
    filled = 0
    while filled < count:
        received = await stream.receive_into(memoryview(data)[filled:])
        if not received:
            raise ConnectionLost("the peer closed the connection")
        filled += received
    return bytes(data)


__all__ = ["MAGIC", "NotProven", "PeerSecurity", "PeerTls", "is_opening"]
