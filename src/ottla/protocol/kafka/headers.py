"""The headers around messages, and whole frames of one message.

| request header  | of                    | fields                                               |
|-----------------|-----------------------|------------------------------------------------------|
| 0               | ControlledShutdown v0 | api key, version: int16; correlation id: int32       |
| 1               | classic versions      | + client id: nullable string, its length as int16    |
| 2               | flexible versions     | + tagged fields                                      |

| response header | of                    | fields                                               |
|-----------------|-----------------------|------------------------------------------------------|
| 0               | classic versions, and all of ApiVersions | correlation id: int32             |
| 1               | flexible versions     | + tagged fields                                      |
"""

import struct
from typing import Any, Final, NamedTuple

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.codec import BytesLike, decode, encode, encode_parts
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.messages.registry import ENTRIES, response_class
from ottla.protocol.kafka.schema import schema_of
from ottla.protocol.kafka.wire import Malformed, read_uvarint, skip_tags

_REQUEST: Final = struct.Struct(">hhih")
_REQUEST_V0: Final = struct.Struct(">hhi")
_FRAMED_REQUEST: Final = struct.Struct(">ihhih")
_FRAMED_REQUEST_V0: Final = struct.Struct(">ihhi")
_FRAMED_RESPONSE: Final = struct.Struct(">ii")
_FRAMED_RESPONSE_V1: Final = struct.Struct(">iix")

_FLEXIBLE_FROM: Final = {int(api): entry.flexible_from for api, entry in ENTRIES.items()}


class RequestHeader(NamedTuple):
    """What stands in front of a request. `body_offset`: where its body starts in the frame."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body_offset: int


def request_header_version(api: int, version: int) -> int:
    """The version of the header in front of a version of a request; 1 for APIs unknown here."""
    if version >= _FLEXIBLE_FROM.get(api, 1 << 16):
        return 2
    return 0 if api == ApiKey.CONTROLLED_SHUTDOWN and version == 0 else 1


def response_header_version(api: int, version: int) -> int:
    """The version of the header in front of a version of a response."""
    if api == ApiKey.API_VERSIONS:
        return 0
    return 1 if version >= _FLEXIBLE_FROM.get(api, 1 << 16) else 0


def decode_request_header(frame: BytesLike) -> RequestHeader:
    """Read the header of a request frame (without its length). Raises DecodeError."""
    try:
        api_key, version, correlation_id, size = _REQUEST.unpack_from(frame)
    except struct.error:
        return _short_header(frame)
    end = position = 10
    try:
        if version >= _FLEXIBLE_FROM.get(api_key, 1 << 16):
            position = 10 + size if size > 0 else 10
            end = position + 1
            if frame[position]:
                count, end = read_uvarint(frame, position)
                end = skip_tags(frame, end, count, len(frame))
        elif version == 0 and api_key == ApiKey.CONTROLLED_SHUTDOWN:
            return RequestHeader(api_key, version, correlation_id, None, 8)
        elif size > 0:
            end = position = 10 + size
        if size < 0:
            return RequestHeader(api_key, version, correlation_id, None, end)
        if position > len(frame):
            raise DecodeError(
                f"RequestHeader: client_id claims {size} bytes, {len(frame) - 10} remain"
            )
        client_id = str(frame[10:position], "utf-8")
    except (IndexError, Malformed):
        raise DecodeError(
            f"RequestHeader: api key {api_key} version {version} has no whole header"
        ) from None
    except UnicodeDecodeError as error:
        raise DecodeError(f"RequestHeader: client_id is not UTF-8: {error.reason}") from None
    return RequestHeader(api_key, version, correlation_id, client_id, end)


def _short_header(frame: BytesLike) -> RequestHeader:
    """The header without a client id, else too short for any."""
    if len(frame) >= 8:
        api_key, version, correlation_id = _REQUEST_V0.unpack_from(frame)
        if request_header_version(api_key, version) == 0:
            return RequestHeader(api_key, version, correlation_id, None, 8)
    raise DecodeError(f"RequestHeader: {len(frame)} bytes cannot hold a request header")


def encode_response_frame(
    api_key: int, version: int, correlation_id: int, body: object
) -> list[bytes | object]:
    """The frame of a response: length and header, then the pieces of `codec.encode_parts`."""
    parts = encode_parts(body, version)
    tagged = response_header_version(api_key, version) == 1
    size = (5 if tagged else 4) + sum(map(len, parts))  # type: ignore[arg-type]  # all have a len
    head = (_FRAMED_RESPONSE_V1 if tagged else _FRAMED_RESPONSE).pack(size, correlation_id)
    first = parts[0] if parts else b""
    if type(first) is bytes and len(first) < 65536:
        return [head + first, *parts[1:]]
    return [head, *parts]


def encode_request_frame(
    message: object, version: int, correlation_id: int, client_id: str | None
) -> bytes:
    """The frame of a request message, from its length on."""
    schema = schema_of(type(message))
    assert schema.api is not None, f"{schema.name} is no request"
    body = encode(message, version)
    api = schema.api
    kind = request_header_version(api, version)
    if kind == 0:
        return _FRAMED_REQUEST_V0.pack(8 + len(body), api, version, correlation_id) + body
    name = b"" if client_id is None else client_id.encode()
    tags = b"\0" if kind == 2 else b""
    size = 10 + len(name) + len(tags) + len(body)
    length = -1 if client_id is None else len(name)
    return b"".join(
        [_FRAMED_REQUEST.pack(size, api, version, correlation_id, length), name, tags, body]
    )


def decode_response(request_api: int, version: int, frame: BytesLike) -> tuple[int, Any]:
    """The correlation id and the message of a response frame (without its length).

    Raises DecodeError, UnsupportedVersion.
    """
    if len(frame) < 4:
        raise DecodeError(f"ResponseHeader: {len(frame)} bytes cannot hold a correlation id")
    correlation_id = int.from_bytes(frame[:4], "big", signed=True)
    body = 4
    if response_header_version(request_api, version) == 1:
        view = memoryview(frame)
        try:
            count, body = read_uvarint(view, 4)
            body = skip_tags(view, body, count, len(frame))
        except (IndexError, Malformed) as error:
            raise DecodeError(f"ResponseHeader v1: tagged fields: {error}") from None
    return correlation_id, decode(response_class(ApiKey(request_api)), version, frame, body)
