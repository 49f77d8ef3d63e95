"""Bytes to messages and back: what the rest of Ottla calls.

A message class covers all its versions (see `schema`); the version is an argument here. Importing
this module imports no message. Functions are compiled at the first use of a version.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

from ottla.protocol.kafka.decoding import decoder_of
from ottla.protocol.kafka.encoding import encoder_of
from ottla.protocol.kafka.errors import DecodeError, EncodeError
from ottla.protocol.kafka.schema import holds_records, schema_of

T = TypeVar("T")
BytesLike = bytes | bytearray | memoryview

_JOINED_SIZE_MAX: Final = 4096


def decode(cls: type[T], version: int, data: BytesLike, offset: int = 0) -> T:
    """The message that `data` holds from `offset` to its end.

    RECORDS fields become views into `data` (or into a copy of a small one): valid as long as that
    is. Raises DecodeError for bytes that do not fit, UnsupportedVersion.
    """
    schema = cls.__schema__  # type: ignore[attr-defined]  # put there by @message
    decoder = schema.decoders.get(version) or decoder_of(schema, version)
    message, end = decoder(data, offset)
    if end != len(data):
        raise DecodeError(f"{schema.name} v{version}: {len(data) - end} bytes are left over")
    return message  # type: ignore[no-any-return]  # an instance of cls by construction


def decode_request(cls: type[T], version: int, data: BytesLike, offset: int = 0) -> T:
    """Like `decode`, but bytes after the end of the message are ignored, as Kafka's brokers do.

    librdkafka sends such: its Metadata v12 for all topics writes the null array as four bytes.
    """
    schema = cls.__schema__  # type: ignore[attr-defined]  # put there by @message
    decoder = schema.decoders.get(version) or decoder_of(schema, version)
    return decoder(data, offset)[0]  # type: ignore[no-any-return]  # an instance of cls


def decode_prefix(cls: type[T], version: int, data: BytesLike, offset: int = 0) -> tuple[T, int]:
    """Like `decode`, for a message that more bytes may follow: the message and where it ends."""
    message, end = decoder_of(schema_of(cls), version)(data, offset)
    return message, end


def encode(message: object, version: int) -> bytes:
    """The bytes of a message. Raises EncodeError, UnsupportedVersion."""
    schema = message.__schema__  # type: ignore[attr-defined]  # put there by @message
    encoder = schema.encoders.get(version) or encoder_of(schema, version)
    parts: list[bytes] = []
    encoder(message, parts.append)
    try:
        return b"".join(parts)
    except TypeError:
        raise EncodeError(f"{schema.name} holds records that are not bytes: encode_parts") from None


def encode_parts(message: object, version: int) -> list[bytes | object]:
    """The bytes of a message in pieces, such that their concatenation is `encode`'s result.

    A RECORDS value that is not bytes-like (it has a `len()`, a range of a file for example) is
    returned as one piece, uncopied; all other pieces are bytes.
    """
    schema = schema_of(type(message))
    encoder = schema.encoders.get(version) or encoder_of(schema, version)
    parts: list[bytes | object] = []
    encoder(message, parts.append)
    if not holds_records(schema.cls):
        return [b"".join(parts)]  # type: ignore[arg-type]  # there is nothing but bytes in it
    return join_neighbours(parts)


def join_neighbours(parts: Sequence[bytes | object]) -> list[bytes | object]:
    """Join pieces of bytes that stand side by side; large ones stay what they are."""
    joined: list[bytes | object] = []
    small: list[bytes | bytearray | memoryview] = []
    for part in parts:
        if type(part) is bytes:
            if len(part) <= _JOINED_SIZE_MAX:
                small.append(part)
                continue
        elif isinstance(part, bytearray | memoryview):
            small.append(part)
            continue
        if small:
            joined.append(b"".join(small))
            small = []
        joined.append(part)
    if small:
        joined.append(b"".join(small))
    return joined


def decode_versioned(cls: type[T], data: BytesLike, *, allow_newer: bool = False) -> tuple[int, T]:
    """A message behind its version as int16, as in the offsets topic and the consumer protocol.

    With `allow_newer`, a version above the newest known is read as the newest and what follows it
    is ignored: so the consumer protocol grows. Keys of records must not be read that way, since
    there another version means another kind of record. Returns the version that was written, and
    the message. Raises DecodeError, UnsupportedVersion.
    """
    schema = schema_of(cls)
    if len(data) < 2:
        raise DecodeError(f"{schema.name}: {len(data)} bytes cannot hold a version")
    version = int.from_bytes(data[:2], "big", signed=True)
    if allow_newer and schema.versions is not None and version > schema.versions[1]:
        message, _ = decode_prefix(cls, schema.versions[1], data, 2)
        return version, message
    return version, decode(cls, version, data, 2)


def encode_versioned(message: object, version: int) -> bytes:
    """The reverse of `decode_versioned`."""
    return version.to_bytes(2, "big", signed=True) + encode(message, version)
